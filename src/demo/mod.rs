//! Everything on one machine with nothing to configure: the parts of `agent-portail demo`, which the tests use too.

pub mod postgres;
pub mod s3;
