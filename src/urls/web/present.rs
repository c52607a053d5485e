//! Rows of the catalog as they are shown.

use std::time::SystemTime;

use super::format;
use super::names::{Kind, Shown, encoded, encoded_part, last, parent};
use super::view::{LinkRow, Row, Standing, When};
use super::visitor::Visitor;
use super::words::Words;
use crate::catalog::browse::{FileLine, FolderLine};
use crate::catalog::link::Link;
use crate::model::{FolderState, RowState};
use crate::urls::portal::Directory;
use crate::urls::refusal::Gone;
use crate::urls::sharing::LinkStatus;

/// Between the parts of a place.
const STEP: &str = " › ";

/// Seconds since 1970.
pub fn unix(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// What a folder is called in an address: its name, with its agent's where several agents have one of this name.
pub fn slug(folders: &[FolderLine], folder: &FolderLine) -> String {
    let alike = folders.iter().filter(|other| other.name == folder.name).count();
    if alike > 1 { format!("{}/{}", folder.agent, folder.name) } else { folder.name.clone() }
}

/// The address of a page about a place: `part` is `browse`, `file`, `open` or `download`.
pub fn href(part: &str, slug: &str, path: &str) -> String {
    let path = path.trim_end_matches('/');
    let slash = if path.is_empty() { "" } else { "/" };
    format!("/{part}/{}{slash}{}", encoded_part(slug), encoded(path))
}

/// A place as it is read: the folder and the directories down to it.
pub fn place(folder: &str, directory: &str) -> String {
    let mut text = Shown(folder).to_string();
    for step in directory.split('/').filter(|step| !step.is_empty()) {
        text.push_str(STEP);
        text.push_str(&Shown(step).to_string());
    }
    text
}

/// How a folder stands.
pub fn folder_standing(w: &Words, folder: &FolderLine) -> Standing {
    let (tone, icon, text) = match folder.state {
        FolderState::Starting => ("busy", "busy", w.starting),
        FolderState::Syncing => ("busy", "busy", w.syncing),
        FolderState::InSync => ("good", "check", w.in_sync),
        FolderState::Degraded => ("bad", "alert", w.degraded),
        FolderState::Suspended => ("bad", "pause", w.suspended),
    };
    let reason = folder.reason.as_deref().filter(|_| tone == "bad").map(|reason| Shown(reason).to_string());
    Standing { tone, icon, text, reason }
}

/// How a file stands.
pub fn file_standing(w: &Words, file: &FileLine) -> Standing {
    let (tone, icon, text) = match file.state {
        RowState::Synced => ("good", "check", w.synced),
        RowState::Failed => ("bad", "alert", w.failed),
        RowState::Deleting => ("busy", "bin", w.deleting),
        RowState::Kept => ("quiet", "keep", w.kept),
    };
    Standing { tone, icon, text, reason: file.error.as_deref().map(|error| Shown(error).to_string()) }
}

/// What a file's state means, where it needs telling.
pub fn explanation(w: &Words, state: RowState) -> Option<&'static str> {
    match state {
        RowState::Synced => None,
        RowState::Failed => Some(w.failed_hint),
        RowState::Deleting => Some(w.deleting_hint),
        RowState::Kept => Some(w.kept_hint),
    }
}

/// A directory of a list.
pub fn directory_row(slug: &str, directory: &Directory) -> Row {
    Row {
        icon: "folder",
        name: Shown(&directory.name).to_string(),
        href: href("browse", slug, &directory.path),
        place: None,
        size: String::new(),
        modified: None,
        standing: None,
        synced: None,
        share: None,
    }
}

/// A file of a list. `place` is told where not all files of the list lie in one directory.
pub fn file_row(visitor: &Visitor, slug: &str, file: &FileLine, place: Option<String>, may_share: bool) -> Row {
    let w = visitor.w;
    let page = href("file", slug, &file.path);
    let is_there = matches!(file.state, RowState::Synced | RowState::Kept);
    Row {
        icon: Kind::of(&file.name).icon(),
        name: Shown(&file.name).to_string(),
        share: (may_share && is_there).then(|| format!("{page}#share")),
        href: page,
        place,
        size: file.size.map(|size| format::size(w.language, size)).unwrap_or_default(),
        modified: file.modified_at.map(|at| When::date(w, unix(at))),
        standing: Some(file_standing(w, file)),
        synced: file.synced_at.map(|at| When::ago(w, unix(at), visitor.now)),
    }
}

/// A link of a list.
pub fn link_row(visitor: &Visitor, folders: &[FolderLine], link: &Link, may_revoke: bool) -> LinkRow {
    let (w, name) = (visitor.w, last(&link.path));
    let status = LinkStatus::of(link, SystemTime::now());
    let (tone, icon, text) = match status {
        LinkStatus::Active => ("good", "check", w.active),
        LinkStatus::Ended(Gone::Expired) => ("quiet", "clock", w.expired),
        LinkStatus::Ended(Gone::Revoked) => ("quiet", "close", w.revoked),
        LinkStatus::Ended(Gone::UsedUp) => ("quiet", "check", w.used_up),
        LinkStatus::Ended(Gone::Deleted) => ("quiet", "bin", w.file_gone),
    };
    let folder = folders.iter().find(|folder| folder.id == link.folder).filter(|_| !link.file_gone);
    LinkRow {
        id: link.id.to_string(),
        name: Shown(name).to_string(),
        href: folder.map(|folder| href("file", &slug(folders, folder), &link.path)),
        place: place(&link.folder_name, parent(&link.path)),
        icon: Kind::of(name).icon(),
        standing: Standing { tone, icon, text, reason: None },
        created: When::ago(w, unix(link.created_at), visitor.now),
        creator: (link.created_by != visitor.caller.name).then(|| link.created_by.clone()),
        ends: When::until(w, unix(link.expires_at), visitor.now),
        uses: match link.max_uses {
            None => w.count(&w.downloads, u64::from(link.uses)),
            Some(most) => w
                .count(&w.downloads_of, u64::from(link.uses))
                .replace('%', &format::number(w.language, u64::from(most))),
        },
        last_used: link.last_used_at.map(|at| When::ago(w, unix(at), visitor.now)),
        pinned: link.pinned,
        revoke: (may_revoke && status == LinkStatus::Active).then(|| format!("/links/{}/revoke", link.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_of_encoded_parts() {
        assert_eq!(href("browse", "a/b c", ""), "/browse/a%2Fb%20c");
        assert_eq!(href("file", "docs", "é/x?y#z"), "/file/docs/%C3%A9/x%3Fy%23z");
        assert_eq!(href("browse", "docs", "a/b/"), "/browse/docs/a/b");
        assert_eq!(place("docs", "a/b\u{202e}"), "docs › a › b⟨U+202E⟩");
    }

    #[test]
    fn times_before_1970_are_times() {
        let second = std::time::Duration::from_secs(1);
        assert_eq!(unix(SystemTime::UNIX_EPOCH - second), -1);
        assert_eq!(unix(SystemTime::UNIX_EPOCH + second), 1);
    }
}
