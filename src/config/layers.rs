//! The first two stages: a fragment for the file and for each variable, credential and flag, and the merged tree.
//!
//! A variable's value is always text and is parsed by the key that it lands on. figment's own `Env` guesses types, which
//! breaks a password such as `12345` or `'q'`, and then quotes it in its error.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::Problem;
use super::reader::Reader;
use super::show::Origin;
use super::sources::{ConfigFile, Sources};

/// The variables that have a name of their own.
const FLAT: [(&str, &str, &str); 11] = [
    ("AWS_REGION", "s3", "region"),
    ("AWS_BUCKET_NAME", "s3", "bucket"),
    ("AWS_ENDPOINT_URL", "s3", "endpoint_url"),
    ("DB_HOST", "database", "host"),
    ("DB_PORT", "database", "port"),
    ("DB_NAME", "database", "name"),
    ("DB_USER", "database", "user"),
    ("DB_PASSWORD", "database", "password"),
    ("LOG_METHOD", "log", "method"),
    ("LOG_PATH", "log", "path"),
    ("LOG_LEVEL", "log", "level"),
];

/// Others may read the file.
const OTHERS_READ: u32 = 0o004;

/// A password or a file of tokens larger than this is a mistake, such as a device.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The second stage.
pub(super) struct Merged {
    figment: Figment,
    origins: Vec<Origin>,
    /// What was wrong with the fragments themselves.
    pub(super) problems: Vec<Problem>,
    /// Whether the configuration file was there.
    pub(super) file_found: bool,
}

impl Merged {
    /// Sections by name.
    pub(super) fn tree(&self) -> Dict {
        self.figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default()
    }

    /// The fragment that a value came from.
    pub(super) fn origin(&self, tag: Tag) -> Origin {
        let name = self.figment.get_metadata(tag).map(|metadata| metadata.name.as_ref());
        self.origins.iter().find(|origin| name == Some(&origin.to_string())).cloned().unwrap_or(Origin::Default)
    }

    fn add(&mut self, origin: Origin, values: Dict) {
        self.figment = std::mem::take(&mut self.figment).merge(Fragment { origin: &origin, values });
        if !self.origins.contains(&origin) {
            self.origins.push(origin);
        }
    }

    fn add_text(&mut self, origin: Origin, section: &str, key: &str, value: &str) {
        let keys = Dict::from([(key.to_owned(), Value::from(value))]);
        self.add(origin, Dict::from([(section.to_owned(), Value::from(keys))]));
    }
}

/// One layer's part of the tree.
struct Fragment<'a> {
    origin: &'a Origin,
    values: Dict,
}

impl Provider for Fragment<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Reads every layer, the weakest first.
pub(super) fn merge(sources: &Sources) -> Merged {
    let mut merged = Merged { figment: Figment::new(), origins: Vec::new(), problems: Vec::new(), file_found: false };
    match read_file(&sources.config) {
        Ok(Some(values)) => {
            merged.file_found = true;
            merged.add(Origin::File(sources.config.path().to_owned()), values);
        }
        Ok(None) => {}
        Err(problem) => merged.problems.push(problem),
    }
    add_credentials(sources.credentials.as_deref(), &mut merged);
    add_environment(&sources.environment, &mut merged);
    for flag in &sources.flags {
        merged.add_text(Origin::Flag, &flag.section, &flag.key, &flag.value);
    }
    merged
}

/// Nothing if a file that nobody named is not there.
fn read_file(config: &ConfigFile) -> Result<Option<Dict>, Problem> {
    let path = config.path();
    let failed = |source| Problem::Read { origin: Origin::File(path.to_owned()), path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match config {
                ConfigFile::Named(path) => Err(Problem::Missing { path: path.clone() }),
                ConfigFile::Default(_) => Ok(None),
            };
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let values: Dict = Toml::from_str(&text).map_err(|error| {
        let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
        Problem::Syntax { path: path.to_owned(), line, column, message: error.message().trim().replace('\n', ", ") }
    })?;
    // A link service's or a cluster's file without a password may well be public.
    let has_password = matches!(values.get("database"), Some(Value::Dict(_, keys)) if keys.contains_key("password"));
    let is_signed = |webhook: &Value| webhook.as_dict().is_some_and(|keys| keys.contains_key("secret"));
    let has_secret =
        values.get("notify").and_then(Value::as_array).is_some_and(|webhooks| webhooks.iter().any(is_signed));
    if (has_password || has_secret) && file.metadata().map_err(failed)?.mode() & OTHERS_READ != 0 {
        return Err(Problem::Exposed { path: path.to_owned() });
    }
    Ok(Some(values))
}

/// Line and column, from 1, of a byte of the text.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (line, column)
}

