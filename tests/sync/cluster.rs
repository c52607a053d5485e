//! The throw-away PostgreSQL leaves nothing behind.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::common::agent::until;

#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_server_and_no_files_of_it() {
    let home = tempfile::tempdir().unwrap();
    // The server's user must get there.
    std::fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_agent-portail"));
    demo.arg("demo").env("TMPDIR", home.path()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("Press Ctrl-C") {
            break;
        }
    }
    let clusters = || {
        let entries = std::fs::read_dir(home.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| path.to_string_lossy().contains("agent-portail-pg-")).collect::<Vec<_>>()
    };
    let [cluster] = clusters().try_into().unwrap();
    let pid = std::fs::read_to_string(cluster.join("data/postmaster.pid")).unwrap();
    let process = format!("/proc/{}", pid.lines().next().unwrap());
    assert!(Path::new(&process).exists());
    demo.kill().await.unwrap();
    until("the server and its files are gone", async || {
        let running = std::fs::read_to_string(format!("{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        !running && clusters().is_empty()
    })
    .await;
}
