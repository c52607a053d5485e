//! A trial of everything that the program needs to be allowed to do.

use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::client::Bucket;
use super::error::RemoteError;
use super::object::Attributes;
use super::operation::Operation;
use crate::model::{Digest, FileMeta, Fingerprint, ObjectKey, Stamp};

/// One thing that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    /// Writing an object.
    Write,
    /// Looking at it.
    Look,
    /// Finding it in a listing.
    List,
    /// Deleting it.
    Delete,
}

impl ProbeStep {
    /// For a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Write => "write an object",
            Self::Look => "read its metadata",
            Self::List => "list the bucket",
            Self::Delete => "delete the object",
        }
    }
}

impl Bucket {
    /// Writes, looks at, lists and deletes an object at `key`, which must be nobody's. What can't be tried without an earlier
    /// step that failed is left out; the object is deleted in any case.
    pub async fn probe(&self, key: &ObjectKey) -> Vec<(ProbeStep, Result<(), RemoteError>)> {
        let body = Bytes::from_static(b"agent-portail wrote this to see if it may, and deletes it at once.\n");
        let digest = Digest(Md5::digest(&body).into());
        let size = body.len() as u64;
        let written = self.put(key, &body.into(), digest, &attributes(size)).await.map(drop);
        let exists = written.is_ok();
        let mut steps = vec![(ProbeStep::Write, written)];
        if exists {
            let found = match self.head(key).await {
                Ok(Some(head)) if head.size == size => Ok(()),
                Ok(_) => {
                    Err(self.unexpected(Operation::HeadObject, Some(key), "it does not show what was just written"))
                }
                Err(error) => Err(error),
            };
            steps.push((ProbeStep::Look, found));
        }
        let listed = self.list(key.as_str(), None).next_page().await;
        let listed = listed.and_then(|page| {
            let found = page.is_some_and(|page| page.objects.iter().any(|(name, _)| name == key.as_str()));
            if found || !exists {
                return Ok(());
            }
            Err(self.unexpected(Operation::ListObjectsV2, Some(key), "it does not show what was just written"))
        });
        steps.push((ProbeStep::List, listed));
        let deleted = self.delete(std::slice::from_ref(key)).await.into_iter().try_for_each(|(_, outcome)| outcome);
        if exists {
            steps.push((ProbeStep::Delete, deleted));
        }
        steps
    }
}

fn attributes(size: u64) -> Attributes {
    let now = Stamp::from_system(std::time::SystemTime::now());
    let fingerprint = Fingerprint { size, mtime: now, ctime: now, inode: 0 };
    Attributes {
        content_type: "text/plain".to_owned(),
        meta: FileMeta { fingerprint, birth: None, mode: 0o100_644, uid: 0, gid: 0 },
        md5chksum: None,
    }
}
