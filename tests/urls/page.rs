//! The web page as a browser is sent it: sessions, forms, headers, and refusals that are pages. What is seen of it is in `tests/browser`.

use agent_portail::config::settings::UrlsAuth;
use agent_portail::urls::tokens::Tokens;

use crate::world::{Answer, World, encoded};

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The cookie of somebody who has logged in, as it is sent back.
async fn login(world: &World, token: &str) -> String {
    let answer = world.raw("POST", "/login", &[HTML, FORM], format!("token={token}&next=%2Flinks")).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/links"), "{}", answer.text());
    let cookie = answer.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

async fn get(world: &World, cookie: &str, path: &str) -> Answer {
    world.raw("GET", path, &[HTML, ("cookie", cookie)], "").await
}

async fn post(world: &World, cookie: &str, path: &str, more: &[(&str, &str)], body: String) -> Answer {
    let mut headers = vec![HTML, FORM, ("cookie", cookie)];
    headers.extend(more);
    world.raw("POST", path, &headers, body).await
}

/// What the forms of a page bring along.
fn form_token(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text.split_once("name=\"form_token\" value=\"").expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_begins_with_a_token_and_ends_with_it() {
    let world = World::new().await;
    world.rows(&["a.txt"]).await;
    for path in [
        "/",
        "/browse/files",
        "/file/files/a.txt",
        "/links",
        "/open/files/a.txt",
        "/download/files/a.txt",
        "/search?q=a",
    ] {
        let answer = world.raw("GET", path, &[HTML], "").await;
        assert_eq!((answer.status, answer.header("location")), (303, format!("/login?next={}", encode(path)).as_str()));
    }
    let wrong = world.raw("POST", "/login", &[HTML, FORM], "token=nobody&next=/").await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));
    assert!(wrong.text().contains("This token is not known."));
    let cookie = login(&world, "both").await;
    assert_eq!(get(&world, &cookie, "/browse/files").await.status, 200);
    // The API takes no cookie, so that no page of another site can make use of one.
    world.raw("GET", "/api/v1/folders", &[("cookie", &cookie)], "").await.expect_problem(401, "unauthenticated");
    // A token that may not read sees nothing.
    let linker = login(&world, "linker").await;
    assert_eq!(get(&world, &linker, "/browse/files").await.status, 403);
    for changed in [cookie.replace("portail=", "portail=x"), format!("{cookie}x"), "portail=".to_owned()] {
        assert_eq!(get(&world, &changed, "/").await.status, 303, "{changed}");
    }
    world.portal.set_tokens(Tokens::default());
    assert_eq!(get(&world, &cookie, "/").await.status, 303);
    let page = get(&world, &cookie, "/login").await.text();
    assert!(page.contains("Your session has ended."), "{page}");
}

/// As the page writes a value in a query.
fn encode(text: &str) -> String {
    encoded(text).replace("%2E", ".").replace("%2D", "-").replace("%5F", "_").replace("%7E", "~")
}

#[tokio::test]
async fn who_guesses_at_the_login_is_slowed_down() {
    let world = World::new().await;
    let mut statuses = Vec::new();
    for number in 0..30 {
        statuses.push(world.raw("POST", "/login", &[HTML, FORM], format!("token=guess-{number}")).await.status);
    }
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 429).count() >= 15, "{statuses:?}");
    let right = world.raw("POST", "/login", &[HTML, FORM], "token=both").await;
    assert_eq!((right.status, right.header("set-cookie")), (429, ""));
    assert!(right.text().contains("Too many attempts"));
}

