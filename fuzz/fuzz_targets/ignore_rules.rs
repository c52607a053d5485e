//! Exclude rules, whatever is written in `.portailignore`: they are taken, or the line that can't be used is named; and they mean the
//! same to who walks down the folder, to who asks about one path, and to who explains it.

#![no_main]

use std::path::Path;

use agent_portail::local::exclude::{ExcludeError, Excludes, is_temporary};
use agent_portail::model::RelPath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The rules, and after the first NUL a path.
    let Some(end) = input.iter().position(|byte| *byte == 0) else { return };
    let (rules, raw) = (&input[..end], &input[end + 1..]);
    let excludes = match Excludes::new(&[], Some(rules)) {
        Ok(excludes) => excludes,
        Err(ExcludeError::Line { line, .. }) => {
            let lines = String::from_utf8_lossy(rules).trim_start_matches('\u{feff}').lines().count();
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
            return;
        }
        Err(ExcludeError::Build(_)) => return,
        Err(other) => panic!("{other:?}"),
    };
    // As a walk makes them: plain names.
    let is_plain = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    if !raw.split(|byte| *byte == b'/').all(is_plain) {
        return;
    }
    let path = RelPath::from_raw(raw);
    let by_walk = {
        let ancestors: Vec<&Path> = path.as_path().ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
        ancestors.iter().rev().any(|directory| excludes.excludes_entry(directory, true))
            || excludes.excludes_entry(path.as_path(), false)
    };
    assert_eq!(excludes.excludes(&path), by_walk, "{path:?}");
    assert_eq!(excludes.rule(&path).is_some(), by_walk, "{path:?}");
    if is_temporary(raw.rsplit(|byte| *byte == b'/').next().unwrap_or_default()) {
        assert!(by_walk, "what a restore has not finished is synced");
    }
});
