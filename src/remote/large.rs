//! Uploads in parts: what is too large for one request.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use md5::{Digest as _, Md5};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::client::Bucket;
use super::error::{RemoteError, Trouble, UploadError};
use super::object::{Attributes, Stored};
use super::operation::Operation;
use super::part::{ReadFailure, STREAM_MEMORY, Slice};
use crate::boundary::{Boundary, reached};
use crate::memory::Budget;
use crate::model::{Digest, ETag, ObjectKey, Parts};
use crate::signs::Patient;

/// Parts of one file on their way at once. More would not be faster and could take every slot from the other files.
const PARTS_AT_ONCE: usize = 16;

/// A file to upload in parts. It needs neither budget nor slots from the caller, who must not hold any: each part takes
/// first its bytes of `budget`, then one of `slots`.
pub struct LargeUpload<'a> {
    /// Open for reading; read by position only.
    pub file: Arc<File>,
    /// Bytes, when it was hashed.
    pub size: u64,
    /// The MD5 of the whole file, which is noted in the object's metadata.
    pub digest: Digest,
    /// How it is cut, and the MD5 of each part.
    pub parts: &'a Parts,
    /// Whether the file is still what was hashed. Asked right before the object becomes visible.
    pub unchanged: &'a (dyn Fn() -> io::Result<bool> + Send + Sync),
    /// For parts in memory.
    pub budget: &'a Budget,
    /// Concurrent requests of the whole program; each part takes one.
    pub slots: &'a Semaphore,
    /// Ends the upload early; nothing becomes visible, and nothing is left behind.
    pub cancel: &'a CancellationToken,
    /// Told the bytes of each part that has arrived.
    pub progress: &'a (dyn Fn(u64) + Send + Sync),
}

/// A part to be sent.
struct Part {
    number: u32,
    digest: Digest,
    slice: Slice,
}

/// A part that the store has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// From 1.
    pub number: u32,
    /// As the store gave it; the MD5 where nothing is encrypted with KMS.
    pub etag: ETag,
    /// Bytes.
    pub size: u64,
}

/// An upload that did not become an object.
#[derive(Debug)]
pub struct NotUploaded {
    /// Why.
    pub error: UploadError,
    /// Parts of it may be left in the store: throwing them away failed as well.
    pub left: bool,
}

