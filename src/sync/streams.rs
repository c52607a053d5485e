//! The three streams that a reconciliation or a verification merges: walk, rows and listing, each in byte order of the path, and
//! each a bit ahead of the merge.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::vec;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::catalog::file::Range;
use crate::catalog::{self, Catalog, CatalogError};
use crate::local::walk::{Visitor, WalkCounts, walk};
use crate::model::{FolderId, Listed, Local, RelPath, Remote, Row, Walked};
use crate::remote::Listing;
use crate::sync::error::SyncError;
use crate::sync::merge::Merge;
use crate::sync::pipeline::Pipeline;
use crate::sync::reconcile::Extent;

/// Entries that the walk hands over at a time.
const WALK_BATCH: usize = 512;
/// Rows of a page.
const ROW_PAGE: i64 = 2000;

/// An object of the listing.
pub(super) struct Object {
    pub(super) path: String,
    pub(super) listed: Listed,
}

/// What was seen of one path, or of a directory that is not entered.
pub(super) struct Sight {
    pub(super) entry: Option<Walked>,
    pub(super) row: Option<Row>,
    pub(super) object: Option<Object>,
    /// When the page of the listing that was at hand was asked for.
    pub(super) listed_at: Instant,
    /// See [`crate::sync::merge::Step::local`].
    pub(super) local: Option<Local>,
}

impl Sight {
    /// The path; entry and object are spent. The walk's form of it has the raw name, the row's too; the object's can't.
    pub(super) fn take_path(&mut self) -> Option<RelPath> {
        match (self.entry.take(), &self.row, self.object.take()) {
            (Some(walked), _, _) => Some(walked.path),
            (None, Some(row), _) => Some(row.path.clone()),
            (None, None, Some(object)) => Some(RelPath::from_encoded(object.path, None)),
            (None, None, None) => None,
        }
    }

    /// What is known of the object. `lists`: there is a listing, so that one which it does not show is missing.
    pub(super) fn remote(&self, lists: bool) -> Remote {
        match &self.object {
            Some(object) => Remote::Present(object.listed.clone()),
            None if lists => Remote::Missing,
            None => Remote::NotKnown,
        }
    }
}

/// The three streams side by side.
pub(super) struct Streams {
    entries: Batched<Walked>,
    rows: Batched<Result<Row, CatalogError>>,
    objects: Objects,
    entry: Option<Walked>,
    row: Option<Row>,
    object: Option<Object>,
    merge: Merge,
    walking: JoinHandle<std::io::Result<WalkCounts>>,
}

impl Streams {
    /// Starts them.
    pub(super) async fn open(pipeline: &Pipeline, extent: &Extent) -> Result<Self, SyncError> {
        let tree = match extent {
            Extent::Folder => None,
            Extent::Tree(path) => Some(path),
        };
        let (mut entries, walking) = spawn_walk(pipeline, tree);
        let mut rows = spawn_rows(pipeline.catalog.clone(), pipeline.id.filter(|_| pipeline.has_rows), tree);
        let prefix = &pipeline.folder.prefix;
        let mut objects = match extent {
            Extent::Folder => Objects::listed(pipeline.bucket.list(prefix, None), prefix),
            Extent::Tree(_) => Objects::not_listed(),
        };
        let entry = entries.next().await;
        let row = rows.next().await.transpose()?;
        let object = objects.next(pipeline).await?;
        Ok(Self { entries, rows, objects, entry, row, object, merge: Merge::default(), walking })
    }

    /// The next path; none when all three have ended.
    pub(super) async fn next(&mut self, pipeline: &Pipeline) -> Result<Option<Sight>, SyncError> {
        let excludes = pipeline.root.excludes();
        let object_path = self.object.as_ref().map(|object| object.path.as_str());
        let row_path = self.row.as_ref().map(|row| &row.path);
        let Some(step) = self.merge.step(self.entry.as_ref(), row_path, object_path, |p| excludes.excludes(p)) else {
            return Ok(None);
        };
        let listed_at = self.objects.requested_at;
        let entry = if step.walked { std::mem::replace(&mut self.entry, self.entries.next().await) } else { None };
        let row = if step.row { std::mem::replace(&mut self.row, self.rows.next().await.transpose()?) } else { None };
        let object =
            if step.object { std::mem::replace(&mut self.object, self.objects.next(pipeline).await?) } else { None };
        Ok(Some(Sight { entry, row, object, listed_at, local: step.local }))
    }

    /// After the last path: what the walk has seen besides.
    pub(super) async fn end(self, pipeline: &Pipeline) -> Result<WalkCounts, SyncError> {
        let walked = self.walking.await.map_err(|_| SyncError::Task { task: "walk" })?;
        walked.map_err(|source| SyncError::Walk { path: pipeline.root.path().to_owned(), source })
    }
}

