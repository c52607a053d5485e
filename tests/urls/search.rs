//! Search by a part of the name.

use crate::world::{World, claim, encoded, synced};

/// All pages of a search, and how many there were.
async fn search(world: &World, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let page = world.get("reader", &format!("/api/v1/files?{query}{after}")).await.expect(200);
        found.extend(page["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return found,
        }
    }
}

const NAMES: [&str; 11] = [
    "a/Report 2026.pdf",
    "a/report.txt",
    "b/100% real.txt",
    "b/100x real.txt",
    "b/under_score",
    "b/underXscore",
    "c/back\\slash",
    "c/été.csv",
    "c/写真集.jpg",
    "report/unrelated",
    "x/'; DROP TABLE--",
];

#[tokio::test]
async fn a_part_of_the_name_finds_the_file_in_any_case_and_means_itself() {
    let world = World::new().await;
    world.rows(&NAMES).await;
    for indexed in [true, false] {
        if !indexed {
            world.db.rows("DROP INDEX portail.file_name_trgm").await;
        }
        // Whether there is an index is remembered, so a new service looks again.
        let world = World::on(world.s3.clone(), world.db.clone(), world.bucket.clone(), |_| {}).await;
        for (part, expected) in [
            ("REPORT", &NAMES[0..2]),
            ("report 2026", &NAMES[0..1]),
            ("100%", &NAMES[2..3]),
            ("_", &NAMES[4..5]),
            ("under_", &NAMES[4..5]),
            ("\\", &NAMES[6..7]),
            ("t\u{e9}.c", &NAMES[7..8]),
            ("写真集", &NAMES[8..9]),
            ("真", &NAMES[8..9]),
            ("'; drop", &NAMES[10..11]),
            ("nothing like it", &[]),
            ("%%%", &[]),
        ] {
            for limit in [1, 100] {
                let query = format!("folder=files&limit={limit}&q={}", encoded(part));
                assert_eq!(search(&world, &query).await, expected, "{part} {limit} {indexed}");
            }
        }
        let below = format!("folder=files&prefix={}&q=unrel", encoded("report/"));
        assert_eq!(search(&world, &below).await, ["report/unrelated"]);
        assert!(search(&world, "folder=files&prefix=a/&q=unrel").await.is_empty());
    }
}

#[tokio::test]
async fn whatever_the_share_of_matches_each_is_found_once_in_order_over_all_folders() {
    let world = World::new().await;
    let other = claim(&world.catalog, "agent", "more", &world.s3.endpoint(), &world.bucket, "more/").await;
    // Common names late in the order, rare ones everywhere: none of the former among the first rows.
    let name = |i: usize| match i {
        _ if i.is_multiple_of(997) => format!("{i:05}/needle-{i}"),
        0..5_500 => format!("{i:05}/plain-{i}"),
        _ => format!("{i:05}/common-{i}"),
    };
    let all: Vec<String> = (0..12_000).map(name).collect();
    let changes: Vec<_> = all.iter().map(|path| synced(path, path)).collect();
    world.record(&changes).await;
    world.record_in(other, &changes[..3_000]).await;
    for indexed in [true, false] {
        if !indexed {
            world.db.rows("DROP INDEX portail.file_name_trgm").await;
        }
        let world = World::on(world.s3.clone(), world.db.clone(), world.bucket.clone(), |_| {}).await;
        for part in ["needle", "common", "plain", "-8"] {
            let matching = |path: &&String| path.rsplit('/').next().unwrap().contains(part);
            let here: Vec<String> = all.iter().filter(matching).cloned().collect();
            let mut expected = here.clone();
            expected.extend(all[..3_000].iter().filter(matching).cloned());
            assert_eq!(search(&world, &format!("folder=files&limit=1000&q={part}")).await, here, "{part} {indexed}");
            assert_eq!(search(&world, &format!("limit=1000&q={part}")).await, expected, "{part} {indexed}");
        }
        let page = world.get("reader", "/api/v1/files?folder=files&limit=10&q=common").await.expect(200);
        assert_eq!(page["files"].as_array().unwrap().len(), 10, "the first page is not empty where much matches later");
    }
}

#[tokio::test]
async fn where_the_extension_may_not_be_created_the_schema_is_made_and_search_does_without() {
    use agent_portail::catalog::search::{Stretch, has_index, search};
    use agent_portail::catalog::{Catalog, record, schema};

    let db = crate::common::pg::Database::new().await;
    let role = format!("daemon_{}", db.settings().name);
    db.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'; CREATE SCHEMA portail AUTHORIZATION {role}")).await;
    let mut settings = db.settings().clone();
    settings.user = role.clone();
    settings.password = Some("p".into());
    let catalog = Catalog::open(&settings, "test").unwrap();
    schema::migrate(&catalog).await.unwrap();
    assert!(!has_index(&catalog).await.unwrap());
    let folder = claim(&catalog, "agent", "files", "aws", "bucket", "").await;
    record::apply(&catalog, folder, &[synced("a/needle", "x"), synced("b/hay", "y")]).await.unwrap();
    let stretch = Stretch::new(Some(folder), "");
    let find = async |indexed: bool| {
        let found = search(&catalog, &stretch, "NEED", indexed, 10).await.unwrap();
        found.files.into_iter().map(|file| file.path).collect::<Vec<_>>()
    };
    assert_eq!(find(false).await, ["a/needle"]);
    assert_eq!(db.value("SELECT portail.index_names()").await, "t", "an administrator makes up for it");
    assert!(has_index(&catalog).await.unwrap());
    assert_eq!(find(true).await, ["a/needle"]);
    drop(catalog);
    db.rows(&format!("DROP SCHEMA portail CASCADE; DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
}
