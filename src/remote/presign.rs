//! Presigned URLs: temporary access to one object, for whoever has the URL. Nothing is asked of the store.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sdk_s3::presigning::PresigningConfig;

use super::client::Bucket;
use crate::model::ObjectKey;

/// What a browser is told of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `Content-Disposition`.
    pub disposition: String,
    /// `Content-Type`.
    pub content_type: String,
}

/// A URL, and how long it is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// Whoever has it may fetch the object.
    pub url: String,
    /// Nobody can after this.
    pub expires_at: SystemTime,
    /// The credentials end before the time that was asked for, and the URL with them.
    pub cut_short: bool,
}

/// No URL could be made.
#[derive(Debug, thiserror::Error)]
#[error("sign a URL for `{key}` in the bucket `{bucket}`")]
pub struct PresignError {
    bucket: String,
    key: ObjectKey,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Bucket {
    /// A URL by which anybody can fetch the object for as long as `lasting`, from `now` on: 1 s to 7 days.
    ///
    /// # Errors
    /// If there are no credentials.
    pub async fn presign(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
        shown: &Shown,
        now: SystemTime,
        lasting: Duration,
    ) -> Result<Presigned, PresignError> {
        let failed = |source| PresignError { bucket: self.name().to_owned(), key: key.clone(), source };
        // Those that the signature is made with may be newer, and then last longer than what is said of them here.
        let credentials =
            self.client.inner.provider.provide_credentials().await.map_err(|error| failed(error.into()))?;
        // A signature knows whole seconds.
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = UNIX_EPOCH + Duration::from_secs(since.as_secs());
        let wanted = start + lasting;
        let end = credentials.expiry().filter(|end| *end < wanted);
        let config = PresigningConfig::builder().start_time(start).expires_in(lasting).build();
        let config = config.map_err(|error| failed(error.into()))?;
        let request = self
            .sdk()
            .get_object()
            .bucket(self.name())
            .key(key.as_str())
            .set_version_id(version.map(str::to_owned))
            .response_content_disposition(&shown.disposition)
            .response_content_type(&shown.content_type)
            .presigned(config)
            .await
            .map_err(|error| failed(error.into()))?;
        Ok(Presigned { url: request.uri().to_owned(), expires_at: end.unwrap_or(wanted), cut_short: end.is_some() })
    }
}