/// A stream that arrives in batches over a channel.
struct Batched<T> {
    batches: mpsc::Receiver<Vec<T>>,
    current: vec::IntoIter<T>,
}

impl<T> Batched<T> {
    fn new(batches: mpsc::Receiver<Vec<T>>) -> Self {
        Self { batches, current: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.current.next() {
                return Some(item);
            }
            self.current = self.batches.recv().await?.into_iter();
        }
    }
}

/// Walks the folder, or what lies at and below `tree`, on a thread of its own; each directory is watched before it is read.
fn spawn_walk(
    pipeline: &Pipeline,
    tree: Option<&Arc<RelPath>>,
) -> (Batched<Walked>, JoinHandle<std::io::Result<WalkCounts>>) {
    let (sender, receiver) = mpsc::channel(4);
    let (root, watch) = (Arc::clone(&pipeline.root), pipeline.watch_directory.clone());
    let start = tree.map(Arc::clone);
    let appeared = start.is_some();
    let walking = tokio::task::spawn_blocking(move || {
        let mut batch = Vec::with_capacity(WALK_BATCH);
        let mut sink = |walked| {
            batch.push(walked);
            if batch.len() == WALK_BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(WALK_BATCH));
                // Nobody listens any more when the reconciliation was cancelled.
                if sender.blocking_send(full).is_err() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let mut on_directory = |path: &Path| {
            if let Some(watch) = &watch {
                watch(path, appeared);
            }
        };
        let visitor = Visitor { on_directory: &mut on_directory, sink: &mut sink };
        let counts = walk(&root, start.as_deref(), visitor);
        let _ = sender.blocking_send(batch);
        counts
    });
    (Batched::new(receiver), walking)
}

/// Rows in pages, the next one fetched while the last is merged.
fn spawn_rows(
    catalog: Catalog,
    folder: Option<FolderId>,
    tree: Option<&Arc<RelPath>>,
) -> Batched<Result<Row, CatalogError>> {
    let (sender, receiver) = mpsc::channel(1);
    // The tree of the root is all.
    let tree = tree.map(|path| path.as_str().to_owned()).filter(|path| !path.is_empty());
    if let Some(folder) = folder {
        tokio::spawn(async move {
            // Whoever listens has gone if this fails, and then nothing is left to do.
            let _ = send_rows(&catalog, folder, tree.as_deref(), &sender).await;
        });
    }
    Batched::new(receiver)
}

async fn send_rows(
    catalog: &Catalog,
    folder: FolderId,
    tree: Option<&str>,
    sender: &mpsc::Sender<Vec<Result<Row, CatalogError>>>,
) -> Result<(), mpsc::error::SendError<Vec<Result<Row, CatalogError>>>> {
    let mut after = None;
    let mut before = None;
    if let Some(tree) = tree {
        // What lies below `d` is the half-open range from `d/` to `d0`, the byte after the slash; `d` itself comes before.
        match catalog::file::by_paths(catalog, folder, &[tree]).await {
            Ok(own) => sender.send(own.into_iter().map(Ok).collect()).await?,
            Err(error) => return sender.send(vec![Err(error)]).await,
        }
        after = Some(format!("{tree}/"));
        before = Some(format!("{tree}0"));
    }
    loop {
        let range = Range { after: after.as_deref(), before: before.as_deref() };
        let page = match catalog::file::page(catalog, folder, &range, ROW_PAGE).await {
            Ok(page) => page,
            Err(error) => return sender.send(vec![Err(error)]).await,
        };
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.path.as_str().to_owned());
        sender.send(page.into_iter().map(Ok).collect()).await?;
    }
}

/// The listing as a stream of paths.
struct Objects {
    listing: Option<Listing>,
    prefix_len: usize,
    current: vec::IntoIter<(String, Listed)>,
    /// Of the page at hand.
    requested_at: Instant,
}

impl Objects {
    fn listed(listing: Listing, prefix: &str) -> Self {
        Self { listing: Some(listing), prefix_len: prefix.len(), ..Self::not_listed() }
    }

    fn not_listed() -> Self {
        Self { listing: None, prefix_len: 0, current: Vec::new().into_iter(), requested_at: Instant::now() }
    }

    async fn next(&mut self, pipeline: &Pipeline) -> Result<Option<Object>, SyncError> {
        loop {
            if let Some((mut key, listed)) = self.current.next() {
                // The store was asked for this prefix only, and the listing has checked it.
                key.drain(..self.prefix_len);
                return Ok(Some(Object { path: key, listed }));
            }
            let Some(listing) = &mut self.listing else { return Ok(None) };
            match listing.next_page().await.map_err(|error| pipeline.remote_fatal(error))? {
                Some(page) => {
                    self.requested_at = page.requested_at;
                    self.current = page.objects.into_iter();
                }
                None => self.listing = None,
            }
        }
    }
}
