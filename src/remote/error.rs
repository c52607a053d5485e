//! What can go wrong with the object store, and what follows from it.

use std::error::Error;
use std::fmt;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use thiserror::Error;

use super::answer::explain;
use super::operation::{Operation, Task, Within};
use crate::model::{ObjectKey, Retry};

/// A request to the object store that failed.
#[derive(Debug, Error)]
#[error("{}{}: {}", Task { operation: *operation, bucket, key: key.as_ref() }, Within(*operation), Remedy { trouble: *trouble, operation: *operation })]
pub struct RemoteError {
    /// What was tried.
    pub operation: Operation,
    /// Where; empty if the connection itself failed.
    pub bucket: String,
    /// The object, if there is only one.
    pub key: Option<ObjectKey>,
    /// Why it failed, as far as it matters here.
    pub trouble: Trouble,
    /// What the store or the network said.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No connection: name, network, TLS, or the connection broke.
    Unreachable,
    /// Connected, but no answer in time.
    TimedOut,
    /// No credentials were found.
    NoCredentials,
    /// The credentials are not accepted: unknown, expired, or the secret is wrong.
    Credentials,
    /// The clocks differ too much for a signature.
    ClockSkew,
    /// The credentials are good, but may not do this.
    Denied,
    /// There is no such bucket.
    NoSuchBucket,
    /// The bucket is in another region than the one that was signed for.
    WrongRegion,
    /// No region is configured.
    NoRegion,
    /// Too many requests.
    Throttled,
    /// The store failed.
    Server,
    /// The store has no room.
    Full,
    /// What arrived is not what was sent.
    Damaged,
    /// A condition of the request does not hold (any more).
    Precondition,
    /// There is no such object or upload.
    NotFound,
    /// The object's storage class takes hours to read from, and must be asked first.
    Archived,
    /// The request can't ever succeed as it is.
    Rejected,
    /// An answer that no S3 store should give.
    Unexpected,
}

impl RemoteError {
    /// What to do about it.
    pub fn retry(&self) -> Retry {
        match self.trouble {
            Trouble::Unreachable
            | Trouble::TimedOut
            | Trouble::NoCredentials
            | Trouble::Credentials
            | Trouble::ClockSkew
            | Trouble::NoSuchBucket
            | Trouble::WrongRegion
            | Trouble::NoRegion
            | Trouble::Full => Retry::Fatal,
            // Without writing or listing nothing works. Without another permission the rest still does.
            Trouble::Denied => match self.operation {
                Operation::Connect
                | Operation::PutObject
                | Operation::CreateMultipartUpload
                | Operation::ListObjectsV2 => Retry::Fatal,
                Operation::CopyObject
                | Operation::HeadObject
                | Operation::GetObject
                | Operation::GetObjectVersion
                | Operation::DeleteObject
                | Operation::DeleteObjects
                | Operation::UploadPart
                | Operation::CompleteMultipartUpload
                | Operation::AbortMultipartUpload
                | Operation::ListParts
                | Operation::ListMultipartUploads
                | Operation::GetBucketVersioning
                | Operation::GetBucketLifecycleConfiguration => Retry::Later,
            },
            Trouble::Throttled
            | Trouble::Server
            | Trouble::Damaged
            | Trouble::Precondition
            | Trouble::NotFound
            | Trouble::Unexpected => Retry::Later,
            Trouble::Rejected | Trouble::Archived => Retry::Never,
        }
    }

    /// Whether the next attempt may well succeed: of the network's troubles and the store's own.
    pub fn is_passing(&self) -> bool {
        match self.trouble {
            Trouble::Unreachable | Trouble::TimedOut | Trouble::Throttled | Trouble::Server | Trouble::Unexpected => {
                true
            }
            Trouble::NoCredentials
            | Trouble::Credentials
            | Trouble::ClockSkew
            | Trouble::Denied
            | Trouble::NoSuchBucket
            | Trouble::WrongRegion
            | Trouble::NoRegion
            | Trouble::Full
            | Trouble::Damaged
            | Trouble::Precondition
            | Trouble::NotFound
            | Trouble::Rejected
            | Trouble::Archived => false,
        }
    }

