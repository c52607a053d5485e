//! File systems that are mounted below the root: below one that is not the one that is known, nothing counts as absent, until it is
//! back, or half of the files are found to be what they were, or a person accepts it.

use crate::catalog;
use crate::catalog::mount::KnownMounts;
use crate::model::{FolderId, Identity, Mount, RelPath};
use crate::sync::error::SyncError;
use crate::sync::pipeline::{Mode, Pipeline};
use crate::sync::veils::{Shown, Veil, Veils};

/// The mounts of a folder while it is reconciled.
pub(super) struct Mounting {
    known: KnownMounts,
    pub(super) veils: Veils,
}

impl Mounting {
    /// What is known. That of a whole folder asks the catalog, since a person may have accepted another one.
    pub(super) async fn open(pipeline: &Pipeline, whole: bool) -> Result<Self, SyncError> {
        let known = match pipeline.id.filter(|_| whole) {
            Some(id) => {
                let known = catalog::mount::known(&pipeline.catalog, id).await?;
                pipeline.root.set_mounts(known.mounts.clone());
                known
            }
            None => KnownMounts { mounts: pipeline.root.mounts().to_vec(), accepted: false },
        };
        let veils = Veils::new(pipeline.root.path(), &known.mounts);
        Ok(Self { known, veils })
    }

    /// What is mounted here is noted at once where no deletion could be a mistake: before the first row below it. Where there are
    /// rows, what is found of them has to tell.
    pub(super) async fn take(
        &mut self,
        pipeline: &Pipeline,
        path: &RelPath,
        identity: Identity,
        mounted: bool,
    ) -> Result<(), SyncError> {
        let accept = match self.veils.show(path, identity, mounted, &self.known.mounts) {
            Shown::Same => return Ok(()),
            Shown::Other => self.known.accepted,
            Shown::New => {
                let holds = match pipeline.id.filter(|_| pipeline.has_rows && !self.known.accepted) {
                    Some(id) => catalog::mount::has_objects_below(&pipeline.catalog, id, path).await?,
                    None => false,
                };
                if holds {
                    self.veils.cast(pipeline.root.path(), path, identity);
                }
                !holds
            }
        };
        if !accept {
            return Ok(());
        }
        self.veils.lift(path);
        let mount = Mount { path: path.clone(), identity };
        match (&pipeline.mode, pipeline.id) {
            (Mode::Act(_), Some(id)) => {
                if mounted {
                    catalog::mount::note(&pipeline.catalog, id, &mount).await?;
                } else {
                    catalog::mount::forget(&pipeline.catalog, id, path).await?;
                }
                pipeline.root.set_mounts(catalog::mount::known(&pipeline.catalog, id).await?.mounts);
            }
            (Mode::Act(_), None) | (Mode::Plan(_), _) => {
                let mut mounts = pipeline.root.mounts().to_vec();
                mounts.retain(|other| other.path != *path);
                mounts.extend(mounted.then_some(mount));
                mounts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
                pipeline.root.set_mounts(mounts);
            }
        }
        Ok(())
    }
}

/// What became of a reconciliation's veils.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    /// Those that are in doubt still, in words, with what to do.
    pub(super) doubts: Vec<String>,
    /// Some were accepted, and what was hidden by them is to be looked for.
    pub(super) again: bool,
}

/// What is in doubt after a reconciliation, in words.
pub(super) fn doubts(pipeline: &Pipeline, veils: &[Veil]) -> Vec<String> {
    veils.iter().filter(|veil| veil.is_doubt()).map(|veil| doubt(pipeline, &veil.why)).collect()
}

/// What is to be done about a mount.
pub fn doubt(pipeline: &Pipeline, why: &str) -> String {
    format!(
        "{why}: mount it, or, if this is as it should be, run `agent-portail deletes approve --identity --folder {}`",
        pipeline.folder.name
    )
}

/// Accepts what is proven by what was found below it, after a reconciliation that has come to its end.
pub(super) async fn judge(pipeline: &Pipeline, id: FolderId, veils: &[Veil]) -> Result<Accepted, SyncError> {
    let mut mounts = Accepted { doubts: doubts(pipeline, veils), again: false };
    let mut any = false;
    for veil in veils.iter().filter(|veil| veil.is_proven()) {
        match veil.seen {
            Some((identity, true)) => {
                let mount = Mount { path: veil.path.clone(), identity };
                catalog::mount::note(&pipeline.catalog, id, &mount).await?;
            }
            Some((_, false)) | None => catalog::mount::forget(&pipeline.catalog, id, &veil.path).await?,
        }
        if veil.rows > 0 {
            tracing::warn!(
                folder = %pipeline.folder.name,
                "{}; what is there was accepted, since {} of {} files are the same",
                veil.why, veil.matched, veil.rows
            );
        }
        mounts.again |= veil.hidden > 0;
        any = true;
    }
    if any {
        pipeline.root.set_mounts(catalog::mount::known(&pipeline.catalog, id).await?.mounts);
    }
    Ok(mounts)
}
