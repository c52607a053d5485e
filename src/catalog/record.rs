//! Writing rows of `portail.file` and the history, in batches of one statement.

use std::collections::HashSet;
use std::time::SystemTime;

use super::{Catalog, CatalogError, Cause, to_bigint};
use crate::boundary::{Boundary, reached};
use crate::model::{EventKind, FileMeta, FolderId, ObjectKey, RelPath, RowState, Synced};

/// What a path's row is to say.
#[derive(Clone, Debug)]
pub enum Change {
    /// S3 has acknowledged these bytes.
    Synced {
        /// Where.
        path: RelPath,
        /// Its object.
        key: ObjectKey,
        /// Of the file that was read.
        meta: FileMeta,
        /// Of the object.
        synced: Synced,
        /// The fingerprint can't be believed yet.
        racy: bool,
        /// `Uploaded`, `Copied`, `Adopted` or `Touched`.
        kind: EventKind,
        /// For the history, such as where it was copied from.
        detail: Option<String>,
    },
    /// It could not be synced. What the row says of the last object that was, stays. A row that is `kept` or `deleting` stays so,
    /// with the error: else nobody would know any more that its object is to be kept, or may be gone.
    Failed {
        /// Where.
        path: RelPath,
        /// Where its object would be.
        key: ObjectKey,
        /// Why.
        error: String,
    },
    /// The row goes, the object stays.
    Dropped {
        /// Where.
        path: RelPath,
    },
    /// The file is gone, the object stays on purpose.
    Kept {
        /// Where.
        path: RelPath,
    },
}

impl Change {
    fn path(&self) -> &RelPath {
        match self {
            Self::Synced { path, .. } | Self::Failed { path, .. } | Self::Dropped { path } | Self::Kept { path } => {
                path
            }
        }
    }

    fn has_nul(&self) -> bool {
        let text_has_nul = match self {
            Self::Synced { synced, detail, .. } => {
                synced.etag.as_str().contains('\0')
                    || synced.version.as_deref().is_some_and(|v| v.contains('\0'))
                    || detail.as_deref().is_some_and(|d| d.contains('\0'))
            }
            Self::Failed { error, .. } => error.contains('\0'),
            Self::Dropped { .. } | Self::Kept { .. } => false,
        };
        text_has_nul || self.path().as_str().contains('\0')
    }
}

/// Writes the changes in one statement, and answers which of them were refused and why: a row that the database refuses
/// keeps no other out. Paths must be distinct.
///
/// # Errors
/// If the catalog can't be written to.
pub async fn apply(
    catalog: &Catalog,
    folder: FolderId,
    changes: &[Change],
) -> Result<Vec<(usize, CatalogError)>, CatalogError> {
    let what = "record files";
    let mut paths = HashSet::with_capacity(changes.len());
    if let Some(twice) = changes.iter().find(|change| !paths.insert(change.path().as_str())) {
        let cause = Cause::Twice(twice.path().to_string());
        return Err(CatalogError::new(what, &catalog.place, cause));
    }
    let mut refused = Vec::new();
    let mut good = Vec::with_capacity(changes.len());
    for (index, change) in changes.iter().enumerate() {
        if change.has_nul() {
            let cause = Cause::Nul(change.path().to_string());
            refused.push((index, CatalogError::new(what, &catalog.place, cause)));
        } else {
            good.push((index, change));
        }
    }
    // Batches still to be written. One that is refused for one of its rows is cut in two until the row stands alone.
    let mut batches = vec![good];
    while let Some(mut batch) = batches.pop() {
        if batch.is_empty() {
            continue;
        }
        let rows: Vec<&Change> = batch.iter().map(|(_, change)| *change).collect();
        match write(catalog, folder, what, &rows).await {
            Ok(()) => {}
            Err(error) if error.is_of_the_row() && batch.len() == 1 => refused.push((batch[0].0, error)),
            Err(error) if error.is_of_the_row() => {
                batches.push(batch.split_off(batch.len() / 2));
                batches.push(batch);
            }
            Err(error) => return Err(error),
        }
    }
    refused.sort_by_key(|(index, _)| *index);
    Ok(refused)
}

/// What a batch has in it. The statement has the parts for just that: one that has nothing to do costs its planning and, worse,
/// may be planned for a table that was empty then and is large by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kinds {
    synced: bool,
    failed: bool,
    kept: bool,
    dropped: bool,
}

