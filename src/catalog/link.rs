//! Share links: `portail.link`, and what becomes of them in `portail.link_use`. A token is known by its SHA-256 only.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tokio_postgres::Row as SqlRow;

use super::{Catalog, CatalogError};
use crate::model::FolderId;

/// The SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// A link that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    /// Of its token.
    pub hash: &'a TokenHash,
    /// The file's folder.
    pub folder: FolderId,
    /// `portail.file.id`.
    pub file: i64,
    /// Where the file is.
    pub path: &'a str,
    /// Key and version, for a link that stays with the version of today.
    pub pinned: Option<(&'a str, &'a str)>,
    /// The caller's name.
    pub created_by: &'a str,
    /// When it ends.
    pub expires_at: SystemTime,
    /// How often it may be opened; none = as often as one likes.
    pub max_uses: Option<i32>,
}

/// A link, for those who look after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Stable.
    pub id: i64,
    /// The file's folder.
    pub folder: FolderId,
    /// The folder's name.
    pub folder_name: String,
    /// Where the file is, or was last.
    pub path: String,
    /// It stays with the version of its day.
    pub pinned: bool,
    /// Whose it is.
    pub created_by: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it ends.
    pub expires_at: SystemTime,
    /// How often it may be opened.
    pub max_uses: Option<u32>,
    /// How often it was.
    pub uses: u32,
    /// When that was last.
    pub last_used_at: Option<SystemTime>,
    /// When somebody put an end to it.
    pub revoked_at: Option<SystemTime>,
    /// There is no such file any more.
    pub file_gone: bool,
}

/// What came of opening a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It led to the file.
    Served,
    /// Its time is over.
    Expired,
    /// Somebody put an end to it.
    Revoked,
    /// It was opened as often as it may be.
    UsedUp,
    /// The file is gone.
    Deleted,
    /// The file could not be synced.
    NotSynced,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Self; 6] =
        [Self::Served, Self::Expired, Self::Revoked, Self::UsedUp, Self::Deleted, Self::NotSynced];

    /// As the column holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UsedUp => "used_up",
            Self::Deleted => "deleted",
            Self::NotSynced => "not_synced",
        }
    }
}

/// What a link leads to at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The link.
    pub id: i64,
    /// Served, or why not.
    pub outcome: Outcome,
    /// The folder's endpoint.
    pub endpoint: String,
    /// Where the object is.
    pub bucket: String,
    /// Of the object.
    pub key: String,
    /// Of the object, for a link that stays with one.
    pub version: Option<String>,
    /// Of the file, in its folder.
    pub path: String,
}

/// Writes a link down, and answers its id. None if the file is gone by now.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn create(catalog: &Catalog, link: &NewLink<'_>) -> Result<Option<i64>, CatalogError> {
    let what = "write down a link";
    let sql = "INSERT INTO portail.link
             (token_sha256, folder_id, file_id, path, pinned_key, pinned_version_id, created_by, expires_at, max_uses)
         SELECT $1, $2, f.id, $4, $5, $6, $7, $8, $9 FROM portail.file f WHERE f.id = $3 RETURNING id";
    let (key, version) = link.pinned.unzip();
    let rows = catalog
        .query(
            what,
            sql,
            &[
                &&link.hash[..],
                &link.folder.0,
                &link.file,
                &link.path,
                &key,
                &version,
                &link.created_by,
                &link.expires_at,
                &link.max_uses,
            ],
        )
        .await;
    match rows {
        Ok(rows) => rows.first().map(|row| catalog.column(what, row, 0)).transpose(),
        // The row went between the look and the insertion.
        Err(error) if error.is_missing_reference() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Which links are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Of this caller only.
    pub created_by: Option<&'a str>,
    /// To this file only: `portail.file.id`.
    pub file: Option<i64>,
    /// Older than this one.
    pub before: Option<i64>,
}

/// Links, the newest first.
///
/// # Errors
/// If the catalog can't be read.
pub async fn list(catalog: &Catalog, wanted: Wanted<'_>, limit: i64) -> Result<Vec<Link>, CatalogError> {
    let what = "read the links";
    // A condition for what is wanted only: one that may be absent keeps the planner from the index.
    let by = if wanted.created_by.is_some() { "l.created_by = $2" } else { "$2::text IS NULL" };
    let file = if wanted.file.is_some() { "l.file_id = $3" } else { "$3::bigint IS NULL" };
    let sql = format!(
        "SELECT l.id, l.folder_id, o.name, l.path, l.pinned_key IS NOT NULL, l.created_by, l.created_at, l.expires_at,
             l.max_uses, l.uses, l.last_used_at, l.revoked_at, l.file_id IS NULL
         FROM portail.link l JOIN portail.folder o ON o.id = l.folder_id
         WHERE {by} AND {file} AND l.id < $1 ORDER BY l.id DESC LIMIT $4"
    );
    let before = wanted.before.unwrap_or(i64::MAX);
    let rows = catalog.query(what, &sql, &[&before, &wanted.created_by, &wanted.file, &limit]).await?;
    rows.iter().map(|row| to_link(catalog, what, row)).collect()
}

/// Whose a link is; none if there is no such link.
///
/// # Errors
/// If the catalog can't be read.
pub async fn owner(catalog: &Catalog, id: i64) -> Result<Option<String>, CatalogError> {
    let what = "read a link";
    let rows = catalog.query(what, "SELECT created_by FROM portail.link WHERE id = $1", &[&id]).await?;
    rows.first().map(|row| catalog.column(what, row, 0)).transpose()
}

