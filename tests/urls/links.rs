//! Share links: what they lead to, how they end, and what is written down.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::common::agent::until;
use crate::world::{World, failed, request, synced};

fn location(answer: &crate::world::Answer) -> String {
    assert_eq!(answer.status, 302, "{answer:?}");
    answer.header("location").to_owned()
}

async fn outcomes(world: &World, id: i64) -> Vec<String> {
    world.db.column(&format!("SELECT outcome FROM portail.link_use WHERE link_id = {id} ORDER BY id")).await
}

#[tokio::test]
async fn a_link_leads_whoever_has_it_to_the_file_and_leaves_no_trace_of_its_token() {
    let world = World::new().await;
    world.put("reports/été 2026.txt", "the report").await;
    let (link, id) = world.link("reports/été 2026.txt", json!({})).await;
    assert!(link.starts_with("/l/") && link.len() == 3 + 32, "{link}");
    let answer = world.get("", &link).await;
    let url = location(&answer);
    assert!(url.contains("X-Amz-Expires=60&"), "{url}");
    assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
    let file = request("GET", &url, &[], "").await;
    assert_eq!(file.text(), "the report");
    assert!(file.header("content-disposition").contains("%C3%A9t%C3%A9%202026.txt"));
    let token = &link[3..];
    let dump = world
        .db
        .rows("SELECT l::text, encode(token_sha256, 'escape'), encode(token_sha256, 'base64') FROM portail.link l")
        .await;
    assert!(!format!("{dump:?}").contains(token));
    assert_eq!(outcomes(&world, id).await, ["served"]);
    assert_eq!(world.db.value("SELECT host(address) FROM portail.link_use").await, "127.0.0.1");
    // Nobody needs a token of a caller for it, and one does not hurt.
    location(&world.get("reader", &link).await);
    let links = world.get("both", "/api/v1/links").await.expect(200);
    let known = &links["links"][0];
    assert_eq!(
        (&known["id"], &known["uses"], &known["status"], &known["path"]),
        (&json!(id), &json!(2), &json!("active"), &json!("reports/été 2026.txt"))
    );
    assert!(known["last_used_at"].is_string() && known["max_uses"].is_null() && known["revoked_at"].is_null());
    assert!(!links.to_string().contains(token));
}

#[tokio::test]
async fn to_look_does_not_count_and_leads_nowhere() {
    let world = World::new().await;
    world.put("a", "x").await;
    let (link, id) = world.link("a", json!({"max_uses": 1})).await;
    for _ in 0..3 {
        let looked = world.send("", "HEAD", &link, None).await;
        assert_eq!((looked.status, looked.header("location")), (200, ""));
    }
    assert!(outcomes(&world, id).await.is_empty());
    location(&world.get("", &link).await);
    assert_eq!(world.send("", "HEAD", &link, None).await.status, 410);
    assert_eq!(outcomes(&world, id).await, ["served"]);
}

#[tokio::test]
async fn a_link_that_may_be_opened_once_serves_exactly_one_of_many_who_come_at_once() {
    let world = World::new().await;
    world.put("a", "x").await;
    for uses in [1, 3] {
        let (link, id) = world.link("a", json!({"max_uses": uses})).await;
        let answers = join_all((0..20).map(|_| world.get("", &link))).await;
        let served = answers.iter().filter(|answer| answer.status == 302).count();
        assert_eq!(served, uses);
        for answer in answers.iter().filter(|answer| answer.status != 302) {
            answer.expect_problem(410, "used_up");
        }
        let outcomes = outcomes(&world, id).await;
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "served").count(), uses);
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "used_up").count(), 20 - uses);
        assert_eq!(world.db.count(&format!("SELECT uses FROM portail.link WHERE id = {id}")).await, uses as u64);
    }
}

