//! The folder: walking it, looking at one path, reading a file's content, telling whether it is still the same folder.
//!
//! Everything here blocks, and is called from threads that may block. Nothing here knows of S3 or PostgreSQL.

mod beneath;
pub mod exclude;
pub mod hash;
pub mod identity;
pub mod look;
pub mod mount_table;
pub mod mounts;
pub mod part_digests;
pub mod stat;
pub mod survey;
pub mod target;
pub mod temporary;
pub mod walk;
pub mod watch;