/// Puts an end to a link. One that has ended so before stays as it is.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn revoke(catalog: &Catalog, id: i64, by: &str) -> Result<(), CatalogError> {
    let sql = "UPDATE portail.link SET revoked_at = now(), revoked_by = $2 WHERE id = $1 AND revoked_at IS NULL";
    catalog.query("revoke a link", sql, &[&id, &by]).await?;
    Ok(())
}

/// What the link with this token leads to; none if there is no such link. Nothing is counted.
///
/// # Errors
/// If the catalog can't be read.
pub async fn target(catalog: &Catalog, hash: &TokenHash) -> Result<Option<Target>, CatalogError> {
    let what = "look a link up";
    // While a renamed file's old row is on its way out, its heir is there already: see portail.move_links.
    let sql = "SELECT l.id,
             CASE WHEN l.revoked_at IS NOT NULL THEN 'revoked'
                  WHEN l.expires_at <= now() THEN 'expired'
                  WHEN l.uses >= l.max_uses THEN 'used_up'
                  WHEN f.id IS NULL OR (f.state = 'deleting' AND h.id IS NULL) THEN 'deleted'
                  WHEN f.state = 'failed' AND l.pinned_key IS NULL THEN 'not_synced'
                  ELSE 'served' END,
             o.endpoint, o.bucket, coalesce(l.pinned_key, h.key, f.key, ''), l.pinned_version_id,
             CASE WHEN l.pinned_key IS NULL THEN coalesce(h.path, f.path, l.path) ELSE l.path END
         FROM portail.link l JOIN portail.folder o ON o.id = l.folder_id
         LEFT JOIN LATERAL (SELECT * FROM portail.file WHERE id = l.file_id LIMIT 1) f ON true
         LEFT JOIN LATERAL (
             SELECT id, key, path FROM portail.file
             WHERE f.state = 'deleting' AND inode = f.inode AND folder_id + 0 = f.folder_id AND state = 'synced'
               AND size = f.size AND md5 = f.md5
             ORDER BY synced_at DESC LIMIT 1) h ON true
         WHERE l.token_sha256 = $1";
    let rows = catalog.query(what, sql, &[&&hash[..]]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let outcome: &str = get!(1);
    let outcome = Outcome::ALL.into_iter().find(|known| known.as_str() == outcome);
    Ok(Some(Target {
        id: get!(0),
        outcome: outcome.ok_or_else(|| catalog.strange(what, "an unknown outcome came back"))?,
        endpoint: get!(2),
        bucket: get!(3),
        key: get!(4),
        version: get!(5),
        path: get!(6),
    }))
}

/// Counts one use of a link that would be served, and writes it down. False if somebody else was faster: it has ended by now.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn take(catalog: &Catalog, id: i64, address: Option<IpAddr>) -> Result<bool, CatalogError> {
    // Whoever waits for the row here sees it as it is then: no link is opened more often than it may be.
    let sql = "WITH used AS (
             UPDATE portail.link SET uses = uses + 1, last_used_at = now()
             WHERE id = $1 AND revoked_at IS NULL AND expires_at > now() AND file_id IS NOT NULL
               AND (max_uses IS NULL OR uses < max_uses) AND uses < 2147483647
             RETURNING id
         ), written AS (
             INSERT INTO portail.link_use (link_id, address, outcome) SELECT id, $2, 'served' FROM used
         )
         SELECT count(*) FROM used";
    Ok(catalog.count("count a use of a link", sql, &[&id, &address]).await? > 0)
}

/// Writes down that a link was opened in vain.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn refused(
    catalog: &Catalog,
    id: i64,
    address: Option<IpAddr>,
    outcome: Outcome,
) -> Result<(), CatalogError> {
    let sql = "INSERT INTO portail.link_use (link_id, address, outcome)
         SELECT l.id, $2, $3 FROM portail.link l WHERE l.id = $1";
    catalog.query("write down a use of a link", sql, &[&id, &address, &outcome.as_str()]).await?;
    Ok(())
}

/// Forgets uses, and links that have ended, for longer than `retention`; at most so many of each. Answers how many there were.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn forget(catalog: &Catalog, retention: Duration, limit: i64) -> Result<u64, CatalogError> {
    let sql = "WITH old AS (SELECT now() - make_interval(secs => least($1::bigint, 100000000000)::double precision) AS at
         ), uses AS (
             DELETE FROM portail.link_use WHERE id = ANY(ARRAY(
                 SELECT u.id FROM portail.link_use u WHERE u.at < (SELECT at FROM old) ORDER BY u.at LIMIT $2))
             RETURNING 1
         ), links AS (
             DELETE FROM portail.link WHERE id = ANY(ARRAY(
                 SELECT l.id FROM portail.link l
                 WHERE least(l.expires_at, coalesce(l.revoked_at, l.expires_at)) < (SELECT at FROM old) ORDER BY l.id LIMIT $2))
             RETURNING 1
         )
         SELECT (SELECT count(*) FROM uses) + (SELECT count(*) FROM links)";
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    catalog.count("forget old uses of links", sql, &[&seconds, &limit]).await
}

fn to_link(catalog: &Catalog, what: &'static str, row: &SqlRow) -> Result<Link, CatalogError> {
    macro_rules! get {
        ($index:expr) => {
            catalog.column(what, row, $index)?
        };
    }
    let (max_uses, uses): (Option<i32>, i32) = (get!(8), get!(9));
    let unsigned = |count: i32| u32::try_from(count).unwrap_or(0);
    Ok(Link {
        id: get!(0),
        folder: FolderId(get!(1)),
        folder_name: get!(2),
        path: get!(3),
        pinned: get!(4),
        created_by: get!(5),
        created_at: get!(6),
        expires_at: get!(7),
        max_uses: max_uses.map(unsigned),
        uses: unsigned(uses),
        last_used_at: get!(10),
        revoked_at: get!(11),
        file_gone: get!(12),
    })
}
