//! What is shown instead of a page: every refusal in words, in the reader's language, with a way on.

use askama::Template as _;
use axum::response::Response;
use http::{HeaderMap, HeaderName, header};

use super::policy;
use super::view::{Frame, Here, Problem};
use super::visitor::{self, language};
use super::words::Words;
use crate::urls::client::Client;
use crate::urls::refusal::Gone;
use crate::urls::{Portal, Refusal};

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Whoever looks at the page.
    Visitor,
    /// Whoever was sent a link, and knows nothing of this service.
    Recipient,
}

/// Turns a refusal into a page, where a browser has asked for one: `path` is what it has asked for. Programs get theirs as it is.
pub fn dress(portal: &Portal, client: &Client, path: &str, headers: &HeaderMap, response: Response) -> Response {
    let told = match path {
        path if path.starts_with("/api/") || path == "/healthz" => return response,
        path if path.starts_with("/l/") => Told::Recipient,
        _ => Told::Visitor,
    };
    let Some(refusal) = response.extensions().get::<Refusal>().cloned() else { return response };
    let wants_page = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !wants_page.is_some_and(|accept| accept.contains("text/html")) {
        return response;
    }
    let language = language(headers);
    let w = Words::of(language);
    let visitor = match told {
        Told::Visitor => visitor::find(portal, headers, client).ok().flatten(),
        Told::Recipient => None,
    };
    let said = say(w, &refusal, told);
    let frame = match &visitor {
        Some(visitor) => visitor.frame(said.heading, Here::Elsewhere),
        None => Frame { w, title: said.heading.to_owned(), user: None, here: Here::Elsewhere },
    };
    let action = said.again.map(|again| {
        let href = match again {
            Again::Home => "/".to_owned(),
            Again::SamePage => path.to_owned(),
        };
        (href, again.label(w))
    });
    let page = Problem { frame, icon: said.icon, heading: said.heading, hint: said.hint, action };
    let Ok(html) = page.render() else { return response };
    let mut dressed = policy::page(refusal.status(), language, html, None);
    // Of the refusal itself: how long to wait, and what is not to be kept or told.
    let robots = HeaderName::from_static("x-robots-tag");
    for name in [header::RETRY_AFTER, header::CACHE_CONTROL, header::REFERRER_POLICY, header::ALLOW, robots] {
        if let Some(value) = response.headers().get(&name) {
            dressed.headers_mut().insert(name, value.clone());
        }
    }
    dressed
}

/// Where one can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// To the start page.
    Home,
    /// To the same page, later.
    SamePage,
}

impl Again {
    fn label(self, w: &Words) -> &'static str {
        match self {
            Self::Home => w.back_home,
            Self::SamePage => w.try_again,
        }
    }
}

struct Said {
    icon: &'static str,
    heading: &'static str,
    hint: String,
    again: Option<Again>,
}

fn say(w: &Words, refusal: &Refusal, told: Told) -> Said {
    let said = |icon, heading, hint: &str, again| Said { icon, heading, hint: hint.to_owned(), again };
    match told {
        Told::Recipient => match refusal {
            Refusal::NotFound(_) => said("lost", w.link_unknown, w.link_unknown_hint, None),
            Refusal::Gone(Gone::Expired) => said("clock", w.link_expired, w.link_expired_hint, None),
            Refusal::Gone(Gone::Revoked) => said("close", w.link_revoked, w.link_revoked_hint, None),
            Refusal::Gone(Gone::UsedUp) => said("clock", w.link_used_up, w.link_used_up_hint, None),
            Refusal::Gone(Gone::Deleted) => said("bin", w.link_gone, w.link_gone_hint, None),
            Refusal::Conflict(_) => said("busy", w.link_not_ready, w.link_not_ready_hint, Some(Again::SamePage)),
            Refusal::TooMany(_) => said("clock", w.unavailable, w.too_many, None),
            Refusal::Unavailable(_) | Refusal::TooSlow => {
                said("pause", w.unavailable, w.link_unavailable_hint, Some(Again::SamePage))
            }
            Refusal::Defect => said("alert", w.broken, w.link_unavailable_hint, None),
            Refusal::Invalid(_)
            | Refusal::Unauthenticated
            | Refusal::Forbidden(_)
            | Refusal::CrossSite
            | Refusal::Method
            | Refusal::TooLarge
            | Refusal::MediaType
            | Refusal::Misdirected => said("lost", w.link_unknown, w.link_unknown_hint, None),
        },
        Told::Visitor => match refusal {
            Refusal::NotFound(_) => said("lost", w.not_found, w.not_found_hint, Some(Again::Home)),
            Refusal::Gone(_) => said("bin", w.gone, w.gone_hint, Some(Again::Home)),
            Refusal::Forbidden(_) | Refusal::Unauthenticated => {
                said("close", w.forbidden, w.forbidden_hint, Some(Again::Home))
            }
            Refusal::CrossSite => said("busy", w.stale_form, w.stale_form_hint, Some(Again::Home)),
            // The reason is the store's or the daemon's, as they said it.
            Refusal::Conflict(reason) => said("busy", w.conflict, reason, Some(Again::Home)),
            Refusal::TooMany(_) => said("clock", w.unavailable, w.too_many, Some(Again::SamePage)),
            Refusal::Unavailable(_) | Refusal::TooSlow => {
                said("pause", w.unavailable, w.unavailable_hint, Some(Again::SamePage))
            }
            Refusal::Defect => said("alert", w.broken, w.broken_hint, Some(Again::Home)),
            Refusal::Misdirected => said("lost", w.not_found, w.misdirected_hint, None),
            Refusal::Invalid(_) | Refusal::Method | Refusal::TooLarge | Refusal::MediaType => {
                said("alert", w.wrong, w.wrong_hint, Some(Again::Home))
            }
        },
    }
}
