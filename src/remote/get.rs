//! Fetching objects: their bytes as a stream that can be gone on with, and what is written on them.

use std::collections::HashMap;
use std::time::Instant;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::client::Bucket;
use super::error::{RemoteError, Trouble};
use super::object::md5_from;
use super::operation::Operation;
use crate::model::{Digest, ETag, ObjectKey, Stamp};

/// Which object, and from where on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Only if it still has this one.
    pub etag: Option<&'a ETag>,
    /// This version, instead of the current one.
    pub version: Option<&'a str>,
    /// Without so many bytes at its beginning. At least one must be left.
    pub from: u64,
}

/// What is written on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Bytes of the whole object.
    pub size: u64,
    /// Opaque.
    pub etag: ETag,
    /// Where the bucket has versions.
    pub version: Option<String>,
    /// The MD5 of the content: as an uploader noted it, or the ETag where that is one.
    pub digest: Option<Digest>,
    /// When the file was changed, as an uploader noted it.
    pub mtime: Option<Stamp>,
    /// The file's type and permission bits, likewise.
    pub mode: Option<u32>,
    /// When the object was put.
    pub put_at: Option<Stamp>,
}

/// An object on its way.
#[derive(Debug)]
pub struct Download {
    /// What is written on it.
    pub about: About,
    bucket: Bucket,
    key: ObjectKey,
    operation: Operation,
    body: ByteStream,
}

/// What answers to GET and HEAD have in common.
struct Headers<'a> {
    etag: Option<&'a str>,
    version: Option<&'a str>,
    metadata: Option<&'a HashMap<String, String>>,
    encryption: Option<&'a ServerSideEncryption>,
    customer_key: Option<&'a str>,
    put_at: Option<&'a aws_sdk_s3::primitives::DateTime>,
}

impl Bucket {
    /// Begins to fetch an object. Its bytes are yet to come.
    pub async fn get(&self, key: &ObjectKey, wanted: Wanted<'_>) -> Result<Download, RemoteError> {
        let operation = if wanted.version.is_some() { Operation::GetObjectVersion } else { Operation::GetObject };
        let answer = self
            .sdk()
            .get_object()
            .bucket(self.name())
            .key(key.as_str())
            .set_version_id(wanted.version.map(str::to_owned))
            .set_if_match(wanted.etag.map(|etag| format!("\"{}\"", etag.as_str())))
            .set_range((wanted.from > 0).then(|| format!("bytes={}-", wanted.from)))
            .send()
            .await
            .map_err(|error| self.failed(operation, Some(key), error))?;
        let unexpected = |what: &str| self.unexpected(operation, Some(key), what);
        let length = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let length = length.ok_or_else(|| unexpected("it has no size"))?;
        let size = match answer.content_range() {
            Some(range) => whole_size(range, wanted.from, length),
            None if wanted.from == 0 => Some(length),
            None => None,
        };
        let size = size.ok_or_else(|| unexpected("it is not the range that was asked for"))?;
        let headers = Headers {
            etag: answer.e_tag(),
            version: answer.version_id(),
            metadata: answer.metadata(),
            encryption: answer.server_side_encryption(),
            customer_key: answer.sse_customer_algorithm(),
            put_at: answer.last_modified(),
        };
        let about = headers.read(size).ok_or_else(|| unexpected("it has no ETag"))?;
        // A store that does not know versions, or the condition, would send whatever is there.
        if let (Some(wanted), Some(version)) = (wanted.version, answer.version_id())
            && wanted != version
        {
            return Err(RemoteError {
                trouble: Trouble::NotFound,
                ..unexpected("the store answered with another version")
            });
        }
        if wanted.etag.is_some_and(|etag| *etag != about.etag) {
            return Err(self.other_object(operation, key));
        }
        Ok(Download { about, bucket: self.clone(), key: key.clone(), operation, body: answer.body })
    }

    /// What is written on an object. `None` if there is none (or no such bucket: an answer to HEAD can't tell).
    pub async fn about(&self, key: &ObjectKey, version: Option<&str>) -> Result<Option<About>, RemoteError> {
        let request = self.sdk().head_object().bucket(self.name()).key(key.as_str());
        let answer = match request.set_version_id(version.map(str::to_owned)).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = self.failed(Operation::HeadObject, Some(key), error);
                return if error.trouble == Trouble::NotFound { Ok(None) } else { Err(error) };
            }
        };
        if let (Some(wanted), Some(answered)) = (version, answer.version_id())
            && wanted != answered
        {
            return Ok(None);
        }
        let unexpected = |what| self.unexpected(Operation::HeadObject, Some(key), what);
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let headers = Headers {
            etag: answer.e_tag(),
            version: answer.version_id(),
            metadata: answer.metadata(),
            encryption: answer.server_side_encryption(),
            customer_key: answer.sse_customer_algorithm(),
            put_at: answer.last_modified(),
        };
        let size = size.ok_or_else(|| unexpected("it has no size"))?;
        Ok(Some(headers.read(size).ok_or_else(|| unexpected("it has no ETag"))?))
    }

    /// Fetches an object for the MD5 of its bytes only. `came` is told of each piece's length.
    pub async fn digest(&self, key: &ObjectKey, wanted: Wanted<'_>, came: impl Fn(u64)) -> Result<Digest, RemoteError> {
        let mut download = self.get(key, wanted).await?;
        let (mut md5, mut length) = (Md5::new(), wanted.from);
        while let Some(piece) = download.next().await? {
            length += piece.len() as u64;
            came(piece.len() as u64);
            md5.update(&piece);
        }
        if length != download.about.size {
            return Err(download.short());
        }
        Ok(Digest(md5.finalize().into()))
    }

    fn other_object(&self, operation: Operation, key: &ObjectKey) -> RemoteError {
        RemoteError {
            trouble: Trouble::Precondition,
            ..self.unexpected(operation, Some(key), "the store answered with another ETag")
        }
    }
}

