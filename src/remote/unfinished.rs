//! Uploads in parts that were begun: what has arrived of them, and the end of those that do not become an object.

use std::time::Duration;

use tracing::warn;

use super::client::Bucket;
use super::error::{RemoteError, Trouble};
use super::large::Arrived;
use super::operation::Operation;
use crate::boundary::{Boundary, reached};
use crate::model::{ETag, ObjectKey};

/// How often an abort is repeated: a part that was on its way may arrive after it.
const ABORTS: u32 = 5;

impl Bucket {
    /// The parts of an upload that have arrived, in order; `None` if there is no such upload (any more).
    ///
    /// # Errors
    /// If the store can't be asked.
    pub async fn arrived(&self, key: &ObjectKey, id: &str) -> Result<Option<Vec<Arrived>>, RemoteError> {
        let mut arrived = Vec::new();
        let mut marker = None;
        loop {
            let asked = self.sdk().list_parts().bucket(self.name()).key(key.as_str()).upload_id(id);
            let answer = match asked.set_part_number_marker(marker.clone()).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let error = self.failed(Operation::ListParts, Some(key), error);
                    return if error.trouble == Trouble::NotFound { Ok(None) } else { Err(error) };
                }
            };
            for part in answer.parts() {
                let number = part.part_number().and_then(|number| u32::try_from(number).ok());
                let size = part.size().and_then(|size| u64::try_from(size).ok());
                // A part that says less than this of itself is as good as none.
                if let (Some(number), Some(size), Some(etag)) = (number, size, part.e_tag()) {
                    arrived.push(Arrived { number, etag: ETag::new(etag), size });
                }
            }
            let next = answer.next_part_number_marker().map(str::to_owned);
            // A store that sends the same page for ever is not listened to for ever.
            if answer.is_truncated() != Some(true) || next.is_none() || next == marker {
                return Ok(Some(arrived));
            }
            marker = next;
        }
    }

    /// The ids of all uploads at exactly this key that were begun and not ended.
    ///
    /// # Errors
    /// If the store can't be asked.
    pub async fn uploads_at(&self, key: &ObjectKey) -> Result<Vec<String>, RemoteError> {
        let mut ids = Vec::new();
        let mut marker: (Option<String>, Option<String>) = (None, None);
        loop {
            let answer = self
                .sdk()
                .list_multipart_uploads()
                .bucket(self.name())
                .prefix(key.as_str())
                .set_key_marker(marker.0.clone())
                .set_upload_id_marker(marker.1.clone())
                .send()
                .await
                .map_err(|error| self.failed(Operation::ListMultipartUploads, Some(key), error))?;
            let here = answer.uploads().iter().filter(|upload| upload.key() == Some(key.as_str()));
            ids.extend(here.filter_map(|upload| upload.upload_id()).map(str::to_owned));
            let next = (answer.next_key_marker().map(str::to_owned), answer.next_upload_id_marker().map(str::to_owned));
            // Keys that only begin like this one come after it.
            let past = next.0.as_deref().is_some_and(|next| next > key.as_str());
            if answer.is_truncated() != Some(true) || past || next.0.is_none() || next == marker {
                return Ok(ids);
            }
            marker = next;
        }
    }

    /// Throws an upload away until the store says that nothing of it is left: a part that was on its way may arrive after the
    /// first time. It takes no slot and does not heed cancellation, since it is what a cancelled upload ends with.
    ///
    /// # Errors
    /// If something is left all the same; it has been logged.
    pub async fn abort_upload(&self, key: &ObjectKey, id: &str) -> Result<(), RemoteError> {
        let mut last = None;
        reached(Boundary::BeforeAbort);
        for attempt in 0..ABORTS {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
            }
            match self.abort_once(key, id).await {
                Ok(true) => {
                    reached(Boundary::AfterAbort);
                    return Ok(());
                }
                Ok(false) => last = None,
                Err(error) => last = Some(error),
            }
        }
        let error =
            last.unwrap_or_else(|| self.unexpected(Operation::AbortMultipartUpload, Some(key), "parts keep arriving"));
        warn!(bucket = self.name(), key = %key, upload = id, error = %crate::model::chain(&error), "parts of an unfinished upload are left in the store");
        Err(error)
    }

    /// Whether nothing is left.
    async fn abort_once(&self, key: &ObjectKey, id: &str) -> Result<bool, RemoteError> {
        let abort =
            self.sdk().abort_multipart_upload().bucket(self.name()).key(key.as_str()).upload_id(id).send().await;
        match abort.map_err(|error| self.failed(Operation::AbortMultipartUpload, Some(key), error)) {
            Err(error) if error.trouble != Trouble::NotFound => return Err(error),
            Ok(_) | Err(_) => {}
        }
        match self.arrived(key, id).await {
            Ok(left) => Ok(left.is_none_or(|parts| parts.is_empty())),
            // The abort itself was accepted. Listing parts is a permission of its own that not everybody gives.
            Err(error) if error.trouble == Trouble::Denied => Ok(true),
            Err(error) => Err(error),
        }
    }
}
