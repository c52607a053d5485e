//! The file system fails, and files are what they should not be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agent_portail::memory::Budget;
use agent_portail::model::{Digest, FileMeta, Fingerprint, ObjectKey, Parts, Stamp, part_size};
use agent_portail::remote::{Attributes, LargeUpload, Limits, connect};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::common::agent::{noise, until};
use crate::common::daemon::Daemon;
use crate::common::s3::Reply;
use crate::fuse::{BadDisk, Failure};
use crate::trial::{self, Findings, OURS, Trial, missing, nothing_left};
use crate::{Case, cases};

/// Of the agents here.
const PART: usize = 5 << 20;
/// As many as S3 takes for one object.
const MOST_PARTS: usize = 10_000;

pub(crate) fn cases() -> Vec<Case> {
    cases!["files":
        "EIO on reading (FUSE)" => || bad_disk(Failure::Broken("bad", 0)),
        "EIO in mid-file (FUSE)" => || bad_disk(Failure::Broken("bad", 2_000_000)),
        "short reads (FUSE)" => || bad_disk(Failure::Short),
        "a file vanishes at each request of its upload" => || meanwhile(|path| fs::remove_file(path).unwrap()),
        "a file grows at each request of its upload" => || meanwhile(grow),
        "a file is replaced at each request of its upload" => || meanwhile(replace),
        "permission lost" => permission,
        "no space left for the log file" => log_full,
        "sparse files and files without a byte" => sparse,
        "sizes at, below and above 64 KiB and the size of a part" => sizes,
        "a file of 10,000 parts" => many_parts,
        "FIFO, socket, device, and links out of the folder" => special,
    ]
}

/// The folder is on a disk that fails.
async fn bad_disk(failure: Failure) -> Findings {
    let mut agent = trial::agent().await;
    // Such a file system tells of nothing, so the folder is gone through instead.
    agent.sync = "reconcile_every = \"1s\"\npart_size = \"5MiB\"".to_owned();
    let store = agent.home.path().join("store");
    fs::create_dir(&store).unwrap();
    let disk = BadDisk::mount(&store, &agent.root);
    for (name, size) in [("good", 1000), ("bad", 200), ("bad, large", 6_000_000), ("large", 6_000_000), ("empty", 0)] {
        fs::write(store.join(name), noise(size as u64, size)).unwrap();
    }
    disk.set(failure);
    let daemon = Daemon::start(&agent).await;
    let said = match failure {
        Failure::Broken(..) => {
            let failed = "SELECT count(*) FROM portail.file WHERE state = 'failed' AND error LIKE '%os error 5%'";
            let path = "bad, large";
            until("it is reported", async || agent.db.count(&format!("{failed} AND path = '{path}'")).await == 1).await;
            daemon.until_folder("it says so", |folder| folder["state"] == "degraded").await;
            assert!(agent.s3.object(&agent.bucket, "bad, large").await.is_none());
            "its row: “Input/output error”; the others are synced".to_owned()
        }
        Failure::Short | Failure::None => {
            daemon.until_state("in_sync").await;
            "reads on".to_owned()
        }
    };
    let injected = disk.injected();
    disk.set(Failure::None);
    daemon.until_in_sync().await;
    daemon.until_state("in_sync").await;
    let (same, lost) = (nothing_left(&agent).await, missing(&agent).await);
    daemon.stop().await;
    Findings { injected, said, same, lost }
}

