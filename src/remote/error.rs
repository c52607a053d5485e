//! What can go wrong with the object store, and what follows from it.

use std::error::Error;
use std::fmt;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use thiserror::Error;

use crate::model::{ObjectKey, Printable, Retry};

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
    /// Are any left?
    ListParts,
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
                | Operation::DeleteObject
                | Operation::DeleteObjects
                | Operation::UploadPart
                | Operation::CompleteMultipartUpload
                | Operation::AbortMultipartUpload
                | Operation::ListParts => Retry::Later,
            },
            Trouble::Throttled
            | Trouble::Server
            | Trouble::Damaged
            | Trouble::Precondition
            | Trouble::NotFound
            | Trouble::Unexpected => Retry::Later,
            Trouble::Rejected => Retry::Never,
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

impl Operation {
    /// All that are requests.
    pub const ALL: [Self; 11] = [
        Self::PutObject,
        Self::CopyObject,
        Self::HeadObject,
        Self::DeleteObject,
        Self::DeleteObjects,
        Self::ListObjectsV2,
        Self::CreateMultipartUpload,
        Self::UploadPart,
        Self::CompleteMultipartUpload,
        Self::AbortMultipartUpload,
        Self::ListParts,
    ];

    /// As S3 names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::HeadObject => "HeadObject",
            Self::DeleteObject => "DeleteObject",
            Self::DeleteObjects => "DeleteObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
            Self::ListParts => "ListParts",
        }
    }

    /// The permission that it needs, as a policy spells it.
    fn permission(self) -> &'static str {
        match self {
            Self::Connect => "sts:AssumeRole",
            Self::PutObject | Self::CreateMultipartUpload | Self::UploadPart | Self::CompleteMultipartUpload => {
                "s3:PutObject"
            }
            Self::CopyObject => "s3:GetObject and s3:PutObject",
            Self::HeadObject => "s3:GetObject",
            Self::DeleteObject | Self::DeleteObjects => "s3:DeleteObject",
            Self::ListObjectsV2 => "s3:ListBucket",
            Self::AbortMultipartUpload => "s3:AbortMultipartUpload",
            Self::ListParts => "s3:ListMultipartUploadParts",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Task<'a> {
    operation: Operation,
    bucket: &'a str,
    key: Option<&'a ObjectKey>,
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
            Operation::DeleteObject | Operation::DeleteObjects => "delete",
            Operation::ListObjectsV2 => "list",
        };
        match self.key {
            Some(key) => write!(f, "{verb} object `{key}` in bucket `{}`", Printable(self.bucket)),
            None => write!(f, "{verb} objects of bucket `{}`", Printable(self.bucket)),
        }
    }
}

/// The request, where the task takes several kinds.
struct Within(Operation);

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
            | Operation::DeleteObject
            | Operation::DeleteObjects
            | Operation::ListObjectsV2 => Ok(()),
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
            Trouble::Rejected => "the store rejects the request",
            Trouble::Unexpected => "the store's answer makes no sense",
        })
    }
}

/// A store's refusal, without the SDK's layers round it.
#[derive(Debug, Error)]
#[error("the store answered {status}{}{}{}", Named(" ", code), Named(": ", message), Named(", request ", request))]
struct Answer {
    status: u16,
    code: Option<String>,
    message: Option<String>,
    request: Option<String>,
}

struct Named<'a>(&'static str, &'a Option<String>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(text) => write!(f, "{}{}", self.0, Printable(text)),
            None => Ok(()),
        }
    }
}

/// An entry of the answer to DeleteObjects.
pub(super) fn explain_entry(code: Option<&str>, message: Option<&str>) -> (Trouble, Box<dyn Error + Send + Sync>) {
    let answer =
        Answer { status: 200, code: code.map(str::to_owned), message: message.map(str::to_owned), request: None };
    (classify(200, code), Box::new(answer))
}

