//! `GET /api/v1/openapi.json`: the description of the API, made from its code.

use axum::response::Response;
use http::StatusCode;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::parts::{Known, answer};
use super::{files, folders, links, urls};
use crate::model::Scope;
use crate::urls::refusal::Refusal;

/// All that is described. License, version and name are the package's.
#[derive(OpenApi)]
#[openapi(
    info(title = "agent-portail urls", description = "Browse and search mirrored folders, and give temporary access to single files."),
    paths(folders::list, files::list, urls::create, links::create, links::list, links::revoke),
    modifiers(&Tokens),
    tags((name = "files", description = "What there is"), (name = "links", description = "Temporary access"))
)]
struct Api;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("As `agent-portail urls token add` prints it"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

pub(super) async fn show(Known(caller): Known) -> Result<Response, Refusal> {
    caller.need(Scope::Read)?;
    Ok(answer(StatusCode::OK, &document()))
}
