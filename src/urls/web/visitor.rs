//! Who looks at the page, and in which language; and whether a form was sent by a page of ours.

use std::time::SystemTime;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;

use super::language::Language;
use super::names::encoded_part;
use super::present::unix;
use super::session::Key;
use super::view::{Frame, Here, User};
use super::words::Words;
use crate::model::Scope;
use crate::urls::client::Client;
use crate::urls::{Caller, Portal, Refusal};

/// The cookie's name; over an encrypted connection one that no other host can set.
const COOKIE: &str = "portail";
const SECURE_COOKIE: &str = "__Host-portail";

/// Somebody who may look.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who it is.
    pub caller: Caller,
    /// From where.
    pub client: Client,
    /// What they read.
    pub w: &'static Words,
    /// They have a session that they can end.
    pub has_session: bool,
    /// Seconds since 1970.
    pub now: i64,
}

impl Visitor {
    /// What is around a page of theirs.
    pub fn frame(&self, title: impl Into<String>, here: Here) -> Frame {
        Frame { w: self.w, title: title.into(), user: Some(self.user()), here }
    }

    fn user(&self) -> User {
        let form_token = Key::of_process().form_token(&self.caller.name, &self.caller.proof);
        User { name: self.caller.name.clone(), can_log_out: self.has_session, form_token }
    }
}

/// What the browser prefers.
pub fn language(headers: &HeaderMap) -> Language {
    let text = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    text.map_or(Language::English, Language::accepted)
}

/// Now, in seconds since 1970.
pub fn now() -> i64 {
    unix(SystemTime::now())
}

/// Who a request is from, if it says so.
///
/// # Errors
/// If it says so wrongly.
pub fn find(portal: &Portal, headers: &HeaderMap, client: &Client) -> Result<Option<Visitor>, Refusal> {
    let (w, now) = (Words::of(language(headers)), now());
    let visitor = |caller, has_session| Visitor { caller, client: client.clone(), w, has_session, now };
    if let Some(caller) = cookie(headers, client).and_then(|cookie| {
        let caller = portal.caller_named(&Key::name(cookie)?)?;
        Key::of_process().is_of(cookie, &caller, now).then_some(caller)
    }) {
        return Ok(Some(visitor(caller, true)));
    }
    Ok(portal.authenticate(headers, client)?.map(|caller| visitor(caller, false)))
}

/// Whether the browser has had a session, though it may have ended.
pub fn had_session(headers: &HeaderMap, client: &Client) -> bool {
    cookie(headers, client).is_some()
}

/// The session's cookie for this connection.
pub fn set_cookie(client: &Client, value: &str, lasting: i64) -> String {
    let (name, secure) = if client.https { (SECURE_COOKIE, "; Secure") } else { (COOKIE, "") };
    format!("{name}={value}; Path=/; Max-Age={lasting}; HttpOnly; SameSite=Strict{secure}")
}

fn cookie<'a>(headers: &'a HeaderMap, client: &Client) -> Option<&'a str> {
    let name = if client.https { SECURE_COOKIE } else { COOKIE };
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// A path of this service that may be gone on to: nothing that a browser takes for an address elsewhere.
pub fn local_path(text: &str) -> &str {
    let is_local = text.starts_with('/')
        && !text.starts_with("//")
        && !text.bytes().any(|b| b.is_ascii_control() || b == b'\\' || b == b' ');
    if is_local { text } else { "/" }
}

impl FromRequestParts<Portal> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, portal: &Portal) -> Result<Self, Response> {
        let client = parts.extensions.get::<Client>().cloned().ok_or_else(|| Refusal::Defect.into_response())?;
        match find(portal, &parts.headers, &client).map_err(IntoResponse::into_response)? {
            Some(visitor) => {
                visitor.caller.need(Scope::Read).map_err(IntoResponse::into_response)?;
                Ok(visitor)
            }
            // What was being done is not repeated by itself once logged in.
            None if parts.method == Method::GET => {
                let wanted = parts.uri.path_and_query().map_or("/", |path| path.as_str());
                Err(Redirect::to(&format!("/login?next={}", encoded_part(wanted))).into_response())
            }
            None => Err(Redirect::to("/login").into_response()),
        }
    }
}

