//! Deletions, many in a request, in the way that the store at hand understands.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use aws_sdk_s3::error::{BuildError, ProvideErrorMetadata as _, SdkError};
use aws_sdk_s3::operation::delete_objects::DeleteObjectsError;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
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
                Ok(outcomes) => return outcomes,
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

    async fn delete_together(&self, keys: &[&ObjectKey]) -> Result<Vec<Outcome>, (RemoteError, Refused)> {
        let operation = Operation::DeleteObjects;
        let unbuildable = |error: BuildError| {
            let error: SdkError<DeleteObjectsError, _> = SdkError::construction_failure(error);
            (self.failed(operation, None, error), Refused::No)
        };
        let object = |key: &&ObjectKey| ObjectIdentifier::builder().key(key.as_str()).build();
        let objects = keys.iter().map(object).collect::<Result<_, _>>().map_err(unbuildable)?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(unbuildable)?;
        let answer = self.sdk().delete_objects().bucket(self.name()).delete(delete).send().await;
        let answer = answer.map_err(|error| {
            let code = error.code().map(str::to_owned);
            let status = error.raw_response().map(|raw| raw.status().as_u16());
            (self.failed(operation, None, error), refusal(status, code.as_deref()))
        })?;
        // Quiet: only what went wrong is named.
        let mut failed: HashMap<&str, _> = answer
            .errors()
            .iter()
            .filter(|entry| !matches!(entry.code(), Some("NoSuchKey" | "NoSuchVersion")))
            .filter_map(|entry| Some((entry.key()?, explain_entry(entry.code(), entry.message()))))
            .collect();
        let outcome = |key: &&ObjectKey| match failed.remove(key.as_str()) {
            None => ((*key).clone(), Ok(())),
            Some((trouble, source)) => {
                let (bucket, key) = (self.name().to_owned(), (*key).clone());
                (key.clone(), Err(RemoteError { operation, bucket, key: Some(key), trouble, source }))
            }
        };
        Ok(keys.iter().map(outcome).collect())
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
