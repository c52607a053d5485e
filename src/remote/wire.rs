//! What every request has in common on the wire: time limits by size, a cheap signature, and a count.
//!
//! These are set by an interceptor of the client. The SDK can override settings for a single request, but that costs more
//! processor time than all the rest of a small PUT.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_smithy_types::timeout::TimeoutConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use super::operation::Operation;
use crate::signs;

/// A body from this size on is watched for standing still; a smaller one fits in the socket's buffer anyway.
const WATCHED_BODY: u64 = 1 << 20;

/// How long a watched body may stand still: longer than a link's hiccup, shorter than its time limit.
const STALL_GRACE: Duration = Duration::from_secs(60);

/// Copying and putting parts together take the store a while, and it sends white space meanwhile: see [`signs::Patient`].
const SLOW_ANSWER: Duration = Duration::from_secs(600);

/// How many requests were sent and how they were answered, by operation. Each attempt counts.
#[derive(Debug)]
pub(super) struct Requests {
    sent: [AtomicU64; Operation::ALL.len()],
    answers: Mutex<BTreeMap<(Operation, u16), u64>>,
    unanswered: Mutex<BTreeMap<Operation, u64>>,
    /// Of the last answer's `Date`: see [`Requests::clock_ahead`].
    clock_ahead: AtomicI64,
}

/// There was no answer with a date yet.
const NO_DATE: i64 = i64::MIN;

impl Default for Requests {
    fn default() -> Self {
        Self {
            sent: Default::default(),
            answers: Mutex::default(),
            unanswered: Mutex::default(),
            clock_ahead: AtomicI64::new(NO_DATE),
        }
    }
}