fn grow(path: &PathBuf) {
    File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

fn replace(path: &PathBuf) {
    let new = path.with_extension("new");
    fs::write(&new, noise(99, 6_000_001)).unwrap();
    fs::rename(new, path).unwrap();
}

/// Something happens to a file the moment that a request of its upload arrives: once for each kind of request.
async fn meanwhile(change: impl Fn(&PathBuf) + Copy + Send + 'static) -> Findings {
    const REQUESTS: [&str; 6] = [
        "PutObject",
        "CopyObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    ];
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    agent.write("ours/to copy", noise(1, 1000));
    trial.world.settle().await;
    let injected = Arc::new(AtomicU64::new(0));
    for operation in REQUESTS {
        let (root, counting) = (agent.root.clone(), Arc::clone(&injected));
        let mut done = false;
        agent.s3.observe(move |seen| {
            let name = seen.keys.first().filter(|key| key.starts_with("ours/victim")).cloned();
            let path = name.map(|name| root.join(name)).filter(|path| path.exists());
            if let (false, true, Some(path)) = (done, seen.operation == operation, path) {
                done = true;
                counting.fetch_add(1, Ordering::SeqCst);
                change(&path);
            }
        });
    }
    for round in 0..3 {
        agent.write(format!("ours/victim, small, {round}"), noise(round, 3000));
        agent.write(format!("ours/victim, large, {round}"), noise(10 + round, 6_000_000));
        if round == 0 {
            fs::rename(agent.path("ours/to copy"), agent.path("ours/victim, copied")).unwrap();
        }
        trial.work(10).await;
        trial.world.settle().await;
    }
    let count = injected.load(Ordering::SeqCst);
    assert!(count >= 5, "{count}");
    trial.end(count, "thrown away, tried again".to_owned()).await
}

async fn permission() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    for name in ["ours/private/a", "ours/private/b", "ours/secret"] {
        agent.write(name, name);
    }
    trial.world.settle().await;
    let mode = |path: &str, mode| fs::set_permissions(agent.path(path), fs::Permissions::from_mode(mode)).unwrap();
    agent.write("ours/secret", "other bytes");
    agent.write("ours/private/a", "other bytes");
    mode("ours/secret", 0o000);
    mode("ours/private", 0o000);
    trial.work(20).await;
    let said = trial.until_recorded("ours/secret", "Permission denied").await;
    trial.until_said("degraded", "failed").await;
    trial.assert_calm().await;
    for key in ["ours/private/a", "ours/private/b", "ours/secret"] {
        assert!(agent.s3.object(&agent.bucket, key).await.is_some(), "{key}");
    }
    mode("ours/secret", 0o600);
    mode("ours/private", 0o700);
    trial.end(2, said).await
}

/// Today's log file leads to where no byte fits.
async fn log_full() -> Findings {
    let mut agent = trial::agent().await;
    let logs = agent.home.path().join("logs");
    fs::create_dir(&logs).unwrap();
    // Of today and, should it come to that, of tomorrow.
    for days in 0..2 {
        let date =
            std::process::Command::new("date").args(["-u", "+%F", "-d", &format!("{days} days")]).output().unwrap();
        let date = String::from_utf8(date.stdout).unwrap();
        symlink("/dev/full", logs.join(format!("agent.log.{}", date.trim()))).unwrap();
    }
    agent.more = format!("[log]\nmethod = \"logfile\"\npath = {:?}\n", logs.join("agent.log"));
    let mut trial = Trial::begin(&agent, None).await;
    trial.work(40).await;
    let said = "failed to write to the log file, lines go to standard error";
    trial.until("it is told", async || !trial.world.daemon().log_lines(said).is_empty()).await;
    let lines = trial.world.daemon().log_lines("uploaded").len() as u64;
    assert_eq!(trial.world.daemon().log_lines(said).len(), 1, "{}", trial.world.daemon().log_end());
    trial.end(lines, "lines go to standard error, which says why once".to_owned()).await
}

async fn sparse() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let path = |name: &str| agent.path(OURS).join(name);
    fs::create_dir(agent.path(OURS)).unwrap();
    let file = |name: &str| File::create(path(name)).unwrap();
    file("holes").set_len(30_000_000).unwrap();
    let mut islands = file("islands");
    islands.set_len(12_000_000).unwrap();
    islands.write_all(b"an island").unwrap();
    drop(islands);
    file("small hole").set_len(1000).unwrap();
    file("nothing");
    trial.world.settle().await;
    // A byte more, a byte less, and nothing again.
    for (name, length) in [("nothing", 1), ("holes", 29_999_999), ("small hole", 0)] {
        File::options().write(true).open(path(name)).unwrap().set_len(length).unwrap();
    }
    trial.work(20).await;
    trial.end(7, "syncs them".to_owned()).await
}

async fn sizes() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    let edges = [64 << 10, 256 << 10, PART, 2 * PART];
    let mut count = 0;
    for edge in edges {
        for size in [edge - 1, edge, edge + 1] {
            agent.write(format!("ours/of {size}"), noise(size as u64, size));
            count += 1;
        }
    }
    trial.work(10).await;
    trial.end(count, "syncs them".to_owned()).await
}

