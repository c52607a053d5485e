//! Logging in with a token, and out again.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::{page, query};
use crate::urls::client::Client;
use crate::urls::web::session::{Key, LASTING};
use crate::urls::web::view::{Frame, Here, Login};
use crate::urls::web::visitor::{self, Form, Visitor, local_path};
use crate::urls::web::words::Words;
use crate::urls::{Portal, Refusal};

/// What follows the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    next: Option<String>,
    out: Option<String>,
}

/// The form.
pub async fn show(
    State(portal): State<Portal>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Refusal> {
    let asked: Asked = query(&uri);
    let next = local_path(asked.next.as_deref().unwrap_or("/"));
    if visitor::find(&portal, &headers, &client).ok().flatten().is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    let w = Words::of(visitor::language(&headers));
    let notice = if asked.out.is_some() {
        Some(w.logged_out)
    } else if visitor::had_session(&headers, &client) {
        Some(w.session_ended)
    } else {
        None
    };
    page(StatusCode::OK, w, &form(w, next, None, notice), None)
}

fn form(w: &'static Words, next: &str, error: Option<&'static str>, notice: Option<&'static str>) -> Login {
    let frame = Frame { w, title: w.login_title.to_owned(), user: None, here: Here::Elsewhere };
    Login { frame, next: next.to_owned(), error, notice }
}

/// The fields of the form.
#[derive(Deserialize)]
pub struct Entering {
    token: String,
    #[serde(default)]
    next: String,
}

impl std::fmt::Debug for Entering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entering").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Logs in.
pub async fn enter(
    State(portal): State<Portal>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(entering): Form<Entering>,
) -> Result<Response, Refusal> {
    let w = Words::of(visitor::language(&headers));
    let next = local_path(&entering.next);
    match portal.token(entering.token.trim(), &client) {
        Ok(caller) => {
            let cookie = visitor::set_cookie(&client, &Key::of_process().seal(&caller, visitor::now()), LASTING);
            tracing::info!(caller = caller.name, address = %client.address, "logged in");
            with_cookie(Redirect::to(next).into_response(), &cookie)
        }
        Err(Refusal::Unauthenticated) => {
            page(StatusCode::UNAUTHORIZED, w, &form(w, next, Some(w.wrong_token), None), None)
        }
        Err(refusal @ Refusal::TooMany(_)) => page(refusal.status(), w, &form(w, next, Some(w.too_many), None), None),
        Err(refusal) => Err(refusal),
    }
}

/// The fields of the form.
#[derive(Debug, Deserialize)]
pub struct Leaving {
    #[serde(default)]
    form_token: String,
}

/// Logs out.
pub async fn leave(visitor: Visitor, Form(leaving): Form<Leaving>) -> Result<Response, Refusal> {
    visitor.check(&leaving.form_token)?;
    with_cookie(Redirect::to("/login?out=1").into_response(), &visitor::set_cookie(&visitor.client, "", 0))
}

fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, Refusal> {
    let cookie = HeaderValue::try_from(cookie).map_err(|_| Refusal::Defect)?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
