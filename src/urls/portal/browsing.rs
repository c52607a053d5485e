//! What there is to see: folders, the levels of their trees, and search.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Portal;
use crate::catalog::browse::{self, Counts, FileDetail, FileLine, FolderLine};
use crate::catalog::level::{self, Order, Place, Sort};
use crate::catalog::search::{self, Spot, Stretch};
use crate::model::{FolderId, RowState};
use crate::urls::cursor::Cursor;
use crate::urls::refusal::{Gone, Refusal};

/// Files and directories of one page at most.
pub const LARGEST_PAGE: usize = 1_000;
/// How old the list of folders may be: it is asked for with every call.
const FOLDERS_AGE: Duration = Duration::from_secs(1);
/// How old what the folders hold may be: it takes a read of all rows.
const COUNTS_AGE: Duration = Duration::from_secs(30);
/// How old the knowledge may be whether there is an index of names.
const INDEX_AGE: Duration = Duration::from_secs(60);
/// A search goes on reading for so long, if it has found nothing yet.
const SEARCHING: Duration = Duration::from_millis(500);
/// The longest part of a name that is searched for: no name is longer.
const LONGEST_PART: usize = 255;

/// A directory in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its last part.
    pub name: String,
    /// In its folder, with a slash at its end.
    pub path: String,
}

/// A page of one level of a folder's tree: first directories, then files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// By their names.
    pub directories: Vec<Directory>,
    /// In the order that was asked for.
    pub files: Vec<FileLine>,
    /// What to ask for the next page with; none at the end.
    pub next: Option<String>,
}

/// A page of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// In the order of folder and path.
    pub files: Vec<FileLine>,
    /// What to ask for the next page with; none at the end. A search may have found few files, or none, and still go on.
    pub next: Option<String>,
}

impl Portal {
    /// All folders, by their names, as they were a second ago at most.
    ///
    /// # Errors
    /// If the catalog can't be read (503).
    pub async fn folders(&self) -> Result<Arc<Vec<FolderLine>>, Refusal> {
        // One asks, the others wait for the answer.
        let mut cached = self.inner.folders.lock().await;
        if let Some((at, folders)) = &*cached
            && at.elapsed() < FOLDERS_AGE
        {
            return Ok(Arc::clone(folders));
        }
        let folders = Arc::new(browse::folders(&self.inner.catalog).await?);
        *cached = Some((Instant::now(), Arc::clone(&folders)));
        Ok(folders)
    }

    /// What the folders hold, as it was half a minute ago at most.
    ///
    /// # Errors
    /// If the catalog can't be read (503).
    pub async fn counts(&self) -> Result<Arc<HashMap<FolderId, Counts>>, Refusal> {
        let mut cached = self.inner.counts.lock().await;
        if let Some((at, counts)) = &*cached
            && at.elapsed() < COUNTS_AGE
        {
            return Ok(Arc::clone(counts));
        }
        let counts = Arc::new(browse::counts(&self.inner.catalog).await?);
        *cached = Some((Instant::now(), Arc::clone(&counts)));
        Ok(counts)
    }

    /// The folder of this name, or of the form `AGENT/NAME`.
    ///
    /// # Errors
    /// If there is none (404), or several agents have one of this name (409).
    pub async fn folder(&self, name: &str) -> Result<FolderLine, Refusal> {
        let folders = self.folders().await?;
        let named: Vec<&FolderLine> = folders.iter().filter(|folder| folder.name == name).collect();
        match named[..] {
            [folder] => Ok(folder.clone()),
            [] => {
                let is_meant = |folder: &&FolderLine| {
                    name.strip_prefix(folder.agent.as_str()).and_then(|rest| rest.strip_prefix('/'))
                        == Some(&folder.name)
                };
                folders.iter().find(is_meant).cloned().ok_or(Refusal::NotFound("folder"))
            }
            [..] => {
                let choices: Vec<String> = named.iter().map(|f| format!("`{}/{}`", f.agent, f.name)).collect();
                Err(Refusal::Conflict(format!("several folders are called so: say {}", choices.join(" or "))))
            }
        }
    }

