//! Keeping the three worlds in step: [`reconcile`] finds what differs, [`worker`] lives the life of one path, [`act`] is the only
//! code that changes S3 or rows, [`record`] writes rows in batches, [`deletes`] sees to it that nothing is removed without
//! proof, and [`pass`] strings them together for one folder.

pub mod act;
pub mod deletes;
pub mod error;
pub mod feed;
pub mod gate;
pub mod merge;
pub mod pass;
pub mod pipeline;
pub mod reconcile;
pub mod record;
pub mod report;
pub mod throttle;
pub mod worker;
