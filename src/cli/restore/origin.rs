//! Where a restore takes its files from: the catalog, or, where that is lost, the bucket alone.

use std::time::SystemTime;

use anyhow::bail;

use crate::agent::{StartError, endpoint_name};
use crate::catalog::restorable::{self, Reach};
use crate::catalog::schema::{self, SchemaState};
use crate::catalog::{Catalog, folder};
use crate::cli::RestoreArgs;
use crate::config::settings::{FolderSettings, Settings};
use crate::model::FolderId;
use crate::sync::act::chain;

/// What says which files there are.
pub(super) enum Origin {
    /// The rows of the folder.
    Rows(FolderId),
    /// Its history.
    Past(FolderId, SystemTime, Reach),
    /// The bucket's listing.
    Bucket {
        /// Why not the catalog, in words.
        why: String,
        /// As the catalog knows it all the same.
        folder: Option<FolderId>,
    },
}

impl Origin {
    /// Asks the catalog what it knows of the folder.
    ///
    /// # Errors
    /// If it is of a newer program, or is needed and can't be read.
    pub(super) async fn find(
        settings: &Settings,
        catalog: &Catalog,
        configured: &FolderSettings,
        args: &RestoreArgs,
    ) -> anyhow::Result<Self> {
        let known = match known(settings, catalog, configured).await {
            Ok(known) => known,
            Err(Unknown::Start(error)) => return Err(error.into()),
            Err(Unknown::Why(why)) if args.at.is_some() => bail!("find the versions of that time: {why}"),
            Err(Unknown::Why(why)) => return Ok(Self::Bucket { why, folder: None }),
        };
        let bucket = |why: &str| Ok(Self::Bucket { why: why.to_owned(), folder: Some(known) });
        if args.from_bucket {
            return bucket("--from-bucket");
        }
        if let Some(at) = args.at {
            return Ok(Self::Past(known, at, restorable::reach(catalog).await?));
        }
        // A service that was started again on a new machine has claimed its folder, and has nothing in it yet.
        if restorable::extent(catalog, known, None).await?.0 == 0 {
            return bucket("the catalog has no object of the folder");
        }
        Ok(Self::Rows(known))
    }

    /// As the catalog knows the folder.
    pub(super) fn folder(&self) -> Option<FolderId> {
        match self {
            Self::Rows(folder) | Self::Past(folder, _, _) => Some(*folder),
            Self::Bucket { folder, .. } => *folder,
        }
    }
}

enum Unknown {
    Start(StartError),
    Why(String),
}

async fn known(settings: &Settings, catalog: &Catalog, configured: &FolderSettings) -> Result<FolderId, Unknown> {
    let lost =
        |error: crate::catalog::CatalogError| Unknown::Why(format!("the catalog can't be used: {}", chain(&error)));
    match schema::state(catalog).await.map_err(lost)? {
        SchemaState::Missing => return Err(Unknown::Why("the catalog is empty".to_owned())),
        SchemaState::Newer { found, known } => return Err(Unknown::Start(StartError::SchemaNewer { found, known })),
        // What is read here has been there from the beginning.
        SchemaState::Older { .. } | SchemaState::Current => {}
    }
    let found = folder::find(catalog, &endpoint_name(&settings.s3), &configured.bucket, &configured.prefix).await;
    let found = found.map_err(lost)?;
    found.map(|record| record.id).ok_or_else(|| Unknown::Why("the catalog does not know the folder".to_owned()))
}
