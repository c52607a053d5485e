//! The service without HTTP: who calls, and what they may see. Both the API and the web page call it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, header};

use super::caller::Caller;
use super::client::{self, Client};
use super::counters::Counters;
use super::cursor::Cursor;
use super::limits::Limiter;
use super::refusal::{Gone, Refusal};
use super::tokens::{Tokens, is_name};
use crate::agent::endpoint_name;
use crate::catalog::browse::{self, Counts, FileDetail, FileLine, FolderLine};
use crate::catalog::level::{self, Order, Place, Sort};
use crate::catalog::search::{self, Spot, Stretch};
use crate::catalog::{Catalog, CatalogError};
use crate::config::settings::{Settings, UrlsAuth, UrlsSettings};
use crate::model::{FolderId, RowState, Scopes};
use crate::remote::{self, Limits, RemoteError};

/// Files and directories of one page at most.
pub const LARGEST_PAGE: usize = 1_000;
/// How old the list of folders may be: it is asked for with every call.
const FOLDERS_AGE: Duration = Duration::from_secs(1);
/// How old what the folders hold may be: it takes a read of all rows.
const COUNTS_AGE: Duration = Duration::from_secs(30);
/// How old the knowledge may be whether there is an index of names.
const INDEX_AGE: Duration = Duration::from_secs(60);
/// Wrong tokens that a client may send at once, and how many more a second: nobody mistypes more often, and nobody guesses one so.
const WRONG_TOKENS: (u32, f64) = (10, 1.0 / 6.0);
/// A search goes on reading for so long, if it has found nothing yet.
const SEARCHING: Duration = Duration::from_millis(500);
/// The longest part of a name that is searched for: no name is longer.
const LONGEST_PART: usize = 255;

/// What was asked for last, and when.
type Dated<T> = tokio::sync::Mutex<Option<(Instant, T)>>;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Portal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: remote::Client,
    endpoint: String,
    settings: UrlsSettings,
    tokens: RwLock<Arc<Tokens>>,
    calls: Option<Mutex<Limiter>>,
    wrong_tokens: Mutex<Limiter>,
    folders: Dated<Arc<Vec<FolderLine>>>,
    counts: Dated<Arc<HashMap<FolderId, Counts>>>,
    indexed: Dated<bool>,
    counters: Counters,
}

/// The service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(RemoteError),
    /// The catalog.
    #[error("open the catalog")]
    Catalog(#[source] CatalogError),
}

