//! The text exposition format of Prometheus, read strictly.

use std::collections::BTreeMap;

/// All that was served, by the name of the metric.
#[derive(Debug, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, Family>,
}

/// One metric.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub series: BTreeMap<Series, f64>,
}

/// A line's name, which has a suffix where it is of a histogram, and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

impl Exposition {
    /// Stops the test at anything that Prometheus would refuse.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut current = String::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!found.families.contains_key(name), "{name} comes twice");
                name.clone_into(&mut current);
                found.families.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current, "a type follows its help");
                found.families.get_mut(name).unwrap().kind = kind.to_owned();
            } else {
                let (series, value) = parse_line(line);
                assert!(series.name.starts_with(&current), "{line} is not of {current}");
                let family = found.families.get_mut(&current).unwrap();
                assert!(family.series.insert(series, value).is_none(), "{line} comes twice");
            }
        }
        found
    }

    /// The value of a series, if it is there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let series = Series { name: name.to_owned(), labels };
        self.families.values().find_map(|family| family.series.get(&series).copied())
    }
}

fn parse_line(line: &str) -> (Series, f64) {
    let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, tail) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = tail.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at + 1,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &tail[end..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    let value = rest.strip_prefix(' ').unwrap().parse().unwrap();
    (Series { name: name.to_owned(), labels }, value)
}
