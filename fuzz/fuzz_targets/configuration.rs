//! A configuration file and an environment, whatever they hold: they are taken, or each problem is told; and what is secret in them is
//! told by neither the problems nor what `config` prints.

#![no_main]

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{Seek as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;

use agent_portail::config::sources::{ConfigFile, Sources};
use agent_portail::config::{self, Effective};
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;

/// No input is likely to hold it by itself.
const SECRET: &str = "Zq8canaryZq8";

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().unwrap());
}

fuzz_target!(|input: &[u8]| {
    // The file, and after the first NUL a variable a line.
    let end = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (text, variables) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let mut environment = vec![(OsString::from("DB_PASSWORD"), OsString::from(SECRET))];
    for line in variables.split(|byte| *byte == b'\n') {
        let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
        let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        // What the process captures is no empty name, and each once.
        if equals > 0 && &line[..equals] != b"DB_PASSWORD" {
            environment.push((os(&line[..equals]), os(&line[equals + 1..])));
        }
    }
    let path = FILE.with_borrow_mut(|file| {
        let open: &mut File = file.as_file_mut();
        open.set_permissions(Permissions::from_mode(0o600)).unwrap();
        open.set_len(0).unwrap();
        open.rewind().unwrap();
        open.write_all(text).unwrap();
        file.path().to_owned()
    });
    let sources = Sources {
        config: ConfigFile::Named(path),
        environment,
        flags: Vec::new(),
        credentials: None,
        host_name: "fuzz".to_owned(),
        under_journald: false,
    };
    let told = match config::load(&sources) {
        Ok(effective) => shown(&effective),
        Err(error) => {
            assert!(!error.problems().is_empty(), "refused without a reason");
            format!("{error} {error:?}")
        }
    };
    let has_it = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(has_it(input) || !told.contains(SECRET), "a secret is told: {told}");
});

fn shown(effective: &Effective) -> String {
    let _ = config::require_folders(&effective.settings);
    format!("{effective:?} {}", effective.provenance)
}