#[tokio::test]
async fn a_form_counts_only_from_a_page_of_ours() {
    let world = World::new().await;
    world.put("a.txt", "hello").await;
    let cookie = login(&world, "both").await;
    let token = form_token(&get(&world, &cookie, "/file/files/a.txt").await);
    let body = |token: &str| format!("form_token={token}&expires_in=60");
    let own = format!("http://{}", world.address);
    for (headers, token, status) in [
        (vec![("origin", own.as_str())], token.as_str(), 201),
        (vec![("sec-fetch-site", "same-origin"), ("origin", "https://behind.example")], &token, 201),
        (vec![], &token, 201),
        (vec![("origin", "https://evil.example")], &token, 403),
        (vec![("origin", "null")], &token, 403),
        (vec![("sec-fetch-site", "cross-site")], &token, 403),
        (vec![("sec-fetch-site", "same-site"), ("origin", own.as_str())], &token, 403),
        (vec![("origin", own.as_str())], "", 403),
        (vec![("origin", own.as_str())], "x", 403),
    ] {
        let answer = post(&world, &cookie, "/file/files/a.txt", &headers, body(token)).await;
        assert_eq!(answer.status, status, "{headers:?} {token}: {}", answer.text());
    }
    // The token of somebody else's form.
    let other = login(&world, "other").await;
    assert_eq!(post(&world, &other, "/file/files/a.txt", &[], body(&token)).await.status, 403);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link").await, 3);
    // Nor can one be logged in as somebody else by another site.
    let evil = [HTML, FORM, ("origin", "https://evil.example")];
    assert_eq!(world.raw("POST", "/login", &evil, "token=both").await.status, 403);
}

