//! Every metric there is. `docs/METRICS.md` shows the same to people, and a test holds the two and what is served together.

use super::{Kind, Metric};

const fn metric(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, unit, labels, help }
}

/// From a change on the disk to a row: the debounce alone is 0.2 s, and an outage may take hours.
const LATENCIES: &[f64] =
    &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0];
/// A small object on a good line, to a large one on a bad one.
const OPERATIONS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];
/// A folder of ten files, to one of millions.
const RECONCILIATIONS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0];

/// Rows with an object.
pub static FILES: Metric = metric(
    "agent_portail_files",
    Kind::Gauge,
    "files",
    &["folder"],
    "Files whose object is in the bucket, by the catalog's last count.",
);
/// Of these.
pub static BYTES: Metric = metric(
    "agent_portail_bytes",
    Kind::Gauge,
    "bytes",
    &["folder"],
    "Bytes of the files whose object is in the bucket, by the catalog's last count.",
);
/// Rows that failed.
pub static FAILED_FILES: Metric =
    metric("agent_portail_failed_files", Kind::Gauge, "files", &["folder"], "Files that could not be synced.");
/// Entries of `portail.damaged_file`.
pub static DAMAGED_FILES: Metric = metric(
    "agent_portail_damaged_files",
    Kind::Gauge,
    "files",
    &["folder"],
    "Files whose content is not what was synced, though nothing else of them has changed.",
);
/// Entries of `portail.held_delete` that nobody has decided on.
pub static HELD_DELETES: Metric =
    metric("agent_portail_held_deletes", Kind::Gauge, "files", &["folder"], "Deletions that wait for a person.");
/// Paths.
pub static QUEUE_DEPTH: Metric =
    metric("agent_portail_queue_depth", Kind::Gauge, "paths", &["folder"], "Paths that are to be synced.");
/// `sync.queue_capacity`.
pub static QUEUE_CAPACITY: Metric = metric(
    "agent_portail_queue_capacity",
    Kind::Gauge,
    "paths",
    &["folder"],
    "Paths that the queue holds before they collapse into directories.",
);
/// Of the oldest path.
pub static OLDEST_PENDING: Metric = metric(
    "agent_portail_oldest_pending_seconds",
    Kind::Gauge,
    "seconds",
    &["folder"],
    "How long the oldest path has been waiting to be synced; 0 if none waits.",
);
/// What has become of paths.
pub static OPERATIONS_TOTAL: Metric = metric(
    "agent_portail_operations_total",
    Kind::Counter,
    "paths",
    &["folder", "kind", "outcome"],
    "Paths by what was to be done and how it went: done, failed (and written down), or to be tried again.",
);
/// To S3.
pub static UPLOADED_BYTES: Metric =
    metric("agent_portail_uploaded_bytes_total", Kind::Counter, "bytes", &["folder"], "Bytes sent to S3.");
/// See [`super::Measured`].
pub static OPERATION: Metric = metric(
    "agent_portail_operation_seconds",
    Kind::Histogram(OPERATIONS),
    "seconds",
    &["kind"],
    "How long an upload or a copy took until its row was written, and a request that deletes.",
);
/// See [`super::Measured`].
pub static VISIBLE_LATENCY: Metric = metric(
    "agent_portail_visible_latency_seconds",
    Kind::Histogram(LATENCIES),
    "seconds",
    &[],
    "From the last change of a file, of which an event has told, to its row.",
);
/// See [`super::Measured`].
pub static RECONCILE: Metric = metric(
    "agent_portail_reconcile_seconds",
    Kind::Histogram(RECONCILIATIONS),
    "seconds",
    &[],
    "How long a full reconciliation took, if it came to its end.",
);
/// Of this process or an earlier one.
pub static RECONCILED: Metric = metric(
    "agent_portail_reconcile_last_success_timestamp_seconds",
    Kind::Gauge,
    "seconds since 1970",
    &["folder"],
    "When the last full reconciliation came to its end; 0 if none has.",
);
/// Of the rolling verification.
pub static VERIFIED: Metric = metric(
    "agent_portail_verify_last_success_timestamp_seconds",
    Kind::Gauge,
    "seconds since 1970",
    &["folder"],
    "When the last round of the rolling verification came to its end; 0 if none has.",
);
/// See [`DRIFT_CAUSES`].
pub static DRIFT: Metric = metric(
    "agent_portail_drift_found_total",
    Kind::Counter,
    "paths",
    &["folder", "cause"],
    "What was found to differ though no event had told of it, by cause.",
);
/// Each leads to a reconciliation.
pub static OVERFLOWS: Metric = metric(
    "agent_portail_watch_overflows_total",
    Kind::Counter,
    "times",
    &["folder"],
    "How often the kernel has lost events; the folder is then gone through as a whole.",
);
/// Directories.
pub static WATCHES: Metric =
    metric("agent_portail_watches", Kind::Gauge, "directories", &["folder"], "Directories with a watch.");
