//! Keys that are exchanged while the daemon runs.

use std::fs;

use crate::common::agent::until;
use crate::common::daemon::Daemon;
use crate::common::s3::{Reply, error_body};
use crate::daemon_files::by_events;

#[tokio::test]
async fn keys_exchanged_in_the_profile_are_taken_without_a_restart() {
    let mut agent = by_events().await;
    let file = agent.home.path().join("credentials");
    let keys: Vec<(&str, String)> = agent.s3.env();
    let key = |name: &str| keys.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let profile = |secret: &str| {
        let id = key("AWS_ACCESS_KEY_ID");
        fs::write(&file, format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n")).unwrap();
    };
    profile(&key("AWS_SECRET_ACCESS_KEY"));
    // An empty variable counts as unset.
    agent.env.insert("AWS_ACCESS_KEY_ID", String::new());
    agent.env.insert("AWS_SECRET_ACCESS_KEY", String::new());
    agent.env.insert("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap().to_owned());
    agent.env.insert("AWS_CONFIG_FILE", "/dev/null".to_owned());
    let daemon = Daemon::settled(&agent).await;

    // Somebody exchanges the secret in the store, that is, refuses the old one, and then here.
    let revoked = Reply::Answer { status: 403, headers: Vec::new(), body: error_body("ExpiredToken") };
    agent.s3.script(move |_| Some(revoked.clone()));
    profile("a-secret-that-is-wrong");
    agent.write("a", "a");
    let folder = daemon.until_state("degraded").await;
    assert!(folder["reason"].as_str().unwrap().contains("credentials"), "{folder}");
    agent.s3.clear_scripts();
    // The store would take the old key now; that it is refused all the same says that the daemon has read the file again.
    agent.s3.reset_counts();
    until("the wrong key was tried", async || agent.s3.count("ListObjectsV2") > 1).await;
    daemon.until_state("degraded").await;
    profile(&key("AWS_SECRET_ACCESS_KEY"));
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    assert!(!daemon.log().contains("a-secret-that-is-wrong"));
    daemon.stop().await;
}
