//! Deletions, many in a request, in the way that the store at hand understands.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::delete_objects::DeleteObjectsError;
use aws_sdk_s3::types::{Delete, DeletedObject, Error, ObjectIdentifier};
use futures_util::stream::{self, StreamExt as _};

use super::answer::explain_entry;
use super::client::Bucket;
use super::error::{RemoteError, Trouble};
use super::operation::Operation;
use crate::boundary::{Boundary, reached};
use crate::model::ObjectKey;

/// What S3 takes in one request.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
const BATCH: usize = 1000;

/// Single deletions that run at once where the store takes no batches.
const SINGLE_AT_ONCE: usize = 8;

/// How a store takes deletions. Each client learns it once; a style only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// DeleteObjects with the checksum that the SDK adds.
    Batch,
    /// DeleteObjects with Content-MD5 too: older stores insist on it.
    BatchWithMd5,
    /// DeleteObject for each: some stores have no other.
    Single,
}

/// Whether an error says that the store does not take DeleteObjects like this, rather than these objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    No,
    /// It may also be about something odd in this one request: not remembered for good.
    Perhaps,
    Certainly,
}

type Outcome = (ObjectKey, Result<(), RemoteError>);

impl Bucket {
    /// Deletes objects; one that is not there is as good as deleted. An outcome for each key, in no particular order.
    pub async fn delete(&self, keys: &[ObjectKey]) -> Vec<Outcome> {
        let (batched, single): (Vec<&ObjectKey>, Vec<&ObjectKey>) =
            keys.iter().partition(|key| fits_in_xml(key.as_str()));
        reached(Boundary::BeforeDelete);
        let mut outcomes = self.delete_singly(&single).await;
        for batch in batched.chunks(BATCH) {
            outcomes.extend(self.delete_batch(batch).await);
        }
        reached(Boundary::AfterDelete);
        outcomes
    }

    async fn delete_batch(&self, keys: &[&ObjectKey]) -> Vec<Outcome> {
        // One request either way, and this one needs no body.
        if let [key] = keys {
            return self.delete_singly(&[*key]).await;
        }
        let mut style = self.delete_style();
        let mut refused = Refused::No;
        while style != Style::Single {
            match self.delete_together(keys).await {
                Ok((mut outcomes, untold)) => {
                    // A key of which the answer says nothing is asked for by itself: that answer is about nothing else.
                    outcomes.extend(self.delete_singly(&untold).await);
                    return outcomes;
                }
                Err((error, Refused::No)) => {
                    return keys.iter().map(|&key| (key.clone(), Err(error.for_key(key)))).collect();
                }
                Err((error, why)) => {
                    tracing::debug!(bucket = self.name(), %error, ?style, "the store refuses DeleteObjects like this");
                    style = if style == Style::Batch { Style::BatchWithMd5 } else { Style::Single };
                    refused = why;
                    self.remember(Style::BatchWithMd5);
                }
            }
        }
        if refused == Refused::Certainly {
            self.remember(Style::Single);
        }
        self.delete_singly(keys).await
    }

    /// Answers what the store has said, and the keys of which it has said nothing.
    async fn delete_together<'k>(
        &self,
        keys: &[&'k ObjectKey],
    ) -> Result<(Vec<Outcome>, Vec<&'k ObjectKey>), (RemoteError, Refused)> {
        let operation = Operation::DeleteObjects;
        let unbuildable = |error: BuildError| {
            let error: SdkError<DeleteObjectsError, _> = SdkError::construction_failure(error);
            (self.failed(operation, None, error), Refused::No)
        };
        let object = |key: &&ObjectKey| ObjectIdentifier::builder().key(key.as_str()).build();
        let objects = keys.iter().map(object).collect::<Result<_, _>>().map_err(unbuildable)?;
        // Not quiet: an answer that names only what went wrong can't be told from one that is not about all keys.
        let delete = Delete::builder().set_objects(Some(objects)).quiet(false).build().map_err(unbuildable)?;
        let answer = self.sdk().delete_objects().bucket(self.name()).delete(delete).send().await;
        let answer = answer.map_err(|error| {
            let code = error.code().map(str::to_owned);
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            (self.failed(operation, None, error), refusal(status, code.as_deref()))
        })?;
        let told = Told::new(answer.deleted(), answer.errors());
        let (mut outcomes, mut untold) = (Vec::with_capacity(keys.len()), Vec::new());
        for &key in keys {
            match told.of(key.as_str()) {
                Fate::Deleted => outcomes.push((key.clone(), Ok(()))),
                Fate::Failed(entry) => {
                    let (trouble, source) = explain_entry(entry.code(), entry.message());
                    let (bucket, of) = (self.name().to_owned(), Some(key.clone()));
                    outcomes.push((key.clone(), Err(RemoteError { operation, bucket, key: of, trouble, source })));
                }
                Fate::Untold => untold.push(key),
            }
        }
        Ok((outcomes, untold))
    }

    async fn delete_singly(&self, keys: &[&ObjectKey]) -> Vec<Outcome> {
        let one = |key: ObjectKey| async move {
            let answer = self.sdk().delete_object().bucket(self.name()).key(key.as_str()).send().await;
            let outcome = match answer.map_err(|error| self.failed(Operation::DeleteObject, Some(&key), error)) {
                Err(error) if error.trouble != Trouble::NotFound => Err(error),
                Ok(_) | Err(_) => Ok(()),
            };
            (key, outcome)
        };
        let keys: Vec<ObjectKey> = keys.iter().map(|&key| key.clone()).collect();
        stream::iter(keys).map(one).buffer_unordered(SINGLE_AT_ONCE).collect().await
    }

