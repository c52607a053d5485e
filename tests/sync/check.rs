//! `agent-portail check` against real servers: what it says, and how it exits.

use std::path::Path;
use std::process::{Command, Output};

use crate::common::s3::{Reply, TestS3};
use agent_portail::demo::postgres::Cluster;

fn check(home: &Path, environment: &[(&str, String)], arguments: &[&str]) -> (i32, Vec<String>) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_agent-portail"))
        .arg("check")
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("AGENT_PORTAIL_CONFIG", home.join("config.toml"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let code = status.code().unwrap_or_else(|| panic!("{status}: {}", String::from_utf8_lossy(&stderr)));
    (code, text.lines().map(str::to_owned).collect())
}

fn of<'a>(lines: &'a [String], what: &str) -> Vec<&'a str> {
    lines.iter().map(String::as_str).filter(|line| line[6..].starts_with(what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_is_tried_and_what_fails_comes_with_its_remedy() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("documents");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub/file"), "x").unwrap();
    let cluster = Cluster::start().unwrap();
    cluster.create_database("files").unwrap();
    let s3 = TestS3::start().await;
    let bucket = s3.new_bucket().await;
    let config = |folders: &str| {
        let text = format!(
            "[s3]\nbucket = \"{bucket}\"\n[database]\nhost = \"127.0.0.1\"\nport = {}\nname = \"files\"\nuser = \"postgres\"\n{folders}",
            cluster.port()
        );
        std::fs::write(home.path().join("config.toml"), text).unwrap();
    };
    let documents = format!("[[folder]]\npath = \"{}\"\nprefix = \"docs/\"\n", folder.to_string_lossy());
    let mut environment = s3.env();
    environment.push(("DB_PASSWORD", cluster.password().to_owned()));

    config(&documents);
    let (code, lines) = check(home.path(), &environment, &[]);
    assert!(lines.iter().all(|line| !line.starts_with("FAIL")), "{lines:#?}");
    assert_eq!(code, 0, "{lines:#?}");
    assert!(of(&lines, "folder documents")[0].contains("1 files in 2 directories"), "{lines:#?}");
    for what in [
        "configuration",
        "PostgreSQL: PostgreSQL ",
        "PostgreSQL sessions",
        "PostgreSQL schema",
        "PostgreSQL rights",
        "bucket",
        "clock",
    ] {
        assert_eq!(of(&lines, what).len(), 1, "{what} in {lines:#?}");
    }
    assert!(s3.keys(&bucket).await.is_empty(), "the probe is removed");
    assert_eq!(cluster.run_sql("files", "SELECT count(*) FROM pg_namespace WHERE nspname = 'portail'").unwrap(), "0");

    let link = home.path().join("link");
    std::os::unix::fs::symlink(folder.join("sub"), &link).unwrap();
    config(&format!(
        "{documents}[[folder]]\npath = \"{}\"\nprefix = \"x/\"\n[[folder]]\npath = \"/nowhere/at/all\"\nprefix = \"y/\"\n",
        link.to_string_lossy()
    ));
    s3.script(|seen| {
        (seen.operation == "DeleteObject").then(|| Reply::Answer {
            status: 403,
            headers: Vec::new(),
            body: "<Error><Code>AccessDenied</Code></Error>".to_owned(),
        })
    });
    let (code, lines) = check(home.path(), &environment, &[]);
    assert_eq!(code, 1, "{lines:#?}");
    assert!(
        of(&lines, "folder link").iter().any(|line| line.starts_with("FAIL") && line.contains("lies within")),
        "{lines:#?}"
    );
    assert!(
        of(&lines, "folder all")[0].starts_with("FAIL") && of(&lines, "folder all")[0].contains("mount it"),
        "{lines:#?}"
    );
    let denied: Vec<&str> = of(&lines, "bucket").into_iter().filter(|line| line.contains("s3:DeleteObject")).collect();
    assert_eq!(denied.len(), 3, "{lines:#?}");

    let secret = environment.pop().unwrap().1;
    environment.push(("DB_PASSWORD", "wrong-password".to_owned()));
    let (code, lines) = check(home.path(), &environment, &[]);
    assert_eq!(code, 1);
    assert!(of(&lines, "PostgreSQL")[0].starts_with("FAIL") && of(&lines, "PostgreSQL").len() == 1, "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("wrong-password") && !line.contains(&secret)), "{lines:#?}");
}

#[test]
fn offline_asks_only_the_configuration_and_the_files_that_it_names() {
    let home = tempfile::tempdir().unwrap();
    let config = |tls: &str| {
        let text = format!(
            "[s3]\nbucket = \"files\"\n[database]\nhost = \"db.invalid\"\n{tls}\n[[folder]]\npath = \"/nowhere/at/all\"\n"
        );
        std::fs::write(home.path().join("config.toml"), text).unwrap();
    };
    config("");
    let (code, lines) = check(home.path(), &[], &["--offline"]);
    assert_eq!((code, lines), (0, vec!["ok    configuration: valid, 1 folder".to_owned()]));
    config("tls = \"verify-full\"\nca_file = \"/nowhere/ca.pem\"");
    let (code, lines) = check(home.path(), &[], &["--offline"]);
    assert_eq!(code, 1);
    assert!(lines[1].starts_with("FAIL") && lines[1].contains("/nowhere/ca.pem"), "{lines:#?}");
}
