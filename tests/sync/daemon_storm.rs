//! Thousands of mixed operations at full speed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::daemon::Daemon;
use crate::daemon_files::by_events;

/// One seed, one storm: a failure can be repeated.
const SEED: u64 = 0x5eed;
const OPERATIONS: usize = 2000;

#[tokio::test]
async fn a_storm_of_mixed_operations_ends_in_sync_without_a_reconciliation() {
    let mut agent = by_events().await;
    agent.folder = "max_delete = \"100%\"".to_owned();
    agent.write("first", "first");
    let daemon = Daemon::settled(&agent).await;
    let root = agent.root.clone();
    tokio::task::spawn_blocking(move || storm(&root)).await.unwrap();
    daemon.until_same_content().await;
    daemon.until_state("in_sync").await;
    daemon.assert_seen_by_events_alone().await;
    daemon.stop().await;
}

/// Operations that can't be done, such as a rename into itself, are skipped: others take their place.
fn storm(root: &Path) {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut done = 0;
    while done < OPERATIONS {
        let (directories, files) = entries(root);
        let name = format!("n{}", random.random_range(0..40));
        let directory = directories[random.random_range(0..directories.len())].clone();
        let file = match files.is_empty() {
            true => directory.join(&name),
            false => files[random.random_range(0..files.len())].clone(),
        };
        let bytes = vec![random.random(); random.random_range(0..3000)];
        let result = match random.random_range(0..100) {
            0..30 => fs::write(directory.join(&name), bytes),
            30..45 => fs::write(&file, bytes),
            45..55 => fs::File::options().append(true).open(&file).and_then(|mut open| open.write_all(&bytes)),
            55..68 => fs::rename(&file, directory.join(&name)),
            68..74 if directory != root => {
                let target = &directories[random.random_range(0..directories.len())];
                fs::rename(&directory, target.join(&name))
            }
            74..82 => fs::remove_file(&file),
            82..85 if directory != root => fs::remove_dir_all(&directory),
            85..94 => fs::create_dir_all(directory.join(&name).join("deeper").join("still")),
            _ => fs::set_permissions(&file, fs::Permissions::from_mode(0o600 + random.random_range(0..0o100))),
        };
        done += usize::from(result.is_ok());
    }
}

/// Directories and files below the root, in an order that depends on their names only.
fn entries(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut files) = (vec![root.to_owned()], Vec::new());
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        let mut inside: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()).collect();
        inside.sort_by_key(fs::DirEntry::file_name);
        for entry in inside {
            match entry.file_type().unwrap().is_dir() {
                true => directories.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    (directories, files)
}
