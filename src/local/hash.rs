//! Reading a file's content, whole or through the MD5 only, and noticing that it changed meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use md5::{Digest as _, Md5};

use crate::local::part_digests::PartDigests;
use crate::local::stat;
use crate::memory::{Budget, Held};
use crate::model::{Digest, FileMeta, Fingerprint, Parts, Stamp};
use crate::signs;

/// Read at once while hashing: large enough that calls don't count, small enough to stay in the processor's cache.
const CHUNK: usize = 256 * 1024;

/// Why a file's content could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It changed while it was read: what was read is thrown away.
    #[error("read it: it changed meanwhile")]
    Changed,
    /// It can't be read.
    #[error("read it")]
    Io(#[source] io::Error),
    /// The program is to stop.
    #[error("read it to its end: the program is stopping")]
    Cancelled,
}

/// What is wanted of a content besides its digest.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The bytes, for a small file, in memory of this budget, of which the caller has taken enough.
    Bytes(&'a Budget),
    /// The digests of parts of this many bytes, see [`crate::model::part_size`].
    Parts(u64),
}

/// What a content is sent from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// From memory.
    Held(Held),
    /// From the open file, part by part: the store refuses a part that is not what was hashed.
    Parts(Parts),
}

/// The content of a file at one instant.
#[derive(Debug)]
pub struct Content {
    /// Of the open file, the same before the first byte and after the last.
    pub meta: FileMeta,
    /// Of the whole.
    pub digest: Digest,
    /// How it is sent.
    pub body: Body,
    /// When reading began.
    pub began: Stamp,
}

/// Hashes an open file of which `meta` was just seen.
///
/// `read` is told of each piece's length and stops the reading by answering false.
pub fn read(file: &File, meta: FileMeta, wanted: Wanted<'_>, read: &dyn Fn(u64) -> bool) -> Result<Content, ReadError> {
    let began = Stamp::from_system(SystemTime::now());
    let size = meta.fingerprint.size;
    let (digest, body) = match wanted {
        Wanted::Bytes(budget) => {
            let (digest, held) = read_whole(file, size, budget)?;
            if !read(size) {
                return Err(ReadError::Cancelled);
            }
            (digest, Body::Held(held))
        }
        Wanted::Parts(part_size) => {
            let mut digests = PartDigests::new(part_size);
            each_piece(file, 0, size, read, |piece| digests.update(piece))?;
            let (digest, parts) = digests.finish();
            (digest, Body::Parts(parts))
        }
    };
    if !is_unchanged(file, &meta.fingerprint).map_err(ReadError::Io)? {
        return Err(ReadError::Changed);
    }
    Ok(Content { meta, digest, body, began })
}

/// The MD5 of an open file that has this fingerprint, before the first byte and after the last.
pub fn digest(file: &File, seen: &Fingerprint, read: &dyn Fn(u64) -> bool) -> Result<Digest, ReadError> {
    let digest = hash_range(file, 0, seen.size, read)?;
    if is_unchanged(file, seen).map_err(ReadError::Io)? { Ok(digest) } else { Err(ReadError::Changed) }
}

/// Lets the kernel forget what it has of a file in memory and has on the disk as well, so that the next read comes from there.
pub fn forget_cached(file: &File) {
    #[cfg(target_os = "linux")]
    // It is a wish; where it is not granted, the read is as good as any other.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// Makes sure that the file held what was just read from it at one instant, where its stamps are too young to tell: what is read
/// twice alike was there in between.
pub fn confirm(file: &File, content: &Content, read: &dyn Fn(u64) -> bool) -> Result<(), ReadError> {
    let fingerprint = &content.meta.fingerprint;
    let same = hash_range(file, 0, fingerprint.size, read)? == content.digest
        && is_unchanged(file, fingerprint).map_err(ReadError::Io)?;
    if same { Ok(()) } else { Err(ReadError::Changed) }
}

/// Whether the open file still has this fingerprint.
pub fn is_unchanged(file: &File, seen: &Fingerprint) -> io::Result<bool> {
    Ok(stat::of_open(file)?.meta.fingerprint == *seen)
}

/// The MD5 of `size` bytes as an S3 multipart upload in parts of `part_size` has it: that of the parts' MD5s.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>
pub fn composite_md5(file: &File, size: u64, part_size: u64, read: &dyn Fn(u64) -> bool) -> Result<Digest, ReadError> {
    let mut parts = Md5::new();
    let mut offset = 0;
    while offset < size {
        let length = part_size.min(size - offset);
        parts.update(hash_range(file, offset, length, read)?.0);
        offset += length;
    }
    Ok(Digest(parts.finalize().into()))
}

fn read_whole(file: &File, size: u64, budget: &Budget) -> Result<(Digest, Held), ReadError> {
    let (mut md5, mut held) = (Md5::new(), Held::default());
    while held.len() < size {
        let mut chunk = budget.chunk(size - held.len());
        read_exact(file, chunk.as_mut(), held.len())?;
        md5.update(&chunk);
        held.push(chunk.freeze());
    }
    Ok((Digest(md5.finalize().into()), held))
}

fn hash_range(file: &File, offset: u64, length: u64, read: &dyn Fn(u64) -> bool) -> Result<Digest, ReadError> {
    let mut md5 = Md5::new();
    each_piece(file, offset, length, read, |piece| md5.update(piece))?;
    Ok(Digest(md5.finalize().into()))
}

fn each_piece(
    file: &File,
    offset: u64,
    length: u64,
    read: &dyn Fn(u64) -> bool,
    mut take: impl FnMut(&[u8]),
) -> Result<(), ReadError> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let mut done = 0;
    while done < length {
        let want = buffer.len().min(usize::try_from(length - done).unwrap_or(CHUNK));
        read_exact(file, &mut buffer[..want], offset + done)?;
        take(&buffer[..want]);
        done += want as u64;
        if !read(want as u64) {
            return Err(ReadError::Cancelled);
        }
    }
    Ok(())
}

