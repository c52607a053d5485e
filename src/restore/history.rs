//! What was brought back, written into the history in batches.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::catalog::history::{self, Restored};
use crate::catalog::{Catalog, CatalogError};
use crate::model::FolderId;

/// Events of a statement.
const BATCH: usize = 500;

/// Writes down what comes, until nothing more does. A catalog that can't be written to is no reason to restore nothing: it is
/// said once.
pub fn start(
    catalog: Catalog,
    folder: FolderId,
    directory: String,
) -> (mpsc::Sender<Restored>, JoinHandle<Result<(), CatalogError>>) {
    let (sender, mut files) = mpsc::channel(2 * BATCH);
    let writing = tokio::spawn(async move {
        let mut result = Ok(());
        let mut batch = Vec::with_capacity(BATCH);
        while files.recv_many(&mut batch, BATCH).await > 0 {
            if result.is_ok() {
                result = history::restored(&catalog, folder, &batch, &directory).await;
            }
            batch.clear();
        }
        result
    });
    (sender, writing)
}
