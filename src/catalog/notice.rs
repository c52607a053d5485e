//! `portail.notice` and `portail.webhook`: what people are told of, and how far each webhook has come.

use std::time::SystemTime;

use super::{Catalog, CatalogError};
use crate::model::{FolderId, NoticeKind};

/// Something that people are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Ascending.
    pub id: i64,
    /// When it happened.
    pub at: SystemTime,
    /// What.
    pub kind: NoticeKind,
    /// Why.
    pub reason: Option<String>,
    /// The folder's name.
    pub folder: String,
    /// Where it is.
    pub path: String,
    /// Where it is mirrored to.
    pub bucket: String,
    /// Before each key.
    pub prefix: String,
    /// As it stands now, which may be later.
    pub state: String,
    /// Deletions that wait for a person now.
    pub held: u64,
}

/// Writes down that a reconciliation has failed, unless that is known since the last one that came to its end.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn reconciliation_failed(catalog: &Catalog, folder: FolderId, reason: &str) -> Result<(), CatalogError> {
    let sql = "SELECT portail.add_notice(f.id, 'reconciliation_failed', $2, NULL) FROM portail.folder f WHERE f.id = $1
         AND NOT EXISTS (SELECT FROM portail.notice n WHERE n.folder_id = f.id AND n.kind = 'reconciliation_failed'
                         AND n.at > coalesce(f.last_reconciled_at, '-infinity'))";
    catalog
        .query("write down that a reconciliation has failed", sql, &[&folder.0, &reason.replace('\0', "\u{fffd}")])
        .await?;
    Ok(())
}

/// How far a webhook has come. One that is new begins with what happens from now on.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn cursor(catalog: &Catalog, agent: &str, webhook: &str) -> Result<i64, CatalogError> {
    let what = "find the webhook's place";
    let sql = "WITH made AS (
             INSERT INTO portail.webhook (agent, name, last_notice)
             SELECT $1, $2, coalesce(max(id), 0) FROM portail.notice ON CONFLICT DO NOTHING RETURNING last_notice
         )
         SELECT last_notice FROM made UNION ALL SELECT last_notice FROM portail.webhook WHERE agent = $1 AND name = $2";
    let rows = catalog.query(what, sql, &[&agent, &webhook]).await?;
    let row = catalog.one(what, rows)?;
    catalog.column(what, &row, 0)
}

/// The notices of an agent's folders after this one, the oldest first.
///
/// # Errors
/// If the catalog can't be read.
pub async fn after(catalog: &Catalog, agent: &str, last: i64, limit: i64) -> Result<Vec<Notice>, CatalogError> {
    let what = "read the notices";
    let sql = "SELECT n.id, n.at, n.kind, n.reason, f.name, f.path, f.bucket, f.prefix, f.state,
             (SELECT count(*) FROM portail.held_delete h WHERE h.folder_id = f.id AND h.decision IS NULL)
         FROM portail.notice n JOIN portail.folder f ON f.id = n.folder_id
         WHERE n.id > $2 AND f.agent = $1 ORDER BY n.id LIMIT $3";
    let rows = catalog.query(what, sql, &[&agent, &last, &limit]).await?;
    rows.iter()
        .map(|row| {
            let kind: &str = catalog.column(what, row, 2)?;
            Ok(Notice {
                id: catalog.column(what, row, 0)?,
                at: catalog.column(what, row, 1)?,
                kind: NoticeKind::parse(kind)
                    .ok_or_else(|| catalog.strange(what, format!("the notice `{kind}` is unknown")))?,
                reason: catalog.column(what, row, 3)?,
                folder: catalog.column(what, row, 4)?,
                path: catalog.column(what, row, 5)?,
                bucket: catalog.column(what, row, 6)?,
                prefix: catalog.column(what, row, 7)?,
                state: catalog.column(what, row, 8)?,
                held: u64::try_from(catalog.column::<i64>(what, row, 9)?).unwrap_or(0),
            })
        })
        .collect()
}

/// Writes down that all notices up to this one are settled.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn advance(
    catalog: &Catalog,
    agent: &str,
    webhook: &str,
    last: i64,
    delivered: bool,
) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.webhook SET last_notice = greatest(last_notice, $3),
             delivered_at = CASE WHEN $4 THEN now() ELSE delivered_at END WHERE agent = $1 AND name = $2";
    catalog.query("move the webhook's place", sql, &[&agent, &webhook, &last, &delivered]).await?;
    Ok(())
}
