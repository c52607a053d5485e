//! What a request of the API is made of, each part refused with a problem document if it can't be used.

use std::time::{Duration, SystemTime};

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::parse_duration;
use crate::urls::caller::Caller;
use crate::urls::client::Client;
use crate::urls::portal::Portal;
use crate::urls::refusal::Refusal;

/// The largest body: a path of 1,024 bytes with every one of them escaped takes a tenth of it.
const LARGEST_BODY: usize = 64 * 1024;

/// Who calls; nobody gets past it unknown.
pub(super) struct Known(pub(super) Caller);

impl FromRequestParts<Portal> for Known {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Refusal> {
        let client = parts.extensions.get::<Client>().ok_or(Refusal::Defect)?;
        portal.authenticate(&parts.headers, client)?.map(Self).ok_or(Refusal::Unauthenticated)
    }
}

/// What follows the question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Refusal::Invalid(rejection.body_text())),
        }
    }
}

/// A JSON body. A page of another site can't send one without the browser asking first, which is not answered.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Portal> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _portal: &Portal) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            return Err(Refusal::MediaType);
        }
        let body = axum::body::to_bytes(request.into_body(), LARGEST_BODY).await.map_err(|error| {
            // Either it was too large, or the client has broken off and hears nothing more.
            tracing::debug!(error = %crate::model::chain(&error), "a body could not be read");
            Refusal::TooLarge
        })?;
        serde_json::from_slice(&body).map(Self).map_err(|error| Refusal::Invalid(format!("the body: {error}")))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// The number at the end of a path.
pub(super) struct Id(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let last = parts.uri.path().rsplit('/').next().unwrap_or_default();
        last.parse().map(Self).map_err(|_| Refusal::Invalid("the link's `id` must be a number".to_owned()))
    }
}

/// A body that no cache keeps: who may see it now may not tomorrow.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let Ok(json) = serde_json::to_vec(body) else { return Refusal::Defect.into_response() };
    let mut response = (status, json).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A duration such as `15m`, if one was given.
pub(super) fn duration(text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || Refusal::Invalid("`expires_in` must be a duration such as 15m, 1h or 7d".to_owned());
    parse_duration(text).map(Some).ok_or_else(wrong)
}

/// As JSON has times: RFC 3339, in UTC.
pub(super) fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(clamped(time)).to_string()
}

/// The formatter knows the years from 1970 to 9999 only, and a file's time may be anything.
fn clamped(time: SystemTime) -> SystemTime {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_text() {
        let epoch = SystemTime::UNIX_EPOCH;
        let far = Duration::from_secs(1 << 40);
        assert_eq!(time(epoch - far), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(epoch + far), "9999-12-31T23:59:59.000Z");
        assert_eq!(time(epoch + Duration::from_millis(1500)), "1970-01-01T00:00:01.500Z");
    }
}
