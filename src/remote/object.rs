//! Single objects: put, copy, head.

use std::collections::HashMap;

use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::MetadataDirective;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::Bucket;
use super::error::{RemoteError, Trouble};
use super::operation::Operation;
use super::part;
use crate::boundary::{Boundary, reached};
use crate::config::settings::Encryption;
use crate::memory::Held;
use crate::model::{Digest, ETag, FileMeta, ObjectKey, RelPath};
use crate::signs::Patient;

/// An object that the store has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As the store gave it.
    pub etag: ETag,
    /// Where the bucket has versions.
    pub version: Option<String>,
}

/// What an object has besides its bytes.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// See [`content_type`].
    pub content_type: String,
    /// The file's times, mode and owner, written as user metadata.
    pub meta: FileMeta,
    /// The MD5 of the content, where the ETag does not say it: copies of large objects. Large uploads and encrypted ones
    /// have it without being told.
    pub md5chksum: Option<Digest>,
}

/// What HEAD says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// Opaque.
    pub etag: ETag,
    /// The MD5 of the content, if an uploader noted it.
    pub md5chksum: Option<Digest>,
    /// Where the bucket has versions.
    pub version: Option<String>,
}

/// The MIME type by the name's extension, `application/octet-stream` where there is none.
pub fn content_type(path: &RelPath) -> String {
    mime_guess::from_path(path.name()).first_raw().unwrap_or("application/octet-stream").to_owned()
}

impl Attributes {
    /// The user metadata, in the form that rclone and s3fs both restore.
    ///
    /// `mtime` is in seconds with a fraction. `mode` is octal with a leading zero: rclone reads it as octal anyway
    /// (backend/local/metadata.go), and s3fs reads a number as C does (src/metaheader.cpp), where the zero makes it octal.
    /// `md5chksum` is rclone's name for the content's MD5 in base64.
    pub(super) fn user_metadata(&self, digest: Option<Digest>) -> HashMap<String, String> {
        let mut metadata = HashMap::with_capacity(5);
        metadata.insert("mtime".to_owned(), self.meta.fingerprint.mtime.to_decimal());
        metadata.insert("mode".to_owned(), format!("{:07o}", self.meta.mode));
        metadata.insert("uid".to_owned(), self.meta.uid.to_string());
        metadata.insert("gid".to_owned(), self.meta.gid.to_string());
        if let Some(digest) = self.md5chksum.or(digest) {
            metadata.insert("md5chksum".to_owned(), STANDARD.encode(digest.0));
        }
        metadata
    }
}

