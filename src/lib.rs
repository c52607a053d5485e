//! agent-portail mirrors local folders to an S3 bucket and records each file in PostgreSQL.
//!
//! `docs/ARCHITECTURE.md` has the bird's eye view. Modules lie on floors, and imports go down only.

// Floor 4: what people type.
pub mod cli;
// Floor 3: the story.
pub mod agent;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
// Floor 2: keeping the worlds in step, and bringing files back.
pub mod restore;
pub mod sync;
// Floor 1: the worlds, and the process' surroundings.
pub mod catalog;
pub mod local;
pub mod logging;
pub mod monitor;
pub mod remote;
pub mod systemd;
pub mod tls;
pub mod webhook;
// Floor 0: nouns and pure logic.
pub mod boundary;
pub mod config;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod plan;
pub mod queue;
