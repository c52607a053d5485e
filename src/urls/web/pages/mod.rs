//! Answers to requests, one file a page.

pub mod browse;
pub mod file;
pub mod home;
pub mod links;
pub mod login;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::assets::Asset;
use super::policy;
use super::words::Words;
use crate::urls::Refusal;

/// A page, rendered.
fn page(status: StatusCode, w: &Words, template: &impl Template, store: Option<&str>) -> Result<Response, Refusal> {
    match template.render() {
        Ok(html) => Ok(policy::page(status, w.language, html, store)),
        Err(error) => {
            tracing::error!(error = %crate::model::chain(&error), "failed to render a page");
            Err(Refusal::Defect)
        }
    }
}

/// What an address names after its first part: a folder, and a path in it.
fn place(uri: &Uri) -> Result<(String, String), Refusal> {
    let mut parts = uri.path().trim_start_matches('/').splitn(3, '/').skip(1);
    let decode = |part: Option<&str>| {
        let text = percent_decode_str(part.unwrap_or_default()).decode_utf8();
        text.map(|text| text.into_owned()).map_err(|_| Refusal::NotFound("file"))
    };
    let (folder, path) = (decode(parts.next())?, decode(parts.next())?);
    Ok((folder, path.trim_end_matches('/').to_owned()))
}

/// What follows the question mark. What can't be read there is as if it was not there.
fn query<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    axum::extract::Query::try_from_uri(uri).map_or_else(|_| T::default(), |axum::extract::Query(query)| query)
}

/// Style, script and icon.
pub async fn asset(uri: Uri) -> Response {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some(asset) = Asset::find(name) else { return Refusal::NotFound("file").into_response() };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        // Other content has another address.
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, asset.content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_folder_and_a_path_in_it() {
        for (address, folder, path) in [
            ("/browse/docs", "docs", ""),
            ("/browse/docs/", "docs", ""),
            ("/browse/a%2Fb/c/d%20e/", "a/b", "c/d e"),
            ("/file/d/%3Cscript%3E%0A", "d", "<script>\n"),
        ] {
            assert_eq!(place(&address.parse().unwrap()).unwrap(), (folder.to_owned(), path.to_owned()), "{address}");
        }
        assert!(place(&"/file/d/%FF".parse().unwrap()).is_err());
    }
}
