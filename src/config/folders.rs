//! `[[folder]]` and `SYNC_PATH`: each by itself, and against each other.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use figment::value::Dict;
use ignore::gitignore::GitignoreBuilder;

use super::error::Problem;
use super::reader::Reader;
use super::section::Section;
use super::settings::{DeletePolicy, FolderSettings, SymlinkPolicy};
use super::show::{Origin, Shown};
use super::values;
use crate::model::{MAX_KEY_BYTES, encode_name};

pub(super) const BUCKET: &str = "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens";

/// `s3.bucket`.
pub(super) struct DefaultBucket {
    pub(super) name: String,
    pub(super) origin: Origin,
}

/// A path that does not come from the file.
struct SyncPath(PathBuf);

impl SyncPath {
    fn origin() -> Origin {
        Origin::Environment("SYNC_PATH".to_owned())
    }
}

/// Every folder, in the order of the file.
pub(super) fn folders(
    reader: &mut Reader,
    bucket: Option<DefaultBucket>,
    environment: &[(OsString, OsString)],
) -> Vec<FolderSettings> {
    let mut tables = reader.take_tables("folder");
    let mut sync_path = environment
        .iter()
        .find(|(name, value)| name == OsStr::new("SYNC_PATH") && !value.is_empty())
        .map(|(_, value)| SyncPath(PathBuf::from(value)));
    if sync_path.is_some() && tables.len() > 1 {
        reader.report(Problem::Variable {
            name: "SYNC_PATH".to_owned(),
            remedy: format!("the file has {} folders: unset it, or leave only one in the file", tables.len()),
        });
        sync_path = None;
    }
    if sync_path.is_some() && tables.is_empty() {
        tables.push_back((SyncPath::origin(), Dict::new()));
    }
    let mut known: Vec<Known> = Vec::new();
    for (i, (origin, keys)) in tables.into_iter().enumerate() {
        // SYNC_PATH is for a single folder, so the first takes it.
        let path = sync_path.take();
        let label = label(i, &keys, path.as_ref());
        let mut section = reader.table("folder", label.clone(), origin, keys);
        let folder = folder(&mut section, path, bucket.as_ref());
        if let Some(settings) = &folder {
            check_against(&mut section, settings, &known);
        }
        section.finish();
        known.extend(folder.map(|settings| Known { label, settings }));
    }
    known.into_iter().map(|known| known.settings).collect()
}

/// A folder that came before.
struct Known {
    label: String,
    settings: FolderSettings,
}

/// For messages: the name that the folder has or will have, else its place from 1.
fn label(i: usize, keys: &Dict, path: Option<&SyncPath>) -> String {
    let named = keys.get("name").and_then(|name| name.as_str()).map(str::to_owned);
    let in_file = || keys.get("path").and_then(|path| path.as_str()).map(PathBuf::from);
    let by_path = || path.map(|path| path.0.clone()).or_else(in_file).and_then(|path| last_part(&path));
    format!("folder[{}]", named.or_else(by_path).unwrap_or_else(|| (i + 1).to_string()))
}

fn last_part(path: &std::path::Path) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    path.file_name().map(|name| encode_name(name.as_bytes()))
}

