//! Whether a bucket keeps the versions of its objects.

use aws_sdk_s3::types::BucketVersioningStatus;

use super::client::Bucket;
use super::error::RemoteError;
use super::operation::Operation;

/// What a bucket does with the old version of an object that is replaced or deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It keeps it.
    Enabled,
    /// It keeps those of the time when it did, and no more.
    Suspended,
    /// It never did.
    Never,
}

impl Versioning {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
            Self::Never => "never",
        }
    }
}

impl Bucket {
    /// Asks for it.
    ///
    /// # Errors
    /// If the store can't be asked, refuses to say, or does not know of versions.
    pub async fn versioning(&self) -> Result<Versioning, RemoteError> {
        let answer = self.sdk().get_bucket_versioning().bucket(self.name()).send().await;
        let answer = answer.map_err(|error| self.failed(Operation::GetBucketVersioning, None, error))?;
        match answer.status() {
            Some(BucketVersioningStatus::Enabled) => Ok(Versioning::Enabled),
            Some(BucketVersioningStatus::Suspended) => Ok(Versioning::Suspended),
            None => Ok(Versioning::Never),
            // Not an enum of ours: it may grow.
            Some(_) => Err(self.unexpected(Operation::GetBucketVersioning, None, "its answer is none that is known")),
        }
    }
}
