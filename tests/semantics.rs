//! The manual of what can be relied on names the tests that keep each promise: they must exist.

#![allow(clippy::unwrap_used, reason = "tests may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where promises are made.
const MANUALS: [&str; 2] = ["docs/SEMANTICS.md", "docs/ARCHITECTURE.md"];
/// What comes after it promises nothing.
const END_OF_PROMISES: &str = "## What is *not* promised";
/// How a fault of `tests/faults` is named.
const FAULT: &str = "make faults ARGS=";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories: Vec<PathBuf> = ["src", "tests"].iter().map(|name| root.join(name)).collect();
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

/// The names of all tests: what `#[test]` or `#[tokio::test]` stands before, in `proptest!` too.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for source in sources() {
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some((_, rest)) = line.split_once("fn ") {
                if is_test {
                    tests.insert(rest.split('(').next().unwrap().to_owned());
                }
                is_test = false;
            }
        }
    }
    tests
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Tests are named by whole sentences.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 4 && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// What a fault is looked for by.
fn fault(word: &str) -> Option<&str> {
    word.strip_prefix(FAULT).filter(|words| !words.starts_with("--")).map(|words| words.trim_matches('\''))
}

#[test]
fn every_test_that_a_manual_names_exists() {
    let tests = tests();
    let faults: String = sources().concat();
    for manual in MANUALS {
        let text = read(manual);
        let named: Vec<&str> = quoted(&text).filter(|word| is_test_name(word)).collect();
        assert!(named.len() > 10, "{manual} names hardly any test");
        let missing: Vec<&&str> = named.iter().filter(|name| !tests.contains(**name)).collect();
        assert!(missing.is_empty(), "{manual} names tests that are not there: {missing:?}");
        for words in quoted(&text).filter_map(fault) {
            assert!(faults.contains(words), "{manual} names a fault that is not there: {words:?}");
        }
    }
}

#[test]
fn every_promise_names_a_test() {
    let text = read(MANUALS[0]);
    let (promises, _) = text.split_once(END_OF_PROMISES).unwrap();
    let (_, promises) = promises.split_once("## What is where, and when").unwrap();
    let promises: Vec<&str> = promises.split("\n- ").skip(1).collect();
    assert!(promises.len() > 20);
    for promise in promises {
        let named = quoted(promise).any(|word| is_test_name(word) || fault(word).is_some());
        assert!(named, "no test keeps this promise:\n{promise}");
    }
}

/// With the feature `failpoints`, the environment can end the process.
#[test]
fn no_build_but_that_of_the_faults_has_fail_points() {
    let metadata = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap();
    let features = package["features"].as_object().unwrap();
    assert!(features.contains_key("failpoints"));
    let leads_there = |list: &serde_json::Value| list.to_string().contains("fail");
    for (feature, brings) in features.iter().filter(|(feature, _)| *feature != "failpoints") {
        assert!(!leads_there(brings), "the feature {feature} brings them");
    }
    for dependency in package["dependencies"].as_array().unwrap() {
        let (name, optional) = (&dependency["name"], &dependency["optional"]);
        assert!(!leads_there(&dependency["features"]), "{name} brings them");
        assert!(name != "fail" || optional == true, "{dependency}");
    }
}
