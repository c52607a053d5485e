//! agent-portail mirrors local folders to an S3 bucket and records each file in PostgreSQL.
//!
//! `docs/ARCHITECTURE.md` has the bird's eye view. Modules lie on floors, and imports go down only.

pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod logging;
pub mod model;
pub mod remote;
