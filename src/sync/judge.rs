//! Whether deletions may happen or wait for a person: how many there are, in this pass and in the hour before it, against the
//! folder's threshold; and holding them, with what was seen.

use std::sync::Arc;

use crate::catalog;
use crate::catalog::judgement::{FoundBy, Judgement};
use crate::catalog::spool::{Kind, Tally};
use crate::model::{FolderId, RelPath, ShownPath};
use crate::plan::{self, IdentityVerdict};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Pipeline, blocking};
use crate::sync::reconcile::Found;

/// Deletions that are looked at and held together.
const PAGE: i64 = 2000;

/// What is held where there are too many deletions.
pub(super) const TOO_MANY: &[Kind] = &[Kind::Fresh];

/// What a pass's deletions are judged by.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) found_by: FoundBy,
    /// It is the folder that was synced.
    pub(super) same_folder: bool,
    /// Everything could be seen.
    pub(super) complete: bool,
    pub(super) tally: Tally,
    /// Of the hour before.
    pub(super) in_hour: u64,
    /// Held before, without those that have turned out to be renames.
    pub(super) held: u64,
    /// Files that the share is of: those that were synced when the hour began, or the pass, if they were more.
    pub(super) synced: u64,
}

impl Case {
    /// Counts what is in the spool of `pass`, and what counts besides. `synced` files were synced when the pass began.
    pub(super) async fn open(
        pipeline: &Pipeline,
        id: FolderId,
        pass: i64,
        found_by: FoundBy,
        same_folder: bool,
        synced: Option<u64>,
    ) -> Result<Self, SyncError> {
        let catalog = &pipeline.catalog;
        let tally = catalog::spool::sort(catalog, id, pass, !same_folder).await?;
        let in_hour = catalog::removal::in_hour(catalog, id).await?;
        let held = catalog::held::held_count(catalog, id).await?.saturating_sub(tally.held_renames);
        let synced = match synced {
            Some(synced) => synced,
            // Below the count the share does not matter, and counting a large folder for each event would.
            None if tally.fresh + held + in_hour <= pipeline.folder.max_delete_count => 0,
            None => catalog::folder::synced_count(catalog, id).await?,
        };
        Ok(Self { found_by, same_folder, complete: true, tally, in_hour, held, synced: synced + in_hour })
    }

    /// Which deletions are to be held, and why; none if none are. `verdict` is the one on the folder's identity.
    pub(super) fn to_hold(
        &self,
        pipeline: &Pipeline,
        found: &Found,
        verdict: IdentityVerdict,
    ) -> Option<(String, &'static [Kind])> {
        let path = ShownPath(&pipeline.folder.path);
        let doubt = match verdict {
            IdentityVerdict::Doubt => Some(format!(
                "the folder is not the one that was synced (another file system or directory is at {path}), and only {} of {} files are as they were",
                found.matched, found.rows
            )),
            IdentityVerdict::Same | IdentityVerdict::Take => {
                (found.files == 0).then(|| "the folder has no file at all; is it mounted?".to_owned())
            }
        };
        match doubt {
            // Then not even what was begun or renamed may go: only what a person has approved who knew of it.
            Some(_) if self.tally.fresh + self.tally.deleting + self.tally.renamed + self.tally.held == 0 => None,
            Some(reason) => Some((reason, &[Kind::Fresh, Kind::Deleting, Kind::Renamed])),
            None => self.over_threshold(pipeline).map(|reason| (reason, TOO_MANY)),
        }
    }

    /// Why the deletions that nobody has decided on are too many, if they are. Those that are held count, or a folder could be
    /// emptied in small bites.
    pub(super) fn over_threshold(&self, pipeline: &Pipeline) -> Option<String> {
        let (percent, count) = (pipeline.folder.max_delete_percent, pipeline.folder.max_delete_count);
        let here = self.tally.fresh + self.held;
        let is_over = self.tally.fresh > 0 && plan::exceeds_threshold(here + self.in_hour, self.synced, percent, count);
        let hour = match self.in_hour {
            0 => String::new(),
            before => format!(", and {before} in the hour before,"),
        };
        is_over.then(|| {
            format!(
                "{here} deletions{hour} of {} files exceed max_delete = {percent}% and max_delete_count = {count}",
                self.synced
            )
        })
    }

    /// Holds the deletions of these kinds, each after a fresh look; answers how many files were gone. Those whose file is back, or
    /// can't be seen, are left alone.
    pub(super) async fn hold(
        &self,
        pipeline: &Arc<Pipeline>,
        id: FolderId,
        pass: i64,
        reason: &str,
        kinds: &[Kind],
    ) -> Result<u64, SyncError> {
        let catalog = &pipeline.catalog;
        let written = self.written(pipeline, reason, kinds);
        if written.deletes == 0 {
            return Ok(0);
        }
        let judgement = catalog::judgement::write(catalog, id, &written).await?;
        let (mut gone, mut held) = (0, 0);
        let mut after = String::new();
        while !pipeline.cancel.is_cancelled() {
            let page = catalog::spool::page(catalog, id, pass, kinds, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            last.path.as_str().clone_into(&mut after);
            let paths: Vec<RelPath> = page.into_iter().map(|spooled| spooled.path).collect();
            let root = Arc::clone(&pipeline.root);
            let absent = blocking("look", move || {
                let looked = paths.into_iter().map(|path| root.absence(&path).map(|absence| (path, absence)));
                looked.filter_map(Result::ok).collect::<Vec<_>>()
            })
            .await?;
            gone += absent.len() as u64;
            held += catalog::judgement::hold(catalog, id, judgement, &absent).await?;
        }
        if held > 0 {
            tracing::warn!(folder = %pipeline.folder.name, action = "held", held, "{held} deletions are held: {reason}");
        }
        Ok(gone)
    }

    fn written(&self, pipeline: &Pipeline, reason: &str, kinds: &[Kind]) -> Judgement {
        let of = |kind: &Kind| match kind {
            Kind::Fresh => self.tally.fresh,
            Kind::Deleting => self.tally.deleting,
            Kind::Renamed => self.tally.renamed,
            Kind::Approved | Kind::Held | Kind::Gone | Kind::Rejected => 0,
        };
        Judgement {
            found_by: self.found_by,
            reason: reason.to_owned(),
            same_folder: self.same_folder,
            complete: self.complete,
            deletes: kinds.iter().map(of).sum(),
            in_hour: self.in_hour,
            held: self.held,
            synced: self.synced,
            max_delete: pipeline.folder.max_delete_percent,
            max_delete_count: pipeline.folder.max_delete_count,
        }
    }
}
