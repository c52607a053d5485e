//! What `/metrics` says: counters and gauges as they are now, and what was measured.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Daemon;
use crate::daemon::live::{Live, Now};
use crate::metrics::{Metric, Page, process, table};
use crate::model::FolderState;
use crate::remote::{Client, Operation};
use crate::sync::error::Away;
use crate::sync::report::Summary;

/// A folder as it is now, read once for all its series.
struct Folder<'a> {
    live: &'a Live,
    now: Now,
    summary: Summary,
}

/// The page.
pub(super) fn collect(daemon: &Daemon) -> String {
    let mut page = Page::default();
    let folders: Vec<Folder<'_>> =
        daemon.folders.iter().map(|live| Folder { live, now: live.now(), summary: live.report.summary() }).collect();
    gauges(&mut page, &folders);
    counters(&mut page, &folders);
    servers(&mut page, daemon, &folders);
    let mut notifications = page.metric(&table::NOTIFICATIONS);
    for told in &daemon.webhooks {
        let outcomes = [("delivered", &told.delivered), ("again", &told.again), ("given_up", &told.given_up)];
        for (outcome, count) in outcomes {
            notifications.set(&[&told.name, outcome], count.load(Ordering::Relaxed) as f64);
        }
    }
    let mut build = page.metric(&table::BUILD);
    build.set(&[env!("CARGO_PKG_VERSION")], 1.0);
    process(&mut page, daemon.started);
    page.into_text() + &daemon.meter.render()
}

fn gauges(page: &mut Page, folders: &[Folder<'_>]) {
    let mut each = |metric: &'static Metric, value: &dyn Fn(&Folder<'_>) -> f64| {
        let mut series = page.metric(metric);
        for folder in folders {
            series.set(&[&folder.live.name], value(folder));
        }
    };
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
    each(&table::OLDEST_PENDING, &|folder| folder.live.feed.oldest_pending().as_secs_f64());
    each(&table::RECONCILED, &|folder| seconds(folder.now.last_reconciled_at));
    each(&table::VERIFIED, &|folder| seconds(folder.now.last_verified_at));
    each(&table::HELD_DELETES, &|folder| count(&folder.live.held));
    each(&table::STANDBY, &|folder| f64::from(u8::from(folder.now.standby.is_some())));
    each(&table::FILES, &|folder| count(&folder.live.files));
    each(&table::BYTES, &|folder| count(&folder.live.bytes));
    each(&table::FAILED_FILES, &|folder| count(&folder.live.failed));
    each(&table::DAMAGED_FILES, &|folder| count(&folder.live.damaged));
    each(&table::QUEUE_DEPTH, &|folder| folder.live.feed.depth() as f64);
    each(&table::QUEUE_CAPACITY, &|folder| folder.live.feed.capacity() as f64);
    each(&table::WATCHES, &|folder| count(&folder.live.watches));
    let mut states = page.metric(&table::FOLDER_STATE);
    for folder in folders {
        for state in FolderState::ALL {
            let is_in = folder.now.state == state;
            states.set(&[&folder.live.name, state.as_str()], f64::from(u8::from(is_in)));
        }
    }
}

fn counters(page: &mut Page, folders: &[Folder<'_>]) {
    let mut operations = page.metric(&table::OPERATIONS_TOTAL);
    for Folder { live, summary, .. } in folders {
        let name = live.name.as_str();
        for (kind, done) in table::OPERATION_KINDS {
            operations.set(&[name, kind, "done"], summary.done.get(done).copied().unwrap_or(0) as f64);
        }
        // What has failed before it was known what it would come to was on its way to S3.
        let deletes = live.report.failed_deletes.load(Ordering::Relaxed);
        operations.set(&[name, "upload", "failed"], summary.failures.count.saturating_sub(deletes) as f64);
        operations.set(&[name, "upload", "again"], live.report.tried_again.load(Ordering::Relaxed) as f64);
        operations.set(&[name, "delete", "failed"], deletes as f64);
    }
    let mut uploaded = page.metric(&table::UPLOADED_BYTES);
    for folder in folders {
        uploaded.set(&[&folder.live.name], folder.summary.bytes_sent as f64);
    }
    let mut drift = page.metric(&table::DRIFT);
    for folder in folders {
        for cause in table::DRIFT_CAUSES {
            drift.set(&[&folder.live.name, cause], folder.summary.drift.get(cause).copied().unwrap_or(0) as f64);
        }
    }
    let mut overflows = page.metric(&table::OVERFLOWS);
    for folder in folders {
        overflows.set(&[&folder.live.name], folder.live.overflows.load(Ordering::Relaxed) as f64);
    }
}

fn servers(page: &mut Page, daemon: &Daemon, folders: &[Folder<'_>]) {
    let is_away = |away| folders.iter().any(|folder| folder.now.away == Some(away));
    let truth = |holds: bool| f64::from(u8::from(holds));
    page.single(&table::CATALOG_UP, truth(daemon.schema_is_current && !is_away(Away::Catalog)));
    page.single(&table::S3_UP, truth(!is_away(Away::Store)));
    let store = daemon.store.as_ref();
    page.single(&table::CLOCK_AHEAD, store.and_then(Client::clock_ahead).unwrap_or(0) as f64);
    page.single(&table::CREDENTIALS_EXPIRE, seconds(store.and_then(Client::credentials_expire)));
    let mut requests = page.metric(&table::S3_REQUESTS);
    for ((operation, code), count) in by_code(store) {
        requests.set(&[operation.as_str(), &code], count as f64);
    }
}

/// Requests by operation and code, also those of which there were none yet.
fn by_code(store: Option<&Client>) -> BTreeMap<(Operation, String), u64> {
    let mut counts = BTreeMap::new();
    for operation in Operation::ALL {
        let known = table::S3_CODES_FROM_START.iter().map(u16::to_string).chain(["none".to_owned()]);
        counts.extend(known.map(|code| ((operation, code), 0)));
    }
    let Some(store) = store else { return counts };
    for ((operation, code), count) in store.answers() {
        let code = if table::S3_CODES.contains(&code) { code.to_string() } else { "other".to_owned() };
        *counts.entry((operation, code)).or_default() += count;
    }
    for (operation, count) in store.unanswered() {
        *counts.entry((operation, "none".to_owned())).or_default() += count;
    }
    counts
}

fn seconds(time: Option<SystemTime>) -> f64 {
    time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0.0, |since| since.as_secs_f64())
}