impl Download {
    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RemoteError> {
        let patience = self.bucket.client.inner.answer;
        let piece = match tokio::time::timeout(patience, self.body.next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => return Err(self.broken(Trouble::Unreachable, error.into())),
            Err(elapsed) => return Err(self.broken(Trouble::TimedOut, elapsed.into())),
        };
        if let Some(pace) = &self.bucket.client.inner.pace {
            tokio::time::sleep_until(pace.arrived(piece.len(), Instant::now()).into()).await;
        }
        Ok(Some(piece))
    }

    /// It ended before its end.
    pub fn short(&self) -> RemoteError {
        self.broken(Trouble::Unreachable, "the body ended early".into())
    }

    fn broken(&self, trouble: Trouble, source: Box<dyn std::error::Error + Send + Sync>) -> RemoteError {
        RemoteError {
            operation: self.operation,
            bucket: self.bucket.name().to_owned(),
            key: Some(self.key.clone()),
            trouble,
            source,
        }
    }
}

impl Headers<'_> {
    fn read(&self, size: u64) -> Option<About> {
        let etag = ETag::new(self.etag?);
        let noted = |name: &str| self.metadata.and_then(|metadata| metadata.get(name)).map(String::as_str);
        // With a key of its own, the ETag of an object is not the MD5 of what it holds.
        let plain = match self.encryption {
            None | Some(ServerSideEncryption::Aes256) => self.customer_key.is_none(),
            // The SDK's enum may grow.
            Some(_) => false,
        };
        let digest = noted("md5chksum").and_then(md5_from);
        let digest = digest.or_else(|| Digest::from_hex(etag.as_str()).filter(|_| plain));
        Some(About {
            size,
            digest,
            etag,
            version: self.version.map(str::to_owned).filter(|version| version != "null"),
            mtime: noted("mtime").and_then(Stamp::from_decimal),
            mode: noted("mode").and_then(mode_from),
            put_at: self.put_at.map(|time| Stamp::from_parts(time.secs(), time.subsec_nanos())),
        })
    }
}

/// The size of the whole, from `bytes FIRST-LAST/SIZE`, if it is the range from `from` on.
fn whole_size(range: &str, from: u64, length: u64) -> Option<u64> {
    let (range, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first == from && last.checked_add(1)? == size && size - first == length).then_some(size)
}

/// A mode as uploaders note it: rclone and we in octal, s3fs in decimal. The type of a regular file tells which one it is; bare
/// permission bits are octal.
fn mode_from(text: &str) -> Option<u32> {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    let octal = u32::from_str_radix(text, 8).ok();
    let is_mode = |mode: &u32| mode & TYPE == REGULAR && *mode <= TYPE | 0o7777;
    let bare = |mode: &u32| *mode <= 0o7777 && text.len() <= 5;
    octal.filter(is_mode).or_else(|| text.parse().ok().filter(is_mode)).or_else(|| octal.filter(bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_the_usual_tools_write_them() {
        for (text, mode) in [
            ("0100644", Some(0o100_644)),
            ("100755", Some(0o100_755)),
            ("33188", Some(0o100_644)),
            ("33206", Some(0o100_666)),
            ("0644", Some(0o644)),
            ("755", Some(0o755)),
            ("4755", Some(0o4755)),
            ("", None),
            ("rw-r--r--", None),
            ("040755", None),
            ("16877", None),
            ("99999999999", None),
        ] {
            assert_eq!(mode_from(text), mode, "{text}");
        }
    }

    #[test]
    fn a_range_is_only_the_one_that_was_asked_for() {
        assert_eq!(whole_size("bytes 5-9/10", 5, 5), Some(10));
        assert_eq!(whole_size("bytes 0-9/10", 0, 10), Some(10));
        for (range, from, length) in [
            ("bytes 0-9/10", 5, 5),
            ("bytes 5-8/10", 5, 4),
            ("bytes 5-9/10", 5, 4),
            ("bytes 5-9/*", 5, 5),
            ("bytes */10", 5, 5),
            ("bytes 5-18446744073709551615/10", 5, 5),
            ("", 0, 0),
        ] {
            assert_eq!(whole_size(range, from, length), None, "{range}");
        }
    }

    #[test]
    fn an_etag_is_taken_for_the_md5_only_where_it_is_one() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let digest = |etag: &str, encryption: Option<ServerSideEncryption>, noted: Option<&str>| {
            let metadata: HashMap<String, String> =
                noted.map(|noted| ("md5chksum".to_owned(), noted.to_owned())).into_iter().collect();
            let headers = Headers {
                etag: Some(etag),
                version: Some("null"),
                metadata: Some(&metadata),
                encryption: encryption.as_ref(),
                customer_key: None,
                put_at: None,
            };
            let about = headers.read(0).unwrap();
            assert_eq!(about.version, None);
            about.digest.map(Digest::to_hex)
        };
        assert_eq!(digest(&format!("\"{md5}\""), None, None).as_deref(), Some(md5));
        assert_eq!(digest(md5, Some(ServerSideEncryption::Aes256), None).as_deref(), Some(md5));
        assert_eq!(digest(md5, Some(ServerSideEncryption::AwsKms), None), None);
        assert_eq!(digest(&format!("{md5}-2"), None, None), None);
        let noted = "AAAAAAAAAAAAAAAAAAAAAA==";
        assert_eq!(digest(&format!("{md5}-2"), None, Some(noted)), Some("0".repeat(32)));
    }
}
