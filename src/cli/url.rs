//! `agent-portail url PATH`: one presigned URL.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::located::locate;
use super::{Exit, UsageError, output};
use crate::agent::endpoint_name;
use crate::config::settings::Settings;
use crate::urls::signing::Wish;
use crate::urls::tokens::Tokens;
use crate::urls::{Portal, Refusal};

/// Prints a URL by which anybody can fetch a synced file for a while.
///
/// # Errors
/// If the path is in no folder, was not synced, or the time is not allowed.
pub async fn run(settings: &Settings, path: &Path, expires: Option<Duration>) -> anyhow::Result<Exit> {
    let (folder, path) = locate(settings, path)?;
    let portal = Portal::open(settings, Tokens::default()).await?;
    let wish = Wish { lasting: expires, ..Wish::default() };
    let usage = |refusal: Refusal| {
        UsageError(format!("make a URL: {}", refusal.to_string().replace("`expires_in`", "--expires")))
    };
    portal.expiry(wish.lasting).map_err(usage)?;
    let what = || format!("make a URL of {}:{path}", crate::model::Printable(&folder.name));
    let endpoint = endpoint_name(&settings.s3);
    let folders = portal.folders().await.with_context(what)?;
    let known = folders
        .iter()
        .find(|known| known.endpoint == endpoint && known.bucket == folder.bucket && known.prefix == folder.prefix)
        .context("find the folder in the catalog: it was never synced")
        .with_context(what)?;
    let file = portal.file(known, path.as_str()).await.with_context(what)?;
    let signed = portal.presign(known, &file, &wish).await.with_context(what)?;
    output::print(format_args!("{}\n", signed.url))?;
    if signed.cut_short {
        let end = humantime::format_rfc3339_seconds(signed.expires_at);
        let note =
            format!("It ends at {end}, sooner than was asked for: the credentials that it is signed with end then.\n");
        let _ = std::io::stderr().write_all(note.as_bytes());
    }
    Ok(Exit::Done)
}
