//! Thousands of mixed operations at full speed.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::common::churn::Churn;
use crate::common::daemon::Daemon;
use crate::common::presence::Presence;
use crate::daemon_files::by_events;

/// One seed, one storm: a failure can be repeated.
const SEED: u64 = 0x5eed;
const OPERATIONS: usize = 2000;

#[tokio::test]
async fn a_storm_of_mixed_operations_ends_in_sync_without_a_reconciliation() {
    let mut agent = by_events().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.write("first", "first");
    let presence = Arc::new(Presence::new(""));
    let observing = Arc::clone(&presence);
    agent.s3.observe(move |seen| observing.requested(seen));
    let daemon = Daemon::settled(&agent).await;
    let outside = agent.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut churn = Churn::new(SEED, &agent.root, &outside, Arc::clone(&presence));
    tokio::task::spawn_blocking(move || churn.work(OPERATIONS, Duration::ZERO)).await.unwrap();
    // A file that a link has taken the place of is not synced any more, and its object stays.
    daemon.until_same_but_for(&|path| presence.was_skipped(path)).await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    assert_eq!(presence.wrong(), [""; 0], "{}", daemon.log());
    daemon.stop().await;
}