    fn delete_style(&self) -> Style {
        match self.client.inner.delete_style.load(Ordering::Relaxed) {
            0 => Style::Batch,
            1 => Style::BatchWithMd5,
            _ => Style::Single,
        }
    }

    fn remember(&self, style: Style) {
        let level = match style {
            Style::Batch => 0,
            Style::BatchWithMd5 => 1,
            Style::Single => 2,
        };
        self.client.inner.delete_style.fetch_max(level, Ordering::Relaxed);
        self.client.inner.md5_on_delete.store(level > 0, Ordering::Relaxed);
    }
}

/// What an answer to DeleteObjects says.
struct Told<'a> {
    deleted: HashSet<&'a str>,
    failed: HashMap<&'a str, &'a Error>,
    /// An error that names no key: it may be about any that is not listed as deleted.
    nameless: Option<&'a Error>,
}

/// What it says of a key.
#[derive(Debug, PartialEq)]
enum Fate<'a> {
    Deleted,
    Failed(&'a Error),
    Untold,
}

impl<'a> Told<'a> {
    fn new(deleted: &'a [DeletedObject], errors: &'a [Error]) -> Self {
        let mut told = Self {
            deleted: deleted.iter().filter_map(DeletedObject::key).collect(),
            failed: HashMap::with_capacity(errors.len()),
            nameless: None,
        };
        for error in errors {
            match (error.key(), error.code()) {
                (Some(key), Some("NoSuchKey" | "NoSuchVersion")) => {
                    told.deleted.insert(key);
                }
                (Some(key), _) => {
                    told.failed.insert(key, error);
                }
                (None, _) => told.nameless = Some(error),
            }
        }
        told
    }

    /// An error counts for more than what is listed beside it.
    fn of(&self, key: &str) -> Fate<'a> {
        match (self.failed.get(key).copied(), self.deleted.contains(key), self.nameless) {
            (Some(error), ..) | (None, false, Some(error)) => Fate::Failed(error),
            (None, true, _) => Fate::Deleted,
            (None, false, None) => Fate::Untold,
        }
    }
}

impl RemoteError {
    /// The failure of a whole batch, told for one of its keys.
    fn for_key(&self, key: &ObjectKey) -> Self {
        Self {
            operation: self.operation,
            bucket: self.bucket.clone(),
            key: Some(key.clone()),
            trouble: self.trouble,
            source: self.source.to_string().into(),
        }
    }
}

fn refusal(status: Option<u16>, code: Option<&str>) -> Refused {
    match code {
        Some("MissingContentMD5" | "MissingRequiredHeader" | "NotImplemented" | "MethodNotAllowed") => {
            Refused::Certainly
        }
        Some("InvalidRequest" | "InvalidDigest" | "InvalidArgument" | "BadRequest" | "BadDigest" | "MalformedXML") => {
            Refused::Perhaps
        }
        Some(_) | None => match status {
            Some(405 | 411 | 501) => Refused::Certainly,
            Some(400) if code.is_none() => Refused::Perhaps,
            Some(_) | None => Refused::No,
        },
    }
}

/// Whether a key survives the way through an XML 1.0 document. Control characters can't be in one, a carriage return comes
/// out as a line feed, and white space at the ends is trimmed by some stores, which would then delete another object.
/// <https://www.w3.org/TR/xml/#charsets>
fn fits_in_xml(key: &str) -> bool {
    let fits =
        |c| matches!(c, '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
    key.chars().all(fits) && key.trim().len() == key.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_xml_carries_unchanged_goes_in_a_batch() {
        assert!(fits_in_xml("plain/é 漢 🦀\ttab & <tag>"));
        for odd in ["\0", "a\u{1}", "\u{1b}b", "a\rb", "\u{fffe}", "\u{ffff}", " a", "a ", "a\n"] {
            assert!(!fits_in_xml(odd), "{odd:?}");
        }
    }

    #[test]
    fn an_answer_is_believed_only_for_the_keys_that_it_lists() {
        let deleted = ["a", "both"].map(|key| DeletedObject::builder().key(key).build());
        let error = |key: Option<&str>, code: &str| Error::builder().set_key(key.map(str::to_owned)).code(code).build();
        let errors = [error(Some("b"), "AccessDenied"), error(Some("both"), "X"), error(Some("gone"), "NoSuchKey")];
        let told = Told::new(&deleted, &errors);
        assert_eq!((told.of("a"), told.of("gone")), (Fate::Deleted, Fate::Deleted));
        assert_eq!((told.of("b"), told.of("both")), (Fate::Failed(&errors[0]), Fate::Failed(&errors[1])));
        assert_eq!(told.of("c"), Fate::Untold);
        let nameless = [error(None, "InternalError")];
        let told = Told::new(&deleted, &nameless);
        assert_eq!((told.of("a"), told.of("c")), (Fate::Deleted, Fate::Failed(&nameless[0])));
    }

    #[test]
    fn a_refusal_of_the_kind_of_request_is_told_from_one_of_the_objects() {
        assert_eq!(refusal(Some(400), Some("MissingContentMD5")), Refused::Certainly);
        assert_eq!(refusal(Some(501), Some("NotImplemented")), Refused::Certainly);
        assert_eq!(refusal(Some(405), None), Refused::Certainly);
        assert_eq!(refusal(Some(400), Some("InvalidRequest")), Refused::Perhaps);
        assert_eq!(refusal(Some(403), Some("AccessDenied")), Refused::No);
        assert_eq!(refusal(Some(503), Some("SlowDown")), Refused::No);
        assert_eq!(refusal(None, None), Refused::No);
    }
}
