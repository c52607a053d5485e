//! What a dry run shows: each step, and the deletions as they would be judged. It keeps in memory the paths of the deletions that
//! it has found, since nothing may be written anywhere.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalog;
use crate::catalog::judgement::FoundBy;
use crate::catalog::spool::{Kind, Tally};
use crate::model::{FolderId, RelPath, SortedPaths};
use crate::plan::{self, IdentityVerdict};
use crate::sync::act::plan_step;
use crate::sync::deletes::IdentityCheck;
use crate::sync::error::SyncError;
use crate::sync::held::KEPT_AFTER;
use crate::sync::judge::Case;
use crate::sync::pipeline::{Pipeline, PlannedStep};
use crate::sync::reconcile::Found;

/// Deletions that are looked up in one statement.
const PAGE: usize = 1000;

/// Shows what would be done, and gathers what can only be told at the end.
pub struct Planner {
    show: Arc<dyn Fn(PlannedStep) + Send + Sync>,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// In order, as the merge finds them.
    gone: SortedPaths,
    copied_from: HashSet<RelPath>,
}

impl Planner {
    /// Shows steps this way.
    pub fn new(show: Arc<dyn Fn(PlannedStep) + Send + Sync>) -> Self {
        Self { show, gathered: Mutex::default() }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        // What is in it is sound after each step.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a step.
    pub fn show(&self, step: PlannedStep) {
        (self.show)(step);
    }

    /// A path would be the source of a copy inside S3.
    pub fn copied_from(&self, path: &RelPath) {
        self.gathered().copied_from.insert(path.clone());
    }

    /// A path would be deleted.
    pub fn found_gone(&self, path: &RelPath) {
        self.gathered().gone.push(path);
    }

    /// Shows which deletions would happen and which would be held; answers how many would.
    pub(super) async fn show_deletions(
        &self,
        pipeline: &Pipeline,
        id: FolderId,
        found: &Found,
        check: &IdentityCheck,
    ) -> Result<u64, SyncError> {
        let Gathered { gone, copied_from } = std::mem::take(&mut *self.gathered());
        let catalog = &pipeline.catalog;
        let mut kinds = Vec::with_capacity(gone.len());
        let mut tally = Tally::default();
        let complete = found.is_complete();
        let verdict = plan::judge_identity(check.known.as_ref(), &check.seen, complete, found.matched, found.rows);
        let same_folder = verdict != IdentityVerdict::Doubt;
        let mut paths = gone.iter();
        loop {
            let page: Vec<RelPath> = paths.by_ref().take(PAGE).collect();
            if page.is_empty() {
                break;
            }
            for prospect in catalog::spool::prospects(catalog, id, &page, KEPT_AFTER, !same_folder).await? {
                let stays = |twin: &String| !gone.contains(twin);
                let is_renamed = copied_from.contains(&prospect.path) || prospect.twins.iter().any(stays);
                let undecided = matches!(prospect.kind, Kind::Held | Kind::Fresh);
                let kind = if undecided && is_renamed { Kind::Renamed } else { prospect.kind };
                tally.held_renames += u64::from(kind == Kind::Renamed && prospect.kind == Kind::Held);
                tally.add(kind, 1);
                kinds.push(kind);
            }
        }
        let in_hour = catalog::removal::in_hour(catalog, id).await?;
        let case = Case {
            found_by: FoundBy::Reconciliation,
            same_folder,
            complete,
            tally,
            in_hour,
            // Those that a complete pass does not find gone are forgotten.
            held: match complete && found.hidden == 0 {
                true => tally.held,
                false => catalog::held::held_count(catalog, id).await?.saturating_sub(tally.held_renames),
            },
            synced: catalog::folder::synced_count(catalog, id).await? + in_hour,
        };
        let (reason, held_kinds) = case.to_hold(pipeline, found, verdict).unwrap_or_default();
        let mut held = 0;
        for (path, kind) in gone.iter().zip(kinds) {
            let (action, why) = match kind {
                Kind::Gone => continue,
                Kind::Rejected => ("keep", "its deletion was rejected, or nobody has decided on it for too long"),
                Kind::Held => {
                    ("held", "it is held already, and waits for your decision or, if you have decided, for the folder")
                }
                kind if held_kinds.contains(&kind) => ("held", reason.as_str()),
                Kind::Approved => ("delete", "the file is gone, and its deletion was approved"),
                Kind::Renamed => ("delete", "the file was renamed"),
                Kind::Deleting | Kind::Fresh => ("delete", "the file is gone"),
            };
            held += u64::from(action == "held");
            plan_step(pipeline, action, &path, None, why);
        }
        Ok(held)
    }
}
