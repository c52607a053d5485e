//! The web page of `agent-portail urls` in a real browser, on a real PostgreSQL and S3 API, with files that were synced by the program.
//!
//! `make test-browser` runs it; `cargo test` alone does not. Here is the world, `page.mjs` is what is done in it.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

#[path = "../common/mod.rs"]
mod common;

mod pictures;

use std::fmt::Write as _;
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use common::agent::Agent;
use common::daemon::free_address;
use serde_json::json;
use tokio::process::{Child, Command};

/// Far longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Files of the large directory.
const MANY: u32 = 100_000;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let agent = world().await;
    let (tokens, base) = (tokens(&agent).await, format!("http://{}", listen(&agent)));
    let mut service =
        Service(agent.command(&["urls"]).stdout(Stdio::inherit()).stderr(Stdio::inherit()).spawn().unwrap());
    service.until_it_answers(&base).await;
    let plan = json!({
        "base": base,
        "tokens": tokens,
        "hostile": hostile().iter().map(|(path, content)| json!({ "path": path, "content": content })).collect::<Vec<_>>(),
        "many": MANY,
        "only": words,
        "output": std::env::var("BROWSER_OUTPUT").unwrap_or_else(|_| "target/browser/screenshots".to_owned()),
    });
    let modules = std::env::var("BROWSER_MODULES").expect("run `make test-browser`, which sets BROWSER_MODULES");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/page.mjs");
    let done = Command::new("node")
        .arg(script)
        .env("BROWSER_MODULES", modules)
        .env("BROWSER_PLAN", plan.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .expect("start node");
    service.stop().await;
    assert!(done.success(), "the page is not as it should be: see above");
}

/// Of the configuration.
fn listen(agent: &Agent) -> String {
    let line = agent.more.lines().find_map(|line| line.strip_prefix("listen = ")).unwrap();
    line.trim_matches('"').to_owned()
}

/// A folder with all that the pages show, synced; and rows of others, which have no objects.
async fn world() -> Agent {
    let mut agent = Agent::start().await;
    let tokens = agent.home.path().join("tokens");
    let _ = write!(
        agent.more,
        "[urls]\nlisten = \"{}\"\nmonitor_listen = \"{}\"\ntokens_file = {tokens:?}\nrate_limit = 0\n",
        free_address(),
        free_address()
    );
    agent.s3.with_versions(&agent.bucket).await;
    for (path, content) in hostile() {
        agent.write(&path, content);
    }
    for (index, (path, bytes)) in (1u64..).zip(pictures::files()) {
        agent.write(path, bytes);
        // Of different days, as in any folder.
        let changed = SystemTime::now() - Duration::from_secs(index * index * 40_000 + 5_000);
        File::options().write(true).open(agent.path(path)).unwrap().set_modified(changed).unwrap();
    }
    agent.synced().await;
    agent.db.rows(&others(&agent)).await;
    agent
}

/// Names that are hard to show or to download, with their content.
fn hostile() -> Vec<(String, String)> {
    let mut names: Vec<String> = [
        "quote\"and'apostrophe.txt",
        "two\nlines.txt",
        "tab\there.txt",
        "<script>window.pwned=1<script>.txt",
        "<img src=x onerror=window.pwned=1>.txt",
        "{{7*7}}${7*7}.txt",
        "a&amp;b&lt;c.txt",
        "invoice\u{202e}fdp.txt",
        "مستند مهم.txt",
        "写真 🎉.txt",
        "percent%2Fslash%00.txt",
        "question?hash#semicolon;.txt",
        "back\\slash.txt",
        " leading and trailing .txt ",
        "javascript:alert(1).txt",
        "-rf.txt",
        "..%2e%2e.txt",
    ]
    .map(|name| format!("Noms difficiles/{name}"))
    .into();
    // As long as a key can be, with names as long as Linux lets them be.
    let deep =
        format!("Noms difficiles/{}", ["d".repeat(250), "é".repeat(125), "x".repeat(250), "y".repeat(222)].join("/"));
    names.push(format!("{deep}.txt"));
    names.into_iter().enumerate().map(|(index, name)| (name, format!("content {index}"))).collect()
}

/// Folders and files that only the catalog knows: of every state, and very many.
fn others(agent: &Agent) -> String {
    let endpoint = agent.s3.endpoint();
    let bucket = &agent.bucket;
    let folder = |name: &str, prefix: &str, state: &str, reason: &str| {
        format!(
            "INSERT INTO portail.folder (agent, name, path, endpoint, bucket, prefix, state, state_reason, last_reconciled_at)
             VALUES ('agent-2', '{name}', '/srv/{name}', '{endpoint}', '{bucket}', '{prefix}', '{state}', {reason}, now() - interval '4 min');"
        )
    };
    let mut sql = folder("Archives", "archives/", "in_sync", "NULL");
    sql += &folder("Scans", "scans/", "degraded", "'3 files could not be read: permission denied'");
    sql += &folder("Empty", "empty/", "starting", "NULL");
    let _ = write!(
        sql,
        "INSERT INTO portail.file (folder_id, path, name, key, size, md5, modified_at, etag, state, synced_at)
         SELECT d.id, p.path, p.name, d.prefix || p.path, (i * 7919) % 10000000, decode(md5(i::text), 'hex'),
                now() - make_interval(mins => i), md5(i::text), 'synced', now() - make_interval(mins => i / 2)
         FROM generate_series(1, {MANY}) i, portail.folder d,
              LATERAL (SELECT 'many/' || n AS path, n AS name FROM (SELECT 'document ' || lpad(i::text, 6, '0') || '.pdf' AS n) x) p
         WHERE d.name = 'Archives';
         INSERT INTO portail.file (folder_id, path, name, key, size, md5, modified_at, etag, state, error, attempts, synced_at)
         SELECT d.id, f.name, f.name, d.prefix || f.name, f.size, decode(md5(f.name), 'hex'), now() - interval '3 days',
                md5(f.name), f.state, f.error, 3, now() - interval '2 days'
         FROM portail.folder d, (VALUES
             ('lease.pdf', 120000, 'failed', 'read /srv/Scans/lease.pdf: permission denied'),
             ('old plan.png', 340000, 'kept', NULL), ('draft.txt', 800, 'deleting', NULL)) f (name, size, state, error)
         WHERE d.name = 'Scans';
         ANALYZE portail.file;"
    );
    sql
}

/// One token of each kind, made by the program.
async fn tokens(agent: &Agent) -> serde_json::Value {
    let mut tokens = serde_json::Map::new();
    for (name, scopes) in [("marie", "read,link"), ("paul", "read"), ("admin", "admin")] {
        let made = agent.run(&["urls", "token", "add", name, "--scope", scopes]).await.expect_code(0);
        tokens.insert(name.to_owned(), made.stdout.trim().into());
    }
    tokens.into()
}

/// `agent-portail urls`, which ends with the test.
struct Service(Child);

impl Service {
    async fn until_it_answers(&mut self, base: &str) {
        let (begun, address) = (Instant::now(), base.trim_start_matches("http://").to_owned());
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(self.0.try_wait().unwrap().is_none(), "the service has ended");
            assert!(begun.elapsed() < PATIENCE, "the service does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(mut self) {
        let id = i32::try_from(self.0.id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::TERM)
            .unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.0.wait()).await.expect("the service ends").unwrap();
        assert!(ended.success(), "{ended}");
    }
}
