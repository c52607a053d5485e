//! Presigned URLs: what they give, to whom, and what is refused.

use std::time::{Duration, SystemTime};

use agent_portail::catalog::removal::{self, Doomed};
use agent_portail::model::RelPath;
use agent_portail::urls::disposition::Disposition;
use agent_portail::urls::signing::Wish;
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::world::{World, failed, request, synced};

#[tokio::test]
async fn whoever_has_the_url_gets_the_file_under_its_own_name_and_type() {
    let world = World::new().await;
    // Garage takes no more than about 450 bytes.
    let depth = if world.s3.is_embedded() { 9 } else { 3 };
    let deep = format!("{}/{}é.txt", vec!["d".repeat(99); depth].join("/"), "n".repeat(20));
    let hostile = [
        "plain.txt",
        "numéro 17.csv",
        "a\"quote'.html",
        "new\nline.txt",
        "\u{202e}fdp.exe",
        "<script>alert(1)</script>.svg",
        "100%25+&=#?;.txt",
        "写真/写真集.jpg",
        "back\\slash",
        " leading and trailing ",
        &deep,
    ];
    for path in hostile {
        world.put(path, &format!("content of {path}")).await;
    }
    for path in hostile {
        let body = json!({"folder": "files", "path": path, "expires_in": "5m"});
        let answer = world.post("linker", "/api/v1/urls", body).await;
        let url = answer.expect(201);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(url["limited_by"], json!(null));
        let file = request("GET", url["url"].as_str().unwrap(), &[], "").await;
        assert_eq!((file.status, file.text()), (200, format!("content of {path}")), "{path}");
        let disposition = file.header("content-disposition");
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
        let name = path.rsplit('/').next().unwrap();
        let shown = match disposition.split_once("filename*=UTF-8''") {
            Some((_, encoded)) => percent_decode_str(encoded).decode_utf8().unwrap().into_owned(),
            None => disposition.split('"').nth(1).unwrap().to_owned(),
        };
        assert_eq!(shown, name);
        let kind = mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream");
        assert_eq!(file.header("content-type"), kind);
    }
}

#[tokio::test]
async fn a_url_lasts_as_long_as_was_asked_for_within_what_is_allowed() {
    let world = World::with(|settings| settings.urls.max_expiry = Duration::from_secs(7200)).await;
    world.put("a", "x").await;
    for (expires_in, seconds) in [("1s", 1), ("90m", 5400), ("2h", 7200), ("1500ms", 1)] {
        let before = SystemTime::now();
        let body = json!({"folder": "files", "path": "a", "expires_in": expires_in});
        let url = world.post("both", "/api/v1/urls", body).await.expect(201);
        assert!(url["url"].as_str().unwrap().contains(&format!("X-Amz-Expires={seconds}&")), "{url}");
        let until = humantime::parse_rfc3339(url["expires_at"].as_str().unwrap()).unwrap();
        let lasting = until.duration_since(before).unwrap_or_default().as_secs_f64();
        assert!(lasting <= seconds as f64 + 30.0 && lasting >= seconds as f64 - 1.0, "{expires_in}: {lasting}");
    }
    let default = world.post("both", "/api/v1/urls", json!({"folder": "files", "path": "a"})).await.expect(201);
    assert!(default["url"].as_str().unwrap().contains("X-Amz-Expires=3600&"));
    for wrong in ["0s", "999ms", "121m", "8d", "-1s", "", "5", "forever", "99999999999999999999d"] {
        let body = json!({"folder": "files", "path": "a", "expires_in": wrong});
        let detail = world.post("both", "/api/v1/urls", body.clone()).await.expect_problem(400, "invalid");
        assert!(detail.contains("expires_in"), "{wrong}: {detail}");
        world.post("both", "/api/v1/links", body).await.expect_problem(400, "invalid");
    }
    let body = json!({"folder": "files", "path": "a", "expires_in": "8d"});
    let detail = world.post("both", "/api/v1/urls", body).await.expect_problem(400, "invalid");
    assert!(detail.contains("from 1s to 2h"), "{detail}");
}

