//! `GET /api/v1/folders`.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::{Known, answer, time};
use crate::model::Scope;
use crate::urls::portal::Portal;
use crate::urls::refusal::{Problem, Refusal};

/// The folders.
#[derive(Serialize, ToSchema)]
pub(super) struct Folders {
    /// In the order of their names.
    folders: Vec<Folder>,
}

/// A mirrored folder.
#[derive(Serialize, ToSchema)]
pub(super) struct Folder {
    /// Its name, which other calls take. Where several agents have a folder of one name, they take `AGENT/NAME`.
    name: String,
    /// The agent that mirrors it.
    agent: String,
    /// How it stands.
    #[schema(value_type = FolderState)]
    state: &'static str,
    /// Why, where there is something to say.
    state_reason: Option<String>,
    /// When all of it was last compared with the bucket.
    #[schema(format = DateTime)]
    last_reconciled_at: Option<String>,
}

/// How a folder stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "for the document only")]
pub(super) enum FolderState {
    Starting,
    Syncing,
    InSync,
    Degraded,
    Suspended,
}

/// The folders with their state
#[utoipa::path(
    get, path = "/api/v1/folders", tag = "files", security(("token" = [])),
    responses(
        (status = 200, description = "The folders", body = Folders),
        (status = 401, description = "No valid token", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The token lacks the scope `read`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The catalog can't be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(State(portal): State<Portal>, Known(caller): Known) -> Result<Response, Refusal> {
    caller.need(Scope::Read)?;
    let folders = portal.folders().await?;
    let folders = folders
        .iter()
        .map(|folder| Folder {
            name: folder.name.clone(),
            agent: folder.agent.clone(),
            state: folder.state.as_str(),
            state_reason: folder.reason.clone(),
            last_reconciled_at: folder.last_reconciled_at.map(time),
        })
        .collect();
    Ok(answer(StatusCode::OK, &Folders { folders }))
}
