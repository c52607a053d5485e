//! File names that few think of.

use crate::common::agent::{Agent, Outcome, noise};

/// Each is a name in a directory of its own, too.
pub(crate) fn hostile() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "plain",
        " leading",
        "trailing ",
        "\ttab\t",
        "new\nline",
        "carriage\rreturn",
        "bell\u{7}",
        "\u{1b}[31mred",
        "'single'",
        "\"double\"",
        "back\\slash",
        "semi;colon",
        "a&b<c>",
        "per%cent",
        "%41",
        "%2F",
        "plus+plus",
        "que?ry#x",
        "*",
        "[z-a]",
        "$(id)",
        "`id`",
        "-rf",
        "--",
        "...",
        "..a",
        "~",
        "é",
        "e\u{301}",
        "漢字",
        "🦀",
        "\u{202e}rtl",
        "שלום",
        "\u{feff}bom",
        "\u{ffff}",
        "\u{10000}",
        "\u{7f}",
        "a",
        "a-b",
        "a0",
        "A",
        "a.",
        "a ",
        "{\"json\":1}",
        "NULL",
        "\\N",
        "'; DROP TABLE portail.file; --",
        "\u{1}",
    ]
    .into_iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(b"bad\xffname".to_vec());
    names.push(b"\xc3".to_vec());
    names.push(b"caf\xe9 latin-1".to_vec());
    names.push("é".repeat(127).into_bytes());
    names.push(vec![b'n'; 255]);
    names
}

#[tokio::test]
async fn hostile_names_are_mirrored_recorded_and_deleted() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    for name in hostile() {
        agent.write_raw(&name, &name);
        agent.write_raw(&[b"dir of ".as_slice(), &name[..name.len().min(100)], b"/inside"].concat(), &name);
    }
    agent.synced().await;
    agent.assert_in_sync().await;
    agent.s3.reset_counts();
    agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into(), "each name is found again");
    let raw = "SELECT encode(raw_path, 'hex') FROM portail.file WHERE path = 'bad%FFname'";
    assert_eq!(agent.db.value(raw).await, "626164ff6e616d65");
    for name in hostile() {
        std::fs::remove_file(agent.root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&name)))
            .unwrap();
    }
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn no_name_forges_a_line_or_reaches_the_terminal() {
    let mut agent = Agent::start().await;
    agent.folder = "max_delete = \"0%\"\nmax_delete_count = 0".to_owned();
    agent.restricted = true;
    let evil = |end: &str| format!("a\u{1b}[2J\r\nforged \u{9b}31m\u{202e}{end}");
    let (file, inside, unreadable) = (evil("file"), format!("{}/inside", evil("directory")), evil("unreadable"));
    for path in [&file, &inside, &unreadable] {
        agent.write(path, "content");
    }
    let forbid = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(agent.path(&unreadable), mode).unwrap();
    };
    forbid(0o000);
    let (target, path) = (agent.aside(&evil("target")), agent.path(&file).to_str().unwrap().to_owned());
    std::fs::create_dir(&target).unwrap();
    // Where a directory should be.
    std::fs::write(target.join(evil("directory")), "in the way").unwrap();
    let to = target.to_str().unwrap();
    let tell = |outcome: Outcome, shown: &str| {
        let text = outcome.stdout + &outcome.stderr;
        assert!(text.contains(shown), "{text}");
        for line in text.lines() {
            assert!(!line.starts_with("forged"), "{text}");
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        }
    };
    let name = r"a\u{1b}[2J\r\nforged \u{9b}31m\u{202e}";
    tell(agent.run(&["sync", "--dry-run"]).await.expect_code(0), name);
    tell(agent.run(&["sync"]).await.expect_code(1), name);
    tell(agent.run(&["explain", &path]).await, name);
    tell(agent.run(&["verify"]).await.expect_code(1), name);
    tell(agent.run(&["restore", "--folder", "files", "--to", to, "--dry-run"]).await, name);
    tell(agent.run(&["restore", "--folder", "files", "--to", to]).await.expect_code(1), name);
    std::fs::remove_file(agent.path(&file)).unwrap();
    tell(agent.run(&["sync"]).await.expect_code(1), name);
    tell(agent.run(&["deletes", "list"]).await, name);
    tell(agent.run(&["status"]).await, "files");
    tell(agent.run(&["deletes", "approve", "--folder", "files", "--path", &evil("nothing")]).await, name);
    forbid(0o600);
}