impl Requests {
    fn count(&self, operation: Operation) {
        if let Some(index) = Operation::ALL.iter().position(|&other| other == operation) {
            self.sent[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn sent(&self) -> BTreeMap<Operation, u64> {
        Operation::ALL
            .iter()
            .zip(&self.sent)
            .map(|(&operation, count)| (operation, count.load(Ordering::Relaxed)))
            .filter(|&(_, count)| count > 0)
            .collect()
    }

    pub(super) fn answers(&self) -> BTreeMap<(Operation, u16), u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn unanswered(&self) -> BTreeMap<Operation, u64> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Seconds that this machine's clock was ahead of the store's at its last answer, negative behind.
    pub(super) fn clock_ahead(&self) -> Option<i64> {
        Some(self.clock_ahead.load(Ordering::Relaxed)).filter(|seconds| *seconds != NO_DATE)
    }

    fn compare_clocks(&self, date: &str, now: SystemTime) {
        if let Ok(theirs) = DateTime::from_str(date, Format::HttpDate) {
            self.clock_ahead.store(DateTime::from(now).secs().saturating_sub(theirs.secs()), Ordering::Relaxed);
        }
    }
}

/// The interceptor.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) requests: Arc<Requests>,
    /// The store wants Content-MD5 on DeleteObjects.
    pub(super) md5_on_delete: Arc<AtomicBool>,
    pub(super) timeouts: TimeoutConfig,
    /// For an answer once the body has gone.
    pub(super) answer: Duration,
    /// The slowest a body may go, in bytes a second.
    pub(super) slowest: u64,
}

impl Wire {
    fn operation(cfg: &ConfigBag) -> Option<Operation> {
        let name = cfg.load::<Metadata>()?.name();
        Operation::ALL.into_iter().find(|operation| operation.as_str() == name)
    }

    fn limit(&self, operation: Option<Operation>, body: u64) -> Duration {
        match operation {
            Some(Operation::CopyObject | Operation::CompleteMultipartUpload) => self.answer.max(SLOW_ANSWER),
            Some(
                Operation::Connect
                | Operation::PutObject
                | Operation::HeadObject
                | Operation::GetObject
                | Operation::GetObjectVersion
                | Operation::DeleteObject
                | Operation::DeleteObjects
                | Operation::ListObjectsV2
                | Operation::CreateMultipartUpload
                | Operation::UploadPart
                | Operation::AbortMultipartUpload
                | Operation::ListParts
                | Operation::ListMultipartUploads
                | Operation::GetBucketVersioning
                | Operation::GetBucketLifecycleConfiguration,
            )
            | None => self.answer + Duration::from_secs(body / self.slowest.max(1)),
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Wire {
    fn name(&self) -> &'static str {
        "Wire"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let operation = Self::operation(cfg);
        let body = context.request().body().content_length().unwrap_or(0);
        let limit = self.limit(operation, body);
        let timeouts = self.timeouts.to_builder().operation_attempt_timeout(limit).build();
        let state = cfg.interceptor_state();
        state.store_put(timeouts);
        if matches!(operation, Some(Operation::PutObject | Operation::UploadPart)) {
            // Content-MD5 protects the body and is itself signed; a SHA-256 on top would only cost time.
            state.store_put(PayloadSigningOverride::unsigned_payload());
            if body >= WATCHED_BODY {
                let watch = StalledStreamProtectionConfig::enabled().download_enabled(false).grace_period(STALL_GRACE);
                state.store_put(watch.build());
            }
        }
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.md5_on_delete.load(Ordering::Relaxed) && Self::operation(cfg) == Some(Operation::DeleteObjects) {
            let request = context.request_mut();
            let digest = request.body().bytes().map(Md5::digest);
            if let Some(digest) = digest {
                request.headers_mut().insert("content-md5", STANDARD.encode(digest));
            }
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        signs::show();
        if let Some(operation) = Self::operation(cfg) {
            self.requests.count(operation);
        }
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        signs::show();
        if let Some(operation) = Self::operation(cfg) {
            let status = context.response().status().as_u16();
            let mut answers = self.requests.answers.lock().unwrap_or_else(PoisonError::into_inner);
            *answers.entry((operation, status)).or_default() += 1;
        }
        if let Some(date) = context.response().headers().get("date") {
            self.requests.compare_clocks(date, SystemTime::now());
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_none()
            && let Some(operation) = Self::operation(cfg)
        {
            let mut unanswered = self.requests.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            *unanswered.entry(operation).or_default() += 1;
        }
        Ok(())
    }

    /// The SDK takes a document that is cut off for a shorter one: a listing with fewer objects, a batch of deletions with fewer
    /// refusals.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let is_cut_off = answer.status().is_success() && answer.body().bytes().is_some_and(is_cut_off);
        if is_cut_off { Err("its answer is cut off".into()) } else { Ok(()) }
    }
}

/// Whether a body is an XML document whose root element does not end.
fn is_cut_off(body: &[u8]) -> bool {
    let text = body.trim_ascii();
    if !text.starts_with(b"<") {
        return false;
    }
    let begins = |pair: &[u8]| pair[0] == b'<' && pair[1].is_ascii_alphabetic();
    let Some(root) = text.windows(2).position(begins).map(|start| &text[start + 1..]) else { return true };
    let ends_name = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
    let name = root.iter().position(ends_name).map_or(root, |end| &root[..end]);
    let is_empty = root.ends_with(b"/>") && !root.contains(&b'<');
    !is_empty && !text.ends_with(&[b"</", name, b">"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_whose_root_does_not_end_is_cut_off_wherever_the_cut_is() {
        let whole = "<?xml version=\"1.0\"?>\n<List xmlns=\"http://s3/\"><Key>a</Key><Empty/></List>";
        assert!(!is_cut_off(whole.as_bytes()));
        for end in 1..whole.len() {
            assert!(is_cut_off(&whole.as_bytes()[..end]), "{}", &whole[..end]);
        }
        for other in ["", "  \n", "<DeleteResult/>", "<?xml version=\"1.0\"?><a:R xmlns:a=\"b\" />\n", "no document"] {
            assert!(!is_cut_off(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_clocks_are_compared_by_the_date_of_an_answer() {
        let requests = Requests::default();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 + 60);
        requests.compare_clocks("no date", now);
        assert_eq!(requests.clock_ahead(), None);
        requests.compare_clocks("Sun, 06 Nov 1994 08:49:37 GMT", now);
        assert_eq!(requests.clock_ahead(), Some(60));
    }
}
