//! The daemon: each folder is watched, synced and reconciled without pause, beside the others.
//!
//! [`run`] is the program around the folders and [`fleet`] all of them; [`supervise`] is a folder's life from its first look to
//! the end of the program, [`active`] its life while it holds the writer's lock. [`live`] is what can be seen of it from outside.

pub mod active;
mod count;
mod decisions;
pub mod events;
mod fleet;
pub mod live;
pub mod notify;
mod outage;
mod publish;
mod pulse;
pub mod reap;
pub mod reconciliations;
pub mod run;
pub mod supervise;
mod tasks;
mod verification;
pub mod wishes;