#[tokio::test]
async fn a_link_is_created_shown_once_and_revoked() {
    let world = World::new().await;
    world.put("d/a.txt", "hello").await;
    let cookie = login(&world, "both").await;
    let page = get(&world, &cookie, "/file/files/d/a.txt").await;
    let token = form_token(&page);
    let body = format!("form_token={token}&expires_in=3600&max_uses=2");
    let created = post(&world, &cookie, "/file/files/d/a.txt", &[], body).await;
    assert_eq!(created.status, 201);
    let text = created.text();
    let (_, link) = text.split_once(&format!("value=\"http://{}", world.address)).unwrap();
    let link = link.split('"').next().unwrap();
    assert_eq!(world.raw("GET", link, &[HTML], "").await.status, 302);
    let links = get(&world, &cookie, "/links").await.text();
    assert!(links.contains("a.txt") && links.contains("1 of 2 downloads"), "{links}");
    assert!(!links.contains(link), "its token is nowhere");
    let id = world.db.value("SELECT id FROM portail.link").await;
    // Somebody else's link.
    let other = login(&world, "other").await;
    let theirs = form_token(&get(&world, &other, "/").await);
    let path = format!("/links/{id}/revoke");
    assert_eq!(post(&world, &other, &path, &[], format!("form_token={theirs}")).await.status, 403);
    let back = post(&world, &cookie, &path, &[], format!("form_token={token}&back=/links%3Frevoked%3D1")).await;
    assert_eq!((back.status, back.header("location")), (303, "/links?revoked=1"));
    let elsewhere = post(&world, &cookie, &path, &[], format!("form_token={token}&back=//evil.example")).await;
    assert_eq!((elsewhere.status, elsewhere.header("location")), (303, "/"));
    let refused = world.raw("GET", link, &[HTML, ("accept-language", "fr")], "").await;
    assert_eq!((refused.status, refused.header("content-language")), (410, "fr"));
    assert!(refused.text().contains("Ce lien a été révoqué"));
    assert_eq!((refused.header("cache-control"), refused.header("referrer-policy")), ("no-store", "no-referrer"));
    // A program is told as before.
    world.raw("GET", link, &[], "").await.expect_problem(410, "revoked");
    for wrong in ["expires_in=0", "expires_in=604801", "expires_in=60&max_uses=0", "expires_in=60&max_uses=x"] {
        let answer = post(&world, &cookie, "/file/files/d/a.txt", &[], format!("form_token={token}&{wrong}")).await;
        assert_eq!(answer.status, 400, "{wrong}");
        assert!(answer.text().contains("role=\"alert\""), "{wrong}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_page_for_a_browser_and_a_document_for_a_program() {
    let world = World::new().await;
    world.rows(&["a.txt"]).await;
    let cookie = login(&world, "both").await;
    for (path, status, code, words) in [
        ("/nothing", 404, "not_found", "There is nothing here"),
        ("/browse/nothing", 404, "not_found", "There is nothing here"),
        ("/browse/files/nothing", 404, "not_found", "There is nothing here"),
        ("/file/files/nothing.txt", 404, "not_found", "There is nothing here"),
        ("/logout", 405, "method", "That did not work"),
        ("/file/files/%FF", 404, "not_found", "There is nothing here"),
        ("/browse/files?after=nonsense", 400, "invalid", "That did not work"),
        ("/l/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 404, "not_found", "This link leads nowhere"),
    ] {
        let page = get(&world, &cookie, path).await;
        assert_eq!(page.status, status, "{path}");
        assert!(page.text().contains(words), "{path}: {}", page.text());
        assert!(page.header("content-security-policy").contains("default-src 'none'"), "{path}");
        world.raw("GET", path, &[("cookie", &cookie)], "").await.expect_problem(status, code);
    }
    for path in ["/api/v1/nothing", "/api/v1/folders"] {
        let answer = world.raw("GET", path, &[HTML], "").await;
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_or_could_not_be_synced_says_so() {
    let world = World::new().await;
    world.record(&[crate::world::failed("new.txt", "read /srv/files/new.txt: permission denied")]).await;
    let cookie = login(&world, "both").await;
    let page = get(&world, &cookie, "/file/files/new.txt").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("read /srv/files/new.txt: permission denied"));
    assert!(!page.text().contains("href=\"/download/"));
    assert_eq!(get(&world, &cookie, "/download/files/new.txt").await.status, 409);
    world.rows(&["old.txt"]).await;
    let sql = "INSERT INTO portail.event (folder_id, path, kind) SELECT folder_id, path, 'deleted' FROM portail.file WHERE path = 'old.txt'";
    world.db.rows(sql).await;
    world.db.rows("DELETE FROM portail.file WHERE path = 'old.txt'").await;
    let gone = get(&world, &cookie, "/file/files/old.txt").await;
    assert_eq!(gone.status, 410);
    assert!(gone.text().contains("This file is gone"));
}

#[tokio::test]
async fn a_page_may_run_and_show_what_is_ours_and_an_asset_is_kept() {
    let world = World::new().await;
    world.put("a.png", "no picture").await;
    let cookie = login(&world, "both").await;
    for (path, store) in [("/", false), ("/browse/files", false), ("/links", false), ("/file/files/a.png", true)] {
        let page = get(&world, &cookie, path).await;
        assert_eq!(page.status, 200, "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(policy.contains(&world.s3.endpoint()), store, "{path}: {policy}");
        assert_eq!(page.header("cache-control"), "private, no-store");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "same-origin");
        let text = page.text();
        for (attribute, kind) in [
            ("rel=\"stylesheet\" href=\"", "text/css"),
            ("script src=\"", "text/javascript"),
            ("svg+xml\" href=\"", "image/svg+xml"),
        ] {
            let (_, rest) = text.split_once(attribute).unwrap();
            let asset = world.raw("GET", rest.split('"').next().unwrap(), &[], "").await;
            assert_eq!(asset.status, 200);
            assert!(asset.header("content-type").starts_with(kind));
            assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
        }
        assert!(!text.contains("<style") && !text.contains(" style=") && !text.contains("onclick"), "{path}");
    }
}

#[tokio::test]
async fn both_languages_are_spoken_as_the_browser_asks() {
    let world = World::new().await;
    world.rows(&["a/b.txt"]).await;
    let cookie = login(&world, "both").await;
    for (accept, language, words) in [
        ("fr-FR,fr;q=0.9,en;q=0.8", "fr", "Rechercher dans"),
        ("en-US,en;q=0.9", "en", "Search in"),
        ("de,fr;q=0.5", "fr", "Rechercher dans"),
        ("", "en", "Search in"),
    ] {
        let page =
            world.raw("GET", "/browse/files/a", &[HTML, ("cookie", &cookie), ("accept-language", accept)], "").await;
        assert_eq!(page.header("content-language"), language);
        let text = page.text();
        assert!(text.contains(&format!("<html lang=\"{language}\"")) && text.contains(words), "{text}");
        assert!(page.header("vary").contains("Accept-Language"));
    }
}

#[tokio::test]
async fn without_tokens_nobody_logs_in_or_out() {
    let world = World::with(|settings| settings.urls.auth = UrlsAuth::Open).await;
    world.put("a.txt", "hello").await;
    let page = world.raw("GET", "/file/files/a.txt", &[HTML], "").await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("/logout"));
    let body = format!("form_token={}&expires_in=60", form_token(&page));
    assert_eq!(world.raw("POST", "/file/files/a.txt", &[HTML, FORM], body).await.status, 201);
    let no_token = world.raw("POST", "/file/files/a.txt", &[HTML, FORM], "expires_in=60").await;
    assert_eq!(no_token.status, 403);
    let evil = world.raw("GET", "/", &[HTML, ("host", "evil.example")], "").await;
    assert_eq!(evil.status, 421);
}
