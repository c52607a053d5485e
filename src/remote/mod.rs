//! The object store: S3, and what speaks its protocol.
//!
//! [`connect`] makes one [`Client`] for the whole program; a [`Bucket`] of it puts, copies, heads, lists and deletes
//! objects. Each request has time limits and is tried a few times by the SDK, for what passes in seconds; whatever lasts
//! longer is the queue's business, and [`RemoteError::retry`] tells it what to do.
//!
//! Every upload carries a Content-MD5, so the store refuses bytes that were damaged on the way. Checksums of the newer kind
//! are not sent: not every compatible store knows them, and the MD5 is at hand anyway.

mod answer;
mod check;
mod client;
mod credentials;
mod delete;
mod endpoint;
mod error;
mod get;
mod large;
mod lifecycle;
mod list;
mod object;
mod operation;
mod pace;
mod part;
mod presign;
mod unfinished;
mod versioning;
mod wire;

pub use check::ProbeStep;
pub use client::{Bucket, Client, Limits, Patience, connect, connect_with};
pub use error::{RemoteError, Trouble, UploadError};
pub use get::{About, Download, Wanted};
pub use large::{Arrived, LargeUpload, NotUploaded};
pub use lifecycle::Lifecycle;
pub use list::{Listing, Page};
pub use object::{Attributes, Head, Stored, content_type};
pub use operation::Operation;
pub use presign::{PresignError, Presigned, Shown};
pub use versioning::Versioning;
