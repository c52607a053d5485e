//! `agent-portail urls`: every route and every refusal, on a real PostgreSQL and a real S3 API.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod browse;
mod links;
mod moves;
mod page;
mod process;
mod search;
mod signing;
mod world;
