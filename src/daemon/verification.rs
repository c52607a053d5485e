//! The rolling verification: while nothing else is to do, each file of the folder is read once in a while and compared with its
//! row. A disk that forgets tells nobody.
//!
//! What is found is told and written down, never acted on: the object may be the only good copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crate::catalog;
use crate::catalog::file::Range;
use crate::catalog::verification::{Round, can_be_verified};
use crate::daemon::active::Shared;
use crate::model::{Local, RelPath, Row};
use crate::sync::error::SyncError;
use crate::sync::pipeline::blocking;
use crate::sync::verify::judge::Content;
use crate::sync::verify::read_file;

/// Rows of a page.
const PAGE: i64 = 200;
/// What opening a file costs, in bytes that could be read meanwhile: a disk's head has to move.
const OPENING: u64 = 256 * 1024;
/// How often it is written down how far the round has come.
const SAVE: Duration = Duration::from_secs(2);
/// While something else is to do, it is looked for its end this often.
const BUSY: Duration = Duration::from_millis(100);
/// While a round is late by less than this share of its time, it waits for a moment with nothing else to do. Beyond that it goes on
/// beside the rest: a folder that is never quiet is verified, too.
const LENIENCE: u32 = 10;
/// For how long a file that was begun is left lying for others, likewise.
const GIVE_WAY: Duration = Duration::from_secs(1);
/// Damaged files may have been replaced.
const RECOUNT: Duration = Duration::from_secs(5);
/// And a disk may have thought better of it.
const RECHECK: Duration = Duration::from_secs(3600);
/// Damaged files that are read again then.
const RECHECKED: i64 = 100;
/// What is read in one go, before the disk is left to others for as long.
const STINT: Duration = Duration::from_millis(50);

/// Verifies the folder, round after round, each of which takes `every`.
pub(super) async fn verification(shared: Arc<Shared>, every: Duration) -> Result<(), SyncError> {
    let cancel = &shared.pipeline.cancel;
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            () = shared.gate.open() => {}
        }
        let mut rolling = Rolling { shared: &shared, every, counted: Instant::now(), rechecked: None };
        if let Err(error) = rolling.roll().await
            && !cancel.is_cancelled()
        {
            shared.gate.close(&shared.pipeline.folder.name, &error);
        }
    }
}

/// The program is stopping, or an outage has begun.
struct Stopped;

struct Rolling<'s> {
    shared: &'s Shared,
    every: Duration,
    /// When the damaged files were counted.
    counted: Instant,
    /// When they were read again.
    rechecked: Option<Instant>,
}

