//! What the store and the network say, and what it comes down to.

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use thiserror::Error;

use super::error::Trouble;
use crate::model::Printable;

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

/// What an error of the SDK comes down to, and its cause without the SDK's layers.
pub(super) fn explain<E>(error: SdkError<E, HttpResponse>) -> (Trouble, Box<dyn Error + Send + Sync>)
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
            let denied_by_credentials = message.as_deref().is_some_and(is_about_credentials);
            let classified = classify(status, code.as_deref());
            let is_credentials = classified == Trouble::Denied && denied_by_credentials;
            let trouble = if is_credentials { Trouble::Credentials } else { classified };
            return (trouble, Box::new(Answer { status, code, message, request }));
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

/// Garage says `AccessDenied` to whatever it refuses; its message tells wrong credentials from a missing right.
fn is_about_credentials(message: &str) -> bool {
    message.contains("Invalid signature") || message.contains("No such key:")
}

/// By the error's code, and where it has none (HEAD has no body, proxies don't know S3) by the status.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn classify(status: u16, code: Option<&str>) -> Trouble {
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
        "InvalidObjectState" => Trouble::Archived,
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
    fn garage_tells_wrong_credentials_by_its_message() {
        assert!(is_about_credentials("Forbidden: Invalid signature"));
        assert!(is_about_credentials("Forbidden: No such key: GK00"));
        assert!(!is_about_credentials("Forbidden: Operation is not allowed for this key."));
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
}
