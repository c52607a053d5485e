//! Many paths in order, in little memory: of each only what differs from the one before it is kept.

use super::RelPath;

/// So many follow one that is kept whole: those have to be gone through for each look-up.
const RUN: usize = 32;

/// Paths that are added in order. A million of a usual length take some 20 MB.
#[derive(Debug, Default)]
pub struct SortedPaths {
    /// For each: how much it shares with the one before, the rest, and its raw form.
    bytes: Vec<u8>,
    /// Where those begin that are kept whole.
    whole: Vec<usize>,
    last: String,
    len: usize,
}

impl SortedPaths {
    /// Adds a path, which comes after all others.
    pub fn push(&mut self, path: &RelPath) {
        let shared = if self.len.is_multiple_of(RUN) {
            self.whole.push(self.bytes.len());
            0
        } else {
            self.last.bytes().zip(path.as_str().bytes()).take_while(|(a, b)| a == b).count()
        };
        self.write_number(shared);
        self.write(path.as_str().as_bytes().get(shared..).unwrap_or_default());
        match path.raw_if_different() {
            Some(raw) => {
                self.write_number(1);
                self.write(raw);
            }
            None => self.write_number(0),
        }
        path.as_str().clone_into(&mut self.last);
        self.len += 1;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_number(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first.
    fn write_number(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = RelPath> + '_ {
        Reader { bytes: &self.bytes, path: Vec::new() }
    }

    /// Whether it is one of them.
    pub fn contains(&self, path: &str) -> bool {
        let run = |at: usize| Reader { bytes: self.bytes.get(at..).unwrap_or_default(), path: Vec::new() };
        let begins_before = |at: &usize| run(*at).next().is_some_and(|first| first.as_str() <= path);
        let runs = self.whole.partition_point(begins_before);
        let Some(&at) = runs.checked_sub(1).and_then(|last| self.whole.get(last)) else { return false };
        run(at).take(RUN).any(|other| other.as_str() == path)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// The one before, encoded.
    path: Vec<u8>,
}

impl Reader<'_> {
    fn number(&mut self) -> Option<usize> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    fn take(&mut self) -> Option<&[u8]> {
        let length = self.number()?;
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }
}

impl Iterator for Reader<'_> {
    type Item = RelPath;

    fn next(&mut self) -> Option<RelPath> {
        let shared = self.number()?;
        let mut path = std::mem::take(&mut self.path);
        path.truncate(shared);
        path.extend_from_slice(self.take()?);
        let raw = match self.number()? {
            0 => None,
            _ => Some(self.take()?.to_vec()),
        };
        let encoded = String::from_utf8(path.clone()).ok()?;
        self.path = path;
        Some(RelPath::from_encoded(encoded, raw))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_come_back_in_order_and_are_found_and_no_others(
            names in proptest::collection::vec("[a-c/é\u{80}%]{0,6}", 0..200),
            raw in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..200), 0..20),
            others in proptest::collection::vec("[a-c/é]{0,6}", 0..50),
        ) {
            let of_names = names.iter().map(|name| RelPath::from_raw(name.as_bytes()));
            let paths: BTreeMap<String, RelPath> = of_names
                .chain(raw.iter().map(|raw| RelPath::from_raw(raw)))
                .map(|path| (path.as_str().to_owned(), path))
                .collect();
            let mut sorted = SortedPaths::default();
            for path in paths.values() {
                sorted.push(path);
            }
            prop_assert_eq!((sorted.len(), sorted.is_empty()), (paths.len(), paths.is_empty()));
            let back: Vec<RelPath> = sorted.iter().collect();
            prop_assert_eq!(&back, &paths.values().cloned().collect::<Vec<_>>());
            for path in paths.keys().chain(&others) {
                prop_assert_eq!(sorted.contains(path), paths.contains_key(path), "{}", path);
            }
        }
    }

    #[test]
    fn a_path_takes_what_it_does_not_share_with_the_one_before() {
        let mut sorted = SortedPaths::default();
        for n in 100_000..200_000 {
            sorted.push(&RelPath::from_raw(format!("a rather long directory/another one/document {n}.pdf").as_bytes()));
        }
        assert!(sorted.bytes.len() < 100_000 * 14, "{}", sorted.bytes.len());
    }
}
