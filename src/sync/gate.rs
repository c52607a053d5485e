//! An outage as a state: while the gate is closed, nothing is acted on.

use std::time::Instant;

use tokio::sync::watch;

use crate::model::millis;
use crate::sync::error::{Away, SyncError};

/// Why nothing can be done, and since when.
#[derive(Clone, Debug)]
pub struct Outage {
    /// In words.
    pub reason: String,
    /// Since when.
    pub since: Instant,
    /// Which server is away, if it is one.
    pub away: Option<Away>,
}

/// Open, or closed by an outage.
#[derive(Debug)]
pub struct Gate {
    outage: watch::Sender<Option<Outage>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { outage: watch::Sender::new(None) }
    }
}

impl Gate {
    /// Resolves as soon as it is open.
    pub async fn open(&self) {
        // The sender lives as long as this does, so waiting can't fail.
        let _ = self.outage.subscribe().wait_for(Option::is_none).await;
    }

    /// Resolves as soon as it is closed.
    pub async fn closed(&self) {
        let _ = self.outage.subscribe().wait_for(Option::is_some).await;
    }

    /// The outage, if there is one.
    pub fn outage(&self) -> Option<Outage> {
        self.outage.borrow().clone()
    }

    /// Begins an outage; one that lasts already keeps its reason. Said once, however many meet it.
    pub fn close(&self, folder: &str, error: &SyncError) {
        self.outage.send_if_modified(|outage| {
            if outage.is_some() {
                return false;
            }
            let reason = super::act::chain(error);
            tracing::error!(folder, action = "suspended", error = %reason, "syncing of {folder} is suspended: failed to {reason}");
            *outage = Some(Outage { reason, since: Instant::now(), away: error.away() });
            true
        });
    }

    /// Says which server is away now: when one is back, the other may still be missing.
    pub fn blame(&self, away: Away) {
        self.outage.send_if_modified(|outage| {
            if let Some(outage) = outage {
                outage.away = Some(away);
            }
            // Nobody waits for that.
            false
        });
    }

    /// Ends the outage. Said once.
    pub fn reopen(&self, folder: &str) {
        self.outage.send_if_modified(|outage| {
            let Some(ended) = outage.take() else { return false };
            let lasted = ended.since.elapsed();
            tracing::warn!(
                folder,
                action = "resumed",
                duration_ms = millis(lasted),
                "syncing of {folder} goes on after {:.1} s",
                lasted.as_secs_f64()
            );
            true
        });
    }
}