#[tokio::test]
async fn only_what_the_catalog_vouches_for_is_signed() {
    let world = World::new().await;
    world.rows(&["failed later", "deleting", "kept", "deleted"]).await;
    world.record(&[failed("never", "permission denied"), failed("failed later", "it changes all the time")]).await;
    world.db.rows("UPDATE portail.file SET state = 'kept' WHERE path = 'kept'").await;
    let doomed = |path: &str| Doomed { path: RelPath::from_encoded(path, None), counts: false };
    removal::begin(&world.catalog, world.folder, &[doomed("deleting"), doomed("deleted")]).await.unwrap();
    removal::end(&world.catalog, world.folder, &[RelPath::from_encoded("deleted", None)]).await.unwrap();
    for route in ["/api/v1/urls", "/api/v1/links"] {
        let ask = async |path: &str| world.post("both", route, json!({"folder": "files", "path": path})).await;
        assert!(ask("never").await.expect_problem(409, "conflict").contains("permission denied"));
        assert!(ask("failed later").await.expect_problem(409, "conflict").contains("changes all the time"));
        ask("deleting").await.expect_problem(410, "deleted");
        ask("deleted").await.expect_problem(410, "deleted");
        ask("nowhere").await.expect_problem(404, "not_found");
        ask("a\0b").await.expect_problem(404, "not_found");
        ask("kept").await.expect(201);
        world.post("both", route, json!({"folder": "nowhere", "path": "kept"})).await.expect_problem(404, "not_found");
    }
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link").await, 1);
}

#[tokio::test]
async fn a_body_that_can_not_be_used_is_refused() {
    let world = World::new().await;
    for route in ["/api/v1/urls", "/api/v1/links"] {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"folder": 1, "path": "a"}"#,
            r#"{"folder": "files", "path": "a", "more": 1}"#,
        ] {
            let headers = [("authorization", "Bearer both"), ("content-type", "application/json")];
            world.raw("POST", route, &headers, body.to_owned()).await.expect_problem(400, "invalid");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let headers = [("authorization", "Bearer both"), ("content-type", kind)];
            world
                .raw("POST", route, &headers, r#"{"folder": "files", "path": "a"}"#)
                .await
                .expect_problem(415, "media_type");
        }
        let headers = [("authorization", "Bearer both"), ("content-type", "application/json")];
        let large = format!(r#"{{"folder": "files", "path": "{}"}}"#, "x".repeat(70_000));
        world.raw("POST", route, &headers, large).await.expect_problem(413, "too_large");
    }
    for wrong in [json!(0), json!(-1), json!(1.5), json!("1"), json!(2_147_483_648_u64)] {
        world.rows(&["a"]).await;
        let body = json!({"folder": "files", "path": "a", "max_uses": wrong});
        world.post("both", "/api/v1/links", body).await.expect_problem(400, "invalid");
    }
}

#[tokio::test]
async fn urls_lead_to_the_host_that_browsers_reach() {
    let world =
        World::with(|settings| settings.urls.public_endpoint_url = Some("https://files.example.org".to_owned())).await;
    world.rows(&["a"]).await;
    let url = world.post("both", "/api/v1/urls", json!({"folder": "files", "path": "a"})).await.expect(201);
    let expected = format!("https://files.example.org/{}/a?", world.bucket);
    assert!(url["url"].as_str().unwrap().starts_with(&expected), "{url}");
    assert_eq!(world.portal.store_origin(&world.bucket).await.unwrap(), "https://files.example.org");
}

#[tokio::test]
async fn only_what_can_do_no_harm_is_shown_instead_of_saved() {
    let world = World::new().await;
    for path in ["a.png", "a.svg", "a.html", "a.pdf"] {
        world.put(path, "x").await;
    }
    let folder = world.portal.folder("files").await.unwrap();
    for (path, kind, shown) in [
        ("a.png", None, true),
        ("a.pdf", None, true),
        ("a.svg", None, false),
        ("a.html", None, false),
        ("a.png", Some("text/html"), false),
    ] {
        let file = world.portal.file(&folder, path).await.unwrap();
        let wish = Wish { disposition: Disposition::Inline, content_type: kind.map(str::to_owned), ..Wish::default() };
        let url = world.portal.presign(&folder, &file, &wish).await.unwrap().url;
        let answer = request("GET", &url, &[], "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-disposition").starts_with("inline"), shown, "{path} {kind:?}");
    }
}

