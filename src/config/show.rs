//! Where each value came from, and how `agent-portail config` prints it.

use std::fmt;
use std::path::PathBuf;

use crate::model::Printable;

/// The layer that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A systemd credential.
    Credential(&'static str),
    /// `--set` on the command line.
    Flag,
}

impl Origin {
    /// The later layer wins, and has the higher rank. Only the file has values of other types than text.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Credential(_) => 2,
            Self::Environment(name) if !name.starts_with("AGENT_PORTAIL__") => 3,
            Self::Environment(_) => 4,
            Self::Flag => 5,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", Printable(&path.to_string_lossy())),
            Self::Environment(name) => write!(f, "environment {}", Printable(name)),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Flag => f.write_str("flag --set"),
        }
    }
}

/// A value as text. A secret has none, so that it cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A number or a truth value.
    Bare(String),
    /// A string.
    Quoted(String),
    /// A list of strings.
    List(Vec<String>),
    /// Something that is not to be shown.
    Secret,
    /// No layer has it, and it has no default.
    Unset,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) => f.write_str(text),
            Self::Quoted(text) => write!(f, "{}", TomlString(text)),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, TomlString(item))?;
                }
                f.write_str("]")
            }
            Self::Secret => f.write_str("\"***\""),
            Self::Unset => f.write_str("not set"),
        }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the file heads it: `[s3]`; every folder begins with a `[[folder]]` of its own.
    pub heading: String,
    /// For messages, `s3` or `folder[documents]`.
    pub section: String,
    /// The key in its section.
    pub key: &'static str,
    /// Its value.
    pub shown: Shown,
    /// Its layer.
    pub origin: Origin,
}

/// Every key in the order of the sections. Its `Display` is TOML that can be read back, but for the secrets.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The file that was read, or looked for.
    pub(super) file: PathBuf,
    /// Whether it was there.
    pub(super) file_found: bool,
    pub(super) entries: Vec<Entry>,
}

impl Provenance {
    /// Every key that there is, also those that are not set.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of `section.key`, the section written as in messages: `s3`, `folder[documents]`.
    pub fn entry(&self, section: &str, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.section == section && entry.key == key)
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = if self.file_found { "" } else { " (not there)" };
        writeln!(f, "# The configuration in force; after each value, the layer that it came from.")?;
        writeln!(f, "# file: {}{missing}", Printable(&self.file.to_string_lossy()))?;
        let mut section = None;
        for entry in &self.entries {
            if section != Some(&entry.section) {
                writeln!(f, "\n{}", entry.heading)?;
                section = Some(&entry.section);
            }
            match &entry.shown {
                Shown::Unset => writeln!(f, "# {} is not set", entry.key)?,
                shown @ (Shown::Bare(_) | Shown::Quoted(_) | Shown::List(_) | Shown::Secret) => {
                    writeln!(f, "{:<48} # {}", format!("{} = {shown}", entry.key), entry.origin)?;
                }
            }
        }
        Ok(())
    }
}

/// A TOML basic string, with everything escaped that a terminal could act on.
struct TomlString<'a>(&'a str);

impl fmt::Display for TomlString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if Printable(c.encode_utf8(&mut [0; 4])).to_string().starts_with('\\') => {
                    write!(f, "\\U{:08X}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_toml_reads_them() {
        use figment::providers::{Format as _, Toml};
        let hostile = "a\"b\\c\n\u{1b}[31m\u{202e}é\u{7f}";
        let written = format!("x = {}", TomlString(hostile));
        assert!(!written.contains(['\n', '\u{1b}', '\u{202e}', '\u{7f}']), "{written}");
        let read: figment::value::Dict = Toml::from_str(&written).unwrap();
        assert_eq!(read["x"].as_str(), Some(hostile));
    }
}
