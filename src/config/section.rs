//! Typed values out of one table.
//!
//! A value that is refused is reported and replaced by a placeholder, which nobody gets to see: with a problem there are
//! no settings.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use figment::value::Dict;

use super::error::Problem;
use super::reader::{Reader, first_tag};
use super::show::{Entry, Origin, Shown};
use super::values;
use super::written::{Kind, as_written, describe, shorten};

/// One table while it is read. End it with [`Section::finish`].
#[must_use]
pub(super) struct Section<'r> {
    reader: &'r mut Reader,
    label: String,
    heading: String,
    keys: Dict,
    origin: Origin,
    known: Vec<&'static str>,
}

impl<'r> Section<'r> {
    pub(super) fn new(reader: &'r mut Reader, label: String, heading: String, origin: Origin, keys: Dict) -> Self {
        Self { reader, label, heading, origin, keys, known: Vec::new() }
    }

    /// A string that `parse` takes.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(key, default, Kind::Text, expected, parse)
    }

    /// One line of text.
    pub(super) fn name(&mut self, key: &'static str, default: Option<&str>) -> Option<String> {
        self.parsed(key, default, "text on one line, not empty", values::name)
    }

    /// The path of a file.
    pub(super) fn path(&mut self, key: &'static str, default: Option<&str>) -> Option<PathBuf> {
        self.parsed(key, default, "a path", |text| values::name(text).map(PathBuf::from))
    }

    /// Something that is never shown.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<String> {
        self.take(key, None, Kind::Secret, "a string that is not empty", |text| {
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// As [`Self::parsed`], of something that is shown nowhere, neither in the configuration nor in a message.
    pub(super) fn hidden<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.take(key, None, Kind::Secret, expected, parse)
    }

    /// Whether a layer has the key, which was read.
    pub(super) fn was_given(&self, key: &str) -> bool {
        self.origin(key) != Origin::Default
    }

    /// A whole number.
    pub(super) fn number<T: FromStr + PartialOrd + Display + Default>(
        &mut self,
        key: &'static str,
        default: &str,
        range: RangeInclusive<T>,
    ) -> T {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(key, Some(default), Kind::Number, &expected, |text| {
            text.trim().parse().ok().filter(|number| range.contains(number))
        })
        .unwrap_or_default()
    }

    /// `true` or `false`.
    pub(super) fn truth(&mut self, key: &'static str, default: bool) -> bool {
        self.take(key, Some(&default.to_string()), Kind::Truth, "true or false", |text| text.trim().parse().ok())
            .unwrap_or(default)
    }

    /// A number of bytes that `accept` takes.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: &str,
        expected: &str,
        accept: impl FnOnce(u64) -> bool,
    ) -> u64 {
        self.take(key, Some(default), Kind::Size, expected, |text| values::size(text).filter(|bytes| accept(*bytes)))
            .unwrap_or_default()
    }

    /// A duration that `accept` takes.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: &str,
        expected: &str,
        accept: impl FnOnce(Duration) -> bool,
    ) -> Duration {
        self.parsed(key, Some(default), expected, |text| values::duration(text).filter(|time| accept(*time)))
            .unwrap_or_default()
    }

    /// One of a few words, in the given case.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", words.join(", "));
        self.parsed(key, default, &expected, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice)
        })
    }

    /// A list of strings, each of which `check` takes or says why not; only files have lists.
    pub(super) fn list(&mut self, key: &'static str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        self.known.push(key);
        let (origin, values) = match self.keys.remove(key) {
            Some(value) => (self.reader.merged.origin(value.tag()), Some(value)),
            None => (Origin::Default, None),
        };
        let mut items = Vec::new();
        if let Some(value) = values {
            let strings: Option<Vec<&str>> =
                value.as_array().and_then(|values| values.iter().map(|value| value.as_str()).collect());
            match strings {
                Some(strings) => items.extend(strings.into_iter().map(str::to_owned)),
                None => {
                    let key = self.label_of(key);
                    self.reader.refuse(origin.clone(), &key, "a list of strings, such as [\"*.tmp\"]", None);
                }
            }
        }
        for item in &items {
            if let Err(reason) = check(item) {
                let key = self.label_of(key);
                self.reader.report(Problem::Refused { origin: origin.clone(), key, reason });
            }
        }
        self.note(key, Shown::List(items.clone()), origin);
        items
    }

    /// Records a value that was settled elsewhere.
    pub(super) fn note(&mut self, key: &'static str, shown: Shown, origin: Origin) {
        let (heading, section) = (self.heading.clone(), self.label.clone());
        self.reader.entries.push(Entry { heading, section, key, shown, origin });
    }

    /// Takes a key away because another source has settled it.
    pub(super) fn discard(&mut self, key: &'static str) {
        self.known.push(key);
        self.keys.remove(key);
    }

    /// Where the value of a key that was read came from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let mine = |entry: &&Entry| entry.section == self.label && entry.key == key;
        self.reader.entries.iter().rev().find(mine).map_or_else(|| self.origin.clone(), |entry| entry.origin.clone())
    }

    /// Replaces what was recorded of a key by a value that another key lends it.
    pub(super) fn amend(&mut self, key: &'static str, shown: Shown, origin: Origin) {
        let label = &self.label;
        if let Some(entry) = self.reader.entries.iter_mut().rev().find(|e| e.section == *label && e.key == key) {
            (entry.shown, entry.origin) = (shown, origin);
        }
    }

    /// Refuses a value for what another one says, or for not being there.
    pub(super) fn conflict(&mut self, key: &'static str, reason: impl Into<String>) {
        // A default is nobody's fault: the section that relies on it is what can be changed.
        let origin = match self.origin(key) {
            Origin::Default => self.origin.clone(),
            other @ (Origin::File(_) | Origin::Environment(_) | Origin::Credential(_) | Origin::Flag) => other,
        };
        self.reader.report(Problem::Refused { origin, key: self.label_of(key), reason: reason.into() });
    }

    /// Adds a problem of the caller's own.
    pub(super) fn report(&mut self, problem: Problem) {
        self.reader.report(problem);
    }

    /// Reports the keys that nobody asked for. Their values are not quoted: one may be a password under a misspelt name.
    pub(super) fn finish(self) {
        let hint = format!("{} has {}", self.heading, self.known.join(", "));
        for (key, value) in self.keys {
            let origin = self.reader.merged.origin(first_tag(&value));
            let key = format!("{}.{key}", self.label);
            self.reader.report(Problem::Unknown { origin, key, hint: hint.clone() });
        }
    }

    fn take<T>(
        &mut self,
        key: &'static str,
        default: Option<&str>,
        kind: Kind,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let (origin, text) = match self.keys.remove(key) {
            Some(value) => {
                let origin = self.reader.merged.origin(value.tag());
                let text = as_written(&value, kind, matches!(origin, Origin::File(_)));
                (origin, text.ok_or_else(|| describe(&value, kind)))
            }
            None => match default {
                Some(default) => (Origin::Default, Ok(default.to_owned())),
                None => {
                    self.note(key, Shown::Unset, Origin::Default);
                    return None;
                }
            },
        };
        let result = text.and_then(|text| match parse(&text) {
            Some(parsed) => Ok((parsed, text)),
            None => Err((kind != Kind::Secret).then(|| format!("`{}`", shorten(&values::mask(&text))))),
        });
        match result {
            Ok((parsed, text)) => {
                let shown = match kind {
                    Kind::Text | Kind::Size => Shown::Quoted(values::mask(&text)),
                    Kind::Number | Kind::Truth => Shown::Bare(text.trim().to_owned()),
                    Kind::Secret => Shown::Secret,
                };
                self.note(key, shown, origin);
                Some(parsed)
            }
            Err(found) => {
                // The key exists, which the check of near misses wants to know.
                self.note(key, Shown::Unset, origin.clone());
                let key = self.label_of(key);
                self.reader.refuse(origin, &key, expected, found);
                None
            }
        }
    }

    fn label_of(&self, key: &str) -> String {
        format!("{}.{key}", self.label)
    }
}
