//! Bodies: from memory or straight from a file, at full speed or at the pace of a bandwidth limit.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use std::vec;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use super::pace::{Pace, STRIDE};
use crate::memory::{Budget, CHUNK, Held};
use crate::signs;

/// What a streamed part has in memory at most: a piece that is being sent and the next one being read.
pub(super) const STREAM_MEMORY: u64 = 2 * CHUNK as u64;

/// A piece of a file, which stays where it is.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Why a piece of a file could not be read, kept where the upload finds it: the SDK only says that a body failed.
pub(super) type ReadFailure = Arc<Mutex<Option<io::Error>>>;

impl Slice {
    /// As a body that is read while it is sent, and read anew if it has to be sent again.
    pub(super) fn stream(self, budget: &Budget, pace: Option<&Arc<Pace>>, failure: &ReadFailure) -> SdkBody {
        let (budget, pace, failure) = (budget.clone(), pace.cloned(), failure.clone());
        SdkBody::retryable(move || {
            let source =
                Source::File { slice: self.clone(), budget: budget.clone(), reading: None, failure: failure.clone() };
            SdkBody::from_body_1_x(Paced::new(source, self.length, pace.clone()))
        })
    }
}

/// A body that is already in memory.
pub(super) fn body_in_memory(held: &Held, pace: Option<&Arc<Pace>>) -> SdkBody {
    let (chunks, length, pace) = (held.chunks().to_vec(), held.len(), pace.cloned());
    match (chunks.as_slice(), &pace) {
        ([], None) => SdkBody::empty(),
        ([only], None) => SdkBody::from(only.clone()),
        _ => SdkBody::retryable(move || {
            let source = Source::Memory(chunks.clone().into_iter());
            SdkBody::from_body_1_x(Paced::new(source, length, pace.clone()))
        }),
    }
}

enum Source {
    Memory(vec::IntoIter<Bytes>),
    File {
        slice: Slice,
        /// Where its chunks come from.
        budget: Budget,
        /// The next piece.
        reading: Option<JoinHandle<io::Result<Bytes>>>,
        failure: ReadFailure,
    },
}

/// A body that hands over small pieces, each at its moment.
struct Paced {
    source: Source,
    /// Not yet handed over.
    remaining: u64,
    /// Read, not yet handed over.
    ready: Bytes,
    pace: Option<Arc<Pace>>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    fn new(source: Source, remaining: u64, pace: Option<Arc<Pace>>) -> Self {
        Self { source, remaining, ready: Bytes::new(), pace, waiting: None }
    }

    /// Makes `ready` hold something, if anything remains.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ready.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let (slice, budget, reading, failure) = match &mut self.source {
            Source::Memory(chunks) => {
                self.ready = chunks.next().unwrap_or_default();
                return Poll::Ready(Ok(()));
            }
            Source::File { slice, budget, reading, failure } => (slice, &*budget, reading, failure),
        };
        let task = reading.get_or_insert_with(|| read_ahead(slice, budget));
        let read = ready!(Pin::new(task).poll(cx)).unwrap_or_else(|died| Err(io::Error::other(died)));
        *reading = None;
        match read {
            Ok(bytes) => {
                if slice.length > 0 {
                    *reading = Some(read_ahead(slice, budget));
                }
                self.ready = bytes;
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                let shown = io::Error::new(error.kind(), "the file could not be read");
                *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Poll::Ready(Err(shown))
            }
        }
    }
}

/// Begins to read the next piece of the slice and moves the slice behind it.
fn read_ahead(slice: &mut Slice, budget: &Budget) -> JoinHandle<io::Result<Bytes>> {
    let (file, offset, budget) = (slice.file.clone(), slice.offset, budget.clone());
    let length = slice.length;
    let piece = length.min(CHUNK as u64);
    slice.offset += piece;
    slice.length -= piece;
    tokio::task::spawn_blocking(move || {
        let mut chunk = budget.chunk(length);
        file.read_exact_at(chunk.as_mut(), offset)?;
        Ok(chunk.freeze())
    })
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.remaining == 0 {
            return Poll::Ready(None);
        }
        if let Err(error) = ready!(this.poll_fill(cx)) {
            this.remaining = 0;
            return Poll::Ready(Some(Err(error)));
        }
        let mut size = this.ready.len();
        if let Some(pace) = &this.pace {
            size = size.min(STRIDE);
            let waiting = this.waiting.get_or_insert_with(|| {
                let moment = pace.reserve(size, Instant::now());
                Box::pin(tokio::time::sleep_until(moment.into()))
            });
            ready!(waiting.as_mut().poll(cx));
            this.waiting = None;
        }
        signs::show();
        let piece = this.ready.split_to(size);
        this.remaining = this.remaining.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use aws_sdk_s3::primitives::ByteStream;

    use super::*;

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn a_slice_is_streamed_as_it_is_and_again_for_a_retry() {
        let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n / 7) as u8).collect();
        let slice = Slice { file: file_of(&bytes), offset: 1234, length: 700_000 };
        let failure = ReadFailure::default();
        let body = slice.stream(&Budget::default(), None, &failure);
        assert_eq!(body.content_length(), Some(700_000));
        let again = body.try_clone().expect("a retry needs the body once more");
        for body in [body, again] {
            let sent = ByteStream::new(body).collect().await.unwrap().into_bytes();
            assert!(sent == bytes[1234..701_234]);
        }
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_fails_the_body_and_says_why() {
        let slice = Slice { file: file_of(&[1; 1000]), offset: 0, length: 2000 };
        let failure = ReadFailure::default();
        assert!(ByteStream::new(slice.stream(&Budget::default(), None, &failure)).collect().await.is_err());
        assert_eq!(failure.lock().unwrap().as_ref().unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_bandwidth_limit_holds_for_a_body_in_memory() {
        let pace = Arc::new(Pace::new(2_000_000));
        let body = body_in_memory(&Bytes::from(vec![7; 250_000]).into(), Some(&pace));
        let begun = Instant::now();
        let sent = ByteStream::new(body).collect().await.unwrap().into_bytes();
        assert_eq!(sent.len(), 250_000);
        // The last piece leaves when all before it have had their time.
        let least = Duration::from_secs_f64((250_000.0 - STRIDE as f64) / 2_000_000.0);
        assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    }
}
