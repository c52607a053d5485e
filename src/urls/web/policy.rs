//! What a browser may do with a page of ours: run our script and style, and show pictures and documents of the store, where there are any.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::language::Language;

/// A page as it is sent. `store` is where its pictures and documents come from.
pub fn page(status: StatusCode, language: Language, html: String, store: Option<&str>) -> Response {
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(content_security(store)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        // Who may look now may not tomorrow, and a page that is gone back to must not show what has been ended since.
        (header::CACHE_CONTROL, "private, no-store"),
        (header::VARY, "Accept-Language, Cookie"),
        (header::CONTENT_LANGUAGE, language.tag()),
        // Nothing for the store to know; but with no referrer at all a browser would name no origin for a form either.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-write=(self)"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn content_security(store: Option<&str>) -> String {
    // An address of the store is the only thing that is not written here, and what could end a directive is in none.
    let store = store.filter(|store| !store.contains([';', ',', ' ', '\'', '"'])).unwrap_or_default();
    let frames = if store.is_empty() { "'none'" } else { store };
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' {store}; frame-src {frames}; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inline_runs_and_only_the_store_is_shown() {
        for store in [None, Some("https://s3.example.org:9000"), Some("x; script-src *")] {
            let policy = content_security(store);
            assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
            assert!(policy.contains("script-src 'self';") && policy.contains("style-src 'self';"));
        }
        assert!(content_security(Some("https://s3.example.org")).contains("frame-src https://s3.example.org;"));
        assert!(content_security(None).contains("frame-src 'none'"));
    }
}