impl Kinds {
    fn of(changes: &[&Change]) -> Self {
        let mut kinds = Self::default();
        for change in changes {
            match change {
                Change::Synced { .. } => kinds.synced = true,
                Change::Failed { .. } => kinds.failed = true,
                Change::Kept { .. } => kinds.kept = true,
                Change::Dropped { .. } => kinds.dropped = true,
            }
        }
        kinds
    }

    /// One statement for a batch. The input's order gives every statement the same lock order, so that two can't deadlock.
    /// Each row is looked for by itself, through the index, whatever the statistics say; a join may be planned to read them all.
    fn statement(self) -> String {
        let mut sql = INPUT.to_owned();
        if self.synced {
            sql.push_str(SYNCED);
            sql.push_str(RETURNED);
        }
        if self.failed {
            sql.push_str(FAILED);
        }
        if self.kept {
            sql.push_str(KEPT);
        }
        if self.dropped {
            sql.push_str(DROPPED);
        }
        sql.push_str(if self.failed { HISTORY_BUT_THE_SAME_FAILURE } else { HISTORY });
        sql
    }
}

const INPUT: &str = "
WITH input AS (
    SELECT * FROM UNNEST($2::text[], $3::bytea[], $4::text[], $5::bigint[], $6::bytea[], $7::timestamptz[], $8::timestamptz[],
        $9::integer[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::bigint[],
        $17::boolean[], $18::text[], $19::text[])
    AS t(path, raw_path, key, size, md5, created_at, modified_at, mode, etag, version_id, state, error, mtime_ns, ctime_ns,
        inode, racy, kind, detail)
)";

const SYNCED: &str = ", synced AS (
    INSERT INTO portail.file (folder_id, path, raw_path, name, key, size, md5, created_at, modified_at, mode, etag, version_id,
        state, error, attempts, synced_at, mtime_ns, ctime_ns, inode, racy)
    SELECT $1, path, raw_path, regexp_replace(path, '^.*/', ''), key, size, md5, created_at, modified_at, mode, etag,
        version_id, 'synced', NULL, 0, now(), mtime_ns, ctime_ns, inode, racy
    FROM input WHERE state = 'synced' ORDER BY path
    ON CONFLICT (folder_id, path) DO UPDATE SET
        raw_path = excluded.raw_path, key = excluded.key, size = excluded.size, md5 = excluded.md5,
        created_at = excluded.created_at, modified_at = excluded.modified_at, mode = excluded.mode, etag = excluded.etag,
        version_id = excluded.version_id, state = 'synced', error = NULL, attempts = 0, synced_at = now(),
        mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns, inode = excluded.inode, racy = excluded.racy
)";

/// Whatever was held, or said of it, was about a file that was gone.
const RETURNED: &str = ", returned AS (
    DELETE FROM portail.held_delete WHERE ctid = ANY(ARRAY(
        SELECT h.ctid FROM input i CROSS JOIN LATERAL (
            SELECT ctid FROM portail.held_delete WHERE folder_id = $1 AND path = i.path LIMIT 1) h
        WHERE i.state = 'synced'))
)";

const FAILED: &str = ", before AS (
    SELECT i.path, f.error FROM input i CROSS JOIN LATERAL (
        SELECT error FROM portail.file WHERE folder_id = $1 AND path = i.path LIMIT 1) f
), failed AS (
    INSERT INTO portail.file (folder_id, path, raw_path, name, key, state, error, attempts)
    SELECT $1, path, raw_path, regexp_replace(path, '^.*/', ''), key, 'failed', error, 1
    FROM input WHERE state = 'failed' ORDER BY path
    ON CONFLICT (folder_id, path) DO UPDATE SET
        state = CASE WHEN portail.file.state IN ('kept', 'deleting') THEN portail.file.state ELSE 'failed' END,
        error = excluded.error, attempts = portail.file.attempts + 1
)";

const KEPT: &str = ", kept AS (
    UPDATE portail.file SET state = 'kept', error = NULL
    WHERE etag IS NOT NULL AND id = ANY(ARRAY(
        SELECT f.id FROM input i CROSS JOIN LATERAL (
            SELECT id FROM portail.file WHERE folder_id = $1 AND path = i.path LIMIT 1) f
        WHERE i.state = 'kept'))
)";

const DROPPED: &str = ", dropped AS (
    DELETE FROM portail.file WHERE id = ANY(ARRAY(
        SELECT f.id FROM input i CROSS JOIN LATERAL (
            SELECT id FROM portail.file WHERE folder_id = $1 AND path = i.path LIMIT 1) f
        WHERE i.state = 'dropped'))
)";

