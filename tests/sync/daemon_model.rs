//! The daemon against a model: random operations on the files, interleaved with everything that can go wrong. After each seed
//! folder, bucket and catalog are the same, what others have put in the bucket is untouched, and at no moment was an object
//! deleted whose file was there (see `common/presence.rs`).
//!
//! `make model SEED=7` repeats a seed, with what it does; `make model SEEDS=100` runs as many, from one that is drawn.

use std::sync::Arc;
use std::time::Duration;

use agent_portail::demo::postgres::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::agent::Agent;
use crate::common::fault::{Fault, Scope, millis};
use crate::common::pg::Database;
use crate::common::world::{Step, World};

/// Run with all other tests. The first two tell within a few runs if a deletion is not looked at afresh, the third if what can't be
/// seen is taken for absent; together they have most of the faults.
const SEEDS: [u64; 3] = [3005, 3013, 3016];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nothing_is_lost_and_all_is_the_same_in_the_end() {
    for seed in seeds() {
        // Shown if it fails, or with --nocapture.
        println!("seed {seed}: repeat it with `make model SEED={seed}`");
        run(seed).await;
    }
}

/// As `make model` passes them on.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().unwrap());
    let count: Option<u64> = number("MODEL_SEEDS");
    match (number("MODEL_SEED"), count) {
        (None, None) => SEEDS.to_vec(),
        (Some(first), count) => (first..first + count.unwrap_or(1)).collect(),
        (None, Some(count)) => {
            let first = u64::from(rand::rng().random::<u32>());
            (first..first + count).collect()
        }
    }
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut agent = Agent::start().await;
    let cluster = match random.random_bool(0.4) {
        true => Some(tokio::task::spawn_blocking(|| Cluster::start().unwrap()).await.unwrap()),
        false => None,
    };
    if let Some(cluster) = &cluster {
        agent.db = Arc::new(Database::of(cluster).await);
    }
    configure(&mut agent, &mut random);
    let hard_links = random.random_bool(0.3);
    println!("prefix {:?}, hard links: {hard_links}\n{}\n{}", agent.prefix, agent.sync, agent.folder);
    let mut world = World::new(&agent, cluster, random.random());
    world.churn().hard_links = hard_links;
    world.churn().tells = true;
    let scope = world.scope();
    for _ in 0..random.random_range(6..16) {
        world.step(&draw(&mut random, scope)).await;
    }
    world.end().await;
}

/// What the program is configured with decides what it does at once and what it waits with.
fn configure(agent: &mut Agent, random: &mut StdRng) {
    let mut one_of = |values: &[&str]| values[random.random_range(0..values.len())].to_owned();
    agent.prefix = one_of(&["", "p/"]);
    agent.sync = format!(
        "debounce = \"{}\"\nreconcile_every = \"{}\"\nqueue_capacity = {}\npart_size = \"5MiB\"\nshutdown_grace = \"2s\"",
        one_of(&["1ms", "20ms", "200ms"]),
        // Mostly what events lead to must do.
        one_of(&["24h", "24h", "2s"]),
        one_of(&["1000", "100000"]),
    );
    agent.folder =
        one_of(&["max_delete = \"100%\"", "max_delete = \"100%\"", "max_delete = \"20%\"\nmax_delete_count = 5"]);
    agent.restricted = true;
}

fn draw(random: &mut StdRng, scope: Scope) -> Step {
    let operations = random.random_range(0..60);
    let pause = if random.random_bool(0.5) { Duration::ZERO } else { millis(random, 1, 20) };
    Step { operations, pause, after: millis(random, 0, 400), fault: Fault::draw(random, scope) }
}
