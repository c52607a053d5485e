//! What `/status` shows, and `agent-portail status` reads: one type for both ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The daemon and its folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program that runs.
    pub version: String,
    /// As it is called in the catalog.
    pub agent: String,
    /// Those that run, in the order of the configuration. None before the schema is current.
    pub folders: Vec<FolderStatus>,
}

/// How a folder stands now. Times are in RFC 3339; what is counted, is counted since the start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FolderStatus {
    /// Its name.
    pub folder: String,
    /// Where it is.
    pub path: String,
    /// Where it is mirrored to.
    pub bucket: String,
    /// Before each key.
    pub prefix: String,
    /// As the catalog has it.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub since: String,
    /// Who holds the writer's lock, if that is another agent.
    pub standby: Option<String>,
    /// Directories with a watch.
    pub watches: u64,
    /// How often events were lost.
    pub watch_overflows: u64,
    /// Paths that are to be synced.
    pub queue_depth: u64,
    /// How long the oldest of them has been waiting.
    pub oldest_pending_seconds: f64,
    /// Deletions that wait for a person.
    pub held_deletes: u64,
    /// Paths that could not be synced.
    pub failed: u64,
    /// Files whose content is not what was synced, though nothing else of them has changed.
    #[serde(default)]
    pub damaged_files: u64,
    /// Files that the present round of the rolling verification has looked at.
    #[serde(default)]
    pub verified_files: u64,
    /// Outcomes by kind.
    pub done: BTreeMap<String, u64>,
    /// To S3.
    pub bytes_sent: u64,
    /// What was found that no event had told of, by cause.
    pub drift: BTreeMap<String, u64>,
    /// When the last reconciliation came to its end.
    pub last_reconciled_at: Option<String>,
    /// When the last round of the rolling verification came to its end.
    #[serde(default)]
    pub last_verified_at: Option<String>,
}