const HISTORY: &str = "
INSERT INTO portail.event (folder_id, path, kind, size, md5, version_id, detail)
SELECT $1, path, kind, size, md5, version_id, coalesce(detail, error) FROM input WHERE kind IS NOT NULL
";

const HISTORY_BUT_THE_SAME_FAILURE: &str = "
INSERT INTO portail.event (folder_id, path, kind, size, md5, version_id, detail)
SELECT $1, i.path, i.kind, i.size, i.md5, i.version_id, coalesce(i.detail, i.error)
FROM input i LEFT JOIN before b USING (path)
WHERE i.kind IS NOT NULL AND NOT (i.kind = 'failed' AND coalesce(b.error = i.error, false))
";

async fn write(
    catalog: &Catalog,
    folder: FolderId,
    what: &'static str,
    changes: &[&Change],
) -> Result<(), CatalogError> {
    let mut columns = Columns::default();
    for change in changes {
        columns.push(change);
    }
    let c = &columns;
    reached(Boundary::BeforeRows);
    catalog
        .query(
            what,
            &Kinds::of(changes).statement(),
            &[
                &folder.0,
                &c.path,
                &c.raw_path,
                &c.key,
                &c.size,
                &c.md5,
                &c.created_at,
                &c.modified_at,
                &c.mode,
                &c.etag,
                &c.version_id,
                &c.state,
                &c.error,
                &c.mtime_ns,
                &c.ctime_ns,
                &c.inode,
                &c.racy,
                &c.kind,
                &c.detail,
            ],
        )
        .await?;
    reached(Boundary::AfterRows);
    Ok(())
}

/// The batch, turned on its side: one array a column.
#[derive(Default)]
struct Columns<'a> {
    path: Vec<&'a str>,
    raw_path: Vec<Option<&'a [u8]>>,
    key: Vec<Option<&'a str>>,
    size: Vec<Option<i64>>,
    md5: Vec<Option<&'a [u8]>>,
    created_at: Vec<Option<SystemTime>>,
    modified_at: Vec<Option<SystemTime>>,
    mode: Vec<Option<i32>>,
    etag: Vec<Option<&'a str>>,
    version_id: Vec<Option<&'a str>>,
    state: Vec<&'static str>,
    error: Vec<Option<&'a str>>,
    mtime_ns: Vec<Option<i64>>,
    ctime_ns: Vec<Option<i64>>,
    inode: Vec<Option<i64>>,
    racy: Vec<bool>,
    kind: Vec<Option<&'static str>>,
    detail: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn push(&mut self, change: &'a Change) {
        let (state, kind) = match change {
            Change::Synced { kind, .. } => (RowState::Synced.as_str(), Some(kind.as_str())),
            Change::Failed { .. } => (RowState::Failed.as_str(), Some(EventKind::Failed.as_str())),
            Change::Dropped { .. } => ("dropped", None),
            Change::Kept { .. } => (RowState::Kept.as_str(), None),
        };
        self.state.push(state);
        self.kind.push(kind);
        let path = change.path();
        self.path.push(path.as_str());
        self.raw_path.push(path.raw_if_different());
        let (key, error, detail, file) = match change {
            Change::Synced { key, meta, synced, racy, detail, .. } => {
                (Some(key), None, detail.as_deref(), Some((meta, synced, *racy)))
            }
            Change::Failed { key, error, .. } => (Some(key), Some(error.as_str()), None, None),
            Change::Dropped { .. } | Change::Kept { .. } => (None, None, None, None),
        };
        self.key.push(key.map(ObjectKey::as_str));
        self.error.push(error);
        self.detail.push(detail);
        let meta = file.map(|(meta, _, _)| meta);
        let synced = file.map(|(_, synced, _)| synced);
        self.size.push(synced.map(|synced| to_bigint(synced.size)));
        self.md5.push(synced.map(|synced| &synced.digest.0[..]));
        self.etag.push(synced.map(|synced| synced.etag.as_str()));
        self.version_id.push(synced.and_then(|synced| synced.version.as_deref()));
        self.created_at.push(meta.and_then(|meta| meta.birth).map(|birth| birth.to_system()));
        self.modified_at.push(meta.map(|meta| meta.fingerprint.mtime.to_system()));
        self.mode.push(meta.map(|meta| meta.mode.cast_signed()));
        self.mtime_ns.push(meta.map(|meta| meta.fingerprint.mtime.0));
        self.ctime_ns.push(meta.map(|meta| meta.fingerprint.ctime.0));
        self.inode.push(meta.map(|meta| meta.fingerprint.inode.cast_signed()));
        self.racy.push(file.is_some_and(|(_, _, racy)| racy));
    }
}
