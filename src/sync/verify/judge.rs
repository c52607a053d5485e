//! What a path looks like in the three worlds, content included, and where they differ. Pure.

use crate::model::{Digest, FileMeta, Local, Remote, Row, RowState, SkipReason, Synced};

/// How two worlds differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The file is newer than its row.
    Unsynced,
    /// A file without a row.
    NoRow,
    /// A row without a file.
    NoFile,
    /// The last try to sync the file has failed.
    Failed,
    /// A row without an object.
    NoObject,
    /// The object is not the one that the row has.
    ObjectDiffers,
    /// The file looks as it did when it was synced, and its content is another.
    DamagedFile,
    /// The object is the one that the row has, and its bytes are others.
    DamagedObject,
    /// Something could not be read.
    Unreadable,
}

impl Kind {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsynced => "unsynced",
            Self::NoRow => "no-row",
            Self::NoFile => "no-file",
            Self::Failed => "failed",
            Self::NoObject => "no-object",
            Self::ObjectDiffers => "object-differs",
            Self::DamagedFile => "damaged-file",
            Self::DamagedObject => "damaged-object",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What reading the bytes of a file or an object has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nobody tried.
    NotRead,
    /// To its end.
    Read(Digest),
    /// It changed meanwhile.
    Changed,
    /// It can't be read, and why.
    Unreadable(Box<str>),
}

/// A path in the three worlds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// In the folder.
    pub local: Local,
    /// Of the file.
    pub content: Content,
    /// In the catalog.
    pub row: Option<Row>,
    /// In the bucket.
    pub remote: Remote,
    /// Of the object, where it was fetched.
    pub fetched: Content,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub kind: Kind,
    /// In words.
    pub detail: String,
}

impl Observation {
    /// Whether the file is to be read: there is something to compare its content with.
    pub fn wants_content(&self) -> Option<FileMeta> {
        match (&self.local, self.synced()) {
            (Local::Present(meta), Some(_)) => Some(*meta),
            (Local::Present(_) | Local::Absent | Local::Skipped(_) | Local::Unknown(_), _) => None,
        }
    }

    /// Whether the object's bytes can be compared: it is the one that the row has.
    pub fn can_be_fetched(&self) -> bool {
        match (&self.remote, self.synced()) {
            (Remote::Present(listed), Some(synced)) => listed.etag == synced.etag && listed.size == synced.size,
            (Remote::Present(_) | Remote::Missing | Remote::NotKnown | Remote::Doubtful, _) => false,
        }
    }

    /// Whether anything changed while it was looked at: then nothing is certain.
    pub fn is_restless(&self) -> bool {
        self.content == Content::Changed || self.fetched == Content::Changed
    }

    /// Whether the file's content is the row's, so that it can make the object anew.
    pub fn file_is_good(&self) -> bool {
        self.synced().is_some_and(|synced| self.content == Content::Read(synced.digest))
    }

    /// The object that the row vouches for.
    pub fn synced(&self) -> Option<&Synced> {
        self.row.as_ref()?.synced.as_ref()
    }

