//! What can be seen of a folder while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::config::settings::FolderSettings;
use crate::metrics::Measured;
use crate::model::FolderState;
use crate::monitor::status::FolderStatus;
use crate::sync::error::Away;
use crate::sync::feed::Feed;
use crate::sync::report::Report;

/// A folder's state, its counters and its queue.
#[derive(Debug)]
pub struct Live {
    /// As configured.
    pub name: String,
    /// Where it is, and where it is mirrored to.
    place: Place,
    /// What has been done since the start.
    pub report: Arc<Report>,
    /// What is to be done.
    pub feed: Arc<Feed>,
    /// Directories with a watch.
    pub watches: AtomicU64,
    /// How often events were lost.
    pub overflows: AtomicU64,
    /// The kernel refuses more watches.
    pub out_of_watches: AtomicBool,
    /// The folder is not the one that was synced: no deletion is believed.
    pub in_doubt: AtomicBool,
    /// What is mounted in the folder and can't be believed, in words.
    doubts: Mutex<Vec<String>>,
    /// Changes that nobody has told of are being looked for: nothing is known to be in sync until a reconciliation has ended.
    pub catching_up: AtomicBool,
    /// The exclude rules in the folder were changed: it is to be opened anew.
    pub rules_changed: AtomicBool,
    /// Deletions that wait for a person.
    pub held: AtomicU64,
    /// Files with an object, by the catalog's last count.
    pub files: AtomicU64,
    /// Bytes of these.
    pub bytes: AtomicU64,
    /// Paths that could not be synced.
    pub failed: AtomicU64,
    /// Files whose content is not what was synced, though nothing else of them has changed.
    pub damaged: AtomicU64,
    /// Files that the present round of the rolling verification has looked at.
    pub verified: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Place {
    path: String,
    bucket: String,
    prefix: String,
}

/// How a folder stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    /// As the catalog has it.
    pub state: FolderState,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// The server without which nothing can be done now.
    pub away: Option<Away>,
    /// Another agent holds the writer's lock: who.
    pub standby: Option<String>,
    /// The watches were set.
    pub armed: bool,
    /// The first reconciliation has begun.
    pub reconciling: bool,
    /// When the last one came to its end.
    pub last_reconciled_at: Option<SystemTime>,
    /// When the last round of the rolling verification came to its end.
    pub last_verified_at: Option<SystemTime>,
}

impl Live {
    /// Of a folder that has just been configured.
    pub fn new(folder: &FolderSettings, feed: Arc<Feed>, measured: Measured) -> Self {
        Self {
            name: folder.name.clone(),
            place: Place {
                path: folder.path.to_string_lossy().into_owned(),
                bucket: folder.bucket.clone(),
                prefix: folder.prefix.clone(),
            },
            report: Arc::new(Report::measuring(measured)),
            feed,
            watches: AtomicU64::new(0),
            overflows: AtomicU64::new(0),
            out_of_watches: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
            doubts: Mutex::default(),
            catching_up: AtomicBool::new(true),
            rules_changed: AtomicBool::new(false),
            held: AtomicU64::new(0),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            now: Mutex::new(Now {
                state: FolderState::Starting,
                reason: None,
                since: SystemTime::now(),
                away: None,
                standby: None,
                armed: false,
                reconciling: false,
                last_reconciled_at: None,
                last_verified_at: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // Every change is a single assignment.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is mounted in the folder and can't be believed, in words.
    pub fn doubts(&self) -> Vec<String> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what is mounted in the folder and can't be believed.
    pub fn set_doubts(&self, doubts: Vec<String>) {
        *self.doubts.lock().unwrap_or_else(PoisonError::into_inner) = doubts;
    }

    /// How it stands.
    pub fn now(&self) -> Now {
        self.lock().clone()
    }

    /// Says how it stands; answers whether that is news.
    pub fn set(&self, state: FolderState, reason: Option<String>) -> bool {
        let mut now = self.lock();
        if now.state == state && now.reason == reason {
            return false;
        }
        (now.state, now.reason, now.since) = (state, reason, SystemTime::now());
        true
    }

    /// Says which server is away.
    pub fn set_away(&self, away: Option<Away>) {
        self.lock().away = away;
    }

    /// Says when the last reconciliation of an earlier life came to its end, if there was none since.
    pub fn set_reconciled_at(&self, time: Option<SystemTime>) {
        let mut now = self.lock();
        now.last_reconciled_at = now.last_reconciled_at.or(time);
    }

    /// Says who holds the writer's lock instead of us.
    pub fn set_standby(&self, holder: Option<String>) {
        self.lock().standby = holder;
    }

    /// Says whether its watches are set.
    pub fn set_armed(&self, armed: bool) {
        self.lock().armed = armed;
    }

    /// Says that a reconciliation has begun.
    pub fn begin_reconciliation(&self) {
        self.lock().reconciling = true;
    }

    /// Says that a reconciliation has come to its end.
    pub fn end_reconciliation(&self) {
        self.lock().last_reconciled_at = Some(SystemTime::now());
    }

    /// Says when the last round of the rolling verification came to its end.
    pub fn set_verified_at(&self, time: Option<SystemTime>) {
        self.lock().last_verified_at = time;
    }

    /// Whether the service counts as ready for this folder: its watches are set and its first reconciliation has begun, or
    /// it stands by, or it is plainly in trouble, which is no reason to keep the others waiting.
    pub fn is_ready(&self) -> bool {
        let now = self.lock();
        let settled = matches!(now.state, FolderState::Suspended | FolderState::Degraded);
        settled || (now.armed && (now.reconciling || now.standby.is_some()))
    }

    /// As `/status` shows it.
    pub fn status(&self) -> FolderStatus {
        let (now, summary) = (self.now(), self.report.summary());
        let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
        let counts = |counts: BTreeMap<&'static str, u64>| {
            counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
        };
        FolderStatus {
            folder: self.name.clone(),
            path: self.place.path.clone(),
            bucket: self.place.bucket.clone(),
            prefix: self.place.prefix.clone(),
            state: now.state.as_str().to_owned(),
            reason: now.reason,
            since: time(now.since),
            standby: now.standby,
            watches: self.watches.load(Ordering::Relaxed),
            watch_overflows: self.overflows.load(Ordering::Relaxed),
            queue_depth: self.feed.depth() as u64,
            oldest_pending_seconds: self.feed.oldest_pending().as_secs_f64(),
            held_deletes: self.held.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            damaged_files: self.damaged.load(Ordering::Relaxed),
            verified_files: self.verified.load(Ordering::Relaxed),
            done: counts(summary.done),
            bytes_sent: summary.bytes_sent,
            drift: counts(summary.drift),
            last_reconciled_at: now.last_reconciled_at.map(time),
            last_verified_at: now.last_verified_at.map(time),
        }
    }
}
