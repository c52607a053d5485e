//! `agent-portail sync`, `check` and the catalog, on a real PostgreSQL and a real S3 API.
//!
//! One program for all of it: each links the whole S3 SDK.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

#[path = "../common/mod.rs"]
mod common;

mod adopt;
mod agents;
mod approvals;
mod catalog;
mod catalog_deletes;
mod catalog_past;
mod catalog_tls;
mod check;
mod cluster;
mod content;
mod daemon_credentials;
mod daemon_drift;
mod daemon_files;
mod daemon_held;
mod daemon_json_log;
mod daemon_life;
mod daemon_metrics;
mod daemon_model;
mod daemon_mount;
mod daemon_notify;
mod daemon_outage;
mod daemon_status;
mod daemon_storm;
mod daemon_verify;
mod daemon_work;
mod deletes;
mod download;
mod dry_run;
mod identity;
mod losses;
mod mounts;
mod names;
mod outage;
mod pass;
mod refused;
mod rename;
mod restore;
mod restore_at;
mod restore_faults;
mod restore_hostile;
mod safety;
mod skip;
mod uploads;
mod verify;
