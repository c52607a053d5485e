//! The visitor's links: what has become of them, and putting an end to one.

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{StatusCode, Uri};
use serde::Deserialize;

use super::{page, query};
use crate::model::Scope;
use crate::urls::web::names::encoded_part;
use crate::urls::web::present::link_row;
use crate::urls::web::view::{Here, LinksPage};
use crate::urls::web::visitor::{Form, Visitor, local_path};
use crate::urls::{Portal, Refusal};

/// Links of a page.
const PAGE: usize = 50;

/// What follows the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    /// An administrator wants everybody's.
    all: Option<String>,
    after: Option<String>,
    revoked: Option<String>,
}

/// The links, the newest first.
pub async fn show(State(portal): State<Portal>, visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    let asked: Asked = query(&uri);
    let w = visitor.w;
    let is_admin = visitor.caller.may(Scope::Admin);
    let all = asked.all.is_some() && is_admin;
    let after = asked.after.as_deref().filter(|after| !after.is_empty());
    let (links, next) = portal.links(&visitor.caller, all, None, after, PAGE).await?;
    let folders = portal.folders().await?;
    let may_revoke = visitor.caller.may(Scope::Link);
    let all_query = if all { "all=1&" } else { "" };
    let (title, hint) = if all { (w.all_links, w.all_links_hint) } else { (w.links_title, w.links_hint) };
    let links = LinksPage {
        frame: visitor.frame(title, Here::Links),
        heading: title,
        hint,
        links: links.iter().map(|link| link_row(&visitor, &folders, link, may_revoke)).collect(),
        more: next.map(|next| format!("/links?{all_query}after={}", encoded_part(&next))),
        other: is_admin.then_some(if all { ("/links", w.links_title) } else { ("/links?all=1", w.all_links) }),
        notice: asked.revoked.map(|_| w.revoked_now),
        back: if all { "/links?all=1&revoked=1".to_owned() } else { "/links?revoked=1".to_owned() },
    };
    page(StatusCode::OK, w, &links, None)
}

/// The fields of the form.
#[derive(Debug, Deserialize)]
pub struct Ending {
    #[serde(default)]
    form_token: String,
    #[serde(default)]
    back: String,
}

/// Puts an end to a link.
pub async fn revoke(
    State(portal): State<Portal>,
    visitor: Visitor,
    uri: Uri,
    Form(ending): Form<Ending>,
) -> Result<Response, Refusal> {
    visitor.check(&ending.form_token)?;
    let id = uri.path().trim_start_matches("/links/").trim_end_matches("/revoke");
    let id = id.parse().map_err(|_| Refusal::NotFound("link"))?;
    portal.revoke(&visitor.caller, id).await?;
    Ok(Redirect::to(local_path(&ending.back)).into_response())
}
