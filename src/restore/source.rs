//! What there is to bring back: the objects that the catalog's rows vouch for, those that they have vouched for at a time, or
//! simply what the bucket lists.

use std::time::SystemTime;

use tokio::sync::mpsc;

use super::{Found, Object, RestoreError, Wanted};
use crate::catalog::file::Range;
use crate::catalog::restorable::{self, Past, Restorable, Then};
use crate::catalog::{Catalog, CatalogError};
use crate::model::{FolderId, ObjectKey, RelPath};
use crate::remote::{Bucket, RemoteError};

/// Rows of a page.
const PAGE: i64 = 1000;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Place {
    /// Before each key.
    pub prefix: String,
    /// Only this path and what is below it.
    pub sub: Option<String>,
}

type Sender = mpsc::Sender<Result<Vec<Found>, RestoreError>>;
type Receiver = mpsc::Receiver<Result<Vec<Found>, RestoreError>>;
/// Nobody listens any more.
type Closed = mpsc::error::SendError<Result<Vec<Found>, RestoreError>>;

/// What the rows of a folder vouch for now, or what was there at a time.
pub fn catalog(catalog: Catalog, folder: FolderId, at: Option<SystemTime>, place: Place) -> Receiver {
    let (sender, receiver) = mpsc::channel(1);
    let rows = Rows { catalog, folder, at, place };
    tokio::spawn(async move { rows.send(&sender).await });
    receiver
}

/// What the bucket lists.
pub fn listing(bucket: Bucket, place: Place) -> Receiver {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { send_listing(&bucket, &place, &sender).await });
    receiver
}

struct Rows {
    catalog: Catalog,
    folder: FolderId,
    at: Option<SystemTime>,
    place: Place,
}

impl Rows {
    /// Sends what the catalog has: at the place itself, and page by page below it.
    async fn send(&self, sender: &Sender) -> Result<(), Closed> {
        let (mut after, mut before) = (None, None);
        if let Some(sub) = &self.place.sub {
            match self.own(sub).await {
                Ok(own) => sender.send(Ok(own.into_iter().collect())).await?,
                Err(error) => return sender.send(Err(error.into())).await,
            }
            // What lies below it is the half-open range from `sub/` to `sub0`, the byte after the slash.
            (after, before) = (Some(format!("{sub}/")), Some(format!("{sub}0")));
        }
        loop {
            match self.page(&Range { after: after.as_deref(), before: before.as_deref() }).await {
                Ok((Some(last), found)) => {
                    after = Some(last);
                    sender.send(Ok(found)).await?;
                }
                Ok((None, _)) => return Ok(()),
                Err(error) => return sender.send(Err(error.into())).await,
            }
        }
    }

    async fn own(&self, sub: &str) -> Result<Option<Found>, CatalogError> {
        let prefix = &self.place.prefix;
        Ok(match self.at {
            None => restorable::of_path(&self.catalog, self.folder, sub).await?.map(|row| of_row(row, prefix)),
            Some(at) => {
                let past = restorable::past_of_path(&self.catalog, self.folder, at, sub).await?;
                past.and_then(|past| of_past(past, prefix))
            }
        })
    }

    /// The next page, and its last path; none after the last page.
    async fn page(&self, range: &Range<'_>) -> Result<(Option<String>, Vec<Found>), CatalogError> {
        let prefix = &self.place.prefix;
        match self.at {
            None => {
                let rows = restorable::page(&self.catalog, self.folder, range, PAGE).await?;
                let last = rows.last().map(|row| row.path.as_str().to_owned());
                Ok((last, rows.into_iter().map(|row| of_row(row, prefix)).collect()))
            }
            Some(at) => {
                let rows = restorable::past(&self.catalog, self.folder, at, range, PAGE).await?;
                let last = rows.last().map(|past| past.path.as_str().to_owned());
                Ok((last, rows.into_iter().filter_map(|past| of_past(past, prefix)).collect()))
            }
        }
    }
}

fn of_row(row: Restorable, prefix: &str) -> Found {
    let Restorable { path, size, digest, etag, version, mtime, mode } = row;
    let key = ObjectKey::new(prefix, &path);
    let object = Object::OfRow { etag, version };
    Found::File(Wanted { path, key, object, size: Some(size), digest: Some(digest), mtime, mode })
}

fn of_past(past: Past, prefix: &str) -> Option<Found> {
    let Past { path, then } = past;
    let key = ObjectKey::new(prefix, &path);
    let hopeless = |path, why: &str| Some(Found::Hopeless { path, why: why.to_owned() });
    match then {
        Then::Absent => None,
        Then::Version(version) => Some(Found::File(Wanted {
            path,
            key,
            object: Object::Version(version.id),
            size: version.size,
            digest: version.digest,
            mtime: version.mtime,
            mode: version.mode,
        })),
        Then::NotRecorded => hopeless(
            path,
            "find its version: none was recorded then; the bucket had no versions, or another tool had put the object",
        ),
        Then::Forgotten => hopeless(
            path,
            "find its version: it was there then and has changed since, and the history of that time is no longer kept (agent.history_retention)",
        ),
    }
}

async fn send_listing(bucket: &Bucket, place: &Place, sender: &Sender) -> Result<(), Closed> {
    let remote = |error: RemoteError| RestoreError::Remote(Box::new(error));
    let mut prefix = place.prefix.clone();
    if let Some(sub) = &place.sub {
        let key = ObjectKey::from_parts(&place.prefix, sub);
        let own = bucket.about(&key, None).await;
        let found = own.map(|own| own.map(|about| of_object(sub, key, about.size)).into_iter().collect());
        let failed = found.is_err();
        sender.send(found.map_err(remote)).await?;
        if failed {
            return Ok(());
        }
        prefix = format!("{prefix}{sub}/");
    }
    let mut listing = bucket.list(&prefix, None);
    loop {
        let page = match listing.next_page().await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(()),
            Err(error) => return sender.send(Err(remote(error))).await,
        };
        let found = page.objects.into_iter().map(|(key, listed)| {
            let path = key[place.prefix.len()..].to_owned();
            of_object(&path, ObjectKey::from_parts(&key, ""), listed.size)
        });
        sender.send(Ok(found.collect())).await?;
    }
}

fn of_object(path: &str, key: ObjectKey, size: u64) -> Found {
    if size == 0 && (path.is_empty() || path.ends_with('/')) {
        return Found::DirectoryMarker;
    }
    Found::File(Wanted {
        path: RelPath::from_encoded(path, None),
        key,
        object: Object::Current,
        // What is there when it is fetched, counts.
        size: None,
        digest: None,
        mtime: None,
        mode: None,
    })
}
