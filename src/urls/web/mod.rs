//! The web page of the link service: browse, search, look at files, and share them by links. Rendered on the server, complete in English
//! and French, and usable without script.
//!
//! - [`pages`] answers requests; [`view`] is what the templates show, and [`present`] turns rows into it.
//! - [`visitor`] says who asks, by the cookie that [`session`] seals, and refuses what another site has made a browser send.
//! - [`language`], [`words`], [`format`](mod@format) and [`names`] are pure: what is said, and how.
//! - [`policy`] is what a browser may do with a page, and [`problem`] what is shown instead of one.

pub mod assets;
pub mod format;
pub mod language;
pub mod names;
pub mod pages;
pub mod policy;
pub mod present;
pub mod problem;
pub mod session;
pub mod view;
pub mod visitor;
pub mod words;

use axum::Router;
use axum::routing::{get, post};

use super::portal::Portal;
pub use problem::dress;

/// The routes of the page.
pub fn router() -> Router<Portal> {
    Router::new()
        .route("/", get(pages::home::show))
        .route("/search", get(pages::home::search))
        .route("/browse/{*place}", get(pages::browse::show))
        .route("/file/{*place}", get(pages::file::show).post(pages::file::share))
        .route("/open/{*place}", get(pages::file::open))
        .route("/download/{*place}", get(pages::file::download))
        .route("/links", get(pages::links::show))
        .route("/links/{id}/revoke", post(pages::links::revoke))
        .route("/login", get(pages::login::show).post(pages::login::enter))
        .route("/logout", post(pages::login::leave))
        .route("/assets/{name}", get(pages::asset))
}
