//! `/api/v1/links`.

use std::time::SystemTime;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::files::PAGE;
use super::parts::{Body, Id, Known, Query, answer, duration, time};
use crate::catalog::link;
use crate::model::Scope;
use crate::urls::client::Client;
use crate::urls::portal::Portal;
use crate::urls::refusal::{Problem, Refusal};
use crate::urls::sharing::{LinkStatus, LinkWish};

/// Of which file a link is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLink {
    /// The folder's name.
    folder: String,
    /// In the folder.
    path: String,
    /// A duration such as `15m`, `1h` or `7d`, from 1 s to what the service allows (7 days at most); its default without it.
    #[schema(example = "7d", pattern = "^[0-9]+(ms|s|m|h|d)$")]
    expires_in: Option<String>,
    /// How often it may be opened; as often as one likes without it.
    #[schema(minimum = 1, maximum = 2147483647)]
    max_uses: Option<u32>,
    /// Whether it stays with the version of today instead of following the file. Needs a bucket that keeps versions.
    #[serde(default)]
    pinned: bool,
}

/// A share link that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedLink {
    /// Of the link.
    id: i64,
    /// What the recipient is to have. It is shown this once.
    #[schema(format = "uri")]
    href: String,
    /// Nobody can open it after this.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// A page of links.
#[derive(Serialize, ToSchema)]
pub(super) struct Links {
    /// The newest first.
    links: Vec<Link>,
    /// For `after`; null at the end.
    next: Option<String>,
}

/// A share link.
#[derive(Serialize, ToSchema)]
pub(super) struct Link {
    /// Of the link.
    id: i64,
    /// The folder's name.
    folder: String,
    /// Where the file is, or was last.
    path: String,
    /// It stays with the version of its day.
    pinned: bool,
    /// Whose it is.
    created_by: String,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// Nobody can open it after this.
    #[schema(format = DateTime)]
    expires_at: String,
    /// How often it may be opened; null for as often as one likes.
    max_uses: Option<u32>,
    /// How often it was.
    uses: u32,
    /// When that was last.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// When it was revoked.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// Whether it can be opened, and if not, why.
    #[schema(value_type = Status)]
    status: &'static str,
}

/// Whether a link can be opened, and if not, why.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document only")]
pub(super) enum Status {
    Active,
    Expired,
    Revoked,
    UsedUp,
    Deleted,
}

/// Which links.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Everybody's, for which the scope `admin` is needed.
    #[serde(default)]
    #[param(required = false)]
    all: bool,
    /// The `next` of the page before.
    after: Option<String>,
    /// Links of a page at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// A link to the file, which can be revoked, and follows the file when it is renamed
#[utoipa::path(
    post, path = "/api/v1/links", tag = "links", security(("token" = [])), request_body = NewLink,
    responses(
        (status = 201, description = "The link", body = CreatedLink),
        (status = 400, description = "The body can't be used, or the time is not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `link`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such folder or file", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The file could not be synced, several folders have this name, or there are no versions", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The file was deleted", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The catalog can't be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create(
    State(portal): State<Portal>,
    Extension(client): Extension<Client>,
    Known(caller): Known,
    Body(wanted): Body<NewLink>,
) -> Result<Response, Refusal> {
    caller.need(Scope::Link)?;
    let lasting = duration(wanted.expires_in.as_deref())?;
    portal.expiry(lasting)?;
    let folder = portal.folder(&wanted.folder).await?;
    let file = portal.file(&folder, &wanted.path).await?;
    let wish = LinkWish { lasting, max_uses: wanted.max_uses, pinned: wanted.pinned };
    let created = portal.create_link(&caller, &folder, &file, wish).await?;
    let href = portal.absolute(&client, &created.href());
    Ok(answer(StatusCode::CREATED, &CreatedLink { id: created.id, href, expires_at: time(created.expires_at) }))
}

/// One's own links with their use counts, or everybody's
#[utoipa::path(
    get, path = "/api/v1/links", tag = "links", security(("token" = [])), params(Wanted),
    responses(
        (status = 200, description = "A page of links", body = Links),
        (status = 400, description = "A parameter can't be used", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `read`, or `admin` for `all`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The catalog can't be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(portal): State<Portal>,
    Known(caller): Known,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Refusal> {
    caller.need(Scope::Read)?;
    let limit = wanted.limit.unwrap_or(PAGE);
    let (links, next) = portal.links(&caller, wanted.all, None, wanted.after.as_deref(), limit).await?;
    let now = SystemTime::now();
    let links = links.into_iter().map(|link| Link::new(link, now)).collect();
    Ok(answer(StatusCode::OK, &Links { links, next }))
}

/// Revokes a link, at once
#[utoipa::path(
    delete, path = "/api/v1/links/{id}", tag = "links", security(("token" = [])),
    params(("id" = i64, Path, description = "Of the link")),
    responses(
        (status = 204, description = "It can't be opened any more"),
        (status = 400, description = "The id is no number", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `link`, or `admin` for another's link", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such link", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The catalog can't be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke(
    State(portal): State<Portal>,
    Known(caller): Known,
    Id(id): Id,
) -> Result<Response, Refusal> {
    portal.revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Link {
    fn new(link: link::Link, now: SystemTime) -> Self {
        let status = LinkStatus::of(&link, now).as_str();
        Self {
            id: link.id,
            folder: link.folder_name,
            path: link.path,
            pinned: link.pinned,
            created_by: link.created_by,
            created_at: time(link.created_at),
            expires_at: time(link.expires_at),
            max_uses: link.max_uses,
            uses: link.uses,
            last_used_at: link.last_used_at.map(time),
            revoked_at: link.revoked_at.map(time),
            status,
        }
    }
}