/// A file that ends early was cut short since it was looked at.
fn read_exact(file: &File, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    file.read_exact_at(buffer, offset).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof { ReadError::Changed } else { ReadError::Io(error) }
    })?;
    signs::show();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn open(content: &[u8]) -> (tempfile::NamedTempFile, FileMeta) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let meta = stat::of_open(file.as_file()).unwrap().meta;
        (file, meta)
    }

    #[test]
    fn digests_are_those_of_rfc_1321() {
        for (text, hex) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
        ] {
            let (file, meta) = open(text.as_bytes());
            let content = read(file.as_file(), meta, Wanted::Bytes(&Budget::default()), &|_| true).unwrap();
            assert_eq!(content.digest.to_hex(), hex);
            let Body::Held(held) = content.body else { panic!("{content:?}") };
            assert_eq!(held.chunks().concat(), text.as_bytes());
            let content = read(file.as_file(), meta, Wanted::Parts(64), &|_| true).unwrap();
            assert_eq!(content.digest.to_hex(), hex);
            assert_eq!(content.body, Body::Parts(Parts { size: 64, digests: vec![content.digest] }));
        }
    }

    #[test]
    fn pieces_hash_like_the_whole() {
        let content: Vec<u8> = (0..3 * CHUNK + 17).map(|i| (i % 251) as u8).collect();
        let (file, meta) = open(&content);
        assert_eq!(
            read(file.as_file(), meta, Wanted::Parts(1 << 16), &|_| true).unwrap().digest,
            read(file.as_file(), meta, Wanted::Bytes(&Budget::default()), &|_| true).unwrap().digest
        );
    }

    #[test]
    fn a_file_that_grows_or_shrinks_meanwhile_is_refused() {
        for length in [1, 10] {
            let (file, meta) = open(b"abcdef");
            file.as_file().set_len(length).unwrap();
            for wanted in [Wanted::Bytes(&Budget::default()), Wanted::Parts(64)] {
                assert!(matches!(read(file.as_file(), meta, wanted, &|_| true), Err(ReadError::Changed)));
            }
        }
    }

    #[test]
    fn content_that_is_not_read_alike_twice_is_refused_whatever_the_stamps_say() {
        use std::os::unix::fs::FileExt as _;
        let (file, meta) = open(b"abcdef");
        let mut content = read(file.as_file(), meta, Wanted::Bytes(&Budget::default()), &|_| true).unwrap();
        confirm(file.as_file(), &content, &|_| true).unwrap();
        file.as_file().write_all_at(b"x", 3).unwrap();
        // As if the write had fallen into the tick of the first look.
        content.meta = stat::of_open(file.as_file()).unwrap().meta;
        assert!(matches!(confirm(file.as_file(), &content, &|_| true), Err(ReadError::Changed)));
    }

    #[test]
    fn reading_stops_when_told() {
        let (file, meta) = open(&vec![7; 4 * CHUNK]);
        assert!(matches!(read(file.as_file(), meta, Wanted::Parts(64), &|_| false), Err(ReadError::Cancelled)));
    }

    #[test]
    fn a_composite_is_the_md5_of_the_parts_md5s() {
        let (file, _) = open(b"aabbc");
        let mut expected = Md5::new();
        for part in [&b"aa"[..], b"bb", b"c"] {
            expected.update(Md5::digest(part));
        }
        let expected = Digest(expected.finalize().into());
        assert_eq!(composite_md5(file.as_file(), 5, 2, &|_| true).unwrap(), expected);
    }
}