    /// Whether the store asks for fewer requests.
    pub fn is_throttled(&self) -> bool {
        self.trouble == Trouble::Throttled
    }

    /// From what the SDK says.
    pub(super) fn from_sdk<E>(
        operation: Operation,
        bucket: &str,
        key: Option<&ObjectKey>,
        error: SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let (trouble, source) = explain(error);
        Self { operation, bucket: bucket.to_owned(), key: key.cloned(), trouble, source }
    }

    /// An answer that was understood, but can't be right.
    pub(super) fn unexpected(operation: Operation, bucket: &str, key: Option<&ObjectKey>, what: &str) -> Self {
        Self {
            operation,
            bucket: bucket.to_owned(),
            key: key.cloned(),
            trouble: Trouble::Unexpected,
            source: what.into(),
        }
    }
}

/// Why a large upload failed.
#[derive(Debug, Error)]
pub enum UploadError {
    /// The store.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The file.
    #[error("read the file for object `{key}`")]
    Read {
        /// Where it was going to.
        key: ObjectKey,
        /// From the file system.
        source: io::Error,
    },
    /// The file is no longer what was hashed. Nothing became visible.
    #[error("upload object `{key}`: the file changed while it was read")]
    Changed {
        /// Where it was going to.
        key: ObjectKey,
    },
    /// The program is ending. Nothing became visible.
    #[error("upload object `{key}`: interrupted")]
    Cancelled {
        /// Where it was going to.
        key: ObjectKey,
    },
}

impl UploadError {
    /// What to do about it.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Remote(error) => error.retry(),
            Self::Read { .. } | Self::Changed { .. } | Self::Cancelled { .. } => Retry::Later,
        }
    }
}

struct Remedy {
    trouble: Trouble,
    operation: Operation,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.trouble {
            Trouble::Unreachable => "the store can't be reached; check the network and s3.endpoint_url",
            Trouble::TimedOut => "the store did not answer in time; check the network and s3.endpoint_url",
            Trouble::NoCredentials => {
                "no usable credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the user \
                 who runs this an AWS profile or the machine a role"
            }
            Trouble::Credentials => {
                "the store does not accept the credentials; check the access key, its secret and its expiry"
            }
            Trouble::ClockSkew => "this machine's clock is too far from the store's; set it (for example with NTP)",
            Trouble::Denied => {
                return write!(f, "access denied; the credentials need the permission {}", self.operation.permission());
            }
            Trouble::NoSuchBucket => "there is no such bucket; create it, or correct s3.bucket",
            Trouble::WrongRegion => "the bucket is in another region; correct s3.region",
            Trouble::NoRegion => "no region is configured; set s3.region or AWS_REGION",
            Trouble::Throttled => "the store asks for fewer requests",
            Trouble::Server => "the store failed",
            Trouble::Full => "the store has no room left, or the quota is used up",
            Trouble::Damaged => "the store did not receive the bytes that were sent",
            Trouble::Precondition => "the object is no longer the one that was expected",
            Trouble::NotFound => "it is not there",
            Trouble::Archived => {
                "its storage class keeps it in an archive; have the store bring it back first (RestoreObject)"
            }
            Trouble::Rejected => "the store rejects the request",
            Trouble::Unexpected => "the store's answer makes no sense",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_operation_bucket_key_and_remedy_but_not_its_source() {
        let error = RemoteError {
            operation: Operation::UploadPart,
            bucket: "files".to_owned(),
            key: Some(ObjectKey::from_parts("a/", "b\u{1b}[31m")),
            trouble: Trouble::Denied,
            source: "the secret cause".into(),
        };
        let text = error.to_string();
        for part in ["upload object", "UploadPart", "`files`", "a/b", "s3:PutObject"] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
        assert!(!text.contains("secret") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_refusal_to_write_is_fatal_and_a_refusal_to_delete_is_not() {
        let denied = |operation| RemoteError {
            operation,
            bucket: String::new(),
            key: None,
            trouble: Trouble::Denied,
            source: "denied".into(),
        };
        assert_eq!(denied(Operation::PutObject).retry(), Retry::Fatal);
        assert_eq!(denied(Operation::DeleteObjects).retry(), Retry::Later);
    }
}