/// One series a state, 1 for the one that the folder is in.
pub static FOLDER_STATE: Metric = metric(
    "agent_portail_folder_state",
    Kind::Gauge,
    "0 or 1",
    &["folder", "state"],
    "1 for the state that the folder is in, 0 for the others.",
);
/// Another agent holds the writer's lock.
pub static STANDBY: Metric = metric(
    "agent_portail_folder_standby",
    Kind::Gauge,
    "0 or 1",
    &["folder"],
    "1 while another agent writes to the folder's bucket and prefix, and this one waits to take over.",
);
/// Each attempt.
pub static S3_REQUESTS: Metric = metric(
    "agent_portail_s3_requests_total",
    Kind::Counter,
    "requests",
    &["operation", "code"],
    "Requests sent to S3, each attempt, by HTTP status; none if there was no answer, other beyond the known ones.",
);
/// By the last outage.
pub static S3_UP: Metric = metric(
    "agent_portail_s3_up",
    Kind::Gauge,
    "0 or 1",
    &[],
    "0 while S3 is away or refuses us, as far as anybody had to ask it.",
);
/// By the last outage.
pub static CATALOG_UP: Metric = metric(
    "agent_portail_catalog_up",
    Kind::Gauge,
    "0 or 1",
    &[],
    "0 while PostgreSQL is away or its schema is not current.",
);
/// Of `Date`.
pub static CLOCK_AHEAD: Metric = metric(
    "agent_portail_s3_clock_ahead_seconds",
    Kind::Gauge,
    "seconds",
    &[],
    "How far this machine's clock is ahead of the store's; beyond 900 either way requests are refused.",
);
/// Of a session.
pub static CREDENTIALS_EXPIRE: Metric = metric(
    "agent_portail_s3_credentials_expire_timestamp_seconds",
    Kind::Gauge,
    "seconds since 1970",
    &[],
    "When the credentials for S3 that are in use expire; 0 if they don't. They are exchanged a minute before, when a request needs them.",
);
/// To webhooks.
pub static NOTIFICATIONS: Metric = metric(
    "agent_portail_notifications_total",
    Kind::Counter,
    "notifications",
    &["webhook", "outcome"],
    "Notifications by webhook: delivered, to be tried again, or given up.",
);
/// Always 1.
pub static BUILD: Metric =
    metric("agent_portail_build_info", Kind::Gauge, "1", &["version"], "The program that runs; always 1.");

/// As every client of Prometheus has it.
pub static PROCESS_CPU: Metric =
    metric("process_cpu_seconds_total", Kind::Counter, "seconds", &[], "User and system time of the process.");
/// As every client of Prometheus has it.
pub static PROCESS_RESIDENT: Metric =
    metric("process_resident_memory_bytes", Kind::Gauge, "bytes", &[], "Memory of the process that is in RAM.");
/// As every client of Prometheus has it.
pub static PROCESS_VIRTUAL: Metric =
    metric("process_virtual_memory_bytes", Kind::Gauge, "bytes", &[], "Memory that the process has mapped.");
