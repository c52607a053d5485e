//! The daemon: each folder is watched, synced and reconciled without pause, beside the others.
//!
//! [`supervise`] is a folder's life from its first look to the end of the program, [`active`] its life while it holds the
//! writer's lock. [`live`] is what can be seen of it from outside, and [`run`] the program around it.

pub mod active;
pub mod events;
pub mod live;
pub mod reap;
pub mod run;
pub mod supervise;
