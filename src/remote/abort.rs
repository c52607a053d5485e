//! The end of an upload in parts that does not become an object.

use std::time::Duration;

use tracing::warn;

use super::client::Bucket;
use super::error::{RemoteError, Trouble};
use super::operation::Operation;
use crate::model::ObjectKey;

/// How often an abort is repeated: a part that was on its way may arrive after it.
const ABORTS: u32 = 5;

impl Bucket {
    /// Throws the parts away. It takes no slot and does not heed cancellation: it is what a cancelled upload ends with.
    pub(super) async fn abort(&self, key: &ObjectKey, id: &str) {
        let mut last = None;
        for attempt in 0..ABORTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
            match self.abort_once(key, id).await {
                Ok(true) => return,
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
        }
        let error = last.map(|error| error.to_string()).unwrap_or_else(|| "parts keep arriving".to_owned());
        warn!(bucket = self.name(), key = %key, upload = id, error, "parts of an unfinished upload are left in the store");
    }

    /// Whether nothing is left.
    async fn abort_once(&self, key: &ObjectKey, id: &str) -> Result<bool, RemoteError> {
        let gone = |error: &RemoteError| error.trouble == Trouble::NotFound;
        let abort =
            self.sdk().abort_multipart_upload().bucket(self.name()).key(key.as_str()).upload_id(id).send().await;
        match abort.map_err(|error| self.failed(Operation::AbortMultipartUpload, Some(key), error)) {
            Err(error) if !gone(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let left = self.sdk().list_parts().bucket(self.name()).key(key.as_str()).upload_id(id).send().await;
        match left.map_err(|error| self.failed(Operation::ListParts, Some(key), error)) {
            Ok(left) => Ok(left.parts().is_empty()),
            Err(error) if gone(&error) => Ok(true),
            // The abort itself was accepted. Listing parts is a permission of its own that not everybody gives.
            Err(error) if error.trouble == Trouble::Denied => Ok(true),
            Err(error) => Err(error),
        }
    }
}