impl Bucket {
    /// Uploads a whole object from memory. `digest` is the body's MD5; the store refuses a body that does not have it.
    pub async fn put(
        &self,
        key: &ObjectKey,
        body: &Held,
        digest: Digest,
        attributes: &Attributes,
    ) -> Result<Stored, RemoteError> {
        let (encryption, encryption_key) = self.encryption();
        // Under KMS the ETag is not the MD5.
        let noted = matches!(self.client.inner.encryption, Some(Encryption::Kms { .. })).then_some(digest);
        let size = body.len();
        reached(Boundary::BeforePut);
        let answer = self
            .sdk()
            .put_object()
            .bucket(self.name())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .content_md5(STANDARD.encode(digest.0))
            .content_length(i64::try_from(size).unwrap_or(i64::MAX))
            .set_metadata(Some(attributes.user_metadata(noted)))
            .set_storage_class(self.client.inner.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .body(ByteStream::new(part::body_in_memory(body, self.client.inner.pace.as_ref())))
            .send()
            .await
            .map_err(|error| self.failed(Operation::PutObject, Some(key), error))?;
        reached(Boundary::AfterPut);
        let etag = answer.e_tag().map(ETag::new);
        let etag = etag.ok_or_else(|| self.unexpected(Operation::PutObject, Some(key), "it has no ETag"))?;
        Ok(Stored { etag, version: answer.version_id().map(str::to_owned) })
    }

    /// Makes `key` from `source` inside the store, with attributes of its own, if `source` still has this ETag.
    pub async fn copy(
        &self,
        source: &ObjectKey,
        source_etag: &ETag,
        key: &ObjectKey,
        attributes: &Attributes,
    ) -> Result<Stored, RemoteError> {
        let (encryption, encryption_key) = self.encryption();
        reached(Boundary::BeforeCopy);
        let _patient = Patient::begin();
        let answer = self
            .sdk()
            .copy_object()
            .bucket(self.name())
            .key(key.as_str())
            .copy_source(format!("{}/{}", self.name(), utf8_percent_encode(source.as_str(), IN_HEADER)))
            .copy_source_if_match(format!("\"{}\"", source_etag.as_str()))
            .metadata_directive(MetadataDirective::Replace)
            .content_type(&attributes.content_type)
            .set_metadata(Some(attributes.user_metadata(None)))
            .set_storage_class(self.client.inner.storage_class.clone())
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(encryption_key)
            .send()
            .await
            .map_err(|error| self.failed(Operation::CopyObject, Some(key), error))?;
        reached(Boundary::AfterCopy);
        let etag = answer.copy_object_result().and_then(|result| result.e_tag()).map(ETag::new);
        let etag = etag.ok_or_else(|| self.unexpected(Operation::CopyObject, Some(key), "it has no ETag"))?;
        Ok(Stored { etag, version: answer.version_id().map(str::to_owned) })
    }

    /// Looks at an object. `None` if there is none (or no such bucket: an answer to HEAD can't tell).
    pub async fn head(&self, key: &ObjectKey) -> Result<Option<Head>, RemoteError> {
        let answer = match self.sdk().head_object().bucket(self.name()).key(key.as_str()).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => return Ok(None),
            Err(error) => {
                let error = self.failed(Operation::HeadObject, Some(key), error);
                return if error.trouble == Trouble::NotFound { Ok(None) } else { Err(error) };
            }
        };
        let unexpected = |what| self.unexpected(Operation::HeadObject, Some(key), what);
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        Ok(Some(Head {
            size: size.ok_or_else(|| unexpected("it has no size"))?,
            etag: answer.e_tag().map(ETag::new).ok_or_else(|| unexpected("it has no ETag"))?,
            md5chksum: answer.metadata().and_then(|metadata| metadata.get("md5chksum")).and_then(|text| md5_from(text)),
            version: answer.version_id().map(str::to_owned),
        }))
    }
}

/// From base64, as [`Attributes::user_metadata`] writes it.
pub(super) fn md5_from(text: &str) -> Option<Digest> {
    STANDARD.decode(text).ok().and_then(|bytes| Digest::from_slice(&bytes))
}

/// `x-amz-copy-source` is a header: all but what is safe in a URL's path is escaped.
const IN_HEADER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, Stamp};

    #[test]
    fn user_metadata_is_what_rclone_and_s3fs_restore() {
        let meta = FileMeta {
            fingerprint: Fingerprint {
                size: 3,
                mtime: Stamp::from_parts(1_700_000_000, 123_456_789),
                ctime: Stamp(0),
                inode: 7,
            },
            birth: None,
            mode: 0o100_644,
            uid: 1000,
            gid: 100,
        };
        let attributes = Attributes { content_type: String::new(), meta, md5chksum: Some(Digest([0; 16])) };
        let metadata = attributes.user_metadata(None);
        assert_eq!(metadata["mtime"], "1700000000.123456789");
        assert_eq!(metadata["mode"], "0100644");
        assert_eq!((metadata["uid"].as_str(), metadata["gid"].as_str()), ("1000", "100"));
        assert_eq!(metadata["md5chksum"], "AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(md5_from(&metadata["md5chksum"]), Some(Digest([0; 16])));
    }

    #[test]
    fn the_type_goes_by_the_extension() {
        let of = |path: &str| content_type(&RelPath::from_raw(path.as_bytes()));
        assert_eq!(of("a/b/photo.JPG"), "image/jpeg");
        assert_eq!(of("a.d/README"), "application/octet-stream");
        assert_eq!(of("x.unknown-extension"), "application/octet-stream");
    }
}