impl Bucket {
    /// Begins an upload in parts, and answers the store's id of it. `digest` is noted in the object's metadata. It is asked for
    /// once: after an error, the store may have begun it all the same, which is found by its key.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn create_upload(
        &self,
        key: &ObjectKey,
        attributes: &Attributes,
        digest: Digest,
    ) -> Result<String, RemoteError> {
        let (encryption, encryption_key) = self.encryption();
        let answer = self
            .sdk()
            .create_multipart_upload()
            .bucket(self.name())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .set_metadata(Some(attributes.user_metadata(Some(digest))))
            .set_storage_class(self.client.inner.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .customize()
            // If only the answer was lost, a second attempt would begin a second upload, and nobody would ever hear of the first.
            .config_override(aws_sdk_s3::config::Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map_err(|error| self.failed(Operation::CreateMultipartUpload, Some(key), error))?;
        reached(Boundary::UploadBegun);
        let id = answer.upload_id().map(str::to_owned);
        id.ok_or_else(|| self.unexpected(Operation::CreateMultipartUpload, Some(key), "it has no upload id"))
    }

    /// Sends the parts of an upload that have not `arrived`. The object becomes visible at once and whole, or not at all; then
    /// the parts are thrown away.
    ///
    /// Await it to the end: to stop early, use its `cancel`, or the parts that have arrived stay in the store and cost money.
    ///
    /// # Errors
    /// If the store refuses, the file can't be read or has changed, or it was cancelled.
    pub async fn send_upload(
        &self,
        key: &ObjectKey,
        id: &str,
        upload: LargeUpload<'_>,
        arrived: Vec<Arrived>,
    ) -> Result<Stored, NotUploaded> {
        let outcome = tokio::select! {
            outcome = self.send_parts(key, id, &upload, arrived) => outcome,
            () = upload.cancel.cancelled() => Err(UploadError::Cancelled { key: key.clone() }),
        };
        let outcome = match outcome {
            Ok(parts) => self.complete(key, id, parts, &upload).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(stored) => Ok(stored),
            Err(error) => Err(NotUploaded { error, left: self.abort_upload(key, id).await.is_err() }),
        }
    }

    /// All parts, in order of their numbers.
    async fn send_parts(
        &self,
        key: &ObjectKey,
        id: &str,
        upload: &LargeUpload<'_>,
        mut arrived: Vec<Arrived>,
    ) -> Result<Vec<Arrived>, UploadError> {
        let have: HashSet<u32> = arrived.iter().map(|part| part.number).collect();
        (upload.progress)(arrived.iter().map(|part| part.size).sum());
        let mut on_the_way = FuturesUnordered::new();
        for (number, digest) in (1..).zip(&upload.parts.digests).filter(|(number, _)| !have.contains(number)) {
            let offset = u64::from(number - 1) * upload.parts.size;
            let length = upload.parts.size.min(upload.size.saturating_sub(offset));
            let slice = Slice { file: upload.file.clone(), offset, length };
            let mut budget = std::pin::pin!(upload.budget.take(length.min(STREAM_MEMORY)));
            // Parts that are on their way go on while this one waits for its turn.
            let guard = loop {
                tokio::select! {
                    biased;
                    Some(part) = on_the_way.next() => arrived.push(part?),
                    guard = &mut budget, if on_the_way.len() < PARTS_AT_ONCE => break guard,
                }
            };
            let part = Part { number, digest: *digest, slice };
            on_the_way.push(async move {
                let part = self.send_part(key, id, part, upload).await;
                drop(guard);
                part
            });
        }
        while let Some(part) = on_the_way.next().await {
            arrived.push(part?);
        }
        arrived.sort_unstable_by_key(|part| part.number);
        Ok(arrived)
    }

    async fn send_part(
        &self,
        key: &ObjectKey,
        id: &str,
        part: Part,
        upload: &LargeUpload<'_>,
    ) -> Result<Arrived, UploadError> {
        let Part { number, digest, slice } = part;
        let (length, failure) = (slice.length, ReadFailure::default());
        let body = slice.stream(upload.budget, self.client.inner.pace.as_ref(), &failure);
        let _slot = upload.slots.acquire().await.ok();
        reached(Boundary::BeforePart);
        let answer = self
            .sdk()
            .upload_part()
            .bucket(self.name())
            .key(key.as_str())
            .upload_id(id)
            .part_number(i32::try_from(number).unwrap_or(i32::MAX))
            .content_md5(STANDARD.encode(digest.0))
            .content_length(i64::try_from(length).unwrap_or(i64::MAX))
            .body(ByteStream::new(body))
            .send()
            .await;
        let answer = answer.map_err(|error| {
            let unread = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            let error = self.failed(Operation::UploadPart, Some(key), error);
            match unread {
                Some(unread) => read_error(key, unread),
                // A part that is not what was hashed: the file was written to in between.
                None if error.trouble == Trouble::Damaged => UploadError::Changed { key: key.clone() },
                None => error.into(),
            }
        })?;
        let etag = answer.e_tag().map(ETag::new);
        let etag = etag.ok_or_else(|| self.unexpected(Operation::UploadPart, Some(key), "it has no ETag"))?;
        reached(Boundary::AfterPart);
        (upload.progress)(length);
        Ok(Arrived { number, etag, size: length })
    }

    async fn complete(
        &self,
        key: &ObjectKey,
        id: &str,
        parts: Vec<Arrived>,
        upload: &LargeUpload<'_>,
    ) -> Result<Stored, UploadError> {
        let _slot = upload.slots.acquire().await.ok();
        if !(upload.unchanged)().map_err(|error| read_error(key, error))? {
            return Err(UploadError::Changed { key: key.clone() });
        }
        let expected = composite_etag(upload.parts);
        let part = |part: Arrived| {
            CompletedPart::builder()
                .part_number(i32::try_from(part.number).unwrap_or(i32::MAX))
                .e_tag(part.etag.as_str())
                .build()
        };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.into_iter().map(part).collect())).build();
        reached(Boundary::BeforeComplete);
        let _patient = Patient::begin();
        let answer = self
            .sdk()
            .complete_multipart_upload()
            .bucket(self.name())
            .key(key.as_str())
            .upload_id(id)
            .multipart_upload(parts)
            .send()
            .await
            .map_err(|error| self.failed(Operation::CompleteMultipartUpload, Some(key), error));
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let completed = self.completed_after_all(key, upload.parts, upload.digest).await;
                return completed.ok().flatten().ok_or_else(|| error.into());
            }
        };
        reached(Boundary::AfterComplete);
        let unexpected = |what| self.unexpected(Operation::CompleteMultipartUpload, Some(key), what);
        let etag = answer.e_tag().map(ETag::new).ok_or_else(|| unexpected("it has no ETag"))?;
        // Under KMS an ETag is no MD5 of anything that we know, even where it looks like one.
        let encrypted = answer.server_side_encryption().is_some_and(|kind| *kind != ServerSideEncryption::Aes256);
        if !encrypted && is_composite(etag.as_str()) && etag.as_str() != expected {
            let mut error = unexpected("its ETag is not the MD5 of the parts' MD5s");
            error.trouble = Trouble::Damaged;
            return Err(error.into());
        }
        Ok(Stored { etag, version: answer.version_id().map(str::to_owned) })
    }

    /// The object at `key`, if it is of this content cut into these parts: an answer that was lost on its way, and the attempt
    /// after it that found no upload any more, must not cost the upload of a large file again.
    ///
    /// # Errors
    /// If the store can't be asked.
    pub async fn completed_after_all(
        &self,
        key: &ObjectKey,
        parts: &Parts,
        digest: Digest,
    ) -> Result<Option<Stored>, RemoteError> {
        let Some(head) = self.head(key).await? else { return Ok(None) };
        let same = head.etag.as_str() == composite_etag(parts) && head.md5chksum == Some(digest);
        Ok(same.then_some(Stored { etag: head.etag, version: head.version }))
    }
}

fn read_error(key: &ObjectKey, error: io::Error) -> UploadError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return UploadError::Changed { key: key.clone() };
    }
    UploadError::Read { key: key.clone(), source: error }
}

/// What S3 makes the ETag of: the MD5 of the parts' MD5s, and their number.
fn composite_etag(parts: &Parts) -> String {
    let mut hash = Md5::new();
    for part in &parts.digests {
        hash.update(part.0);
    }
    format!("{}-{}", Digest(hash.finalize().into()), parts.digests.len())
}

fn is_composite(etag: &str) -> bool {
    let Some((hex, count)) = etag.split_once('-') else { return false };
    let is_lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    hex.len() == 32 && hex.bytes().all(is_lower_hex) && !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_etag_is_known_by_its_form() {
        let etag = composite_etag(&Parts { size: 64, digests: vec![Digest([1; 16]), Digest([2; 16])] });
        assert!(is_composite(&etag) && etag.ends_with("-2"), "{etag}");
        for other in ["d41d8cd98f00b204e9800998ecf8427e", "D41D8CD98F00B204E9800998ECF8427E-2", "opaque-2", &etag[1..]]
        {
            assert!(!is_composite(other), "{other}");
        }
    }
}
