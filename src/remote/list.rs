//! Listings: all objects under a prefix, in byte order, read ahead.

use std::time::Instant;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::client::Bucket;
use super::error::RemoteError;
use super::operation::Operation;
use crate::model::{ETag, Listed, Printable};

/// Pages that wait to be taken, besides the one that is being fetched: 1,000 objects each.
const PAGES_AHEAD: usize = 1;

/// A listing under way. Dropping it ends it.
#[derive(Debug)]
pub struct Listing {
    pages: mpsc::Receiver<Result<Page, RemoteError>>,
    _task: AbortOnDropHandle<()>,
}

/// Up to 1,000 objects.
#[derive(Clone, Debug)]
pub struct Page {
    /// Keys in byte order, and what the store says of them.
    pub objects: Vec<(String, Listed)>,
    /// Just before the page was asked for: it can't know of anything that happened later.
    pub requested_at: Instant,
}

impl Bucket {
    /// Lists all objects whose keys begin with `prefix`, after the key `start_after`.
    pub fn list(&self, prefix: &str, start_after: Option<&str>) -> Listing {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let cursor = Cursor::new(prefix, start_after);
        let task = tokio::spawn(fetch(self.clone(), cursor, sender));
        Listing { pages, _task: AbortOnDropHandle::new(task) }
    }
}

impl Listing {
    /// The next page, or `None` after the last. After an error there is no more.
    pub async fn next_page(&mut self) -> Result<Option<Page>, RemoteError> {
        self.pages.recv().await.transpose()
    }
}

async fn fetch(bucket: Bucket, mut cursor: Cursor, pages: mpsc::Sender<Result<Page, RemoteError>>) {
    while !cursor.done {
        let requested_at = Instant::now();
        let answer = bucket
            .sdk()
            .list_objects_v2()
            .bucket(bucket.name())
            .prefix(&cursor.prefix)
            .encoding_type(EncodingType::Url)
            .set_start_after(cursor.token.is_none().then(|| cursor.start_after.clone()).flatten())
            .set_continuation_token(cursor.token.clone())
            .send()
            .await;
        let page = match answer {
            Ok(answer) => cursor
                .take(answer)
                .map(|objects| Page { objects, requested_at })
                .map_err(|what| bucket.unexpected(Operation::ListObjectsV2, None, &what)),
            Err(error) => Err(bucket.failed(Operation::ListObjectsV2, None, error)),
        };
        let failed = page.is_err();
        if pages.send(page).await.is_err() || failed {
            return;
        }
    }
}

/// How far a listing is. Its order is what tells that an object is missing, so it is checked and not believed.
#[derive(Debug)]
struct Cursor {
    prefix: String,
    start_after: Option<String>,
    token: Option<String>,
    /// The raw bytes of the last key.
    last: Option<Vec<u8>>,
    done: bool,
}

impl Cursor {
    fn new(prefix: &str, start_after: Option<&str>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            start_after: start_after.map(str::to_owned),
            token: None,
            last: start_after.map(|key| key.as_bytes().to_vec()),
            done: false,
        }
    }

    fn take(&mut self, answer: ListObjectsV2Output) -> Result<Vec<(String, Listed)>, String> {
        let encoded = answer.encoding_type() == Some(&EncodingType::Url);
        let truncated = answer.is_truncated().unwrap_or(false);
        let token = answer.next_continuation_token().map(str::to_owned);
        let contents = answer.contents.unwrap_or_default();
        let mut objects = Vec::with_capacity(contents.len());
        for object in contents {
            let key = object.key.ok_or("an object has no key")?;
            let key = if encoded { decode(&key) } else { key.into_bytes() };
            let shown = || Printable(&String::from_utf8_lossy(&key)).to_string();
            if self.last.as_ref().is_some_and(|last| *last >= key) {
                return Err(format!("key `{}` is out of order", shown()));
            }
            if !key.starts_with(self.prefix.as_bytes()) {
                return Err(format!("key `{}` is not under the prefix that was asked for", shown()));
            }
            let size = object.size.and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| format!("object `{}` has no size", shown()))?;
            let etag = object.e_tag.as_deref().map(ETag::new);
            let etag = etag.ok_or_else(|| format!("object `{}` has no ETag", shown()))?;
            match String::from_utf8(key.clone()) {
                Ok(name) => objects.push((name, Listed { size, etag })),
                // S3 has no such keys, other stores may. It can't be one of ours.
                Err(_) => warn!(key = %shown(), "an object's key is not UTF-8, it is left alone"),
            }
            self.last = Some(key);
        }
        if !truncated {
            self.done = true;
        } else if token.is_none() {
            return Err("it is cut off, but says not where to go on".to_owned());
        } else if token == self.token {
            return Err("it goes on where it began".to_owned());
        }
        self.token = token;
        Ok(objects)
    }
}

/// As HTML forms encode: `%XX`, and `+` for a space.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
fn decode(encoded: &str) -> Vec<u8> {
    let spaced: Vec<u8> = encoded.bytes().map(|byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::Object;

    use super::*;

    fn page(keys: &[&str], next: Option<&str>, truncated: bool) -> ListObjectsV2Output {
        let object = |key: &&str| Object::builder().key(*key).size(1).e_tag("\"e\"").build();
        ListObjectsV2Output::builder()
            .set_contents(Some(keys.iter().map(object).collect()))
            .is_truncated(truncated)
            .set_next_continuation_token(next.map(str::to_owned))
            .build()
    }

    fn keys(objects: Vec<(String, Listed)>) -> Vec<String> {
        objects.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn keys_are_decoded_only_if_the_answer_says_so() {
        let plain = Cursor::new("", None).take(page(&["a+b%41"], None, false)).unwrap();
        assert_eq!(keys(plain), ["a+b%41"]);
        let mut encoded = page(&["a+b%41%2B%C3%A9%0A"], None, false);
        encoded.encoding_type = Some(EncodingType::Url);
        assert_eq!(keys(Cursor::new("", None).take(encoded).unwrap()), ["a bA+é\n"]);
    }

    #[test]
    fn a_key_that_is_not_greater_than_its_predecessor_is_an_error_over_pages_too() {
        assert!(Cursor::new("", None).take(page(&["b", "a"], None, false)).is_err());
        assert!(Cursor::new("", None).take(page(&["a", "a"], None, false)).is_err());
        let mut cursor = Cursor::new("", None);
        cursor.take(page(&["a", "b"], Some("t"), true)).unwrap();
        assert!(cursor.take(page(&["b"], None, false)).is_err());
        assert!(Cursor::new("", Some("m")).take(page(&["a"], None, false)).is_err(), "start-after was ignored");
    }

    #[test]
    fn an_answer_that_is_cut_off_without_a_token_is_an_error() {
        assert!(Cursor::new("", None).take(page(&["a"], None, true)).is_err());
        let mut cursor = Cursor::new("", None);
        cursor.take(page(&["a"], Some("t"), true)).unwrap();
        assert!(cursor.take(page(&[], Some("t"), true)).is_err(), "the same token for ever");
    }

    #[test]
    fn a_key_outside_the_prefix_is_an_error() {
        assert!(Cursor::new("p/", None).take(page(&["q"], None, false)).is_err());
    }

    #[test]
    fn a_key_that_is_not_utf8_is_passed_over_without_losing_the_order() {
        let mut answer = page(&["a", "b%FF", "c"], None, false);
        answer.encoding_type = Some(EncodingType::Url);
        assert_eq!(keys(Cursor::new("", None).take(answer).unwrap()), ["a", "c"]);
    }
}
