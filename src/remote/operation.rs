//! The kinds of requests.

use std::fmt;

use crate::model::{ObjectKey, Printable};

/// The requests that are sent, by the names that S3 gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Not a request: finding credentials and region.
    Connect,
    /// A whole object.
    PutObject,
    /// From another object of the bucket.
    CopyObject,
    /// Size, ETag and metadata.
    HeadObject,
    /// The same with its bytes.
    GetObject,
    /// As [`Self::GetObject`], of a version that need not be the current one: the same request, and a permission of its own.
    GetObjectVersion,
    /// One.
    DeleteObject,
    /// Up to 1,000.
    DeleteObjects,
    /// A page of a listing.
    ListObjectsV2,
    /// Begins a large upload.
    CreateMultipartUpload,
    /// A piece of it.
    UploadPart,
    /// Makes the object visible.
    CompleteMultipartUpload,
    /// Throws the pieces away.
    AbortMultipartUpload,
    /// Which have arrived?
    ListParts,
    /// Which uploads were begun?
    ListMultipartUploads,
    /// Does the bucket keep versions?
    GetBucketVersioning,
    /// What does it do by itself as objects grow old?
    GetBucketLifecycleConfiguration,
}

impl Operation {
    /// All that are requests.
    pub const ALL: [Self; 15] = [
        Self::PutObject,
        Self::CopyObject,
        Self::HeadObject,
        Self::GetObject,
        Self::DeleteObject,
        Self::DeleteObjects,
        Self::ListObjectsV2,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListParts,
        Self::ListMultipartUploads,
        Self::GetBucketVersioning,
        Self::GetBucketLifecycleConfiguration,
    ];

    /// As S3 names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::HeadObject => "HeadObject",
            Self::GetObject | Self::GetObjectVersion => "GetObject",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetBucketLifecycleConfiguration => "GetBucketLifecycleConfiguration",
        }
    }

    /// The permission that it needs, as a policy spells it.
    pub(super) fn permission(self) -> &'static str {
        match self {
            Self::Connect => "sts:AssumeRole",
            Self::PutObject | Self::CreateMultipartUpload | Self::UploadPart | Self::CompleteMultipartUpload => {
                "s3:PutObject"
            }
            Self::CopyObject => "s3:GetObject and s3:PutObject",
            Self::HeadObject | Self::GetObject => "s3:GetObject",
            Self::GetObjectVersion => "s3:GetObjectVersion",
            Self::DeleteObject | Self::DeleteObjects => "s3:DeleteObject",
            Self::ListObjectsV2 => "s3:ListBucket",
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::ListParts => "s3:ListMultipartUploadParts",
            Self::ListMultipartUploads => "s3:ListBucketMultipartUploads",
            Self::GetBucketVersioning => "s3:GetBucketVersioning",
            Self::GetBucketLifecycleConfiguration => "s3:GetLifecycleConfiguration",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An operation on something, as it stands after "failed to".
pub(super) struct Task<'a> {
    pub(super) operation: Operation,
    pub(super) bucket: &'a str,
    pub(super) key: Option<&'a ObjectKey>,
}

impl fmt::Display for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.operation {
            Operation::Connect => return f.write_str("connect to S3"),
            Operation::PutObject
            | Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::CompleteMultipartUpload
            | Operation::AbortMultipartUpload
            | Operation::ListParts => "upload",
            Operation::CopyObject => "make by copying",
            Operation::HeadObject => "look at",
            Operation::GetObject => "fetch",
            Operation::GetObjectVersion => "fetch an earlier version of",
            Operation::DeleteObject | Operation::DeleteObjects => "delete",
            Operation::ListObjectsV2 => "list",
            Operation::ListMultipartUploads => "look for unfinished uploads of",
            Operation::GetBucketVersioning => "look whether there are versions of",
            Operation::GetBucketLifecycleConfiguration => "look what a lifecycle does to",
        };
        match self.key {
            Some(key) => write!(f, "{verb} object `{key}` in bucket `{}`", Printable(self.bucket)),
            None => write!(f, "{verb} objects of bucket `{}`", Printable(self.bucket)),
        }
    }
}

/// The request, where the task takes several kinds.
pub(super) struct Within(pub(super) Operation);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operation::CreateMultipartUpload
            | Operation::UploadPart
            | Operation::CompleteMultipartUpload
            | Operation::AbortMultipartUpload
            | Operation::ListParts => write!(f, " ({})", self.0),
            Operation::Connect
            | Operation::PutObject
            | Operation::CopyObject
            | Operation::HeadObject
            | Operation::GetObject
            | Operation::GetObjectVersion
            | Operation::DeleteObject
            | Operation::DeleteObjects
            | Operation::ListObjectsV2
            | Operation::ListMultipartUploads
            | Operation::GetBucketVersioning
            | Operation::GetBucketLifecycleConfiguration => Ok(()),
        }
    }
}
