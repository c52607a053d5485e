//! The HTTP API against its own description: schemathesis makes requests of every kind out of `/api/v1/openapi.json`, good ones and bad
//! ones, and complains about every answer that is not described, and every bad request that is taken.
//!
//! `make test-api` runs it; `cargo test` alone does not, for it needs Python and takes a minute.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]
#![allow(dead_code, reason = "the world of the other tests is larger")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../urls/world.rs"]
mod world;

use std::process::Stdio;

use tokio::process::Command;

use world::World;

/// Requests of one kind.
const EXAMPLES: &str = "200";

#[tokio::main]
async fn main() {
    let program = std::env::var("SCHEMATHESIS").expect("SCHEMATHESIS names the program: run `make test-api`");
    let seed = std::env::var("SEED").ok().filter(|seed| !seed.is_empty()).unwrap_or_else(|| "1".to_owned());
    let world = World::new().await;
    // What random requests can find: names that are likely to be tried.
    for path in ["0", "a", "a/b", "é", "null", "true"] {
        world.put(path, "content").await;
    }
    world.record(&[world::failed("1", "permission denied")]).await;
    let mut command = Command::new(program);
    command
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/schemathesis.toml"), "--no-color"])
        .args(["run", &format!("http://{}/api/v1/openapi.json", world.address)])
        .args(["--header", "Authorization: Bearer admin"])
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--seed", &seed, "--workers", "1"])
        .args(["--request-timeout", "20"])
        .args(std::env::args().skip(1))
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    let status = command.status().await.unwrap();
    assert!(status.success(), "schemathesis has found something; SEED={seed} repeats it");
    // It was a real conversation.
    let text = world.portal.counters().render();
    for (series, least) in [("signed_total", 1), ("links_made_total", 1), ("http_responses_total{code=\"4xx\"}", 100)] {
        let line = text.lines().find(|line| line.starts_with(&format!("agent_portail_urls_{series}"))).unwrap();
        let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(count >= least, "{line}");
    }
    assert!(text.contains("http_responses_total{code=\"5xx\"} 0\n"), "{text}");
}
