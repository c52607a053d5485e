//! The writer's lock: one writer for a bucket and prefix.
//!
//! A PostgreSQL advisory lock on a connection of its own, never pooled, so that the lock lasts exactly as long as the
//! connection: a crash of the holder frees it, and a dead link is noticed by keepalives.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio_postgres::{AsyncMessage, Connection};

use super::held::DECISION_CHANNEL;
use super::{ANSWER, Catalog, CatalogError, Cause, SESSION};
use crate::boundary::{Boundary, reached};
use crate::model::Printable;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// As it named itself, such as `agent-portail srv-1`.
    pub application_name: String,
    /// Its address; none over a socket.
    pub client: Option<String>,
    /// Of its server process.
    pub pid: Option<i32>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", Printable(&self.application_name))?;
        if let Some(client) = &self.client {
            write!(f, " at {client}")?;
        }
        if let Some(pid) = self.pid {
            write!(f, " (PostgreSQL process {pid})")?;
        }
        Ok(())
    }
}

/// What trying has come to.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Held(WriterLock),
    /// It is somebody else's.
    Taken(Holder),
}

/// Held until it is dropped or its connection ends.
#[derive(Debug)]
pub struct WriterLock {
    /// Dropping it ends the session, and with it the lock.
    _client: tokio_postgres::Client,
    ended: watch::Receiver<bool>,
    decided: Arc<Notify>,
}

impl WriterLock {
    /// Resolves when a person has decided on held deletions of any folder.
    pub async fn decided(&self) {
        self.decided.notified().await;
    }

    /// Resolves when the connection has ended, and with it the lock.
    pub async fn lost(&self) {
        // An error says that the task that drives the connection is gone, which comes to the same.
        let _ = self.ended.clone().wait_for(|ended| *ended).await;
    }
}

/// Tries to take the lock of this bucket and prefix, without waiting for it.
///
/// # Errors
/// If the catalog can't be reached.
pub async fn try_lock(catalog: &Catalog, endpoint: &str, bucket: &str, prefix: &str) -> Result<Attempt, CatalogError> {
    let what = "take the writer's lock";
    let failed = |error: tokio_postgres::Error| CatalogError::new(what, &catalog.place, error.into());
    let key = lock_key(endpoint, bucket, prefix);
    let (client, connection) = catalog.connect(what).await?;
    let (end, ended) = watch::channel(false);
    let decided = Arc::new(Notify::new());
    tokio::spawn(drive(connection, Arc::clone(&decided), end));
    let row = tokio::time::timeout(ANSWER, client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]))
        .await
        .map_err(|_| CatalogError::new(what, &catalog.place, Cause::NoAnswer))?
        .map_err(failed)?;
    if catalog.column::<bool>(what, &row, 0)? {
        // A session of its own is what LISTEN needs, too.
        let session = format!("LISTEN {DECISION_CHANNEL}; {SESSION}");
        tokio::time::timeout(ANSWER, client.batch_execute(&session))
            .await
            .map_err(|_| CatalogError::new(what, &catalog.place, Cause::NoAnswer))?
            .map_err(failed)?;
        reached(Boundary::LockTaken);
        return Ok(Attempt::Held(WriterLock { _client: client, ended, decided }));
    }
    Ok(Attempt::Taken(holder(catalog, what, key).await?))
}

/// Keeps a connection going to its end, and passes notifications on.
async fn drive<S, T>(mut connection: Connection<S, T>, decided: Arc<Notify>, end: watch::Sender<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(_))) => decided.notify_one(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::warn!(
                    error = %crate::model::chain(&error),
                    "the connection of the writer's lock has ended"
                );
                break;
            }
            None => break,
        }
    }
    // Nobody may be listening any more.
    let _ = end.send(true);
}

/// Who holds the lock of this bucket and prefix, if anybody does.
///
/// # Errors
/// If the catalog can't be reached.
pub async fn holder_of(
    catalog: &Catalog,
    endpoint: &str,
    bucket: &str,
    prefix: &str,
) -> Result<Option<Holder>, CatalogError> {
    find_holder(catalog, "look for the writer", lock_key(endpoint, bucket, prefix)).await
}

async fn holder(catalog: &Catalog, what: &'static str, key: i64) -> Result<Holder, CatalogError> {
    let gone = || Holder { application_name: "somebody who has just let go".to_owned(), client: None, pid: None };
    Ok(find_holder(catalog, what, key).await?.unwrap_or_else(gone))
}

async fn find_holder(catalog: &Catalog, what: &'static str, key: i64) -> Result<Option<Holder>, CatalogError> {
    let sql =
        "SELECT a.application_name, host(a.client_addr), a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
           AND ((l.classid::bigint << 32) | l.objid::bigint) = $1
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let rows = catalog.query(what, sql, &[&key]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Holder {
        application_name: catalog.column::<Option<String>>(what, row, 0)?.unwrap_or_default(),
        client: catalog.column(what, row, 1)?,
        pid: catalog.column(what, row, 2)?,
    }))
}

/// 64 bits of an MD5 over the three names, each ended by a NUL, which none of them can hold.
fn lock_key(endpoint: &str, bucket: &str, prefix: &str) -> i64 {
    let mut md5 = Md5::new();
    for name in ["agent-portail writer", endpoint, bucket, prefix] {
        md5.update(name.as_bytes());
        md5.update([0]);
    }
    let digest: [u8; 16] = md5.finalize().into();
    let mut key = [0; 8];
    key.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_and_prefix_has_a_lock_of_its_own() {
        let keys =
            [lock_key("aws", "a", ""), lock_key("aws", "a", "b/"), lock_key("aws", "ab", "/"), lock_key("x", "a", "")];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|b| a != b));
        }
    }
}
