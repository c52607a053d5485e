//! `POST /api/v1/urls`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parts::{Body, Known, answer, duration, time};
use crate::model::{Printable, Scope};
use crate::urls::portal::Portal;
use crate::urls::refusal::{Problem, Refusal};
use crate::urls::signing::Wish;

/// Of which file a URL is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUrl {
    /// The folder's name.
    folder: String,
    /// In the folder.
    path: String,
    /// A duration such as `15m`, `1h` or `7d`, from 1 s to what the service allows (7 days at most); its default without it.
    #[schema(example = "1h", pattern = "^[0-9]+(ms|s|m|h|d)$")]
    expires_in: Option<String>,
}

/// A presigned URL.
#[derive(Serialize, ToSchema)]
pub(super) struct Url {
    /// A plain GET of it fetches the file, without any credentials.
    #[schema(format = "uri")]
    url: String,
    /// Nobody can fetch it after this.
    #[schema(format = DateTime)]
    expires_at: String,
    /// `credentials` if the service's own credentials end sooner than what was asked for, and the URL with them; else null.
    limited_by: Option<&'static str>,
}

/// A URL by which anybody can fetch the file for a while
#[utoipa::path(
    post, path = "/api/v1/urls", tag = "links", security(("token" = [])), request_body = NewUrl,
    responses(
        (status = 201, description = "The URL", body = Url),
        (status = 400, description = "The body can't be used, or the time is not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `link`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such folder or file", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The file could not be synced, or several folders have this name", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The file was deleted", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The catalog or the credentials can't be had", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(portal): State<Portal>,
    Known(caller): Known,
    Body(wanted): Body<NewUrl>,
) -> Result<Response, Refusal> {
    caller.need(Scope::Link)?;
    let wish = Wish { lasting: duration(wanted.expires_in.as_deref())?, ..Wish::default() };
    portal.expiry(wish.lasting)?;
    let folder = portal.folder(&wanted.folder).await?;
    let file = portal.file(&folder, &wanted.path).await?;
    let signed = portal.presign(&folder, &file, &wish).await?;
    tracing::info!(caller = caller.name, folder = folder.name, path = %Printable(&wanted.path), "signed a URL");
    let url = Url {
        url: signed.url,
        expires_at: time(signed.expires_at),
        limited_by: signed.cut_short.then_some("credentials"),
    };
    Ok(answer(StatusCode::CREATED, &url))
}