fn explain<E>(error: SdkError<E, HttpResponse>) -> (Trouble, Box<dyn Error + Send + Sync>)
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let Some(raw) = error.raw_response() {
        let status = raw.status().as_u16();
        let region = raw.headers().get("x-amz-bucket-region").map(|region| format!("the bucket's region is {region}"));
        if let SdkError::ServiceError(_) = &error {
            let code = error.code().map(str::to_owned);
            let message = match (error.message(), region) {
                (Some(message), Some(region)) => Some(format!("{message} ({region})")),
                (Some(message), None) => Some(message.to_owned()),
                (None, region) => region,
            };
            let request = error.request_id().map(str::to_owned);
            return (classify(status, code.as_deref()), Box::new(Answer { status, code, message, request }));
        }
        // The body could not be read or understood. Only an error's status still says something.
        let trouble = if (200..300).contains(&status) { Trouble::Unexpected } else { classify(status, None) };
        return (trouble, peel(error));
    }
    if find::<CredentialsError>(&error).is_some() {
        return (Trouble::NoCredentials, peel(error));
    }
    let trouble = match &error {
        SdkError::TimeoutError(_) => Trouble::TimedOut,
        SdkError::DispatchFailure(failure) if failure.is_timeout() && !is_connect(&error) => Trouble::TimedOut,
        SdkError::DispatchFailure(_) => Trouble::Unreachable,
        SdkError::ConstructionFailure(_) => Trouble::Rejected,
        SdkError::ResponseError(_) | SdkError::ServiceError(_) => Trouble::Unexpected,
        // The SDK's enum may grow.
        _ => Trouble::Unexpected,
    };
    (trouble, peel(error))
}

/// Whether the time ran out while connecting: nobody is there, rather than somebody slow.
fn is_connect(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("connect timeout") {
            return true;
        }
        next = error.source();
    }
    false
}

/// Without the SDK's outermost layer, which only says "dispatch failure" or the like.
fn peel<E>(error: SdkError<E, HttpResponse>) -> Box<dyn Error + Send + Sync>
where
    E: Error + Send + Sync + 'static,
{
    match error.into_source() {
        Ok(source) => source,
        Err(error) => Box::new(error),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// By the error's code, and where it has none (HEAD has no body, proxies don't know S3) by the status.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
pub(super) fn classify(status: u16, code: Option<&str>) -> Trouble {
    match code.unwrap_or_default() {
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden" => Trouble::Denied,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "TokenRefreshRequired"
        | "InvalidToken"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId" => Trouble::Credentials,
        "RequestTimeTooSkewed" | "RequestExpired" => Trouble::ClockSkew,
        "NoSuchBucket" => Trouble::NoSuchBucket,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "Redirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "InvalidRegion" => Trouble::WrongRegion,
        "SlowDown"
        | "ServiceUnavailable"
        | "Busy"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequests"
        | "TooManyRequestsException" => Trouble::Throttled,
        "InternalError" | "OperationAborted" | "RequestTimeout" | "InternalServerError" => Trouble::Server,
        "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" | "IncompleteBody" => {
            Trouble::Damaged
        }
        "PreconditionFailed" | "ConditionalRequestConflict" => Trouble::Precondition,
        "NoSuchKey" | "NoSuchUpload" | "NoSuchVersion" | "NotFound" => Trouble::NotFound,
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "ServiceLimitExceeded" => {
            Trouble::Full
        }
        _ => classify_status(status, code.is_some()),
    }
}

fn classify_status(status: u16, has_code: bool) -> Trouble {
    match status {
        // An error inside an answer that began well: whatever it is, it is the store's.
        200..=299 => Trouble::Server,
        301 | 302 | 307 | 308 => Trouble::WrongRegion,
        401 => Trouble::Credentials,
        403 => Trouble::Denied,
        404 => Trouble::NotFound,
        408 => Trouble::Server,
        409 | 412 => Trouble::Precondition,
        429 | 503 => Trouble::Throttled,
        507 => Trouble::Full,
        // A bare 400 is what HEAD gives for all of expired tokens, wrong regions and skewed clocks.
        400 if !has_code => Trouble::Unexpected,
        400..=499 | 501 => Trouble::Rejected,
        500..=599 => Trouble::Server,
        _ => Trouble::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_decides_before_the_status() {
        assert_eq!(classify(200, Some("SlowDown")), Trouble::Throttled);
        assert_eq!(classify(403, Some("RequestTimeTooSkewed")), Trouble::ClockSkew);
        assert_eq!(classify(403, Some("SignatureDoesNotMatch")), Trouble::Credentials);
        assert_eq!(classify(404, Some("NoSuchBucket")), Trouble::NoSuchBucket);
        assert_eq!(classify(400, Some("BadDigest")), Trouble::Damaged);
        assert_eq!(classify(400, Some("KeyTooLongError")), Trouble::Rejected);
        assert_eq!(classify(200, Some("SomethingNew")), Trouble::Server);
    }

    #[test]
    fn without_a_code_the_status_decides() {
        assert_eq!(classify(503, None), Trouble::Throttled);
        assert_eq!(classify(500, None), Trouble::Server);
        assert_eq!(classify(301, None), Trouble::WrongRegion);
        assert_eq!(classify(403, None), Trouble::Denied);
        assert_eq!(classify(412, None), Trouble::Precondition);
        assert_eq!(classify(507, None), Trouble::Full);
    }

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