#[tokio::test]
async fn a_url_is_good_for_its_file_its_time_and_reading_only() {
    let world = World::new().await;
    world.put("a", "public").await;
    world.put("b", "secret").await;
    let ask = async |expires: &str| {
        let body = json!({"folder": "files", "path": "a", "expires_in": expires});
        world.post("both", "/api/v1/urls", body).await.expect(201)["url"].as_str().unwrap().to_owned()
    };
    let url = ask("1h").await;
    assert_eq!(request("GET", &url, &[], "").await.text(), "public");
    for (what, tampered) in [
        ("another file", url.replace("/a?", "/b?")),
        ("another name", url.replace("filename", "filenome")),
        ("a longer time", url.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000")),
        ("another signature", re_signed(&url)),
        ("no signature", url.split("&X-Amz-Signature").next().unwrap().to_owned()),
        ("nothing at all", url.split('?').next().unwrap().to_owned()),
    ] {
        assert_ne!(tampered, url, "{what}");
        let answer = request("GET", &tampered, &[], "").await;
        assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
        assert!(!answer.text().contains("secret"), "{what}");
    }
    for method in ["PUT", "DELETE", "POST"] {
        let answer = request(method, &url, &[], "x").await;
        assert!((400..500).contains(&answer.status), "{method}: {answer:?}");
    }
    assert_eq!(world.s3.object(&world.bucket, "a").await.unwrap().bytes, b"public");
    let short = ask("1s").await;
    // 403 on S3, 400 on Garage.
    let refused = async || (400..500).contains(&request("GET", &short, &[], "").await.status);
    crate::common::agent::until("the URL has expired", refused).await;
}

/// With another signature of the same form.
fn re_signed(url: &str) -> String {
    let (before, after) = url.split_once("X-Amz-Signature=").unwrap();
    let end = after.find('&').unwrap_or(after.len());
    let signature: String = after[..end].chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    format!("{before}X-Amz-Signature={signature}{}", &after[end..])
}

#[tokio::test]
async fn a_url_of_credentials_that_end_sooner_says_so() {
    let world = World::new().await;
    world.record(&[synced("a", "x")]).await;
    let home = tempfile::tempdir().unwrap();
    let until = SystemTime::now() + Duration::from_secs(600);
    let child = with_session(&world, &home, until);
    let short = child.run(&["url", "files:a", "--expires", "5m"]).await.expect_code(0);
    assert!(short.stderr.is_empty(), "{}", short.stderr);
    assert!(short.stdout.contains("X-Amz-Security-Token=token%20of%20the%20session"), "{}", short.stdout);
    let long = child.run(&["url", "files:a", "--expires", "1h"]).await.expect_code(0);
    assert!(long.stderr.contains("sooner than was asked for"), "{}", long.stderr);
    assert!(long.stderr.contains(&humantime::format_rfc3339_seconds(until).to_string()), "{}", long.stderr);

    // And so does the service.
    let running = child.serve(&[]).await;
    for (expires_in, limited) in [("5m", json!(null)), ("1h", json!("credentials"))] {
        let headers =
            [("authorization", format!("Bearer {}", running.token)), ("content-type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        let body = json!({"folder": "files", "path": "a", "expires_in": expires_in}).to_string();
        let url = request("POST", &format!("http://{}/api/v1/urls", running.address), &headers, body).await.expect(201);
        assert_eq!(url["limited_by"], limited);
        if limited != json!(null) {
            assert_eq!(url["expires_at"], humantime::format_rfc3339_millis(until_second(until)).to_string());
        }
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_signed_and_the_answer_says_so() {
    let world = World::new().await;
    world.rows(&["a"]).await;
    let home = tempfile::tempdir().unwrap();
    let child = with_session(&world, &home, SystemTime::now() + Duration::from_secs(3));
    let running = child.serve(&[]).await;
    std::fs::write(home.path().join("keys.sh"), "#!/bin/sh\nexit 1\n").unwrap();
    let headers =
        [("authorization", format!("Bearer {}", running.token)), ("content-type", "application/json".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (url, body) = (format!("http://{}/api/v1/urls", running.address), r#"{"folder": "files", "path": "a"}"#);
    crate::common::agent::until("the credentials have ended", async || {
        request("POST", &url, &headers, body).await.status == 503
    })
    .await;
    request("POST", &url, &headers, body).await.expect_problem(503, "unavailable");
}

/// The program with credentials of a session that ends then.
fn with_session(world: &World, home: &tempfile::TempDir, until: SystemTime) -> crate::process::Program {
    let keys = home.path().join("keys.sh");
    let json = json!({"Version": 1, "AccessKeyId": "AKIDSESSION", "SecretAccessKey": "s", "SessionToken": "token of the session",
        "Expiration": humantime::format_rfc3339_seconds(until).to_string()});
    std::fs::write(&keys, format!("#!/bin/sh\ncat <<'END'\n{json}\nEND\n")).unwrap();
    std::fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let profile = home.path().join("config");
    std::fs::write(
        &profile,
        format!("[default]\nregion = us-east-1\ncredential_process = {}\n", keys.to_string_lossy()),
    )
    .unwrap();
    let mut child = crate::process::Program::new(world, home);
    child.env.retain(|(name, _)| !name.starts_with("AWS_ACCESS") && !name.starts_with("AWS_SECRET"));
    child.env.push(("AWS_CONFIG_FILE", profile.to_str().unwrap().to_owned()));
    child
}

fn until_second(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
