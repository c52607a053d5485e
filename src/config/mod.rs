//! The configuration, in three stages: fragments as they are read, one merged tree, validated [`settings`].
//!
//! - [`sources`] names everything that comes from outside, so that nothing below reads the process's environment.
//! - `layers` turns it into fragments, one for the file and one for each variable, credential and flag, and merges them:
//!   later wins, and each value keeps the origin that it came from.
//! - `reader` and `section` take typed values out of the tree, and `validate`, `folders` and `notify` say which keys exist, their defaults and
//!   what is refused. Reading goes on after a problem, so that all of them are reported at once.
//!
//! Unknown keys are refused by the reader, not by serde's `deny_unknown_fields`, which stops at the first.

pub mod settings;
pub mod sources;

mod error;
mod folders;
mod layers;
mod notify;
mod reader;
mod section;
mod show;
mod validate;
mod values;
mod written;

pub use error::{ConfigError, Problem};
pub use show::{Entry, Origin, Provenance, Shown};
pub use sources::{ConfigFile, Flag, FlagError, Sources};

use settings::{Settings, UrlsAuth, UrlsSettings};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/agent-portail/config.toml";

/// The settings in force, and where each came from.
#[derive(Clone, Debug)]
pub struct Effective {
    /// Checked values.
    pub settings: Settings,
    /// Each key with its value as text and its layer; its `Display` is what `agent-portail config` prints.
    pub provenance: Provenance,
}

/// Reads, merges and validates the configuration.
///
/// # Errors
/// With every problem that was found, each naming the file or variable, the key and what was expected.
pub fn load(sources: &Sources) -> Result<Effective, ConfigError> {
    let merged = layers::merge(sources);
    let mut reader = reader::Reader::new(merged);
    let settings = validate::settings(&mut reader, sources);
    layers::check_near_misses(&sources.environment, &mut reader);
    let (problems, provenance) = reader.finish(sources.config.path());
    match ConfigError::from_problems(problems) {
        Some(error) => Err(error),
        None => Ok(Effective { settings, provenance }),
    }
}

/// Refuses a configuration without a folder: for the commands that sync.
///
/// # Errors
/// If there is none.
pub fn require_folders(settings: &Settings) -> Result<(), ConfigError> {
    if settings.folders.is_empty() { Err(Problem::NoFolder.into()) } else { Ok(()) }
}

/// Refuses a link service that the network reaches and that asks nobody for a token: for the command `urls`.
///
/// # Errors
/// If `urls.listen` is not a loopback address and no tokens are set.
pub fn require_link_access(urls: &UrlsSettings) -> Result<(), ConfigError> {
    let has_tokens = match &urls.auth {
        UrlsAuth::Token { tokens_file } => tokens_file.is_some(),
        UrlsAuth::Open => false,
    };
    if has_tokens || values::is_loopback(urls.listen) {
        Ok(())
    } else {
        Err(Problem::OpenLinks { listen: urls.listen }.into())
    }
}
