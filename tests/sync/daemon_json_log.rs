//! The log as JSON lines, whatever files are called.

use serde_json::Value;

use crate::common::daemon::Daemon;
use crate::daemon_files::by_events;

#[tokio::test]
async fn each_line_is_one_object_and_says_the_path_whatever_files_are_called() {
    let mut agent = by_events().await;
    agent.more = "[log]\nformat = \"json\"\nlevel = \"debug\"\n".to_owned();
    let names: [&[u8]; 9] = [
        b"line\nbreak",
        b"carriage\rreturn",
        b"quote\"and\\backslash",
        b"{\"level\":\"error\"}",
        b"bell\x07escape\x1b[31mred",
        b"not utf-8 \xff\xfe",
        "right to left \u{202e}gpj.exe".as_bytes(),
        "separators \u{2028}\u{2029}\u{85}".as_bytes(),
        b"\x7f tab\t %41 \x01",
    ];
    for name in &names[..4] {
        agent.write_raw(name, "before");
    }
    let daemon = Daemon::settled(&agent).await;
    for name in &names[4..] {
        agent.write_raw(name, "by an event");
    }
    daemon.until_in_sync().await;
    agent.remove("line\nbreak");
    // A name with an error of its own.
    agent.write("x\n".repeat(100) + "/" + &"y\"".repeat(120), "long");
    agent.write(
        "z\\".repeat(120)
            + "/"
            + &"\n".repeat(200)
            + "/"
            + &"z".repeat(250)
            + "/"
            + &"\"".repeat(250)
            + "/"
            + &"w".repeat(250),
        "too long",
    );
    daemon.until_folder("one has failed", |folder| folder["failed"] == 1).await;
    let log = daemon.stop().await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{log}");
    let uploaded: Vec<&str> = lines
        .iter()
        .filter(|line| line["fields"]["action"] == "uploaded")
        .map(|line| line["fields"]["path"].as_str().unwrap())
        .collect();
    // As the catalog has them: what is no UTF-8 is encoded there, and nothing else is.
    let rows = agent.db.column("SELECT path FROM portail.event WHERE kind = 'uploaded'").await;
    assert_eq!(uploaded.len(), rows.len(), "{log}");
    let shown: Vec<String> = rows.iter().map(|path| agent_portail::model::Printable(path).to_string()).collect();
    for path in &uploaded {
        assert!(rows.iter().any(|row| row == path) || shown.iter().any(|row| row == path), "{path:?} of {rows:?}");
    }
}