#[tokio::test]
async fn byte_order_holds_where_a_slash_meets_its_neighbours() {
    let agent = Agent::start().await;
    for path in ["a-b", "a/b", "a0", "a.d/x", "a/b-c", "a/b0", "a!", "a/é/x", "a/é-", "b/a", "b-/a", "b0/a"] {
        agent.write(path, path);
    }
    agent.synced().await;
    agent.s3.reset_counts();
    let pass = agent.synced().await;
    assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    assert_eq!((pass.number("checked"), pass.number("foreign")), (12, 0), "each path was met once");
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn names_that_collide_are_reported_and_neither_uploaded_nor_deleted() {
    let agent = Agent::start().await;
    agent.write_raw(b"x\xff", "the byte");
    agent.write("calm", "calm");
    agent.synced().await;
    agent.write("x%FF", "the literal");
    for _ in 0..2 {
        agent.s3.reset_counts();
        let pass = agent.troubled().await;
        assert!(pass.failures()["x%FF"].contains("rename one of them"), "{:?}", pass.failures());
        assert_eq!(agent.s3.counts(), [("ListObjectsV2", 1)].into());
    }
    assert_eq!(agent.s3.object(&agent.bucket, "x%FF").await.unwrap().bytes, b"the byte");
    let row = "SELECT state, size, encode(md5, 'hex') FROM portail.file WHERE path = 'x%FF'";
    assert_eq!(agent.db.rows(row).await, [["failed", "8", &crate::common::agent::md5_hex(b"the byte")]]);
    agent.remove("x%FF");
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn of_colliding_names_the_one_that_stays_is_synced() {
    let agent = Agent::start().await;
    agent.write_raw(b"x\xff", "the byte");
    agent.write("x%FF", "the literal");
    agent.write_raw(b"d\xfe/1", "1");
    agent.write("d%FE/2", "2");
    let pass = agent.troubled().await;
    assert_eq!(pass.failures().into_keys().collect::<Vec<_>>(), ["d%FE", "x%FF"]);
    assert_eq!(agent.s3.keys(&agent.bucket).await, [""; 0]);
    std::fs::remove_file(agent.root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff")))
        .unwrap();
    std::fs::remove_dir_all(agent.path("d%FE")).unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
}

#[tokio::test]
async fn a_file_whose_name_takes_another_bytes_form_is_uploaded_anew() {
    let agent = Agent::start().await;
    agent.write_raw(b"x\xff", "the byte");
    agent.write("calm", "calm");
    agent.synced().await;
    std::fs::remove_file(agent.root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"x\xff")))
        .unwrap();
    agent.write("x%FF", "another");
    agent.synced().await;
    agent.assert_in_sync().await;
    assert_eq!(agent.db.value("SELECT raw_path FROM portail.file WHERE path = 'x%FF'").await, "NULL");
}

#[tokio::test]
async fn keys_that_are_too_long_are_reported_and_keep_nothing_else_out() {
    let mut agent = Agent::start().await;
    if !agent.s3.is_embedded() {
        // Garage takes no more than about 450 bytes.
        return;
    }
    agent.prefix = "prefix/".to_owned();
    let fits = format!("{}/{}", vec!["d".repeat(200); 5].join("/"), "x".repeat(1024 - 7 - 5 * 201));
    agent.write(&fits, "fits");
    let over = format!("{fits}+");
    agent.write(&over, "one byte too long");
    // Longer than an index of the database takes, and not to be compressed.
    let hex = |seed| noise(seed, 100).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let monster = (0..18).map(hex).collect::<Vec<_>>().join("/");
    let mut directory = agent.root.clone();
    for part in monster.split('/') {
        directory.push(part);
    }
    if std::fs::create_dir_all(directory.parent().unwrap()).is_ok() {
        std::fs::write(&directory, "monster").unwrap();
    }
    let pass = agent.troubled().await;
    let failures = pass.failures();
    assert_eq!(failures.len(), 2);
    assert!(failures[&over].contains("the key has 1025 bytes, and S3 allows 1024"), "{:?}", failures[&over]);
    assert!(failures[&monster].contains("shorten the path or the prefix"), "{:?}", failures[&monster]);
    assert_eq!(agent.s3.keys(&agent.bucket).await, [format!("prefix/{fits}")]);
    assert_eq!(agent.db.value(&format!("SELECT state FROM portail.file WHERE path = '{over}'")).await, "failed");
    agent.remove(&over);
    std::fs::remove_file(directory).unwrap();
    agent.synced().await;
    agent.assert_in_sync().await;
}
