//! The recorder: gathers what was done into batches, so that a thousand files cost one statement.
//!
//! A worker waits for its row before it settles its path, but holds no S3 slot meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::catalog::record::{self, Change};
use crate::catalog::{Catalog, CatalogError};
use crate::model::FolderId;

/// Rows of a statement: beyond it the gain is small and the statement's memory is not.
const BATCH: usize = 500;
/// How long a batch waits for company while others are at work. Short against an upload over any network, long against the
/// few microseconds between two answers of a busy store.
const GATHER: Duration = Duration::from_millis(15);

/// Why a row was not written.
#[derive(Debug, Clone)]
pub enum RecordError {
    /// The database refuses this row.
    Refused(Arc<CatalogError>),
    /// The database can't be used.
    Lost(Arc<CatalogError>),
    /// The recorder has ended.
    Ended,
}

type Entry = (Change, oneshot::Sender<Result<(), RecordError>>);

/// The way to the recorder.
#[derive(Debug, Clone)]
pub struct Recorder {
    changes: mpsc::Sender<Entry>,
}

impl Recorder {
    /// Starts the recorder of a folder. It ends when all clones are gone and everything is written.
    pub fn start(catalog: Catalog, folder: FolderId) -> (Self, tokio::task::JoinHandle<()>) {
        let (changes, receiver) = mpsc::channel(2 * BATCH);
        (Self { changes }, tokio::spawn(write(catalog, folder, receiver)))
    }

    /// Writes a change and waits until it is in the catalog.
    pub async fn record(&self, change: Change) -> Result<(), RecordError> {
        let (written, answer) = oneshot::channel();
        self.changes.send((change, written)).await.map_err(|_| RecordError::Ended)?;
        answer.await.unwrap_or(Err(RecordError::Ended))
    }
}

async fn write(catalog: Catalog, folder: FolderId, mut changes: mpsc::Receiver<Entry>) {
    let mut last_batch = 1;
    while let Some(first) = changes.recv().await {
        let mut batch = vec![first];
        // A single change is written at once; where they come in crowds, the crowd is waited for.
        if last_batch > 1 || !changes.is_empty() {
            gather(&mut changes, &mut batch).await;
        }
        last_batch = batch.len();
        let (rows, waiting): (Vec<Change>, Vec<_>) = batch.into_iter().unzip();
        let answers = apply(&catalog, folder, &rows).await;
        for (answer, waiting) in answers.into_iter().zip(waiting) {
            // A worker that was cancelled does not wait any more; its row is written all the same.
            let _ = waiting.send(answer);
        }
    }
}

async fn gather(changes: &mut mpsc::Receiver<Entry>, batch: &mut Vec<Entry>) {
    let deadline = tokio::time::sleep(GATHER);
    tokio::pin!(deadline);
    while batch.len() < BATCH {
        tokio::select! {
            entry = changes.recv() => match entry {
                Some(entry) => batch.push(entry),
                None => return,
            },
            () = &mut deadline => return,
        }
    }
}

async fn apply(catalog: &Catalog, folder: FolderId, rows: &[Change]) -> Vec<Result<(), RecordError>> {
    match record::apply(catalog, folder, rows).await {
        Ok(refused) => {
            let mut answers = vec![Ok(()); rows.len()];
            for (index, error) in refused {
                if let Some(answer) = answers.get_mut(index) {
                    *answer = Err(RecordError::Refused(Arc::new(error)));
                }
            }
            answers
        }
        Err(error) => vec![Err(RecordError::Lost(Arc::new(error))); rows.len()],
    }
}
