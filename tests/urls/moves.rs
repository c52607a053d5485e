//! Links stay with their files when these are renamed, moved and replaced, and end when they are deleted: with the real program.

use std::fs;

use serde_json::json;

use crate::common::agent::Agent;
use crate::common::daemon::Daemon;
use crate::world::{World, request, synced};

/// A service beside an agent, on its store and database.
async fn beside(agent: &Agent) -> World {
    // The agent's own folder has the same place as the one that the world would claim.
    World::on(agent.s3.clone(), agent.db.clone(), agent.bucket.clone(), |_| {}).await
}

async fn content(world: &World, link: &str) -> String {
    let answer = world.get("", link).await;
    match answer.status {
        302 => request("GET", answer.header("location"), &[], "").await.text(),
        _ => answer.json()["code"].as_str().unwrap().to_owned(),
    }
}

#[tokio::test]
async fn a_link_goes_with_its_file_through_renames_moves_and_replacements() {
    let agent = Agent::start().await;
    for name in ["a", "dir/b", "c", "gone", "saved"] {
        agent.write(name, format!("content of {name}"));
    }
    agent.synced().await;
    let world = beside(&agent).await;
    let mut links = Vec::new();
    for name in ["a", "dir/b", "c", "gone", "saved"] {
        links.push(world.link(name, json!({})).await);
    }
    fs::rename(agent.path("a"), agent.path("renamed")).unwrap();
    fs::rename(agent.path("dir"), agent.path("moved")).unwrap();
    // Over another one, which was linked to as well.
    agent.write("target", "old");
    agent.remove("gone");
    // As editors save: another file takes the name.
    agent.write("saved.new", "content of saved, changed");
    fs::rename(agent.path("saved.new"), agent.path("saved")).unwrap();
    agent.synced().await;
    let (target, _) = world.link("target", json!({})).await;
    fs::rename(agent.path("c"), agent.path("target")).unwrap();
    agent.synced().await;
    let expected = ["content of a", "content of dir/b", "content of c", "deleted", "content of saved, changed"];
    for ((link, _), expected) in links.iter().zip(expected) {
        assert_eq!(content(&world, link).await, expected);
    }
    assert_eq!(content(&world, &target).await, "content of c", "what follows a path goes on with what is there");
    let paths = world.db.column("SELECT path FROM portail.link ORDER BY id").await;
    assert_eq!(paths, ["renamed", "moved/b", "target", "gone", "saved", "target"]);
    assert_eq!(world.db.count("SELECT count(*) FROM portail.link WHERE file_id IS NULL").await, 1);
}

#[tokio::test]
async fn a_link_never_ends_while_a_running_daemon_sees_its_file_renamed() {
    let agent = Agent::start().await;
    agent.write("0", "the same all the time");
    let daemon = Daemon::settled(&agent).await;
    let world = beside(&agent).await;
    let (link, _) = world.link("0", json!({})).await;
    for step in 1..=5 {
        let (from, to) = (agent.path(&(step - 1).to_string()), agent.path(&format!("{step}")));
        fs::rename(from, &to).unwrap();
        crate::common::agent::until("the row has moved", async || {
            // At no moment is the link without its file.
            let answer = world.get("", &link).await;
            assert!(answer.status == 302 || answer.json()["code"] == "conflict", "{answer:?}");
            world.db.states().await == [(step.to_string(), "synced".to_owned())]
        })
        .await;
        assert_eq!(content(&world, &link).await, "the same all the time");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn links_move_only_to_a_synced_row_of_the_same_folder_with_all_three_equal() {
    let world = World::new().await;
    let other = crate::world::claim(&world.catalog, "agent", "other", &world.s3.endpoint(), &world.bucket, "o/").await;
    let heirs = ["other inode", "other size", "other md5", "failed", "other folder", "the heir"];
    for heir in heirs {
        world.record(&[synced("old", heir)]).await;
        let (_, id) = world.link("old", json!({})).await;
        let at = if heir == "other folder" { other } else { world.folder };
        world.record_in(at, &[synced("new", heir)]).await;
        let change = match heir {
            "other inode" => "inode = inode + 1",
            "other size" => "size = size + 1",
            "other md5" => "md5 = decode(md5(encode(md5, 'hex')), 'hex')",
            "failed" => "state = 'failed'",
            _ => "mode = 0",
        };
        world.db.rows(&format!("UPDATE portail.file SET {change} WHERE path = 'new'")).await;
        world.db.rows("DELETE FROM portail.file WHERE path = 'old'").await;
        let expected = if heir == "the heir" { "new" } else { "NULL" };
        let found = format!(
            "SELECT coalesce((SELECT path FROM portail.file WHERE id = file_id), 'NULL') FROM portail.link WHERE id = {id}"
        );
        assert_eq!(world.db.value(&found).await, expected, "{heir}");
        world.db.rows("DELETE FROM portail.file").await;
    }
}
