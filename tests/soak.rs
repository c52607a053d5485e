//! Half an hour in the life of the daemon: files change all the time, now and then something goes wrong, and the process must
//! neither grow nor lose a file.
//!
//! `make soak MINUTES=20` runs it; `cargo test` alone does not. It prints what the process has used, and fails if its memory or
//! its open files grow, or if folder, bucket and catalog are not the same in the end.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]

#[path = "common/mod.rs"]
mod common;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_portail::demo::postgres::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use common::agent::Agent;
use common::fault::{Fault, Scope, millis};
use common::pg::Database;
use common::world::{Step, World};

/// Between two samples, at least.
const SAMPLE: Duration = Duration::from_secs(3);
/// What memory may grow by from the second third to the last: a tenth, and as much as the allocator may keep.
const GROWTH: f64 = 1.10;
const KEPT: f64 = 8.0;
/// The kernel shows times in hundredths of a second, whatever its own clock.
const TICKS: f64 = 100.0;
/// Connections to the store and the database come and go.
const CONNECTIONS: f64 = 8.0;

#[tokio::main]
async fn main() {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let minutes = variable("SOAK_MINUTES").map_or(20.0, |text| text.parse::<f64>().unwrap());
    let seed =
        variable("SOAK_SEED").map_or_else(|| u64::from(rand::rng().random::<u32>()), |text| text.parse().unwrap());
    println!("soak: {minutes} minutes, seed {seed}");
    let samples = soak(Duration::from_secs_f64(minutes * 60.0), seed).await;
    judge(&samples);
}

/// What the process uses at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Of the time that the soak takes: 0, 1 or 2.
    third: usize,
    /// MiB.
    memory: f64,
    /// Percent of one core, since the sample before.
    processor: f64,
    descriptors: f64,
    threads: f64,
    queue: f64,
}

async fn soak(lasting: Duration, seed: u64) -> Vec<Sample> {
    let mut random = StdRng::seed_from_u64(seed);
    let cluster = tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap();
    let mut agent = Agent::start().await;
    agent.db = Arc::new(Database::of(&cluster).await);
    agent.sync = "reconcile_every = \"1m\"\npart_size = \"5MiB\"".to_owned();
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.restricted = true;
    let mut world = World::new(&agent, Some(cluster), seed);
    world.churn().hard_links = true;
    let (began, mut samples) = (Instant::now(), Vec::new());
    let mut last: Option<(Instant, u32, f64)> = None;
    while began.elapsed() < lasting {
        let third = (began.elapsed().as_secs_f64() / lasting.as_secs_f64() * 3.0) as usize;
        let step = draw(&mut random, &world, third);
        world.step(&step).await;
        let (pid, now) = (world.daemon().pid(), Instant::now());
        if last.is_some_and(|(at, before, _)| before == pid && now - at < SAMPLE) {
            continue;
        }
        let used = processor_seconds(pid);
        if let Some((at, before, used_before)) = last
            && before == pid
        {
            let processor = (used - used_before) / (now - at).as_secs_f64() * 100.0;
            let queue = world.daemon().folder("files").await["queue_depth"].as_f64().unwrap_or(0.0);
            let sample = Sample { queue, ..sample(pid, third, processor) };
            println!("{:8.3} s {sample:.1?}", world.presence.seconds());
            samples.push(sample);
        }
        last = Some((now, pid, used));
    }
    world.end().await;
    let requests: u64 = agent.s3.counts().values().sum();
    println!(
        "\n{} operations on the files, {requests} requests to the store, {:?}",
        world.operations,
        agent.s3.counts()
    );
    samples
}

/// Mostly a quiet time, in which the process is seen at work; now and then a fault. It is started anew in the first third only:
/// from then on it is one process whose memory is looked at.
fn draw(random: &mut StdRng, world: &World<'_>, third: usize) -> Step {
    let scope = Scope { restarts: third == 0, ..world.scope() };
    let fault = match random.random_range(0..10) {
        0..2 => Fault::draw(random, scope),
        2..5 => Fault::Calm,
        _ => Fault::None,
    };
    Step {
        operations: random.random_range(20..120),
        pause: millis(random, 0, 40),
        after: millis(random, 0, 1000),
        fault,
    }
}

fn sample(pid: u32, third: usize, processor: f64) -> Sample {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    Sample { third, memory: number("VmRSS:") / 1024.0, processor, descriptors, threads: number("Threads:"), queue: 0.0 }
}

/// User and system time that a process has used.
fn processor_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may hold anything, the fields from the third on.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / TICKS
}

/// One of a sample's numbers.
type Figure = fn(&Sample) -> f64;

/// Prints the figures, and fails if they grow.
fn judge(samples: &[Sample]) {
    let of = |third: usize, value: Figure| -> Vec<f64> {
        let mut values: Vec<f64> = samples.iter().filter(|sample| sample.third == third).map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let figures: [(&str, Figure); 5] = [
        ("memory, MiB", |sample| sample.memory),
        ("processor, %", |sample| sample.processor),
        ("open files", |sample| sample.descriptors),
        ("threads", |sample| sample.threads),
        ("queue", |sample| sample.queue),
    ];
    println!("{} samples; median (and most) of each third:", samples.len());
    for (name, value) in figures {
        let thirds: Vec<String> = (0..3)
            .map(|third| {
                let values = of(third, value);
                format!("{:8.1} ({:8.1})", median(&values), values.last().copied().unwrap_or(f64::NAN))
            })
            .collect();
        println!("{name:<14}{}", thirds.join("   "));
    }
    let grown = |value: Figure| (median(&of(1, value)), median(&of(2, value)));
    let (before, after) = grown(|sample| sample.memory);
    assert!(after <= before * GROWTH + KEPT, "memory grows: {before:.1} MiB, then {after:.1} MiB");
    let (before, after) = grown(|sample| sample.descriptors);
    assert!(after <= before + CONNECTIONS, "open files grow: {before}, then {after}");
}
