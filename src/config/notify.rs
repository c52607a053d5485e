//! `[[notify]]`: webhooks.

use std::collections::HashSet;

use secrecy::SecretString;

use super::error::Problem;
use super::layers::read_secret;
use super::reader::Reader;
use super::section::Section;
use super::settings::{NotifySettings, WebhookUrl};
use super::show::Shown;
use super::values;
use crate::model::NoticeKind;

/// Every webhook, in the order of the file.
pub(super) fn webhooks(reader: &mut Reader) -> Vec<NotifySettings> {
    let mut names = HashSet::new();
    let mut webhooks = Vec::new();
    for (i, (origin, keys)) in reader.take_tables("notify").into_iter().enumerate() {
        let named = keys.get("name").and_then(|name| name.as_str()).map(str::to_owned);
        let label = format!("notify[{}]", named.unwrap_or_else(|| (i + 1).to_string()));
        let mut section = reader.table("notify", label, origin, keys);
        let webhook = webhook(&mut section);
        if let Some(webhook) = &webhook
            && !names.insert(webhook.name.clone())
        {
            section.conflict("name", format!("the name \"{}\" is taken by another webhook", webhook.name));
        }
        section.finish();
        webhooks.extend(webhook);
    }
    webhooks
}

/// Nothing if a part without which it means nothing was refused.
fn webhook(section: &mut Section<'_>) -> Option<NotifySettings> {
    let expected = "a URL such as https://hooks.example.org/portail, without user and password";
    // Its path may be all the secret that there is.
    let url = section.hidden("url", expected, WebhookUrl::parse);
    match &url {
        Some(url) => {
            let origin = section.origin("url");
            section.amend("url", Shown::Quoted(url.to_string()), origin);
        }
        None if !section.was_given("url") => section.conflict("url", "every webhook needs a URL"),
        None => {}
    }
    let default_name = url.as_ref().map(|url| url.host().to_owned());
    let name = section.name("name", default_name.as_deref());
    let secret = secret(section);
    let words: Vec<&str> = NoticeKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let check = |word: &str| match NoticeKind::parse(word) {
        Some(_) => Ok(()),
        None => Err(format!("`{word}` is none of {}", words.join(", "))),
    };
    let events = section.list("events", check);
    let ca_file = section.path("ca_file", None);
    let url = url?;
    if ca_file.is_some() && !url.is_encrypted() {
        section.conflict("ca_file", "it is for URLs that begin with https://");
    }
    let chosen: Vec<NoticeKind> = events.iter().filter_map(|word| NoticeKind::parse(word)).collect();
    let events = if events.is_empty() { NoticeKind::ALL.to_vec() } else { chosen };
    Some(NotifySettings { name: name?, url, secret, events, ca_file })
}

fn secret(section: &mut Section<'_>) -> Option<SecretString> {
    let secret = section.secret("secret");
    let file = section.path("secret_file", None);
    match (secret, file) {
        (Some(_), Some(_)) => {
            section.conflict("secret_file", "notify.secret is set, too: remove one of them");
            None
        }
        (None, Some(path)) => match read_secret(&path) {
            Ok(secret) => Some(SecretString::from(secret)),
            Err(source) => {
                let origin = section.origin("secret_file");
                section.report(Problem::Read { origin, path, source });
                None
            }
        },
        (secret, None) => secret.map(SecretString::from),
    }
}

impl WebhookUrl {
    /// `http://` or `https://`, a host, perhaps a port, a path and a query.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.trim().parse().ok()?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        (is_http && has_host && !values::has_user_info(text)).then_some(Self(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_where_it_leads_and_never_its_path() {
        let url = WebhookUrl::parse("https://hooks.example.org/T123/hunter2?key=hunter2").unwrap();
        assert_eq!(url.to_string(), "https://hooks.example.org/***");
        assert!(!format!("{url:?}").contains("hunter2"), "{url:?}");
        assert_eq!((url.host(), url.port(), url.is_encrypted()), ("hooks.example.org", 443, true));
        let url = WebhookUrl::parse("http://[::1]:8080/").unwrap();
        assert_eq!((url.host(), url.port(), url.authority().as_str()), ("::1", 8080, "::1:8080"));
        assert_eq!((url.host_header().as_str(), url.to_string().as_str()), ("[::1]:8080", "http://[::1]:8080/***"));
        for wrong in ["ftp://x/", "hooks.example.org", "https://", "https://me:hunter2@x/", ""] {
            assert!(WebhookUrl::parse(wrong).is_none(), "{wrong}");
        }
    }
}
