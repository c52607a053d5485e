//! From text to values: the grammar of durations, sizes, shares, addresses and names.

use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use http::Uri;
use ipnet::IpNet;

/// `500ms`, `15m`, `7d`; `0` is no time at all.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    // The parser overflows on more seconds than fit in 64 bits, which takes more than twenty characters.
    if text.len() > 20 {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// `8MiB`, `1.5GB`, or a plain number of bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// `25%`, from 0 to 100.
pub(super) fn percent(text: &str) -> Option<f64> {
    let number = text.trim().strip_suffix('%')?.trim_end();
    // The parser of floats takes `nan`, `inf` and `1e1`, too.
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    number.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

/// `ADDRESS:PORT`.
pub(super) fn listen(text: &str) -> Option<SocketAddr> {
    text.trim().parse().ok()
}

/// Whether only this machine reaches the address; also for an IPv4 address in IPv6 clothes.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A bucket's name, or the ARN of an access point.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
pub(super) fn bucket(text: &str) -> Option<String> {
    if text.starts_with("arn:") && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    let is_edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let valid = (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| is_edge(b) || matches!(b, b'-' | b'.'))
        && bytes.first().is_some_and(is_edge)
        && bytes.last().is_some_and(is_edge)
        && !text.contains("..");
    valid.then(|| text.to_owned())
}

/// `http://HOST[:PORT]` or `https://…`, without user and password: requests are signed.
pub(super) fn endpoint(text: &str) -> Option<String> {
    let uri: Uri = text.trim().parse().ok()?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let plain = uri.query().is_none() && !has_user_info(text);
    (has_scheme && has_host && plain).then(|| text.trim().to_owned())
}

/// Whether a URL has `user:password@`, or anything that could be one.
pub(super) fn has_user_info(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// The text with `user:password@` of a URL hidden, for messages. It hides up to the last `@`, because a password that holds
/// a `/` makes the URL one that no parser understands.
pub(super) fn mask(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://***@{host}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

/// An absolute path without `..`, cleaned of `.` and of doubled or trailing slashes.
pub(super) fn absolute(path: &Path) -> Option<PathBuf> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    (path.is_absolute() && !climbs).then(|| path.components().collect())
}

/// Addresses, or networks with the number of their bits, with commas between them.
pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    text.split(',').map(|part| network(part.trim())).collect()
}

/// The name of an HTTP header, in lower case.
pub(super) fn header(text: &str) -> Option<String> {
    text.trim().parse::<http::HeaderName>().ok().map(|name| name.as_str().to_owned())
}

/// A storage class as S3 spells it; other stores have their own.
pub(super) fn storage_class(text: &str) -> Option<String> {
    let valid = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    valid.then(|| text.to_owned())
}

/// Something on one line.
pub(super) fn name(text: &str) -> Option<String> {
    (!text.trim().is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_what_the_manual_shows() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert_eq!(size("8MiB"), Some(8 << 20));
        assert_eq!(size("0"), Some(0));
        for wrong in ["", "5", "-1s", "abc", "1 parsec", "18446744073709551615s1000ms"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        for wrong in ["", "-1", "8 bananas", "MiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shares_stay_between_nothing_and_everything() {
        assert_eq!(percent("25%"), Some(25.0));
        assert_eq!(percent("0.5 %"), Some(0.5));
        assert_eq!(percent("100%"), Some(100.0));
        for wrong in ["25", "101%", "-1%", "%", "nan%", "1e1%", "inf%"] {
            assert_eq!(percent(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn buckets_follow_the_rules_of_s3() {
        for right in ["abc", "company-files", "my.bucket.1", "arn:aws:s3:eu-west-3:123456789012:accesspoint/x"] {
            assert_eq!(bucket(right).as_deref(), Some(right));
        }
        for wrong in ["", "ab", "Upper", "under_score", "-edge", "edge.", "a..b", "s3://bucket", &"a".repeat(64)] {
            assert_eq!(bucket(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_plain_urls_without_credentials() {
        for right in ["http://127.0.0.1:3900", "https://s3.example.org/", "http://[::1]:9000"] {
            assert_eq!(endpoint(right).as_deref(), Some(right));
        }
        for wrong in ["127.0.0.1:3900", "ftp://x", "http://", "http://me:pw@x", "http://x/?q=1", ""] {
            assert_eq!(endpoint(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_masked_url_keeps_nothing_of_the_password() {
        assert_eq!(mask("postgres://me:hun/ter@2@host/db"), "postgres://***@host/db");
        assert_eq!(mask("http://host/"), "http://host/");
    }

    #[test]
    fn paths_are_absolute_and_clean() {
        assert_eq!(absolute(Path::new("/srv//a/./b/")), Some("/srv/a/b".into()));
        assert_eq!(absolute(Path::new("srv")), None);
        assert_eq!(absolute(Path::new("/srv/../etc")), None);
    }

    #[test]
    fn networks_are_addresses_or_have_bits() {
        let found: Vec<String> =
            networks("10.0.0.5, 10.0.1.0/24,::1").unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.5/32", "10.0.1.0/24", "::1/128"]);
        for wrong in ["", "10.0.0.5,", "proxy.example.org", "10.0.0.0/33", "10.0.0.0/24/1"] {
            assert_eq!(networks(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_the_network() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }
}