    /// Where the worlds differ; nothing where they agree.
    pub fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.judge_file(&mut |kind, detail| findings.push(Finding { kind, detail }));
        self.judge_object(&mut |kind, detail| findings.push(Finding { kind, detail }));
        findings
    }

    fn judge_file(&self, found: &mut impl FnMut(Kind, String)) {
        let state = self.row.as_ref().map(|row| row.state);
        match (&self.local, &self.row) {
            (Local::Unknown(why), _) => found(Kind::Unreadable, format!("the file can't be seen: {why}")),
            (Local::Absent, Some(row)) => judge_absent(row, found),
            (Local::Skipped(reason), Some(_)) => found(Kind::NoFile, not_synced_any_more(*reason)),
            (Local::Absent | Local::Skipped(_), None) => {}
            (Local::Present(_), None) => found(Kind::NoRow, "the catalog does not know the file".to_owned()),
            (Local::Present(meta), Some(row)) => {
                if state == Some(RowState::Failed) {
                    found(Kind::Failed, "its last sync has failed; `agent-portail explain` says why".to_owned());
                }
                self.judge_present(meta, row, found);
            }
        }
    }

    fn judge_present(&self, meta: &FileMeta, row: &Row, found: &mut impl FnMut(Kind, String)) {
        let Some(synced) = &row.synced else { return };
        let as_it_was = row.fingerprint.as_ref() == Some(&meta.fingerprint);
        match (&self.content, row.state) {
            (Content::Unreadable(why), _) => found(Kind::Unreadable, format!("the file can't be read: {why}")),
            (Content::Changed, _) => found(Kind::Unsynced, "the file changes while it is read".to_owned()),
            (Content::NotRead, _) => {}
            (Content::Read(digest), _) if *digest != synced.digest => {
                if as_it_was && !row.racy {
                    let was = synced.digest;
                    found(
                        Kind::DamagedFile,
                        format!(
                            "its content has the MD5 {digest}; {was} was synced, and nothing else of it has changed"
                        ),
                    );
                } else if row.state != RowState::Failed {
                    found(Kind::Unsynced, "its content has changed since it was synced".to_owned());
                }
            }
            (Content::Read(_), RowState::Kept) => {
                found(Kind::Unsynced, "the file is back, and its row says `kept`".to_owned());
            }
            (Content::Read(_), RowState::Deleting) => {
                found(Kind::Unsynced, "the file is there, and its row says `deleting`".to_owned());
            }
            (Content::Read(_), RowState::Synced) if !as_it_was => {
                found(Kind::Unsynced, "its times, mode or owner have changed since it was synced".to_owned());
            }
            (Content::Read(_), RowState::Synced | RowState::Failed) => {}
        }
    }

    fn judge_object(&self, found: &mut impl FnMut(Kind, String)) {
        let Some(row) = self.row.as_ref() else { return };
        let Some(synced) = &row.synced else { return };
        match (&self.remote, row.state) {
            // It may be gone already.
            (_, RowState::Deleting) | (Remote::NotKnown | Remote::Doubtful, _) => {}
            (Remote::Missing, _) => found(Kind::NoObject, "the bucket has no object of it".to_owned()),
            (Remote::Present(listed), _) if listed.etag != synced.etag || listed.size != synced.size => {
                let (size, etag) = (listed.size, listed.etag.as_str());
                let (was_size, was_etag) = (synced.size, synced.etag.as_str());
                found(
                    Kind::ObjectDiffers,
                    format!("the object has {size} bytes and the ETag {etag}, the row {was_size} and {was_etag}"),
                );
            }
            (Remote::Present(_), _) => match &self.fetched {
                Content::Read(digest) if *digest != synced.digest => {
                    let was = synced.digest;
                    found(Kind::DamagedObject, format!("the object's bytes have the MD5 {digest} instead of {was}"));
                }
                Content::Unreadable(why) => found(Kind::Unreadable, format!("the object can't be fetched: {why}")),
                Content::Changed => {
                    found(Kind::ObjectDiffers, "the object was replaced while it was fetched".to_owned())
                }
                Content::NotRead | Content::Read(_) => {}
            },
        }
    }
}

fn judge_absent(row: &Row, found: &mut impl FnMut(Kind, String)) {
    let detail = match (row.state, &row.synced) {
        // On purpose.
        (RowState::Kept, _) => return,
        (RowState::Deleting, _) => "the file is gone, and its object is being removed",
        (RowState::Synced | RowState::Failed, Some(_)) => "the file is gone",
        (RowState::Synced | RowState::Failed, None) => "the file is gone, and was never synced",
    };
    found(Kind::NoFile, format!("{detail}; the next sync sees to it"));
}

fn not_synced_any_more(reason: SkipReason) -> String {
    format!("it is not synced any more ({}); the next sync drops the row", reason.describe())
}

#[cfg(test)]
mod tests;
