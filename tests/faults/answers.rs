//! The store answers what it should not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::agent::{Agent, noise};
use crate::common::s3::{Reply, Seen, error_body};
use crate::trial::{self, Findings, Trial};
use crate::{Case, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases!["S3 answers":
        "503 SlowDown to every other request" => || now_and_then(503, "SlowDown"),
        "503 without a document to every other request" => || now_and_then(503, ""),
        "500 InternalError to every other request" => || now_and_then(500, "InternalError"),
        "503 SlowDown to everything" => || to_all(503, "SlowDown", "the store asks for fewer requests"),
        "500 InternalError to everything" => || to_all(500, "InternalError", "the store failed"),
        "200 with an error in its body to CompleteMultipartUpload" => || error_in_200("CompleteMultipartUpload"),
        "200 with an error in its body to CopyObject" => || error_in_200("CopyObject"),
        "ExpiredToken" => || to_all(400, "ExpiredToken", "the store does not accept the credentials"),
        "RequestTimeTooSkewed" => || to_all(403, "RequestTimeTooSkewed", "this machine's clock is too far from the store's"),
        "AccessDenied on one key" => denied_key,
        "AccessDenied on deletions" => denied_deletions,
        "a listing whose body is cut off" => || listing(|_| cut_off()),
        "a listing that says there is more, and not where" => || listing(|_| without_token()),
        "a listing out of order" => || listing(|_| out_of_order()),
        "ETags that are no MD5" => opaque,
    ]
}

/// Counts what a script replies.
fn counted(agent: &Agent, mut script: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&count);
    agent.s3.script(move |seen| {
        let reply = script(seen)?;
        counting.fetch_add(1, Ordering::SeqCst);
        Some(reply)
    });
    count
}

fn error(status: u16, code: &str) -> Reply {
    let body = if code.is_empty() { String::new() } else { error_body(code) };
    Reply::Answer { status, headers: Vec::new(), body }
}

async fn now_and_then(status: u16, code: &'static str) -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let mut turn = 0;
    let count = counted(&agent, move |_| {
        turn += 1;
        (turn % 2 == 0).then(|| error(status, code))
    });
    trial.work(80).await;
    agent.write("ours/in parts", noise(1, 6_000_000));
    trial.work(20).await;
    trial.until("it was answered so", async || count.load(Ordering::SeqCst) > 10).await;
    trial.end(count.load(Ordering::SeqCst), "tries again, more slowly".to_owned()).await
}

async fn to_all(status: u16, code: &'static str, words: &str) -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let count = counted(&agent, move |_| Some(error(status, code)));
    trial.work(40).await;
    // Found by a listing, too, whose failure concerns the whole folder.
    trial.world.daemon().signal(rustix::process::Signal::HUP);
    let said = trial.until_said("degraded", words).await;
    trial.assert_calm().await;
    trial.end(count.load(Ordering::SeqCst), said).await
}

async fn error_in_200(operation: &'static str) -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    agent.write("ours/renamed", noise(2, 1000));
    trial.world.settle().await;
    let count = counted(&agent, move |seen| (seen.operation == operation).then(|| error(200, "InternalError")));
    agent.write("ours/in parts", noise(1, 6_000_000));
    std::fs::rename(agent.path("ours/renamed"), agent.path("ours/by another name")).unwrap();
    trial.work(20).await;
    trial.until("it was answered so", async || count.load(Ordering::SeqCst) > 2).await;
    trial.assert_calm().await;
    let said = match operation {
        "CopyObject" => "uploads instead",
        _ => "takes it for a failure, and tries again",
    };
    trial.end(count.load(Ordering::SeqCst), said.to_owned()).await
}

async fn denied_key() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let count = counted(&agent, |seen| {
        (seen.operation == "PutObject" && seen.keys == ["ours/denied"]).then(|| error(403, "AccessDenied"))
    });
    agent.write("ours/denied", "denied");
    agent.write("ours/allowed", "allowed");
    trial.work(40).await;
    let said = trial.until_recorded("ours/denied", "the credentials need the permission s3:PutObject").await;
    trial.until_said("degraded", "1 paths failed").await;
    assert!(agent.s3.object(&agent.bucket, "ours/allowed").await.is_some());
    trial.assert_calm().await;
    trial.end(count.load(Ordering::SeqCst), said).await
}

async fn denied_deletions() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    agent.write("ours/doomed", "doomed");
    trial.world.settle().await;
    let count = counted(&agent, |seen| {
        matches!(seen.operation, "DeleteObject" | "DeleteObjects").then(|| error(403, "AccessDenied"))
    });
    agent.remove("ours/doomed");
    trial.work(40).await;
    let said = trial.until_recorded("ours/doomed", "s3:DeleteObject").await;
    trial.assert_calm().await;
    trial.end(count.load(Ordering::SeqCst), said).await
}

/// A listing that can't be believed ends the reconciliation before anything is judged.
async fn listing(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let count = counted(&agent, move |seen| (seen.operation == "ListObjectsV2").then(|| reply(seen)));
    trial.work(40).await;
    trial.world.daemon().signal(rustix::process::Signal::HUP);
    let said = trial.until_said("degraded", "the store's answer makes no sense").await;
    trial.work(20).await;
    trial.assert_calm().await;
    trial.end(count.load(Ordering::SeqCst), said).await
}

fn page(contents: &str, truncated: bool) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
         <IsTruncated>{truncated}</IsTruncated><EncodingType>url</EncodingType>{contents}</ListBucketResult>"
    );
    Reply::Answer { status: 200, headers: vec![("content-type", "application/xml".to_owned())], body }
}

fn object(key: &str) -> String {
    format!(
        "<Contents><Key>{key}</Key><Size>1</Size><ETag>&quot;0cc175b9c0f1b6a831c399e269772661&quot;</ETag></Contents>"
    )
}

fn cut_off() -> Reply {
    let Reply::Answer { status, headers, body } = page(&(object("a") + &object("b")), false) else { unreachable!() };
    Reply::Answer { status, headers, body: body[..body.len() * 2 / 3].to_owned() }
}

fn without_token() -> Reply {
    page(&object("a"), true)
}

fn out_of_order() -> Reply {
    page(&(object("b") + &object("a")), false)
}

/// As stores with encryption of their own do, all the time.
async fn opaque() -> Findings {
    let agent = trial::agent().await;
    agent.s3.make_etags_opaque();
    let mut trial = Trial::begin(&agent, None).await;
    // The proxy leaves the answers to GET alone.
    trial.world.confused = true;
    agent.write("ours/in parts", noise(1, 6_000_000));
    trial.work(40).await;
    trial.world.settle().await;
    agent.s3.reset_counts();
    // A reconciliation sees the same ETags as the uploads did, and finds no drift in them.
    trial.world.daemon().signal(rustix::process::Signal::HUP);
    trial.until("it is reconciled", async || agent.s3.count("ListObjectsV2") > 0).await;
    trial.world.settle().await;
    assert_eq!(agent.s3.count("PutObject"), 0, "{}", trial.world.daemon().log_end());
    let rows = agent.db.count("SELECT count(*) FROM portail.file WHERE etag = encode(md5, 'hex')").await;
    assert_eq!(rows, 0);
    let injected = agent.db.count("SELECT count(*) FROM portail.file").await;
    trial.end(injected, "syncs on".to_owned()).await
}
