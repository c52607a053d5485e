//! `GET /l/{token}`: what a recipient opens. The token is all that they need, and nothing else is asked of them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::client::Client;
use super::portal::Portal;
use super::refusal::Refusal;

/// Its route.
pub fn router() -> Router<Portal> {
    Router::new().route("/l/{token}", get(open).head(look))
}

/// Leads to the file, and counts that it did.
async fn open(
    State(portal): State<Portal>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let opened = match portal.may_guess(&client) {
        Ok(()) => portal.open_link(token(&uri), client.address).await,
        Err(refusal) => Err(refusal),
    };
    match opened {
        Ok(signed) => match HeaderValue::try_from(signed.url) {
            Ok(location) => discreet((StatusCode::FOUND, [(header::LOCATION, location)]).into_response()),
            Err(_) => refuse(&headers, Refusal::Defect),
        },
        Err(refusal) => {
            if let Refusal::NotFound(_) = refusal {
                portal.guessed_wrong(&client);
            }
            refuse(&headers, refusal)
        }
    }
}

/// Says whether it would. It leads nowhere, or a link could be opened without being counted.
async fn look(
    State(portal): State<Portal>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let seen = match portal.may_guess(&client) {
        Ok(()) => portal.look_at_link(token(&uri)).await,
        Err(refusal) => Err(refusal),
    };
    match seen {
        Ok(()) => discreet(StatusCode::OK.into_response()),
        Err(refusal) => {
            if let Refusal::NotFound(_) = refusal {
                portal.guessed_wrong(&client);
            }
            refuse(&headers, refusal)
        }
    }
}

/// Tokens have nothing in them that is encoded in a path.
fn token(uri: &Uri) -> &str {
    uri.path().strip_prefix("/l/").unwrap_or_default()
}

/// A link that leads nowhere.
fn refuse(_headers: &HeaderMap, refusal: Refusal) -> Response {
    discreet(refusal.into_response())
}

/// Neither a cache nor the store is to know the token.
fn discreet(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex, nofollow"));
    response
}