fn add_credentials(directory: Option<&Path>, merged: &mut Merged) {
    let Some(directory) = directory else { return };
    match read_credential(directory, "db-password") {
        Ok(Some(password)) => {
            merged.add_text(Origin::Credential("db-password"), "database", "password", &password);
        }
        Ok(None) => {}
        Err(problem) => merged.problems.push(problem),
    }
    let tokens = directory.join("urls-tokens");
    if tokens.exists() {
        merged.add_text(Origin::Credential("urls-tokens"), "urls", "tokens_file", &tokens.to_string_lossy());
    }
}

/// A systemd credential's text without its final newline; nothing if there is none of that name.
pub(super) fn read_credential(directory: &Path, name: &'static str) -> Result<Option<String>, Problem> {
    let path = directory.join(name);
    match read_secret(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Problem::Read { origin: Origin::Credential(name), path, source }),
    }
}

/// A file that holds one secret: its text without the final newline, which most editors add.
pub(super) fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 KiB"));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "empty"));
    }
    Ok(secret.to_owned())
}

fn add_environment(environment: &[(OsString, OsString)], merged: &mut Merged) {
    for (variable, section, key) in FLAT {
        if let Some((_, value)) = environment.iter().find(|(name, _)| name == OsStr::new(variable)) {
            add_variable(variable, section, key, value, merged);
        }
    }
    // Sorted, so that messages do not depend on the order in which the process got its variables.
    let mut prefixed: Vec<_> = environment
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_str()?;
            Some((name, name.strip_prefix("AGENT_PORTAIL__")?, value))
        })
        .collect();
    prefixed.sort_unstable();
    for (variable, rest, value) in prefixed {
        match rest.to_ascii_lowercase().split_once("__") {
            Some(("folder", _)) => merged.problems.push(Problem::Variable {
                name: variable.to_owned(),
                remedy:
                    "folders are not configured by variables: write [[folder]] into the file, or set SYNC_PATH for a \
                         single one"
                        .to_owned(),
            }),
            Some(("notify", _)) => merged.problems.push(Problem::Variable {
                name: variable.to_owned(),
                remedy: "webhooks are not configured by variables: write [[notify]] into the file".to_owned(),
            }),
            Some((section, key)) => add_variable(variable, section, key, value, merged),
            // With one underscore, or without a key: the check of near misses names the right spelling, if there is one.
            None => {}
        }
    }
}

fn add_variable(variable: &str, section: &str, key: &str, value: &OsStr, merged: &mut Merged) {
    match value.to_str() {
        Some("") => {}
        Some(value) => merged.add_text(Origin::Environment(variable.to_owned()), section, key, value),
        None => merged
            .problems
            .push(Problem::Variable { name: variable.to_owned(), remedy: "the value is not UTF-8".to_owned() }),
    }
}

/// Refuses variables that were meant for us and would be ignored: `AGENT_PORTAIL_S3_BUCKET` for
/// `AGENT_PORTAIL__S3__BUCKET`. Others that begin with `AGENT_PORTAIL_` are not ours: Kubernetes sets
/// `AGENT_PORTAIL_SERVICE_HOST` in a cluster that has a service of that name.
pub(super) fn check_near_misses(environment: &[(OsString, OsString)], reader: &mut Reader) {
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        if value.is_empty() || !name.starts_with("AGENT_PORTAIL_") || name == "AGENT_PORTAIL_CONFIG" {
            continue;
        }
        let is_ours = name.strip_prefix("AGENT_PORTAIL__");
        if is_ours.is_some_and(|rest| rest.contains("__")) {
            continue;
        }
        let collapsed = name.to_ascii_uppercase().replace("__", "_");
        let right = reader.keys().find_map(|(section, key)| {
            let (section, key) = (section.to_ascii_uppercase(), key.to_ascii_uppercase());
            (collapsed == format!("AGENT_PORTAIL_{section}_{key}")).then(|| format!("AGENT_PORTAIL__{section}__{key}"))
        });
        let remedy = match (right, is_ours) {
            (Some(right), _) => format!("unknown; did you mean {right}?"),
            (None, Some(_)) => "unknown; variables are named AGENT_PORTAIL__SECTION__KEY".to_owned(),
            (None, None) => continue,
        };
        reader.report(Problem::Variable { name: name.to_owned(), remedy });
    }
}
