//! Keeping the three worlds in step: [`reconcile`] finds what differs, [`worker`] takes paths off the queue, `life` is the
//! life of one of them, [`act`] is the only code that changes S3 or rows, [`record`] writes rows in batches, [`deletes`] sees
//! to it that nothing is removed without proof, `removal` removes it, and [`pass`] strings them together for one folder.
//! [`verify`] proves that there is nothing to do.

pub mod act;
pub mod deletes;
pub mod error;
pub mod feed;
pub mod gate;
pub mod held;
mod judge;
mod known;
mod life;
pub mod merge;
pub mod mounts;
pub mod pass;
pub mod pipeline;
pub mod planned;
pub mod reconcile;
pub mod record;
mod removal;
pub mod report;
mod streams;
pub mod throttle;
pub mod unrecorded;
pub mod unseen;
pub mod uploads;
pub mod veils;
pub mod verify;
pub mod worker;