/// With parts of a few bytes, or it would be 50 GB: no store takes such, so the proxy takes them, and puts them together.
async fn many_parts() -> Findings {
    const SIZE: usize = 64;
    let agent = trial::agent().await;
    let bytes = noise(1, MOST_PARTS * SIZE - 1);
    let path = agent.home.path().join("many");
    fs::write(&path, &bytes).unwrap();
    let digest = |bytes: &[u8]| Digest(Md5::digest(bytes).into());
    let parts = Parts { size: SIZE as u64, digests: bytes.chunks(SIZE).map(digest).collect() };
    let size = bytes.len() as u64;
    assert_eq!(parts.digests.len(), MOST_PARTS);
    assert_eq!(part_size(size, SIZE as u64), SIZE as u64, "a byte more, and the parts would grow");
    let arrived = Arc::new(Mutex::new(BTreeMap::new()));
    let arriving = Arc::clone(&arrived);
    agent.s3.script(move |seen| {
        let etag = match seen.operation {
            "UploadPart" => {
                let number = seen.query.split('&').find_map(|pair| pair.strip_prefix("partNumber=")).unwrap();
                let digest = STANDARD.decode(&seen.headers["content-md5"]).unwrap();
                let etag = Digest::from_slice(&digest).unwrap().to_hex();
                arriving.lock().unwrap().insert(number.parse::<usize>().unwrap(), digest);
                etag
            }
            "CompleteMultipartUpload" => String::new(),
            _ => return None,
        };
        let body = match seen.operation {
            "UploadPart" => String::new(),
            _ => {
                let all: Vec<u8> = arriving.lock().unwrap().values().flatten().copied().collect();
                let etag = Digest(Md5::digest(all).into()).to_hex();
                format!("<R><ETag>&quot;{etag}-{}&quot;</ETag></R>", arriving.lock().unwrap().len())
                    .replace("R>", "CompleteMultipartUploadResult>")
            }
        };
        let headers = if etag.is_empty() { Vec::new() } else { vec![("etag", format!("\"{etag}\""))] };
        Some(Reply::Answer { status: 200, headers, body })
    });
    let client = connect(&agent.s3.settings(), &Limits { workers: 16, bandwidth: None }).await.unwrap();
    let bucket = client.bucket(&agent.bucket);
    let key = ObjectKey::from_parts("", "many");
    let fingerprint = Fingerprint { size, mtime: Stamp(0), ctime: Stamp(0), inode: 1 };
    let meta = FileMeta { fingerprint, birth: None, mode: 0o100_644, uid: 0, gid: 0 };
    let attributes = Attributes { content_type: "text/plain".to_owned(), meta, md5chksum: None };
    let whole = digest(&bytes);
    let id = bucket.create_upload(&key, &attributes, whole).await.unwrap();
    let upload = LargeUpload {
        file: Arc::new(File::open(&path).unwrap()),
        size,
        digest: whole,
        parts: &parts,
        unchanged: &|| Ok(true),
        budget: &Budget::default(),
        slots: &Semaphore::new(16),
        cancel: &CancellationToken::new(),
        progress: &|_| {},
    };
    // It compares the store's ETag with the one that follows from the parts.
    let stored = bucket.send_upload(&key, &id, upload, Vec::new()).await.unwrap();
    assert!(stored.etag.as_str().ends_with("-10000"), "{stored:?}");
    let arrived: Vec<Digest> =
        arrived.lock().unwrap().values().map(|digest| Digest::from_slice(digest).unwrap()).collect();
    let lost = parts.digests.iter().zip(&arrived).filter(|(sent, arrived)| sent != arrived).count() as u64;
    Findings {
        injected: arrived.len() as u64,
        said: "each part arrives once, in its place".to_owned(),
        same: Ok(()),
        lost,
    }
}

async fn special() -> Findings {
    let agent = trial::agent().await;
    let mut trial = Trial::begin(&agent, None).await;
    agent.write("ours/was a file", "was a file");
    trial.world.settle().await;
    let made = std::process::Command::new("mkfifo").arg(agent.path("ours/fifo")).status().unwrap();
    assert!(made.success());
    let socket = UnixListener::bind(agent.path("ours/socket")).unwrap();
    // Not everybody may make a device; whoever may not, has one less.
    let device =
        std::process::Command::new("mknod").arg(agent.path("ours/device")).args(["c", "1", "5"]).status().unwrap();
    symlink("/etc", agent.path("ours/out")).unwrap();
    symlink("fifo", agent.path("ours/to the fifo")).unwrap();
    trial.work(20).await;
    trial.world.daemon().signal(rustix::process::Signal::HUP);
    trial.world.daemon().until_reconciled(2).await;
    let keys = agent.s3.keys(&agent.bucket).await;
    for name in ["ours/fifo", "ours/socket", "ours/device", "ours/out", "ours/to the fifo"] {
        assert!(!keys.iter().any(|key| key.starts_with(name)), "{keys:?}");
    }
    if device.success() {
        assert!(fs::metadata(agent.path("ours/device")).unwrap().file_type().is_char_device());
    }
    let findings = trial.end(4 + u64::from(device.success()), "skipped, and counted in the report".to_owned()).await;
    drop(socket);
    findings
}
