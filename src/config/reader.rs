//! Takes the sections out of the merged tree, remembers where each value came from, and goes on after a problem.

use std::collections::VecDeque;
use std::path::Path;

use figment::value::{Dict, Value};

use super::error::Problem;
use super::layers::Merged;
use super::section::Section;
use super::show::{Entry, Origin, Provenance};

/// The merged tree while it is read.
pub(super) struct Reader {
    pub(super) merged: Merged,
    tree: Dict,
    pub(super) entries: Vec<Entry>,
    /// Tables that were asked for, also those of which there are none.
    asked: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(mut merged: Merged) -> Self {
        let problems = std::mem::take(&mut merged.problems);
        Self { tree: merged.tree(), merged, entries: Vec::new(), asked: Vec::new(), problems }
    }

    /// The section `[name]`, taken out of the tree.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_> {
        let (origin, keys) = match self.tree.remove(name) {
            Some(Value::Dict(tag, keys)) => (self.merged.origin(tag), keys),
            Some(other) => {
                let origin = self.merged.origin(other.tag());
                self.refuse(origin.clone(), name, &format!("the section [{name}]"), None);
                (origin, Dict::new())
            }
            None => (Origin::Default, Dict::new()),
        };
        Section::new(self, name.to_owned(), format!("[{name}]"), origin, keys)
    }

    /// The tables `[[name]]`, taken out of the tree.
    pub(super) fn take_tables(&mut self, name: &'static str) -> VecDeque<(Origin, Dict)> {
        self.asked.push(name);
        let expected = format!("tables, each headed [[{name}]]");
        let Some(value) = self.tree.remove(name) else { return VecDeque::new() };
        let origin = self.merged.origin(value.tag());
        let mut tables = VecDeque::new();
        match value {
            Value::Array(_, items) => {
                for item in items {
                    match item.into_dict() {
                        Some(keys) => tables.push_back((origin.clone(), keys)),
                        None => self.refuse(origin.clone(), name, &expected, None),
                    }
                }
            }
            other @ (Value::Dict(..)
            | Value::String(..)
            | Value::Char(..)
            | Value::Bool(..)
            | Value::Num(..)
            | Value::Empty(..)) => {
                let found = other.as_dict().map(|_| format!("[{name}] with single brackets"));
                self.refuse(origin, name, &expected, found);
            }
        }
        tables
    }

    /// One table of `[[name]]`.
    pub(super) fn table(&mut self, name: &str, label: String, origin: Origin, keys: Dict) -> Section<'_> {
        Section::new(self, label, format!("[[{name}]]"), origin, keys)
    }

    /// Every section and key that was asked for.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.entries.iter().map(|entry| (entry.section.as_str(), entry.key))
    }

    /// Adds a problem of the caller's own.
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a value of the wrong type or out of its range.
    pub(super) fn refuse(&mut self, origin: Origin, key: &str, expected: &str, found: Option<String>) {
        self.report(Problem::Value { origin, key: key.to_owned(), expected: expected.to_owned(), found });
    }

    /// Reports the sections that nobody asked for.
    pub(super) fn finish(mut self, file: &Path) -> (Vec<Problem>, Provenance) {
        let mut sections: Vec<&str> = Vec::new();
        for entry in &self.entries {
            let name = entry.section.split('[').next().unwrap_or(&entry.section);
            if !sections.contains(&name) {
                sections.push(name);
            }
        }
        for name in &self.asked {
            if !sections.contains(name) {
                sections.push(name);
            }
        }
        let hint = format!("the sections are {}", sections.join(", "));
        for (key, value) in std::mem::take(&mut self.tree) {
            let origin = self.merged.origin(first_tag(&value));
            self.problems.push(Problem::Unknown { origin, key, hint: hint.clone() });
        }
        let provenance =
            Provenance { file: file.to_owned(), file_found: self.merged.file_found, entries: self.entries };
        (self.problems, provenance)
    }
}

/// A table's own tag is of the layer that began it; what is in it may be of a later one.
pub(super) fn first_tag(value: &Value) -> figment::value::Tag {
    value.as_dict().and_then(|keys| keys.values().next()).map_or_else(|| value.tag(), first_tag)
}
