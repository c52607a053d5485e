//! The thread that writes a file while it is fetched.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::RestoreError;
use super::error::Failure;
use crate::local::target::Obstacle;
use crate::local::temporary::Temporary;
use crate::model::Digest;

/// Pieces between the network and the disk.
const PIECES: usize = 8;

enum Piece {
    Bytes(Bytes),
    /// What came so far is of another object.
    Anew,
}

/// The way to the thread that writes.
pub(super) struct Writing {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Result<(Temporary, Digest), Obstacle>>,
    /// Bytes that it was given.
    pub(super) given: u64,
}

impl Writing {
    /// Begins to write to a file.
    pub(super) fn start(temporary: Temporary) -> Self {
        let (pieces, receiver) = mpsc::channel(PIECES);
        Self { pieces, thread: tokio::task::spawn_blocking(move || write(temporary, receiver)), given: 0 }
    }

    /// If the thread has ended, [`Self::end`] tells why.
    pub(super) async fn give(&mut self, bytes: Bytes) -> Result<(), ()> {
        self.given += bytes.len() as u64;
        self.pieces.send(Piece::Bytes(bytes)).await.map_err(|_| ())
    }

    /// Throws away what was given so far.
    pub(super) async fn begin_anew(&mut self) -> Result<(), ()> {
        self.given = 0;
        self.pieces.send(Piece::Anew).await.map_err(|_| ())
    }

    /// After the last piece: the file, and the MD5 of what it holds.
    pub(super) async fn end(self) -> Result<(Temporary, Digest), Failure> {
        drop(self.pieces);
        let written = self.thread.await.map_err(|_| Failure::Restore(RestoreError::Task { task: "write" }))?;
        Ok(written?)
    }
}

fn write(mut temporary: Temporary, mut pieces: mpsc::Receiver<Piece>) -> Result<(Temporary, Digest), Obstacle> {
    let mut md5 = Md5::new();
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                temporary.write(&bytes)?;
                md5.update(&bytes);
            }
            Piece::Anew => {
                temporary.begin_anew()?;
                md5 = Md5::new();
            }
        }
    }
    Ok((temporary, Digest(md5.finalize().into())))
}