impl Rolling<'_> {
    async fn roll(&mut self) -> Result<(), SyncError> {
        let (catalog, id) = (&self.shared.pipeline.catalog, self.shared.record.id);
        let mut round = catalog::verification::resume(catalog, id).await?;
        loop {
            self.show(&round);
            if round.last_ended_at.is_some_and(|ended| ended >= round.began_at) {
                if self.wait(round.began_at + self.every).await?.is_err() {
                    return Ok(());
                }
                round = catalog::verification::begin(catalog, id).await?;
                continue;
            }
            if self.go_on(&mut round).await?.is_err() {
                return Ok(());
            }
            catalog::verification::save(catalog, id, &round, true).await?;
            round.last_ended_at = Some(SystemTime::now());
            let (folder, files) = (&self.shared.pipeline.folder.name, round.checked_files);
            tracing::info!(folder = %folder, files, action = "verified", "a round of the verification of {folder} has ended: {files} files");
        }
    }

    /// Goes through the files that the round has not seen yet.
    async fn go_on(&mut self, round: &mut Round) -> Result<Result<(), Stopped>, SyncError> {
        let (catalog, id) = (&self.shared.pipeline.catalog, self.shared.record.id);
        let mut saved = Instant::now();
        loop {
            let range = Range { after: Some(&round.after), before: None };
            let page = catalog::file::page(catalog, id, &range, PAGE).await?;
            if page.is_empty() {
                return Ok(Ok(()));
            }
            for row in page {
                let turn = self.wait(due(round, self.every)).await?;
                let began = Instant::now();
                if turn.is_err() || !self.verify(&row).await? {
                    // Whatever was seen since is looked at again after a crash; here it need not be.
                    catalog::verification::save(catalog, id, round, false).await?;
                    return Ok(Err(Stopped));
                }
                // Where the round is late, the disk is still left to others for as long.
                tokio::time::sleep(began.elapsed().min(STINT)).await;
                round.after = row.path.as_str().to_owned();
                round.checked_files += 1;
                round.checked_bytes += row.synced.map_or(0, |synced| synced.size);
                self.show(round);
                if saved.elapsed() >= SAVE {
                    catalog::verification::save(catalog, id, round, false).await?;
                    saved = Instant::now();
                }
            }
            catalog::verification::save(catalog, id, round, false).await?;
        }
    }

    fn show(&self, round: &Round) {
        let live = &self.shared.activity.live;
        live.verified.store(round.checked_files, Ordering::Relaxed);
        live.set_verified_at(round.last_ended_at);
    }

    /// Waits for a time, and then until nothing else is to do, or it has got late.
    async fn wait(&mut self, until: SystemTime) -> Result<Result<(), Stopped>, SyncError> {
        let shared = self.shared;
        loop {
            self.look_after_damaged().await?;
            let now = SystemTime::now();
            let left = until.duration_since(now).unwrap_or_default();
            let late = now.duration_since(until).unwrap_or_default();
            // What only waits for its next try has nothing to do with this.
            let busy = !shared.pipeline.feed.is_quiet() || shared.activity.live.catching_up.load(Ordering::Relaxed);
            let pause = match (left.is_zero(), busy && late < self.every / LENIENCE) {
                (true, false) => return Ok(Ok(())),
                (true, true) => BUSY,
                // The clock may be set meanwhile.
                (false, _) => left.min(RECOUNT),
            };
            tokio::select! {
                () = shared.pipeline.cancel.cancelled() => return Ok(Err(Stopped)),
                () = shared.gate.closed() => return Ok(Err(Stopped)),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Files that were found damaged and are no more, are forgotten.
    async fn look_after_damaged(&mut self) -> Result<(), SyncError> {
        let (catalog, id) = (&self.shared.pipeline.catalog, self.shared.record.id);
        let live = &self.shared.activity.live;
        if self.rechecked.is_none_or(|at| at.elapsed() >= RECHECK) {
            self.rechecked = Some(Instant::now());
            let paths = catalog::verification::damaged_paths(catalog, id, RECHECKED).await?;
            let names: Vec<&str> = paths.iter().map(String::as_str).collect();
            for row in catalog::file::by_paths(catalog, id, &names).await? {
                self.verify(&row).await?;
            }
        } else if live.damaged.load(Ordering::Relaxed) == 0 || self.counted.elapsed() < RECOUNT {
            return Ok(());
        }
        self.counted = Instant::now();
        live.damaged.store(catalog::verification::damaged_count(catalog, id).await?, Ordering::Relaxed);
        Ok(())
    }

    /// Compares one file with its row. False if the program is stopping.
    async fn verify(&self, row: &Row) -> Result<bool, SyncError> {
        let Some((found, good)) = self.compare(row).await? else {
            return Ok(!self.shared.pipeline.cancel.is_cancelled());
        };
        let pipeline = &self.shared.pipeline;
        let (catalog, id, path) = (&pipeline.catalog, self.shared.record.id, row.path.as_str());
        if found == Content::Read(good) {
            if self.shared.activity.live.damaged.load(Ordering::Relaxed) > 0 {
                catalog::verification::found_good(catalog, id, path).await?;
            }
            return Ok(true);
        }
        // Read once more, against the row as it is by now: what is called damaged must be beyond doubt.
        let Some(now) = catalog::file::by_paths(catalog, id, &[path]).await?.pop() else { return Ok(true) };
        let Some((found, good)) = self.compare(&now).await? else {
            return Ok(!pipeline.cancel.is_cancelled());
        };
        let (digest, how) = match found {
            Content::Read(digest) if digest == good => return Ok(true),
            Content::Read(digest) => (Some(digest), format!("its content has the MD5 {digest}, and {good} was synced")),
            Content::Unreadable(why) => (None, format!("it can't be read any more: {why}")),
            Content::NotRead | Content::Changed => return Ok(true),
        };
        let Some(fingerprint) = now.fingerprint else { return Ok(true) };
        if catalog::verification::damaged(catalog, id, path, digest, &fingerprint).await? {
            pipeline.report.drift("damaged_file");
            tracing::error!(
                folder = %pipeline.folder.name, path = %row.path, action = "damaged", error = %how,
                "{} is damaged, though nothing tells that it was changed: {how}; bring the object back with `agent-portail restore --force`, or touch the file to keep what it holds",
                row.path
            );
        }
        let damaged = catalog::verification::damaged_count(catalog, id).await?;
        self.shared.activity.live.damaged.store(damaged, Ordering::Relaxed);
        Ok(true)
    }

    /// The content of a file that looks as its row says, and the MD5 that it should have; none if there is nothing to compare.
    async fn compare(&self, row: &Row) -> Result<Option<(Content, crate::model::Digest)>, SyncError> {
        let (Some(synced), true) = (&row.synced, can_be_verified(row)) else { return Ok(None) };
        let (good, fingerprint) = (synced.digest, row.fingerprint);
        let pipeline = Arc::clone(&self.shared.pipeline);
        let path: RelPath = row.path.clone();
        let found = blocking("verify", move || {
            let Local::Present(meta) = pipeline.root.look(&path) else { return Content::NotRead };
            if Some(meta.fingerprint) != fingerprint {
                return Content::NotRead;
            }
            let stint = std::cell::Cell::new(Instant::now());
            read_file(&pipeline.root, &path, &meta, &|_| {
                if stint.get().elapsed() >= STINT {
                    std::thread::sleep(stint.get().elapsed());
                    let paused = Instant::now();
                    let waits = || paused.elapsed() < GIVE_WAY && !pipeline.cancel.is_cancelled();
                    while waits() && !pipeline.feed.is_quiet() {
                        std::thread::sleep(BUSY);
                    }
                    stint.set(Instant::now());
                }
                !pipeline.cancel.is_cancelled()
            })
        });
        Ok(match found.await? {
            Content::NotRead | Content::Changed => None,
            found @ (Content::Read(_) | Content::Unreadable(_)) => Some((found, good)),
        })
    }
}

/// When the next file's turn is, so that the round takes its time: in proportion to what was done of what there is.
fn due(round: &Round, every: Duration) -> SystemTime {
    let cost = |files: u64, bytes: u64| files.saturating_mul(OPENING).saturating_add(bytes) as f64;
    let all = cost(round.files, round.bytes).max(1.0);
    // What has come since the round began is looked at without further ado.
    let share = (cost(round.checked_files, round.checked_bytes) / all).min(1.0);
    round.began_at + every.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_spread_over_its_time_by_files_and_bytes() {
        let began_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let round = |checked_files, checked_bytes| Round {
            began_at,
            after: String::new(),
            files: 10,
            bytes: 10 * OPENING,
            checked_files,
            checked_bytes,
            last_ended_at: None,
        };
        let day = Duration::from_secs(86_400);
        let after = |round: Round| due(&round, day).duration_since(began_at).unwrap();
        assert_eq!(after(round(0, 0)), Duration::ZERO);
        assert_eq!(after(round(5, 5 * OPENING)), day / 2);
        assert_eq!(after(round(10, 0)), day / 2, "bytes count");
        assert_eq!(after(round(10, 10 * OPENING)), day);
        assert_eq!(after(round(20, 20 * OPENING)), day, "a folder that has grown takes no longer");
        let empty = Round { files: 0, bytes: 0, ..round(0, 0) };
        assert_eq!(after(empty), Duration::ZERO);
    }
}