/// Nothing if a part without which it means nothing was refused.
fn folder(
    section: &mut Section<'_>,
    sync_path: Option<SyncPath>,
    default_bucket: Option<&DefaultBucket>,
) -> Option<FolderSettings> {
    let path = path(section, sync_path);
    let default_name = path.as_deref().and_then(last_part);
    let name = section.parsed("name", default_name.as_deref(), "text without `/` and `:`", |text| {
        values::name(text).filter(|name| !name.contains(['/', ':']))
    });
    if path.is_some() && default_name.is_none() && section.origin("name") == Origin::Default {
        section.conflict("name", "the path has no last part that could be the name: set one");
    }
    let bucket = section.parsed("bucket", None, BUCKET, values::bucket).or_else(|| inherit(section, default_bucket));
    let prefix =
        section.parsed("prefix", Some(""), "a prefix that ends in /, or nothing; shorter than a key", |text| {
            let valid = (text.is_empty() || text.ends_with('/')) && text.len() < MAX_KEY_BYTES && !text.contains('\0');
            valid.then(|| text.to_owned())
        });
    let exclude = section.list("exclude", check_pattern);
    let delete =
        section.choice("delete", Some("mirror"), &[("mirror", DeletePolicy::Mirror), ("keep", DeletePolicy::Keep)]);
    let symlinks =
        section.choice("symlinks", Some("skip"), &[("skip", SymlinkPolicy::Skip), ("follow", SymlinkPolicy::Follow)]);
    let share = "a share such as \"25%\", from 0% to 100%; 100% = no threshold";
    let max_delete_percent = section.parsed("max_delete", Some("25%"), share, values::percent);
    let max_delete_count = section.number("max_delete_count", "100", 0..=i64::MAX as u64);
    Some(FolderSettings {
        name: name?,
        path: path?,
        bucket: bucket?,
        prefix: prefix?,
        exclude,
        delete: delete?,
        symlinks: symlinks?,
        max_delete_percent: max_delete_percent?,
        max_delete_count,
    })
}

/// `SYNC_PATH` need not be UTF-8, so it goes round the tree.
fn path(section: &mut Section<'_>, sync_path: Option<SyncPath>) -> Option<PathBuf> {
    const EXPECTED: &str = "an absolute path without `..`";
    let Some(SyncPath(given)) = sync_path else {
        let path = section.parsed("path", None, EXPECTED, |text| values::absolute(std::path::Path::new(text)));
        if path.is_none() && section.origin("path") == Origin::Default {
            section.conflict("path", "every folder needs a path");
        }
        return path;
    };
    section.discard("path");
    let path = values::absolute(&given);
    if path.is_none() {
        let found = Some(format!("`{}`", given.to_string_lossy()));
        let expected = EXPECTED.to_owned();
        section.report(Problem::Value { origin: SyncPath::origin(), key: "folder.path".to_owned(), expected, found });
    }
    section.note("path", Shown::Quoted(given.to_string_lossy().into_owned()), SyncPath::origin());
    path
}

/// The bucket of a folder that names none of its own.
fn inherit(section: &mut Section<'_>, default: Option<&DefaultBucket>) -> Option<String> {
    if section.origin("bucket") != Origin::Default {
        return None;
    }
    match default {
        Some(default) => {
            section.amend("bucket", Shown::Quoted(default.name.clone()), default.origin.clone());
            Some(default.name.clone())
        }
        None => {
            section.conflict("bucket", "no bucket: set s3.bucket or AWS_BUCKET_NAME, or the folder's own");
            None
        }
    }
}

/// The matcher takes comments and blank lines without a word, but in a list they are mistakes.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let mut builder = GitignoreBuilder::new("/");
    let refused = builder.add_line(None, pattern).is_err();
    let matches = builder.build().ok().filter(|matcher| !refused && !matcher.is_empty());
    match matches {
        Some(_) => Ok(()),
        None => Err(format!(
            "`{pattern}` is no gitignore pattern; a literal `#`, `!`, `[` or `{{` is written with a `\\` before it"
        )),
    }
}

fn check_against(section: &mut Section<'_>, folder: &FolderSettings, others: &[Known]) {
    for Known { label, settings: other } in others {
        if folder.name == other.name {
            section.conflict("name", format!("the name \"{}\" is taken by another folder", folder.name));
        }
        if folder.path.starts_with(&other.path) || other.path.starts_with(&folder.path) {
            section.conflict(
                "path",
                format!("{} and {} of {label} lie in each other", folder.path.display(), other.path.display()),
            );
        }
        let overlap = folder.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&folder.prefix);
        if folder.bucket == other.bucket && overlap {
            section.conflict(
                "prefix",
                format!(
                    "\"{}\" and \"{}\" of {label} overlap in the bucket {}: give each folder a prefix of its own",
                    folder.prefix, other.prefix, folder.bucket
                ),
            );
        }
    }
}
