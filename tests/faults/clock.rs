//! The clock of the machine steps while the daemon runs: it is told another time than the files, the store and the database have.

use std::fs;
use std::path::{Path, PathBuf};

use crate::trial::{self, Findings, Trial};
use crate::{Case, cases};

/// Before and after each step.
const OPERATIONS: usize = 40;

pub(crate) fn cases() -> Vec<Case> {
    cases!["clock":
        "a day forward, and back" => || steps("+1d"),
        "a day back, and forward" => || steps("-1d"),
        "ten years forward, and back" => || steps("+10y"),
    ]
}

/// Files change before the step, after it, and after the clock is right again.
async fn steps(offset: &str) -> Findings {
    let mut agent = trial::agent().await;
    let clock = agent.home.path().join("clock");
    set(&clock, "+0");
    let library = library();
    agent.env.insert("LD_PRELOAD", library.to_string_lossy().into_owned());
    agent.env.insert("FAKETIME_TIMESTAMP_FILE", clock.to_string_lossy().into_owned());
    for (name, value) in [("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")] {
        agent.env.insert(name, value.to_owned());
    }
    let mut trial = Trial::begin(&agent, None).await;
    set(&clock, offset);
    trial.work(OPERATIONS).await;
    trial.world.settle().await;
    // The log has the time that the program believes in.
    let today = trial.world.daemon().log().split('T').next().unwrap().to_owned();
    let tells = |line: &str| line.starts_with("20") && !line.starts_with(&today);
    assert!(trial.world.daemon().log().lines().any(tells), "the step did not reach it");
    trial.assert_calm().await;
    set(&clock, "+0");
    trial.work(OPERATIONS).await;
    trial.end(2, "syncs on".to_owned()).await
}

/// The program looks at it each time that it asks for the time.
fn set(clock: &Path, offset: &str) {
    let new = clock.with_extension("new");
    fs::write(&new, offset).unwrap();
    fs::rename(new, clock).unwrap();
}

/// In the folder that is named after the machine's architecture.
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let candidates = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    candidates.into_iter().find(|path| path.exists()).expect("libfaketime is installed by scripts/setup.sh")
}
