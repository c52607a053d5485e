//! The pure hot paths, by the clock: `make bench-hot-paths`. What they work on is made beforehand.
//!
//! Where others use the machine, instruction counts say more: `make bench-callgrind`.
#![allow(clippy::unwrap_used, reason = "as in a test")]
#![allow(missing_docs, reason = "nothing is used from elsewhere")]

mod work;

use std::fs;
use std::hint::black_box;
use std::io::Write as _;

use agent_portail::config::settings::{DeletePolicy, FolderSettings, SymlinkPolicy};
use agent_portail::local::hash::Wanted;
use agent_portail::local::look::Root;
use agent_portail::local::stat;
use agent_portail::memory::Budget;
use agent_portail::model::{
    Digest, ETag, Entry, FileMeta, Fingerprint, Listed, Local, RelPath, Remote, Row, RowState, Stamp, Synced, Walked,
};
use criterion::{Criterion, Throughput};

const PATHS: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    merge(&mut criterion);
    decide(&mut criterion);
    queue(&mut criterion);
    walk(&mut criterion);
    encode(&mut criterion);
    md5(&mut criterion);
    criterion.final_summary();
}

fn merge(criterion: &mut Criterion) {
    let names = names(PATHS);
    let walked: Vec<Walked> = names.iter().map(|name| Walked { path: path(name), what: Entry::Leaf(file()) }).collect();
    let rows: Vec<RelPath> = names.iter().map(|name| path(name)).collect();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Elements(PATHS as u64));
    // Each step takes the path from all three.
    group.bench_function("100,000 in sync", |b| {
        b.iter(|| assert_eq!(work::merge(black_box(&walked), &rows, &names), PATHS));
    });
}

fn decide(criterion: &mut Criterion) {
    let seen: Vec<work::Seen> = (0..PATHS).map(seen).collect();
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(PATHS as u64));
    group.bench_function("100,000 in sync", |b| b.iter(|| assert_eq!(work::decide(black_box(&seen)), 0)));
    group.bench_function("conclude on 100,000 digests", |b| {
        b.iter(|| assert_eq!(work::conclude(black_box(&seen)), PATHS));
    });
}

fn queue(criterion: &mut Criterion) {
    let paths: Vec<RelPath> = names(PATHS).iter().map(|name| path(name)).collect();
    let few = &paths[..PATHS / 10];
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(PATHS as u64));
    group.bench_function("100,000 found", |b| b.iter(|| assert_eq!(work::queue_found(black_box(&paths)), PATHS)));
    // Two events of a path are one job.
    group.bench_function("100,000 by events", |b| {
        b.iter(|| assert_eq!(work::queue_events(black_box(&paths)), PATHS));
    });
    group.throughput(Throughput::Elements(few.len() as u64));
    group.bench_function("10,000 by events into a tenth of the room", |b| {
        b.iter(|| assert!(work::queue_collapse(black_box(few)) < few.len()));
    });
}

fn walk(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    for name in names(10_000) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"").unwrap();
    }
    let settings = FolderSettings {
        name: "bench".to_owned(),
        path: folder.path().to_owned(),
        bucket: "bench".to_owned(),
        prefix: String::new(),
        exclude: Vec::new(),
        delete: DeletePolicy::Mirror,
        symlinks: SymlinkPolicy::Skip,
        max_delete_percent: 25.0,
        max_delete_count: 100,
    };
    let root = Root::open(&settings).unwrap();
    let mut group = criterion.benchmark_group("walk");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("10,000 files in 100 directories", |b| {
        b.iter(|| assert_eq!(work::walk_folder(black_box(&root)), 10_000));
    });
}

fn encode(criterion: &mut Criterion) {
    let plain: Vec<Vec<u8>> = names(10_000).into_iter().map(String::into_bytes).collect();
    // Latin-1, as old archives leave them.
    let latin: Vec<Vec<u8>> = plain.iter().map(|name| [name, &b"-caf\xe9-\xfcber"[..]].concat()).collect();
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("10,000 keys", |b| b.iter(|| work::keys(black_box(&plain))));
    group.bench_function("10,000 names that are not UTF-8", |b| b.iter(|| work::encode(black_box(&latin))));
}

fn md5(criterion: &mut Criterion) {
    let budget = Budget::default();
    let mut group = criterion.benchmark_group("md5");
    for (name, size) in [("64 KiB", 64 << 10), ("8 MiB", 8 << 20)] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..size).map(|index: usize| (index % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let meta = stat::of_open(file.as_file()).unwrap().meta;
        group.throughput(Throughput::Bytes(size as u64));
        for (how, wanted) in [("held", Wanted::Bytes(&budget)), ("as a whole and in parts", Wanted::Parts(8 << 20))] {
            group.bench_function(format!("{name}, {how}"), |b| {
                b.iter(|| work::read_and_hash(black_box(file.as_file()), meta, wanted));
            });
        }
    }
}

/// In byte order, a hundred to a directory.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("reports-{:04}/quarter-{:02}.pdf", number / 100, number % 100)).collect()
}

fn path(name: &str) -> RelPath {
    RelPath::from_raw(name.as_bytes())
}

const SIZE: u64 = 4096;

fn fingerprint() -> Fingerprint {
    Fingerprint {
        size: SIZE,
        mtime: Stamp(1_700_000_000_000_000_000),
        ctime: Stamp(1_700_000_000_000_000_001),
        inode: 7,
    }
}

fn file() -> Local {
    Local::Present(FileMeta { fingerprint: fingerprint(), birth: None, mode: 0o100_644, uid: 1000, gid: 1000 })
}

/// A path that is in sync.
fn seen(number: usize) -> work::Seen {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let digest = Digest(bytes);
    let etag = ETag::new(&digest.to_hex());
    let row = Row {
        path: path(&format!("reports/{number}.pdf")),
        state: RowState::Synced,
        fingerprint: Some(fingerprint()),
        racy: false,
        synced: Some(Synced { size: SIZE, digest, etag: etag.clone(), version: None }),
        attempts: 0,
    };
    work::Seen { local: file(), row, remote: Remote::Present(Listed { size: SIZE, etag }), digest }
}
