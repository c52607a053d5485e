//! Who may call, how often, from where, and under which name.

use std::time::{Duration, Instant};

use agent_portail::config::settings::{ProxyUser, UrlsAuth};
use agent_portail::model::Scopes;
use agent_portail::urls::api::document;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Answer, World, tokens};

/// Every call of the API: method, path, body, and the tokens that may.
fn calls() -> Vec<(&'static str, &'static str, Option<Value>, &'static [&'static str])> {
    let file = json!({"folder": "files", "path": "a"});
    vec![
        ("GET", "/api/v1/folders", None, &["reader", "both", "admin"]),
        ("GET", "/api/v1/files", None, &["reader", "both", "admin"]),
        ("POST", "/api/v1/urls", Some(file.clone()), &["linker", "both", "admin"]),
        ("POST", "/api/v1/links", Some(file), &["linker", "both", "admin"]),
        ("GET", "/api/v1/links", None, &["reader", "both", "admin"]),
        ("DELETE", "/api/v1/links/{id}", None, &["linker", "both", "admin"]),
        ("GET", "/api/v1/openapi.json", None, &["reader", "both", "admin"]),
    ]
}

#[tokio::test]
async fn each_call_needs_a_token_with_its_scope() {
    let world = World::new().await;
    world.rows(&["a"]).await;
    for (method, path, body, may) in calls() {
        for caller in ["reader", "linker", "both", "admin"] {
            let id = match path.contains("{id}") {
                true => world
                    .post(
                        if may.contains(&caller) { caller } else { "both" },
                        "/api/v1/links",
                        json!({"folder": "files", "path": "a"}),
                    )
                    .await
                    .expect(201)["id"]
                    .to_string(),
                false => String::new(),
            };
            let answer = world.send(caller, method, &path.replace("{id}", &id), body.clone()).await;
            match may.contains(&caller) {
                true => assert!((200..300).contains(&answer.status), "{method} {path} {caller}: {answer:?}"),
                false => drop(answer.expect_problem(403, "forbidden")),
            }
        }
        let path = path.replace("{id}", "1");
        let nobody = world.send("", method, &path, body.clone()).await;
        nobody.expect_problem(401, "unauthenticated");
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
    }
    for wrong in ["Basic cmVhZGVyOg==", "reader", "Bearer", "Bearer ", "Bearer nobody", "bearer READER"] {
        world
            .raw("GET", "/api/v1/folders", &[("authorization", wrong)], "")
            .await
            .expect_problem(401, "unauthenticated");
    }
    world.raw("GET", "/api/v1/folders", &[("authorization", "bEARER reader")], "").await.expect(200);
    // Neither of these asks who calls.
    assert_eq!(world.get("", "/healthz").await.text(), "ok\n");
    world.get("", "/l/nothing").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn the_document_describes_every_call_and_its_refusals_and_nothing_else() {
    let world = World::new().await;
    let served = world.get("reader", "/api/v1/openapi.json").await.expect(200);
    assert_eq!(served, serde_json::to_value(document()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, methods) in served["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            described.push((method.to_uppercase(), path.clone()));
            assert_eq!(call["security"], json!([{"token": []}]));
            for (status, response) in call["responses"].as_object().unwrap() {
                if status.starts_with('4') || status.starts_with('5') {
                    assert!(response["content"]["application/problem+json"].is_object(), "{method} {path} {status}");
                }
            }
        }
    }
    let mut expected: Vec<(String, String)> = calls()
        .into_iter()
        .filter(|(_, path, ..)| !path.ends_with("openapi.json"))
        .map(|(method, path, ..)| (method.to_owned(), path.to_owned()))
        .collect();
    described.sort();
    expected.sort();
    assert_eq!(described, expected);
}

#[tokio::test]
async fn another_method_or_route_is_refused_in_the_same_form() {
    let world = World::new().await;
    for (method, path, allowed) in [
        ("POST", "/api/v1/folders", "GET"),
        ("DELETE", "/api/v1/links", "POST"),
        ("GET", "/api/v1/urls", "POST"),
        ("GET", "/api/v1/links/1", "DELETE"),
        ("POST", "/l/x", "GET"),
    ] {
        let answer = world.send("admin", method, path, None).await;
        answer.expect_problem(405, "method");
        assert!(answer.header("allow").contains(allowed), "{method} {path}: {:?}", answer.headers);
    }
    for path in ["/api/v1/nothing", "/api", "/api/v2/folders"] {
        world.get("admin", path).await.expect_problem(404, "not_found");
    }
}

#[tokio::test]
async fn who_guesses_tokens_is_slowed_down_and_learns_nothing() {
    let world = World::new().await;
    let guess = async |token: &str| world.get(token, "/api/v1/folders").await;
    let mut refused = 0;
    let began = Instant::now();
    for number in 0..50 {
        let answer = guess(&format!("guess-{number}")).await;
        match answer.status {
            401 => {}
            429 => {
                refused += 1;
                let wait: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=6).contains(&wait), "{wait}");
            }
            other => panic!("{other}"),
        }
    }
    assert!(began.elapsed() > Duration::from_secs(30) || refused >= 35, "{refused}");
    // Not even the right one is looked at now: else each guess would still be told from it.
    guess("reader").await.expect_problem(429, "too_many");
    world.get("", "/l/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await.expect_problem(429, "too_many");
    assert!(world.portal.counters().render().contains("agent_portail_urls_wrong_tokens_total 1"));
    // What needs no secret goes on.
    assert_eq!(world.get("", "/healthz").await.status, 200);
}