#[tokio::test]
async fn a_link_ends_with_its_time_its_uses_its_file_and_at_once_when_it_is_revoked() {
    let world = World::new().await;
    for path in ["a", "b", "c", "d"] {
        world.put(path, path).await;
    }
    let (expired, id) = world.link("a", json!({"expires_in": "1s"})).await;
    location(&world.get("", &expired).await);
    until("the link has expired", async || world.get("", &expired).await.status != 302).await;
    world.get("", &expired).await.expect_problem(410, "expired");
    assert_eq!(outcomes(&world, id).await.last().unwrap(), "expired");

    let (revoked, id) = world.link("b", json!({})).await;
    location(&world.get("", &revoked).await);
    world.send("both", "DELETE", &format!("/api/v1/links/{id}"), None).await.expect(204);
    world.get("", &revoked).await.expect_problem(410, "revoked");
    // Twice is no harm.
    world.send("both", "DELETE", &format!("/api/v1/links/{id}"), None).await.expect(204);
    assert_eq!(outcomes(&world, id).await, ["served", "revoked"]);

    let (failing, id) = world.link("c", json!({})).await;
    world.record(&[failed("c", "its disk is broken")]).await;
    let detail = world.get("", &failing).await.expect_problem(409, "conflict");
    assert!(!detail.contains("disk"), "who has a link is not told what is wrong inside");
    world.record(&[synced("c", "c")]).await;
    location(&world.get("", &failing).await);
    assert_eq!(outcomes(&world, id).await, ["not_synced", "served"]);

    let (deleted, id) = world.link("d", json!({})).await;
    world.db.rows("UPDATE portail.file SET state = 'deleting' WHERE path = 'd'").await;
    world.get("", &deleted).await.expect_problem(410, "deleted");
    world.db.rows("DELETE FROM portail.file WHERE path = 'd'").await;
    world.get("", &deleted).await.expect_problem(410, "deleted");
    // What comes to its place later is another file.
    world.put("d", "another").await;
    world.get("", &deleted).await.expect_problem(410, "deleted");
    assert_eq!(outcomes(&world, id).await, ["deleted"; 3]);
    let links = world.get("both", "/api/v1/links").await.expect(200);
    let status: Vec<_> =
        links["links"].as_array().unwrap().iter().map(|link| link["status"].as_str().unwrap()).collect();
    assert_eq!(status, ["deleted", "active", "revoked", "expired"]);
}

#[tokio::test]
async fn an_unknown_link_is_not_there_whatever_it_looks_like() {
    let world = World::new().await;
    for token in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%00", "..%2f..%2fetc"] {
        world.get("", &format!("/l/{token}")).await.expect_problem(404, "not_found");
    }
    assert_eq!(world.send("", "HEAD", "/l/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", None).await.status, 404);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link_use").await, 0);
}

#[tokio::test]
async fn a_link_follows_what_the_file_becomes_or_stays_with_its_version() {
    let world = World::new().await;
    if !world.s3.is_embedded() {
        // Garage has no versions.
        return;
    }
    world.s3.with_versions(&world.bucket).await;
    let put = async |bytes: &str| {
        let body = aws_sdk_s3::primitives::ByteStream::from(bytes.as_bytes().to_vec());
        let put = world.s3.sdk().put_object().bucket(&world.bucket).key("a").body(body).send().await.unwrap();
        world.record(&[synced("a", bytes)]).await;
        let version = put.version_id().unwrap().to_owned();
        world.db.rows(&format!("UPDATE portail.file SET version_id = '{version}' WHERE path = 'a'")).await;
    };
    put("first").await;
    let (pinned, _) = world.link("a", json!({"pinned": true})).await;
    let (following, _) = world.link("a", json!({})).await;
    put("second").await;
    let content = async |link: &str| request("GET", &location(&world.get("", link).await), &[], "").await.text();
    assert_eq!(content(&pinned).await, "first");
    assert_eq!(content(&following).await, "second");
    let links = world.get("both", "/api/v1/links").await.expect(200);
    assert_eq!((&links["links"][0]["pinned"], &links["links"][1]["pinned"]), (&json!(false), &json!(true)));
    // A later failure to sync does not touch a version that is there.
    world.record(&[failed("a", "x")]).await;
    assert_eq!(content(&pinned).await, "first");
    world.get("", &following).await.expect_problem(409, "conflict");
    world.rows(&["no version"]).await;
    let body = json!({"folder": "files", "path": "no version", "pinned": true});
    let detail = world.post("both", "/api/v1/links", body).await.expect_problem(409, "conflict");
    assert!(detail.contains("keeps no versions"), "{detail}");
}