/// The fields of a form that was sent by a page of ours.
///
/// The cookie does not go along with a request that another site has made (SameSite); [`server`](crate::urls::server) refuses those that
/// say so themselves; here are the others: the origin that a browser names must be this service.
#[derive(Debug)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Portal> for Form<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, portal: &Portal) -> Result<Self, Refusal> {
        let client = request.extensions().get::<Client>().cloned().ok_or(Refusal::Defect)?;
        let public = portal.settings().public_url.as_deref();
        if !is_ours(request.headers(), &client, public) {
            return Err(Refusal::CrossSite);
        }
        match axum::Form::from_request(request, &()).await {
            Ok(axum::Form(fields)) => Ok(Self(fields)),
            Err(rejection) => Err(Refusal::Invalid(rejection.body_text())),
        }
    }
}

/// Whether the origin that a browser names, if it names one, is this service.
fn is_ours(headers: &HeaderMap, client: &Client, public: Option<&str>) -> bool {
    // The browser itself has compared the two.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some(host) = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host) else {
        return false;
    };
    let public = public.and_then(|url| url.split_once("://")).and_then(|(_, rest)| rest.split('/').next());
    client.host.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(host))
        || public.is_some_and(|name| name.eq_ignore_ascii_case(host))
}

impl Visitor {
    /// # Errors
    /// If a form was not made for this visitor.
    pub fn check(&self, form_token: &str) -> Result<(), Refusal> {
        let is_theirs = Key::of_process().is_form_token(form_token, &self.caller.name, &self.caller.proof);
        if is_theirs { Ok(()) } else { Err(Refusal::CrossSite) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(host: &str, https: bool) -> Client {
        Client { address: [127, 0, 0, 1].into(), by_proxy: false, https, host: Some(host.to_owned()) }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_form_of_another_site_is_told_by_its_origin() {
        let here = client("portail.example:8080", false);
        for (sent, public, expected) in [
            (vec![], None, true),
            (vec![("origin", "http://portail.example:8080")], None, true),
            (vec![("origin", "http://PORTAIL.example:8080")], None, true),
            (vec![("origin", "http://portail.example")], None, false),
            (vec![("origin", "https://evil.example")], None, false),
            (vec![("origin", "null")], None, false),
            (vec![("origin", "https://files.example")], Some("https://files.example"), true),
            (vec![("origin", "https://files.example")], Some("https://files.example/sub"), true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "https://behind.example")], None, true),
            (vec![("sec-fetch-site", "none"), ("origin", "https://behind.example")], None, false),
        ] {
            assert_eq!(is_ours(&headers(&sent), &here, public), expected, "{sent:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_only_by_its_whole_name() {
        let sent = headers(&[("cookie", "a=b; portail=x.1.y; portailx=no"), ("cookie", "__Host-portail=secure")]);
        assert_eq!(cookie(&sent, &client("h", false)), Some("x.1.y"));
        assert_eq!(cookie(&sent, &client("h", true)), Some("secure"));
        assert_eq!(cookie(&headers(&[("cookie", "xportail=1; portail2=2")]), &client("h", false)), None);
    }

    #[test]
    fn a_cookie_is_closed_to_script_and_to_other_sites() {
        let plain = set_cookie(&client("h", false), "v", 60);
        assert_eq!(plain, "portail=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict");
        assert!(set_cookie(&client("h", true), "v", 60).starts_with("__Host-portail=v; "));
        assert!(set_cookie(&client("h", true), "v", 60).ends_with("; Secure"));
    }

    #[test]
    fn nobody_is_sent_elsewhere_after_logging_in() {
        for path in ["/", "/browse/a%20b?q=%22", "/file/x#share"] {
            assert_eq!(local_path(path), path);
        }
        for path in ["", "//evil.org", "/\\evil.org", "https://evil.org", "javascript:alert(1)", "/a\nb", "browse"] {
            assert_eq!(local_path(path), "/");
        }
    }
}