#[tokio::test]
async fn who_guesses_links_is_slowed_down_too() {
    let world = World::new().await;
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(world.get("", &format!("/l/{number:032}")).await.status);
    }
    assert!(statuses[..10].iter().all(|status| *status == 404), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 429).count() >= 15, "{statuses:?}");
}

#[tokio::test]
async fn a_client_that_calls_too_often_waits_and_others_do_not() {
    let world = World::with(|settings| {
        settings.urls.rate_limit = Some(5);
        settings.urls.proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let call = async |address: &str| {
        world
            .raw("GET", "/api/v1/folders", &[("authorization", "Bearer reader"), ("x-forwarded-for", address)], "")
            .await
    };
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(call("198.51.100.1").await);
    }
    let limited: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!limited.is_empty() && answers[0].status == 200);
    limited[0].expect_problem(429, "too_many");
    assert_eq!(limited[0].header("retry-after"), "1");
    call("198.51.100.2").await.expect(200);
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_not_waited_for() {
    let world = World::with(|settings| settings.urls.request_timeout = Duration::from_millis(300)).await;
    let say = async |text: &str| {
        let mut line = TcpStream::connect(world.address).await.unwrap();
        line.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(10), line.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    // A head that does not end, and a body that does not come.
    let answer = say("GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let head = "POST /api/v1/urls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer both\r\nConnection: close\r\n";
    let answer = say(&format!("{head}Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{")).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("too_slow"), "{answer}");
}

#[tokio::test]
async fn a_proxy_of_ours_says_who_calls_and_nobody_else_does() {
    let change: crate::world::Change2 = |settings| {
        settings.urls.proxy_user =
            Some(ProxyUser { header: "x-forwarded-user".to_owned(), scopes: Scopes::parse("read,link").unwrap() });
        settings.urls.proxies = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
    };
    let world = World::with(change).await;
    world.rows(&["a"]).await;
    let user = [("x-forwarded-user", "ann@example.org"), ("content-type", "application/json")];
    world.raw("GET", "/api/v1/folders", &user, "").await.expect(200);
    let made = world.raw("POST", "/api/v1/links", &user, r#"{"folder": "files", "path": "a"}"#).await.expect(201);
    let by = format!("SELECT created_by FROM portail.link WHERE id = {}", made["id"]);
    assert_eq!(world.db.value(&by).await, "ann@example.org");
    world.raw("GET", "/api/v1/links?all=true", &user, "").await.expect_problem(403, "forbidden");
    for nobody in ["", "a b", "a:b"] {
        world
            .raw("GET", "/api/v1/folders", &[("x-forwarded-user", nobody)], "")
            .await
            .expect_problem(401, "unauthenticated");
    }
    // A token that was sent counts, and a wrong one is not made good by a name.
    let both = [("x-forwarded-user", "ann"), ("authorization", "Bearer wrong")];
    world.raw("GET", "/api/v1/folders", &both, "").await.expect_problem(401, "unauthenticated");
    // The same from an address that is no proxy.
    let far: crate::world::Change2 = |settings| {
        settings.urls.proxy_user = Some(ProxyUser { header: "x-forwarded-user".to_owned(), scopes: Scopes::all() });
        settings.urls.proxies = vec!["10.0.0.0/8".parse().unwrap()];
    };
    let world = World::on(world.s3.clone(), world.db.clone(), world.bucket.clone(), far).await;
    world.raw("GET", "/api/v1/folders", &user, "").await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_served_and_no_page_of_another_site() {
    let world = World::with(|settings| settings.urls.auth = UrlsAuth::Open).await;
    world.rows(&["a"]).await;
    world.get("", "/api/v1/folders").await.expect(200);
    for host in ["evil.example.org", "evil.example.org:8080", "127.0.0.1.evil.org"] {
        world.raw("GET", "/api/v1/folders", &[("host", host)], "").await.expect_problem(421, "misdirected");
    }
    let body = r#"{"folder": "files", "path": "a"}"#;
    for site in ["cross-site", "same-site"] {
        let headers = [("sec-fetch-site", site), ("content-type", "application/json")];
        world.raw("POST", "/api/v1/urls", &headers, body).await.expect_problem(403, "cross_site");
        // To follow a link from another page is what links are for.
        world.raw("GET", "/healthz", &[("sec-fetch-site", site)], "").await;
    }
    for site in ["same-origin", "none"] {
        let headers = [("sec-fetch-site", site), ("content-type", "application/json")];
        world.raw("POST", "/api/v1/urls", &headers, body).await.expect(201);
    }
    // A form of another site can only send what needs no asking first.
    world.raw("POST", "/api/v1/urls", &[("content-type", "text/plain")], body).await.expect_problem(415, "media_type");
    let asked = world
        .raw("OPTIONS", "/api/v1/urls", &[("origin", "http://evil.org"), ("access-control-request-method", "POST")], "")
        .await;
    assert_eq!(asked.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn a_session_is_bound_to_the_token_as_it_is() {
    use agent_portail::urls::tokens::Tokens;
    let world = World::new().await;
    let before = world.portal.caller_named("reader").unwrap();
    assert!(before.proof.is(&world.portal.caller_named("reader").unwrap().proof.0));
    let text = |token: &str, scopes: &str| {
        let scopes = Scopes::parse(scopes).unwrap();
        let hash = agent_portail::urls::tokens::hash(token);
        Tokens::parse(&agent_portail::urls::tokens::Entry { name: "reader".to_owned(), scopes, hash }.line()).unwrap()
    };
    for changed in [text("another", "read"), text("reader", "read,link")] {
        world.portal.set_tokens(changed);
        assert!(!before.proof.is(&world.portal.caller_named("reader").unwrap().proof.0));
    }
    world.portal.set_tokens(Tokens::default());
    assert_eq!(world.portal.caller_named("reader"), None);
    world.get("reader", "/api/v1/folders").await.expect_problem(401, "unauthenticated");
    world.portal.set_tokens(tokens());
    world.get("reader", "/api/v1/folders").await.expect(200);
}