#[tokio::test]
async fn one_sees_and_revokes_ones_own_links_and_an_admin_everybodys() {
    let world = World::new().await;
    world.rows(&["a"]).await;
    let make = async |caller: &str| {
        let made = world.post(caller, "/api/v1/links", json!({"folder": "files", "path": "a"})).await.expect(201);
        made["id"].as_i64().unwrap()
    };
    let (mine, theirs) = (make("both").await, make("other").await);
    let ids = |links: &Value| -> Vec<i64> {
        links["links"].as_array().unwrap().iter().map(|link| link["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&world.get("both", "/api/v1/links").await.expect(200)), [mine]);
    assert!(ids(&world.get("reader", "/api/v1/links").await.expect(200)).is_empty());
    world.get("both", "/api/v1/links?all=true").await.expect_problem(403, "forbidden");
    assert_eq!(ids(&world.get("admin", "/api/v1/links?all=true").await.expect(200)), [theirs, mine]);
    assert!(ids(&world.get("admin", "/api/v1/links").await.expect(200)).is_empty());
    let revoke =
        async |caller: &str, id: &str| world.send(caller, "DELETE", &format!("/api/v1/links/{id}"), None).await;
    revoke("both", &theirs.to_string()).await.expect_problem(403, "forbidden");
    revoke("reader", &mine.to_string()).await.expect_problem(403, "forbidden");
    revoke("both", "123456789").await.expect_problem(404, "not_found");
    for wrong in ["x", "1.5", "99999999999999999999"] {
        revoke("both", wrong).await.expect_problem(400, "invalid");
    }
    revoke("admin", &theirs.to_string()).await.expect(204);
    assert_eq!(world.db.value(&format!("SELECT revoked_by FROM portail.link WHERE id = {theirs}")).await, "admin");
    assert_eq!(world.db.value(&format!("SELECT revoked_at IS NULL FROM portail.link WHERE id = {mine}")).await, "t");

    for _ in 0..5 {
        make("both").await;
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = world.get("both", &format!("/api/v1/links?limit=2{after}")).await.expect(200);
        assert!(ids(&page).len() <= 2);
        found.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found.len(), 6);
    assert!(found.is_sorted_by(|a, b| a > b), "the newest first: {found:?}");
}

#[tokio::test]
async fn the_link_is_told_under_the_name_that_people_reach_it_by() {
    let world = World::with(|settings| settings.urls.public_url = Some("https://portal.example.org".to_owned())).await;
    world.rows(&["a"]).await;
    let made = world.post("both", "/api/v1/links", json!({"folder": "files", "path": "a"})).await.expect(201);
    assert!(made["href"].as_str().unwrap().starts_with("https://portal.example.org/l/"), "{made}");
}

#[tokio::test]
async fn of_addresses_only_what_is_configured_is_kept() {
    use agent_portail::config::settings::RecordAddresses;
    let world = World::new().await;
    world.put("a", "x").await;
    for (how, kept) in [
        (RecordAddresses::Truncated, "127.0.0.0"),
        (RecordAddresses::Nothing, "NULL"),
        (RecordAddresses::Full, "127.0.0.1"),
    ] {
        let change: crate::world::Change2 = match how {
            RecordAddresses::Truncated => |settings| settings.urls.record_addresses = RecordAddresses::Truncated,
            RecordAddresses::Nothing => |settings| settings.urls.record_addresses = RecordAddresses::Nothing,
            RecordAddresses::Full => |_| {},
        };
        let world = World::on(world.s3.clone(), world.db.clone(), world.bucket.clone(), change).await;
        let (link, id) = world.link("a", json!({})).await;
        location(&world.get("", &link).await);
        let address = format!("SELECT coalesce(host(address), 'NULL') FROM portail.link_use WHERE link_id = {id}");
        assert_eq!(world.db.value(&address).await, kept);
    }
}

#[tokio::test]
async fn old_uses_and_links_that_have_ended_long_ago_are_forgotten() {
    let world = World::new().await;
    world.put("a", "x").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (link, id) = world.link("a", json!({})).await;
        location(&world.get("", &link).await);
        ids.push(id);
    }
    world
        .db
        .rows(&format!("UPDATE portail.link SET expires_at = now() - interval '91 days' WHERE id = {}", ids[0]))
        .await;
    world
        .db
        .rows(&format!("UPDATE portail.link_use SET at = now() - interval '91 days' WHERE link_id = {}", ids[1]))
        .await;
    let day = Duration::from_secs(86_400);
    let forgotten = agent_portail::catalog::link::forget(&world.catalog, 90 * day, 1000).await.unwrap();
    assert_eq!(forgotten, 2);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link").await, 2);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link_use").await, 1);
    assert_eq!(agent_portail::catalog::link::forget(&world.catalog, Duration::MAX, 1000).await.unwrap(), 0);
}
