//! Everything that may go wrong, one thing at a time: it is brought about while files change, it is over, and then folder, bucket and
//! catalog must be the same, with nothing lost. Where the program can't go on by itself, it must say so for as long as it lasts.
//!
//! `make faults` runs all of it and prints a table; `make faults ARGS=words` runs those with these words in their names, and
//! `make faults ARGS=--write` puts the table of a whole run into docs/SEMANTICS.md.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests may stop at the first surprise")]
#![allow(clippy::print_stderr, reason = "what a fault has come to is what this program is for")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod clock;
mod crash;
mod database;
mod files;
mod fuse;
mod line;
mod table;
mod trial;

use std::collections::VecDeque;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use trial::Findings;

/// What is done to find out about a fault.
pub(crate) type Run = Pin<Box<dyn Future<Output = Findings>>>;

/// A fault.
pub(crate) struct Case {
    /// Under which heading of the table.
    pub(crate) chapter: &'static str,
    /// In the table.
    pub(crate) name: String,
    pub(crate) run: Box<dyn Fn() -> Run + Send + Sync>,
}

/// Those of a chapter, by name and what is done.
macro_rules! cases {
    ($chapter:literal: $($name:literal => $run:expr),* $(,)?) => {
        vec![$($crate::Case {
            chapter: $chapter,
            name: $name.to_owned(),
            run: Box::new(|| Box::pin($run())),
        }),*]
    };
}
use cases;

/// Cases at once: most of the time each waits for something.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let write = words.iter().any(|word| word == "--write");
    let words: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let all = [crash::cases(), line::cases(), answers::cases(), database::cases(), files::cases(), clock::cases()];
    let all = all.into_iter().flatten();
    let is_wanted = |case: &Case| words.iter().all(|word| format!("{} {}", case.chapter, case.name).contains(*word));
    let chosen: Vec<Case> = all.filter(is_wanted).collect();
    assert!(!chosen.is_empty(), "no fault has these words in its name: {words:?}");
    let results = run(&chosen);
    let rows: Vec<table::Row<'_>> = chosen.iter().zip(&results).map(|(case, found)| (case, found.as_ref())).collect();
    print!("{}", table::text(&rows));
    let bad: Vec<&str> = rows.iter().filter(|row| !table::is_good(row)).map(|(case, _)| case.name.as_str()).collect();
    if !bad.is_empty() {
        eprintln!("\nthese did not end well: {bad:#?}");
        return ExitCode::FAILURE;
    }
    if write {
        assert!(words.is_empty(), "the table in the manual is that of all faults");
        table::write(&rows);
    }
    ExitCode::SUCCESS
}

/// What came of each; nothing where the case itself has failed, which was told by then.
fn run(cases: &[Case]) -> Vec<Option<Findings>> {
    let waiting = Mutex::new((0..cases.len()).collect::<VecDeque<_>>());
    let results: Mutex<Vec<Option<Findings>>> = Mutex::new((0..cases.len()).map(|_| None).collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(index) = next() {
                    let case = &cases[index];
                    let began = Instant::now();
                    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(case)));
                    let how = match &ended {
                        Ok(found) if found.is_good() => "ok",
                        Ok(_) | Err(_) => "FAILED",
                    };
                    eprintln!("{how:6} {:6.1} s  {}: {}", began.elapsed().as_secs_f64(), case.chapter, case.name);
                    if let Ok(findings) = ended {
                        if let Err(why) = &findings.same {
                            eprintln!("{why}");
                        }
                        results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(findings);
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// In a runtime of its own, so that nothing of a case that fails goes on.
fn one(case: &Case) -> Findings {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on((case.run)())
}