    /// One page of a level of a folder's tree: the directories and files directly in `directory`, which is `""` or ends in `/`.
    ///
    /// # Errors
    /// If there is no such directory (404), or `after` or `limit` can't be used (400).
    pub async fn level(
        &self,
        folder: &FolderLine,
        directory: &str,
        order: Order,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Level, Refusal> {
        let limit = page_size(limit)?;
        check_directory(directory)?;
        let after = after.map(Cursor::parse).transpose()?;
        let first = after.is_none();
        let (past_directories, after_name, place) = match after {
            None => (false, None, None),
            Some(Cursor::Directory(name)) => (false, Some(name), None),
            Some(Cursor::Files) => (true, None, None),
            Some(Cursor::File(path, value)) => (true, None, Some(Place { path, value })),
            Some(Cursor::Path(..) | Cursor::Link(_)) => return Err(Cursor::foreign()),
        };
        let mut level = Level::default();
        if !past_directories {
            let down = order.descending && order.sort == Sort::Name;
            let mut names =
                level::directories(self.catalog(), folder.id, directory, down, after_name.as_deref(), limit + 1)
                    .await?;
            let more = names.len() > to_usize(limit);
            names.truncate(to_usize(limit));
            let last = names.last().cloned();
            level.directories =
                names.into_iter().map(|name| Directory { path: format!("{directory}{name}/"), name }).collect();
            if more {
                level.next = last.map(|name| Cursor::Directory(name).to_text());
                return Ok(level);
            }
        }
        let room = limit - i64::try_from(level.directories.len()).unwrap_or(0);
        // One more, to know whether there is one; also where the directories have filled the page.
        let mut files = level::files(self.catalog(), folder.id, directory, order, place.as_ref(), room + 1).await?;
        if files.len() > to_usize(room) {
            files.truncate(to_usize(room));
            let next = files.last().map_or(Cursor::Files, |file| Cursor::File(file.path.clone(), order.value(file)));
            level.next = Some(next.to_text());
        }
        level.files = files;
        if first && !directory.is_empty() && level.directories.is_empty() && level.files.is_empty() {
            return Err(Refusal::NotFound("directory"));
        }
        Ok(level)
    }

    /// The directories directly in `directory`, as many as fit on a page, and whether there are more.
    ///
    /// # Errors
    /// If `limit` can't be used (400).
    pub async fn directories(
        &self,
        folder: &FolderLine,
        directory: &str,
        limit: usize,
    ) -> Result<(Vec<Directory>, bool), Refusal> {
        let limit = page_size(limit)?;
        check_directory(directory)?;
        let mut names = level::directories(self.catalog(), folder.id, directory, false, None, limit + 1).await?;
        let more = names.len() > to_usize(limit);
        names.truncate(to_usize(limit));
        let directories = names.into_iter().map(|name| Directory { path: format!("{directory}{name}/"), name });
        Ok((directories.collect(), more))
    }

    /// Files in the order of their paths: of one folder those whose path begins with `prefix`, or of all folders; with `part`, those whose
    /// name holds it, in any case.
    ///
    /// # Errors
    /// If `after`, `part` or `limit` can't be used (400).
    pub async fn files(
        &self,
        folder: Option<&FolderLine>,
        prefix: &str,
        part: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Files, Refusal> {
        let limit = page_size(limit)?;
        if part.is_some_and(|part| part.chars().count() > LONGEST_PART) {
            return Err(Refusal::Invalid(format!("`q` is longer than {LONGEST_PART} characters, as no name is")));
        }
        if folder.is_none() && !prefix.is_empty() {
            return Err(Refusal::Invalid("`prefix` is of one folder: say which with `folder`".to_owned()));
        }
        let mut stretch = Stretch::new(folder.map(|folder| folder.id), prefix);
        match after.map(Cursor::parse).transpose()? {
            None => {}
            Some(Cursor::Path(folder, path)) => {
                let spot = Spot { folder: FolderId(folder), path };
                if spot < stretch.after || spot > stretch.before {
                    return Err(Cursor::foreign());
                }
                stretch.after = spot;
            }
            Some(Cursor::Directory(_) | Cursor::Files | Cursor::File(..) | Cursor::Link(_)) => {
                return Err(Cursor::foreign());
            }
        }
        let part = part.filter(|part| !part.is_empty());
        if has_nul(prefix) || part.is_some_and(has_nul) {
            return Ok(Files::default());
        }
        let found = match part {
            None => search::list(self.catalog(), &stretch, limit).await?,
            Some(part) => self.search(stretch, part, limit).await?,
        };
        let next = found.next.map(|spot| Cursor::Path(spot.folder.0, spot.path).to_text());
        Ok(Files { files: found.files, next })
    }

    async fn search(&self, mut stretch: Stretch, part: &str, limit: i64) -> Result<search::Found, Refusal> {
        let begun = Instant::now();
        let indexed = self.is_indexed().await?;
        loop {
            let found = search::search(self.catalog(), &stretch, part, indexed, limit).await?;
            match &found.next {
                Some(next) if found.files.is_empty() && begun.elapsed() < SEARCHING => stretch.after = next.clone(),
                Some(_) | None => return Ok(found),
            }
        }
    }

    async fn is_indexed(&self) -> Result<bool, Refusal> {
        let mut known = self.inner.indexed.lock().await;
        if let Some((at, indexed)) = *known
            && at.elapsed() < INDEX_AGE
        {
            return Ok(indexed);
        }
        let indexed = search::has_index(self.catalog()).await?;
        *known = Some((Instant::now(), indexed));
        Ok(indexed)
    }

    /// The file at a path.
    ///
    /// # Errors
    /// If there is none (404), or none any more (410).
    pub async fn file(&self, folder: &FolderLine, path: &str) -> Result<FileDetail, Refusal> {
        if has_nul(path) {
            return Err(Refusal::NotFound("file"));
        }
        match browse::file(self.catalog(), folder.id, path).await? {
            Some(file) => Ok(file),
            None if browse::was_deleted(self.catalog(), folder.id, path).await? => Err(Refusal::Gone(Gone::Deleted)),
            None => Err(Refusal::NotFound("file")),
        }
    }
}

impl Order {
    /// What a file is ordered by, besides its path: see [`Place`].
    fn value(self, file: &FileLine) -> i64 {
        match self.sort {
            Sort::Name => 0,
            Sort::Size => file.size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX)),
            Sort::Modified => file.modified_at.map_or(level::UNKNOWN_TIME, level::micros),
            Sort::Synced => file.synced_at.map_or(level::UNKNOWN_TIME, level::micros),
            Sort::State => match file.state {
                RowState::Failed => 0,
                RowState::Deleting => 1,
                RowState::Kept => 2,
                RowState::Synced => 3,
            },
        }
    }
}

fn page_size(limit: usize) -> Result<i64, Refusal> {
    match i64::try_from(limit) {
        Ok(size) if (1..=LARGEST_PAGE).contains(&limit) => Ok(size),
        Ok(_) | Err(_) => Err(Refusal::Invalid(format!("`limit` must be from 1 to {LARGEST_PAGE}"))),
    }
}

fn to_usize(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(0)
}

fn check_directory(directory: &str) -> Result<(), Refusal> {
    // What begins with a slash or has two of them is no path, and would only find nothing.
    if has_nul(directory) || (!directory.is_empty() && !directory.ends_with('/')) {
        return Err(Refusal::NotFound("directory"));
    }
    Ok(())
}

/// No file's name has a character 0, and PostgreSQL's text can't.
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}
