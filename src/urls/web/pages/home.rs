//! The start page: all folders; and a search in all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{StatusCode, Uri};
use serde::Deserialize;

use super::{browse, page, query};
use crate::catalog::browse::Counts;
use crate::model::FolderId;
use crate::model::Scope;
use crate::urls::web::format::{number, size};
use crate::urls::web::names::{Shown, encoded_part, parent};
use crate::urls::web::present::{file_row, folder_standing, href, place, slug, unix};
use crate::urls::web::view::{Browse, Crumb, FolderRow, Here, Home, Search, When};
use crate::urls::web::visitor::Visitor;
use crate::urls::{Portal, Refusal};

/// How long the page waits for the counts, which take a read of all rows now and then: they are there the next time.
const COUNTING: Duration = Duration::from_millis(150);

/// All folders.
pub async fn show(State(portal): State<Portal>, visitor: Visitor) -> Result<Response, Refusal> {
    let folders = portal.folders().await?;
    let counts = counts(&portal).await;
    let w = visitor.w;
    let rows = folders.iter().map(|folder| {
        let counts = counts.as_ref().and_then(|counts| counts.get(&folder.id).copied());
        FolderRow {
            name: Shown(&folder.name).to_string(),
            href: href("browse", &slug(&folders, folder), ""),
            standing: folder_standing(w, folder),
            files: counts.map_or_else(|| "…".to_owned(), |counts| number(w.language, counts.files)),
            size: counts.map_or_else(|| "…".to_owned(), |counts| size(w.language, counts.bytes)),
            trouble: counts.filter(|counts| counts.failed > 0).map(|counts| w.count(&w.not_synced, counts.failed)),
            synced: folder.last_reconciled_at.map(|at| When::ago(w, unix(at), visitor.now)),
        }
    });
    let search = (!folders.is_empty()).then(|| everywhere(&visitor, "", false));
    let home = Home { frame: visitor.frame(w.home_title, Here::Files), folders: rows.collect(), search };
    page(StatusCode::OK, w, &home, None)
}

/// What is known by now; the others go on counting.
async fn counts(portal: &Portal) -> Option<Arc<HashMap<FolderId, Counts>>> {
    let portal = portal.clone();
    let counting = tokio::spawn(async move { portal.counts().await });
    tokio::time::timeout(COUNTING, counting).await.ok()?.ok()?.ok()
}

/// What follows the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    q: Option<String>,
    after: Option<String>,
}

/// A search in all folders.
pub async fn search(State(portal): State<Portal>, visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    let Asked { q, after } = query(&uri);
    let part = q.as_deref().map(str::trim).unwrap_or_default();
    if part.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    let w = visitor.w;
    let after = after.as_deref().filter(|after| !after.is_empty());
    let found = portal.files(None, "", Some(part), after, browse::FOUND).await?;
    let folders = portal.folders().await?;
    let may_share = visitor.caller.may(Scope::Link);
    let rows = found.files.iter().filter_map(|file| {
        let folder = folders.iter().find(|folder| folder.id == file.folder)?;
        let place = place(&folder.name, parent(&file.path));
        Some(file_row(&visitor, &slug(&folders, folder), file, Some(place), may_share))
    });
    let heading = w.with(w.results_for, Shown(part));
    let results = Browse {
        frame: visitor.frame(&heading, Here::Files),
        tree: browse::trunk(&folders),
        crumbs: vec![Crumb { name: w.all_folders.to_owned(), href: "/".to_owned() }],
        heading,
        standing: None,
        synced: None,
        search: everywhere(&visitor, part, true),
        columns: browse::plain_columns(w),
        found: browse::found(w, after, found.files.len(), found.next.is_some()),
        more: found.next.map(|next| format!("/search?q={}&after={}", encoded_part(part), encoded_part(&next))),
        beginning: after.map(|_| format!("/search?q={}", encoded_part(part))),
        rows: rows.collect(),
    };
    page(StatusCode::OK, w, &results, None)
}

fn everywhere(visitor: &Visitor, value: &str, searching: bool) -> Search {
    Search {
        action: "/search".to_owned(),
        value: value.to_owned(),
        label: visitor.w.search_everywhere.to_owned(),
        clear: searching.then(|| "/".to_owned()),
    }
}