/// How long things may last: what forms offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// Where nothing is asked for.
    pub default_expiry: Duration,
    /// At most.
    pub max_expiry: Duration,
}

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
    /// Prepares the clients of both servers. Nothing is asked of either yet.
    ///
    /// # Errors
    /// If a client can't be made.
    pub async fn open(settings: &Settings, tokens: Tokens) -> Result<Self, OpenError> {
        let catalog = Catalog::open(&settings.database, "agent-portail urls").map_err(OpenError::Catalog)?;
        // URLs are signed for the host that browsers reach.
        let mut s3 = settings.s3.clone();
        if let Some(public) = &settings.urls.public_endpoint_url {
            s3.endpoint_url = Some(public.clone());
        }
        let limits = Limits { workers: 1, bandwidth: None };
        let store = remote::connect(&s3, &limits).await.map_err(OpenError::Store)?;
        let urls = settings.urls.clone();
        let (capacity, rate) = WRONG_TOKENS;
        let portal = Self {
            inner: Arc::new(Inner {
                catalog,
                store,
                endpoint: endpoint_name(&settings.s3),
                // A page with its pictures comes at once.
                calls: urls.rate_limit.map(|rate| Mutex::new(Limiter::new(rate.saturating_mul(2), f64::from(rate)))),
                settings: urls,
                tokens: RwLock::default(),
                wrong_tokens: Mutex::new(Limiter::new(capacity, rate)),
                folders: tokio::sync::Mutex::new(None),
                counts: tokio::sync::Mutex::new(None),
                indexed: tokio::sync::Mutex::new(None),
                counters: Counters::default(),
            }),
        };
        portal.set_tokens(tokens);
        Ok(portal)
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(super) fn store(&self) -> &remote::Client {
        &self.inner.store
    }

    /// The store as the catalog names it.
    pub(super) fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// As configured.
    pub fn settings(&self) -> &UrlsSettings {
        &self.inner.settings
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// How long things may last.
    pub fn limits(&self) -> Expiries {
        let settings = &self.inner.settings;
        Expiries { default_expiry: settings.default_expiry, max_expiry: settings.max_expiry }
    }

    /// The tokens that are known from now on.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.inner.counters.tokens.store(tokens.len() as u64, Ordering::Relaxed);
        *self.inner.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.inner.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nobody is asked for a token.
    pub fn is_open(&self) -> bool {
        matches!(self.inner.settings.auth, UrlsAuth::Open)
    }

    /// Who calls: by a token, by what a proxy of ours says, or anybody where nobody is asked. None if nothing was said.
    ///
    /// # Errors
    /// If the token is nobody's (401), or the client has sent too many such (429).
    pub fn authenticate(&self, headers: &HeaderMap, client: &Client) -> Result<Option<Caller>, Refusal> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let text = value.to_str().unwrap_or_default();
            let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, token) = token.ok_or(Refusal::Unauthenticated)?;
            return self.token(token.trim(), client).map(Some);
        }
        if self.is_open() {
            return Ok(Some(Caller::named("local", Scopes::all())));
        }
        Ok(self.proxied(headers, client))
    }

    fn proxied(&self, headers: &HeaderMap, client: &Client) -> Option<Caller> {
        let user = self.inner.settings.proxy_user.as_ref().filter(|_| client.by_proxy)?;
        let name = headers.get(&user.header)?.to_str().ok()?;
        is_name(name).then(|| Caller::named(name, user.scopes))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// If it is nobody's (401), or the client has sent too many such (429): then it is not even looked at.
    pub fn token(&self, token: &str, client: &Client) -> Result<Caller, Refusal> {
        self.may_guess(client)?;
        match self.tokens().find(token) {
            Some(entry) => Ok(Caller::of(entry)),
            None => {
                self.guessed_wrong(client);
                Err(Refusal::Unauthenticated)
            }
        }
    }

    /// The caller of this name as the file of tokens has them now: a session lasts as long as its caller's
    /// [`proof`](Caller::proof) is the one that it began with.
    pub fn caller_named(&self, name: &str) -> Option<Caller> {
        self.tokens().named(name).map(Caller::of)
    }

    /// Whether a client may try a secret of any kind.
    ///
    /// # Errors
    /// If it has sent too many wrong ones (429).
    pub fn may_guess(&self, client: &Client) -> Result<(), Refusal> {
        let wrong = self.inner.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.look(client::counted(client.address), Instant::now()).map_err(|wait| {
            self.inner.counters.limited.add(1);
            Refusal::TooMany(wait)
        })
    }

    /// Counts a secret that nobody has.
    pub fn guessed_wrong(&self, client: &Client) {
        self.inner.counters.wrong_tokens.add(1);
        let mut wrong = self.inner.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // Where there is none left, it was refused before.
        let _ = wrong.take(client::counted(client.address), Instant::now());
    }

    /// A path of this service as a URL: under `urls.public_url`, or as the client calls it.
    pub fn absolute(&self, client: &Client, path: &str) -> String {
        let base = self.inner.settings.public_url.clone().or_else(|| client.base());
        format!("{}{path}", base.unwrap_or_else(|| format!("http://{}", self.inner.settings.listen)))
    }

    /// Counts a call of a client.
    ///
    /// # Errors
    /// If there were too many (429).
    pub fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(calls) = &self.inner.calls else { return Ok(()) };
        let taken = calls.lock().unwrap_or_else(PoisonError::into_inner).take(client::counted(address), Instant::now());
        taken.map_err(|wait| {
            self.inner.counters.limited.add(1);
            Refusal::TooMany(wait)
        })
    }

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
