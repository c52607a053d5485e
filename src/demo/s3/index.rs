//! What the embedded store knows of its objects: everything but their bytes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::SystemTime;

use super::versions::Bucket;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{CommonPrefix, ETag, EncodingType, ListObjectsV2Input, ListObjectsV2Output, Object, Timestamp};

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The file that holds its bytes.
    pub(super) blob: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) modified: SystemTime,
    /// None where it was put while the bucket had no versions.
    pub(super) version: Option<String>,
}

/// A multipart upload that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) blob: String,
    pub(super) begun: SystemTime,
    /// Size and ETag by number.
    pub(super) parts: BTreeMap<i32, (u64, String)>,
}

/// All buckets. A map of strings in Rust is in byte order, which is S3's.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) buckets: BTreeMap<String, Bucket>,
    pub(super) uploads: BTreeMap<String, Upload>,
}

/// Lists as S3 does: in byte order, a thousand at a time, grouped by a delimiter if there is one.
pub(super) fn list(objects: &BTreeMap<String, Entry>, input: ListObjectsV2Input) -> ListObjectsV2Output {
    let prefix = input.prefix.clone().unwrap_or_default();
    let limit = usize::try_from(input.max_keys.unwrap_or(1000)).unwrap_or(0).min(1000);
    let encoded = input.encoding_type.as_ref().is_some_and(|kind| kind.as_str() == EncodingType::URL);
    let show = |text: &str| if encoded { encode(text) } else { text.to_owned() };
    // The token is the last key or group that was given, encoded because XML could not hold every key.
    let resume = input.continuation_token.as_deref().map(decode_token).or_else(|| input.start_after.clone());
    let from = match &resume {
        Some(last) if *last >= prefix => Bound::Excluded(last.clone()),
        Some(_) | None => Bound::Included(prefix.clone()),
    };
    let mut contents = Vec::new();
    let mut groups: Vec<CommonPrefix> = Vec::new();
    let mut last_group: Option<String> = None;
    let mut last = None;
    let mut truncated = false;
    for (key, entry) in objects.range((from, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(prefix.as_str()) else { break };
        let group =
            input.delimiter.as_deref().filter(|delimiter| !delimiter.is_empty()).and_then(|delimiter| {
                rest.find(delimiter).map(|at| key[..prefix.len() + at + delimiter.len()].to_owned())
            });
        let seen = group.is_some()
            && (group == last_group || group.as_ref().zip(resume.as_ref()).is_some_and(|(g, r)| g == r));
        if seen {
            continue;
        }
        if contents.len() + groups.len() == limit {
            truncated = true;
            break;
        }
        last = Some(group.clone().unwrap_or_else(|| key.clone()));
        match group {
            Some(group) => {
                groups.push(CommonPrefix { prefix: Some(show(&group)) });
                last_group = Some(group);
            }
            None => contents.push(Object {
                key: Some(show(key)),
                size: i64::try_from(entry.size).ok(),
                e_tag: Some(ETag::Strong(entry.etag.clone())),
                last_modified: Some(Timestamp::from(entry.modified)),
                ..Default::default()
            }),
        }
    }
    let count = contents.len() + groups.len();
    ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(show(&prefix)),
        delimiter: input.delimiter.map(|delimiter| show(&delimiter)),
        start_after: input.start_after.map(|key| show(&key)),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(count).ok(),
        is_truncated: Some(truncated),
        continuation_token: input.continuation_token,
        next_continuation_token: last.filter(|_| truncated).map(|key| encode_token(&key)),
        contents: (!contents.is_empty()).then_some(contents),
        common_prefixes: (!groups.is_empty()).then_some(groups),
        encoding_type: input.encoding_type,
        ..Default::default()
    }
}

/// As S3 encodes keys in listings when it is asked to.
fn encode(text: &str) -> String {
    const PLAIN: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/').remove(b' ');
    utf8_percent_encode(text, PLAIN).to_string().replace(' ', "+")
}

fn encode_token(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string()
}

fn decode_token(token: &str) -> String {
    percent_encoding::percent_decode_str(token).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(keys: &[&str]) -> BTreeMap<String, Entry> {
        let entry = Entry {
            blob: String::new(),
            size: 1,
            etag: "e".to_owned(),
            modified: SystemTime::UNIX_EPOCH,
            version: None,
        };
        keys.iter().map(|key| ((*key).to_owned(), entry.clone())).collect()
    }

    fn all_keys(objects: &BTreeMap<String, Entry>, delimiter: Option<&str>, page: i32) -> Vec<String> {
        let mut token = None;
        let mut keys = Vec::new();
        loop {
            let output = list(
                objects,
                ListObjectsV2Input {
                    max_keys: Some(page),
                    continuation_token: token,
                    delimiter: delimiter.map(str::to_owned),
                    ..Default::default()
                },
            );
            keys.extend(output.contents.into_iter().flatten().filter_map(|object| object.key));
            keys.extend(output.common_prefixes.into_iter().flatten().filter_map(|group| group.prefix));
            token = output.next_continuation_token;
            if token.is_none() {
                return keys;
            }
        }
    }

    #[test]
    fn every_object_is_listed_once_in_byte_order_whatever_the_page_size() {
        let objects = objects(&["a", "a-b", "a/b", "a0", "a\u{1}", "é", "\u{ffff}", "\u{10000}"]);
        let expected: Vec<String> = objects.keys().cloned().collect();
        for page in 1..10 {
            assert_eq!(all_keys(&objects, None, page), expected);
        }
    }

    #[test]
    fn a_delimiter_groups_and_no_group_comes_twice() {
        let objects = objects(&["a", "d/1", "d/2", "d/3", "e/1", "f"]);
        for page in 1..6 {
            let mut keys = all_keys(&objects, Some("/"), page);
            keys.sort();
            assert_eq!(keys, ["a", "d/", "e/", "f"], "pages of {page}");
        }
    }

    #[test]
    fn encoding_is_that_of_html_forms() {
        assert_eq!(encode("a b+c/é*~\n"), "a+b%2Bc/%C3%A9*%7E%0A");
    }
}