/// As every client of Prometheus has it.
pub static PROCESS_STARTED: Metric =
    metric("process_start_time_seconds", Kind::Gauge, "seconds since 1970", &[], "When the process was started.");
/// As every client of Prometheus has it.
pub static PROCESS_OPEN_FDS: Metric =
    metric("process_open_fds", Kind::Gauge, "descriptors", &[], "Files and sockets that the process has open.");
/// As every client of Prometheus has it.
pub static PROCESS_MAX_FDS: Metric =
    metric("process_max_fds", Kind::Gauge, "descriptors", &[], "Files and sockets that the process may have open.");
/// As every client of Prometheus has it.
pub static PROCESS_THREADS: Metric = metric("process_threads", Kind::Gauge, "threads", &[], "Threads of the process.");

/// Of the daemon, in the order of the manual.
pub const DAEMON: &[&Metric] = &[
    &OLDEST_PENDING,
    &VISIBLE_LATENCY,
    &RECONCILED,
    &DRIFT,
    &HELD_DELETES,
    &FOLDER_STATE,
    &STANDBY,
    &FILES,
    &BYTES,
    &FAILED_FILES,
    &DAMAGED_FILES,
    &VERIFIED,
    &QUEUE_DEPTH,
    &QUEUE_CAPACITY,
    &OPERATIONS_TOTAL,
    &OPERATION,
    &UPLOADED_BYTES,
    &RECONCILE,
    &WATCHES,
    &OVERFLOWS,
    &S3_REQUESTS,
    &S3_UP,
    &CLOCK_AHEAD,
    &CREDENTIALS_EXPIRE,
    &CATALOG_UP,
    &NOTIFICATIONS,
    &BUILD,
];

/// Of every process.
pub const PROCESS: &[&Metric] = &[
    &PROCESS_CPU,
    &PROCESS_RESIDENT,
    &PROCESS_VIRTUAL,
    &PROCESS_STARTED,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_THREADS,
];

/// Causes of drift: see [`DRIFT`]. `object`: somebody else has changed the bucket. `missed_event`, `overflow`, `outage`, `reload`:
/// found by the reconciliation that was made for it. `damaged_file`: found by the rolling verification.
pub const DRIFT_CAUSES: [&str; 6] = ["object", "missed_event", "overflow", "outage", "reload", "damaged_file"];

/// What is to be done with a path, as [`OPERATIONS_TOTAL`] calls it, and what a report calls it when it is done.
pub const OPERATION_KINDS: [(&str, &str); 6] = [
    ("upload", "uploaded"),
    ("copy", "copied"),
    ("adopt", "adopted"),
    ("touch", "touched"),
    ("delete", "deleted"),
    ("keep", "kept"),
];

/// Answers of S3 that are told apart; any other is `other`.
pub const S3_CODES: [u16; 19] =
    [200, 204, 206, 301, 304, 307, 400, 401, 403, 404, 405, 409, 411, 412, 416, 429, 500, 503, 507];
/// Of these, and of `none`, each operation has a series from the start.
pub const S3_CODES_FROM_START: [u16; 5] = [200, 403, 404, 500, 503];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let all: Vec<&Metric> = DAEMON.iter().chain(PROCESS).copied().collect();
        assert_eq!(all.iter().map(|metric| metric.name).collect::<HashSet<_>>().len(), all.len());
        for metric in all {
            let name = metric.name;
            assert!(name.starts_with("agent_portail_") || PROCESS.contains(&metric), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let unit = metric.unit.split(' ').next().unwrap();
            let has_unit = |unit| name.trim_end_matches("_total").ends_with(unit);
            assert!(!["seconds", "bytes"].contains(&unit) || has_unit(unit), "{name} is in {unit}");
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{name}: {}", metric.help);
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.is_sorted() && !bounds.is_empty(), "{name}");
            }
            for label in metric.labels {
                assert!(!["path", "key", "name"].contains(label), "{name}: {label} has too many values");
            }
        }
    }
}
