//! URLs by which anybody can fetch one file from the store for a while.

use std::time::{Duration, SystemTime};

use super::disposition::{self, Disposition};
use super::portal::Portal;
use super::refusal::{Gone, Refusal};
use crate::catalog::browse::{FileDetail, FolderLine};
use crate::model::{ObjectKey, RelPath, RowState};
use crate::remote::{Presigned, Shown, content_type};

/// The shortest that may be asked for.
pub const MIN_EXPIRY: Duration = Duration::from_secs(1);

/// What a URL is to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// How long it is to last; none = `urls.default_expiry`.
    pub lasting: Option<Duration>,
    /// Whether a browser is to save or to show the file. What could run script is saved.
    pub disposition: Disposition,
    /// Instead of the type that the name stands for.
    pub content_type: Option<String>,
}

impl Portal {
    /// How long something is to last, within what is allowed.
    ///
    /// # Errors
    /// If it is less than a second, or longer than `urls.max_expiry`.
    pub fn expiry(&self, wanted: Option<Duration>) -> Result<Duration, Refusal> {
        let limits = self.limits();
        let wanted = wanted.unwrap_or(limits.default_expiry);
        if wanted < MIN_EXPIRY || wanted > limits.max_expiry {
            let longest = humantime::format_duration(limits.max_expiry);
            return Err(Refusal::Invalid(format!("`expires_in` must be from 1s to {longest}")));
        }
        // A signature knows whole seconds.
        Ok(Duration::from_secs(wanted.as_secs()))
    }

    /// Signs a URL for a file that [`Portal::file`] has found.
    ///
    /// # Errors
    /// If the file could not be synced (409) or is being deleted (410), it lies in another store (409), the time is not allowed (400), or
    /// there are no credentials (503).
    pub async fn presign(&self, folder: &FolderLine, file: &FileDetail, wish: &Wish) -> Result<Presigned, Refusal> {
        let lasting = self.expiry(wish.lasting)?;
        self.may_be_served(folder, file)?;
        self.sign(&folder.bucket, &file.key, None, &file.line.path, wish, lasting).await
    }

    /// Whether there is an object that is the file as the catalog vouches for it.
    ///
    /// # Errors
    /// If there is not.
    pub(super) fn may_be_served(&self, folder: &FolderLine, file: &FileDetail) -> Result<(), Refusal> {
        match file.line.state {
            // A kept one is gone from the folder, and its object stays on purpose: to be fetched.
            RowState::Synced | RowState::Kept => {}
            RowState::Deleting => return Err(Refusal::Gone(Gone::Deleted)),
            RowState::Failed => return Err(not_synced(file.line.error.as_deref())),
        }
        self.is_our_store(&folder.endpoint)
    }

    /// Whether the service's own credentials are of the store that an endpoint is.
    pub(super) fn is_our_store(&self, endpoint: &str) -> Result<(), Refusal> {
        if endpoint == self.endpoint() {
            return Ok(());
        }
        Err(Refusal::Conflict(
            "the file lies in another store than the one that this service is configured for".to_owned(),
        ))
    }

    /// Signs, whatever is at the key.
    pub(super) async fn sign(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        path: &str,
        wish: &Wish,
        lasting: Duration,
    ) -> Result<Presigned, Refusal> {
        let path = RelPath::from_encoded(path, None);
        let content_type = wish.content_type.clone().unwrap_or_else(|| content_type(&path));
        let disposition = match wish.disposition {
            Disposition::Inline if disposition::may_be_shown(&content_type) => Disposition::Inline,
            Disposition::Inline | Disposition::Attachment => Disposition::Attachment,
        };
        let shown = Shown { disposition: disposition::header(disposition, path.name()), content_type };
        let bucket = self.store().bucket(bucket);
        let key = ObjectKey::from_parts("", key);
        let signed = bucket.presign(&key, version, &shown, SystemTime::now(), lasting).await?;
        self.counters().signed.add(1);
        Ok(signed)
    }

    /// Where presigned URLs of a bucket lead: `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// If there are no credentials (503).
    pub async fn store_origin(&self, bucket: &str) -> Result<String, Refusal> {
        let signed = self.sign(bucket, "x", None, "x", &Wish::default(), MIN_EXPIRY).await?;
        let uri: http::Uri = signed.url.parse().map_err(|_| Refusal::Unavailable("no URL can be signed"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => Ok(format!("{scheme}://{authority}")),
            (Some(_) | None, Some(_) | None) => Err(Refusal::Unavailable("no URL can be signed")),
        }
    }
}

/// The file could not be synced, with the reason.
pub(super) fn not_synced(error: Option<&str>) -> Refusal {
    Refusal::Conflict(match error {
        Some(error) => format!("the file could not be synced: {error}"),
        None => "the file could not be synced".to_owned(),
    })
}
