//! What is answered instead of what was asked for: problem documents (RFC 9457).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::CatalogError;
use crate::model::Scope;
use crate::remote::PresignError;

/// Why a file or link that was there is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gone {
    /// The file was deleted.
    Deleted,
    /// The link's time is over.
    Expired,
    /// Somebody put an end to the link.
    Revoked,
    /// The link was opened as often as it may be.
    UsedUp,
}

impl Gone {
    /// For machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Deleted => "the file was deleted",
            Self::Expired => "the link has expired",
            Self::Revoked => "the link was revoked",
            Self::UsedUp => "the link was opened as often as it may be",
        }
    }
}

/// A request that is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something in it can't be used: 400.
    #[error("{0}")]
    Invalid(String),
    /// Nobody has said who calls, or the token is unknown: 401.
    #[error("a valid token is needed: send `Authorization: Bearer TOKEN`")]
    Unauthenticated,
    /// The caller may not: 403.
    #[error("this needs the scope `{0}`, which the token does not have")]
    Forbidden(Scope),
    /// A page of another site has asked for it: 403.
    #[error("a page of another site may not do this")]
    CrossSite,
    /// There is no such thing: 404.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It can't be done with such a method: 405.
    #[error("this takes no such method")]
    Method,
    /// It took too long: 408.
    #[error("the request took too long")]
    TooSlow,
    /// Not as things are: 409. The reason fits after "because".
    #[error("{0}")]
    Conflict(String),
    /// It was there: 410.
    #[error("{}", .0.describe())]
    Gone(Gone),
    /// The body is too large: 413.
    #[error("the body is too large")]
    TooLarge,
    /// The body is of another type: 415.
    #[error("the body must be JSON, with `Content-Type: application/json`")]
    MediaType,
    /// This service is not called so: 421.
    #[error("without tokens, this service answers under the name localhost and loopback addresses only")]
    Misdirected,
    /// Too many requests, or too many wrong tokens: 429.
    #[error("too many requests: try again in {} s", seconds(*.0))]
    TooMany(Duration),
    /// A defect: 500.
    #[error("something went wrong in the service, and was written to its log")]
    Defect,
    /// The catalog or the credentials for the store can't be had at present: 503.
    #[error("{0} at present: try again later")]
    Unavailable(&'static str),
}

/// A problem document (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// For machines: what exactly.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Gone(_) => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Defect => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// For machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden(_) => "forbidden",
            Self::CrossSite => "cross_site",
            Self::NotFound(_) => "not_found",
            Self::Method => "method",
            Self::TooSlow => "too_slow",
            Self::Conflict(_) => "conflict",
            Self::Gone(gone) => gone.as_str(),
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::Misdirected => "misdirected",
            Self::TooMany(_) => "too_many",
            Self::Defect => "defect",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// As it is sent.
    pub fn problem(&self) -> Problem {
        let status = self.status();
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: self.code(),
            detail: self.to_string(),
        }
    }
}

/// Never "in 0 s".
fn seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match &self {
            Self::Unauthenticated => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooMany(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(*wait)));
            }
            Self::Unavailable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::Invalid(_)
            | Self::Forbidden(_)
            | Self::CrossSite
            | Self::NotFound(_)
            | Self::Method
            | Self::TooSlow
            | Self::Conflict(_)
            | Self::Gone(_)
            | Self::TooLarge
            | Self::MediaType
            | Self::Misdirected
            | Self::Defect => {}
        }
        // For the page, which says it in its own words.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        tracing::warn!(error = %crate::model::chain(&error), "failed to {error}");
        Self::Unavailable("the catalog can't be reached")
    }
}

impl From<PresignError> for Refusal {
    fn from(error: PresignError) -> Self {
        tracing::warn!(error = %crate::model::chain(&error), "failed to {error}");
        Self::Unavailable("no URL can be signed")
    }
}
