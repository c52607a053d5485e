//! The JSON API, under `/api/v1`: thin, over [`Portal`].

mod files;
mod folders;
mod links;
mod openapi;
mod parts;
mod urls;

use axum::Router;
use axum::routing::{delete, get, post};

use super::portal::Portal;
use super::refusal::Refusal;
pub use openapi::document;

/// Its routes.
pub fn router() -> Router<Portal> {
    Router::new()
        .route("/api/v1/folders", get(folders::list))
        .route("/api/v1/files", get(files::list))
        .route("/api/v1/urls", post(urls::create))
        .route("/api/v1/links", get(links::list).post(links::create))
        .route("/api/v1/links/{id}", delete(links::revoke))
        .route("/api/v1/openapi.json", get(openapi::show))
        .route("/api/{*rest}", axum::routing::any(nothing))
}

/// Below `/api` nobody expects a page.
async fn nothing() -> Refusal {
    Refusal::NotFound("route")
}
