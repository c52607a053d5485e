//! What several tests share.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file is a program of its own and uses a part of it"
)]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

pub mod agent;
pub mod churn;
pub mod daemon;
pub mod exposition;
pub mod fault;
pub mod namespace;
pub mod operation;
pub mod pg;
pub mod presence;
mod proxy;
pub mod receiver;
pub mod s3;
pub mod wire;
pub mod world;
