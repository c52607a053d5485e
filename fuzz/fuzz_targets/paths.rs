//! Names of files and keys of objects: whatever bytes they are, they are mapped one to one or told to collide, and what comes from a
//! bucket leads nowhere outside the folder that it is restored to.

#![no_main]

use std::path::{Component, Path};

use agent_portail::local::target;
use agent_portail::model::{ObjectKey, Printable, RelPath};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // Two paths, with 0xFE between them, which is part of no UTF-8.
    let mut parts = input.splitn(2, |byte| *byte == 0xFE);
    let (one, other) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let paths = [one, other].map(RelPath::from_raw);
    for (raw, path) in [one, other].into_iter().zip(&paths) {
        assert_eq!(path.raw(), raw);
        assert_eq!(path.raw_if_different().is_some(), std::str::from_utf8(raw).is_err());
        let row = RelPath::from_encoded(path.as_str(), path.raw_if_different().map(<[u8]>::to_vec));
        assert_eq!(&row, path, "what the row keeps is not the path");
        let parent = path.parent();
        assert!(path.is_within(parent.as_str()) && path.is_within(path.as_str()) && path.is_within(""));
        assert!(path.as_str().ends_with(path.name()));
        assert_eq!(ObjectKey::new("p/", path).as_str().strip_prefix("p/"), Some(path.as_str()));
        for shown in [path.to_string(), Printable(path.as_str()).to_string()] {
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
        check_restored(raw);
    }
    if one != other && paths[0].as_str() == paths[1].as_str() {
        assert!(paths.iter().all(RelPath::may_collide), "{paths:?} have one key, and only one of them may tell");
    }
});

/// A path that may be restored to has plain names only, and comes out as it went in.
fn check_restored(raw: &[u8]) {
    if target::check_path(raw).is_err() {
        return;
    }
    assert!(!raw.contains(&0));
    let path = RelPath::from_raw(raw);
    let path: &Path = path.as_path();
    let components: Vec<Component<'_>> = path.components().collect();
    assert!(!components.is_empty());
    assert!(components.iter().all(|component| matches!(component, Component::Normal(_))), "{path:?}");
    let again: std::path::PathBuf = components.iter().collect();
    assert_eq!(again.as_os_str(), path.as_os_str(), "a part of it is empty");
}
