//! `GET /api/v1/files`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::parts::{Known, Query, answer, time};
use crate::catalog::browse::FileLine;
use crate::model::{Digest, Scope};
use crate::urls::portal::Portal;
use crate::urls::refusal::{Problem, Refusal};

/// Files of a page, where nothing else is asked for.
pub(super) const PAGE: usize = 100;

/// Which files.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The folder's name; all folders without it.
    folder: Option<String>,
    /// Only paths that begin with this; needs `folder`.
    #[param(required = false, nullable = false)]
    prefix: Option<String>,
    /// Only files whose name (the last part of the path) holds this, in any case.
    #[param(max_length = 255)]
    q: Option<String>,
    /// The `next` of the page before.
    after: Option<String>,
    /// Files of a page at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
}

/// A page of files.
#[derive(Serialize, ToSchema)]
pub(super) struct Files {
    /// In the order of folder and path. A search may have found fewer than `limit`, or none yet, and still go on: see `next`.
    files: Vec<File>,
    /// For `after`; null at the end.
    next: Option<String>,
}

/// A file.
#[derive(Serialize, ToSchema)]
pub(super) struct File {
    /// The folder's name.
    folder: String,
    /// In the folder, `/` between the parts.
    path: String,
    /// The last part of the path.
    name: String,
    /// Bytes; null if it was never synced.
    #[schema(minimum = 0)]
    size: Option<u64>,
    /// Of the content, in hexadecimal; null if it was never synced.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    md5: Option<String>,
    /// When the file was changed.
    #[schema(format = DateTime)]
    modified_at: Option<String>,
    /// How far it is.
    #[schema(value_type = FileState)]
    state: &'static str,
    /// When its object was acknowledged.
    #[schema(format = DateTime)]
    synced_at: Option<String>,
}

/// How far a file is: `kept` is gone from the folder, and its object stays on purpose.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document only")]
pub(super) enum FileState {
    Synced,
    Failed,
    Deleting,
    Kept,
}

/// Files, by their paths, or by a part of their names
#[utoipa::path(
    get, path = "/api/v1/files", tag = "files", security(("token" = [])), params(Wanted),
    responses(
        (status = 200, description = "A page of files", body = Files),
        (status = 400, description = "A parameter can't be used", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `read`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such folder", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Several folders have this name", body = Problem, content_type = "application/problem+json"),
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
    let folder = match &wanted.folder {
        Some(name) => Some(portal.folder(name).await?),
        None => None,
    };
    let prefix = wanted.prefix.as_deref().unwrap_or_default();
    let limit = wanted.limit.unwrap_or(PAGE);
    let page = portal.files(folder.as_ref(), prefix, wanted.q.as_deref(), wanted.after.as_deref(), limit).await?;
    let folders = portal.folders().await?;
    let files = page
        .files
        .into_iter()
        .filter_map(|line| {
            // One that has come up since the list of folders was read is in the next answer.
            let folder = folders.iter().find(|folder| folder.id == line.folder)?;
            Some(File::new(folder.name.clone(), line))
        })
        .collect();
    Ok(answer(StatusCode::OK, &Files { files, next: page.next }))
}

impl File {
    fn new(folder: String, line: FileLine) -> Self {
        Self {
            folder,
            path: line.path,
            name: line.name,
            size: line.size,
            md5: line.md5.map(Digest::to_hex),
            modified_at: line.modified_at.map(time),
            state: line.state.as_str(),
            synced_at: line.synced_at.map(time),
        }
    }
}
