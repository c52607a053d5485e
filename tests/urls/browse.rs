//! Folders, files and levels of the tree.

use agent_portail::catalog::level::{Order, Sort};
use agent_portail::model::Digest;
use agent_portail::urls::Refusal;
use serde_json::Value;

use crate::world::{World, claim, encoded, failed, synced_as};

fn paths(answer: &Value) -> Vec<String> {
    answer["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn folders_are_listed_with_their_state() {
    let world = World::new().await;
    claim(&world.catalog, "agent", "archive", &world.s3.endpoint(), &world.bucket, "z/").await;
    world
        .db
        .rows("UPDATE portail.folder SET state = 'degraded', state_reason = 'a file failed' WHERE name = 'files'")
        .await;
    let answer = world.get("reader", "/api/v1/folders").await;
    let folders = answer.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let names: Vec<_> = folders["folders"].as_array().unwrap().iter().map(|folder| &folder["name"]).collect();
    assert_eq!(names, ["archive", "files"]);
    assert_eq!(folders["folders"][1]["state"], "degraded");
    assert_eq!(folders["folders"][1]["state_reason"], "a file failed");
    assert_eq!(folders["folders"][1]["last_reconciled_at"], Value::Null);
    assert_eq!(folders["folders"][0]["agent"], "agent");
}

#[tokio::test]
async fn files_come_page_by_page_in_the_order_of_their_paths() {
    let world = World::new().await;
    let mut all = ["a-b", "a/b", "a/c/d", "a0", "é", "z\n<script>\"'", "写/x"].map(str::to_owned);
    world.rows(&all.each_ref().map(String::as_str)).await;
    world.record(&[failed("a/never", "no permission")]).await;
    all.sort();
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = world.get("reader", &format!("/api/v1/files?folder=files&limit=3{after}")).await.expect(200);
        let files = paths(&page);
        assert!(files.len() <= 3);
        found.extend(files);
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let mut expected = all.to_vec();
    expected.push("a/never".to_owned());
    expected.sort();
    assert_eq!(found, expected);
    let below = world.get("reader", "/api/v1/files?folder=files&prefix=a/").await.expect(200);
    assert_eq!(paths(&below), ["a/b", "a/c/d", "a/never"]);
    let file = &below["files"][0];
    assert_eq!(
        (&file["name"], &file["size"], &file["state"], &file["folder"]),
        (&"b".into(), &3.into(), &"synced".into(), &"files".into())
    );
    assert_eq!(file["md5"].as_str().unwrap().len(), 32);
    assert_eq!(file["modified_at"], "2023-11-14T22:13:20.000Z");
    assert!(file["synced_at"].as_str().unwrap().starts_with("20"));
    let never = &below["files"][2];
    assert_eq!(
        (&never["state"], &never["size"], &never["md5"], &never["synced_at"]),
        (&"failed".into(), &Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_with_the_reason() {
    let world = World::new().await;
    world.rows(&["a", "b"]).await;
    for (query, word) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("folder=files&after=x", "after"),
        ("folder=files&unknown=1", "unknown"),
        ("folder=files&folder=files", "folder"),
        ("prefix=a", "folder"),
        (&format!("q={}", "x".repeat(256)), "255"),
    ] {
        let detail = world.get("reader", &format!("/api/v1/files?{query}")).await.expect_problem(400, "invalid");
        assert!(detail.contains(word), "{query}: {detail}");
    }
    world.get("reader", "/api/v1/files?folder=none").await.expect_problem(404, "not_found");
    // No name has such a character.
    for nothing in ["folder=files&prefix=%00", "q=%00"] {
        let page = world.get("reader", &format!("/api/v1/files?{nothing}")).await.expect(200);
        assert_eq!(page, serde_json::json!({"files": [], "next": null}));
    }
    // The end of another list is not taken for one of this.
    let links = world.portal.clone();
    let folder = links.folder("files").await.unwrap();
    let level = links.level(&folder, "", Order::default(), None, 1).await.unwrap();
    let foreign = format!("/api/v1/files?folder=files&after={}", level.next.unwrap());
    world.get("reader", &foreign).await.expect_problem(400, "invalid");
    let page = world.get("reader", "/api/v1/files?folder=files&limit=1").await.expect(200);
    let foreign = format!("/api/v1/links?after={}", page["next"].as_str().unwrap());
    world.get("reader", &foreign).await.expect_problem(400, "invalid");
}

#[tokio::test]
async fn folders_of_one_name_are_told_apart_by_their_agents() {
    let world = World::new().await;
    let other = claim(&world.catalog, "srv-2", "files", "aws", "another-bucket", "").await;
    world.rows(&["here"]).await;
    world.record_in(other, &[crate::world::synced("there", "x")]).await;
    let detail = world.get("reader", "/api/v1/files?folder=files").await.expect_problem(409, "conflict");
    assert!(detail.contains("srv-2/files"), "{detail}");
    let mine = world.get("reader", "/api/v1/files?folder=agent/files").await.expect(200);
    assert_eq!(paths(&mine), ["here"]);
    let theirs = world.get("reader", &format!("/api/v1/files?folder={}", encoded("srv-2/files"))).await.expect(200);
    assert_eq!(paths(&theirs), ["there"]);
    let all = world.get("reader", "/api/v1/files").await.expect(200);
    assert_eq!(paths(&all), ["here", "there"]);
    // It lies in a store that this service has no credentials for.
    let body = serde_json::json!({"folder": "srv-2/files", "path": "there"});
    let detail = world.post("both", "/api/v1/urls", body).await.expect_problem(409, "conflict");
    assert!(detail.contains("another store"), "{detail}");
}

/// Directories, then files, of all pages of a level.
async fn walk(world: &World, directory: &str, order: Order, limit: usize) -> (Vec<String>, Vec<String>) {
    let folder = world.portal.folder("files").await.unwrap();
    let (mut directories, mut files, mut after) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let level = world.portal.level(&folder, directory, order, after.as_deref(), limit).await.unwrap();
        assert!(level.directories.len() + level.files.len() <= limit);
        assert!(files.is_empty() || level.directories.is_empty(), "directories come first");
        directories.extend(level.directories.into_iter().map(|directory| directory.name));
        files.extend(level.files.into_iter().map(|file| file.name));
        match level.next {
            Some(next) => after = Some(next),
            None => return (directories, files),
        }
    }
}

const SORTS: [Sort; 5] = [Sort::Name, Sort::Size, Sort::Modified, Sort::State, Sort::Synced];

#[tokio::test]
async fn a_level_has_its_directories_and_files_once_each_in_every_order_and_page_size() {
    let world = World::new().await;
    let other = claim(&world.catalog, "agent", "zz", &world.s3.endpoint(), &world.bucket, "zz/").await;
    // Neighbours in byte order on both sides of the slash, deep trees, a directory and a file of one name at other times.
    let tree = [
        ("a", 5, 50),
        ("a-b", 3, 20),
        ("a/1", 9, 1),
        ("a/b/c/d", 1, 1),
        ("a/b/c/e", 2, 2),
        ("a/c0", 4, 4),
        ("a/c/x", 1, 1),
        ("a0", 3, 10),
        ("b/only/deep", 1, 1),
        ("d/x", 1, 1),
        ("e", 3, 30),
        ("~", 7, 5),
        ("é/x", 1, 1),
        ("写", 1, 60),
    ];
    let changes: Vec<_> = tree
        .iter()
        .enumerate()
        .map(|(i, (path, size, mtime))| synced_as(path, *size, Digest([i as u8; 16]), i as u64, *mtime))
        .collect();
    world.record(&changes).await;
    world.record(&[failed("never", "x")]).await;
    // What another folder holds is never seen, wherever its names fall.
    world
        .record_in(
            other,
            &[crate::world::synced("a/zzz", "x"), crate::world::synced("a/q/zzz", "y"), crate::world::synced("0", "z")],
        )
        .await;

    let direct: Vec<(&str, i64, i64)> = {
        let mut files: Vec<_> =
            tree.iter().filter(|(path, ..)| !path.contains('/')).map(|(p, s, m)| (*p, *s as i64, *m)).collect();
        files.push(("never", -1, i64::MIN));
        files
    };
    for sort in SORTS {
        for descending in [false, true] {
            let mut expected = direct.clone();
            expected.sort_by_key(|(path, size, time)| {
                (
                    match sort {
                        Sort::Name => 0,
                        Sort::Size => *size,
                        Sort::Modified => *time,
                        // All were synced at once, but for the one that never was.
                        Sort::State | Sort::Synced => i64::from(*path != "never"),
                    },
                    *path,
                )
            });
            let mut dirs = vec!["a", "b", "d", "é"];
            if descending {
                expected.reverse();
                if sort == Sort::Name {
                    dirs.reverse();
                }
            }
            let expected: Vec<&str> = expected.iter().map(|(path, ..)| *path).collect();
            for limit in [1, 2, 3, 4, 5, 100] {
                let (directories, files) = walk(&world, "", Order { sort, descending }, limit).await;
                assert_eq!(directories, dirs, "{sort:?} {descending} {limit}");
                assert_eq!(files, expected, "{sort:?} {descending} {limit}");
            }
        }
    }
    for limit in [1, 2, 3, 50] {
        let (directories, files) = walk(&world, "a/", Order::default(), limit).await;
        assert_eq!((directories, files), (vec!["b".to_owned(), "c".to_owned()], vec!["1".to_owned(), "c0".to_owned()]));
        let (directories, files) = walk(&world, "a/b/", Order::default(), limit).await;
        assert_eq!((directories, files), (vec!["c".to_owned()], vec![]));
    }
    let folder = world.portal.folder("files").await.unwrap();
    let (directories, more) = world.portal.directories(&folder, "", 3).await.unwrap();
    assert_eq!((directories.len(), more, directories[0].path.as_str()), (3, true, "a/"));
    for nowhere in ["nowhere/", "a", "a/1/", "/", "a//"] {
        let refused = world.portal.level(&folder, nowhere, Order::default(), None, 10).await.unwrap_err();
        assert_eq!(refused, Refusal::NotFound("directory"), "{nowhere}");
    }
    // An empty folder has an empty level.
    let empty = claim(&world.catalog, "agent", "empty", &world.s3.endpoint(), &world.bucket, "empty/").await;
    let mut folder = folder;
    folder.id = empty;
    assert_eq!(world.portal.level(&folder, "", Order::default(), None, 10).await.unwrap(), Default::default());
}

#[tokio::test]
async fn files_among_more_directories_than_are_jumped_over_are_found_all_the_same() {
    let world = World::new().await;
    let mut changes: Vec<_> = (0..2_500).map(|i| crate::world::synced(&format!("d{i:04}/x"), &i.to_string())).collect();
    changes.push(crate::world::synced("d0000", "a"));
    changes.push(crate::world::synced("e", "b"));
    changes.push(crate::world::synced("f", "c"));
    world.record(&changes).await;
    for descending in [false, true] {
        let order = Order { sort: Sort::Name, descending };
        let (directories, mut files) = walk(&world, "", order, 1000).await;
        assert_eq!(directories.len(), 2_500);
        if descending {
            files.reverse();
        }
        assert_eq!(files, ["d0000", "e", "f"]);
    }
}
