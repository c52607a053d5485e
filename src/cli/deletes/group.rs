//! Many files by directory, in few lines: the largest directories are taken apart as long as there is room.

use std::collections::BTreeMap;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Ends in `/`; empty for the top of the folder.
    pub(super) directory: String,
    /// Only what is directly in it: what is further below has lines of its own.
    pub(super) direct: bool,
    pub(super) amount: Amount,
}

#[derive(Debug, Default)]
struct Directory {
    direct: Amount,
    total: Amount,
    below: BTreeMap<String, Directory>,
}

impl Directory {
    fn add(&mut self, path: &str, amount: Amount) {
        self.total.add(amount);
        match path.split_once('/') {
            Some((name, rest)) => self.below.entry(name.to_owned()).or_default().add(rest, amount),
            None => self.direct.add(amount),
        }
    }

    /// Lines that it takes when it is taken apart.
    fn parts(&self) -> usize {
        self.below.len() + usize::from(self.direct.files > 0)
    }
}

/// Groups directories, each ending in `/` or empty, into at most `lines` lines, in order.
pub(super) fn group<'a>(directories: impl IntoIterator<Item = (&'a str, Amount)>, lines: usize) -> Vec<Group> {
    let mut root = Directory::default();
    for (directory, amount) in directories {
        root.add(directory, amount);
    }
    let mut shown = vec![(String::new(), &root)];
    let mut apart: Vec<Group> = Vec::new();
    loop {
        let room = lines.saturating_sub(shown.len() + apart.len());
        // One that has a single part takes no room.
        let fits =
            |(_, directory): &&(String, &Directory)| !directory.below.is_empty() && directory.parts() <= room + 1;
        let largest = shown.iter().filter(fits).max_by_key(|(_, directory)| directory.total.files);
        let Some(name) = largest.map(|(name, _)| name.clone()) else { break };
        let Some(index) = shown.iter().position(|(other, _)| *other == name) else { break };
        let (name, directory) = shown.swap_remove(index);
        if directory.direct.files > 0 {
            apart.push(Group { directory: name.clone(), direct: true, amount: directory.direct });
        }
        shown.extend(directory.below.iter().map(|(part, below)| (format!("{name}{part}/"), below)));
    }
    apart.extend(shown.into_iter().map(|(name, directory)| Group {
        directory: name,
        direct: false,
        amount: directory.total,
    }));
    apart.retain(|group| group.amount.files > 0);
    apart.sort_by(|a, b| a.directory.cmp(&b.directory));
    apart
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grouped(directories: &[(&str, u64)], lines: usize) -> Vec<(String, bool, u64)> {
        let amounts = directories.iter().map(|(name, files)| (*name, Amount { files: *files, bytes: 10 * files }));
        group(amounts, lines).into_iter().map(|group| (group.directory, group.direct, group.amount.files)).collect()
    }

    fn line(directory: &str, direct: bool, files: u64) -> (String, bool, u64) {
        (directory.to_owned(), direct, files)
    }

    #[test]
    fn a_single_chain_of_directories_is_named_by_its_end() {
        assert_eq!(grouped(&[("a/b/c/", 7)], 1), [line("a/b/c/", false, 7)]);
    }

    #[test]
    fn the_largest_directory_is_taken_apart_first() {
        let directories = [("a/x/", 1), ("a/y/", 1), ("b/x/", 50), ("b/y/", 40), ("", 2)];
        assert_eq!(grouped(&directories, 1), [line("", false, 94)]);
        let expected = [line("", true, 2), line("a/", false, 2), line("b/x/", false, 50), line("b/y/", false, 40)];
        assert_eq!(grouped(&directories, 4), expected);
    }

    proptest! {
        #[test]
        fn every_file_is_counted_once_and_the_lines_suffice(
            directories in proptest::collection::btree_map("([a-c]/){0,4}", 1_u64..100, 0..40),
            lines in 1_usize..12,
        ) {
            let amounts = directories.iter().map(|(name, files)| (name.as_str(), Amount { files: *files, bytes: 0 }));
            let groups = group(amounts, lines);
            prop_assert!(groups.len() <= lines);
            prop_assert_eq!(groups.iter().map(|group| group.amount.files).sum::<u64>(), directories.values().sum::<u64>());
            for (name, files) in &directories {
                let holds = |group: &&Group| match group.direct {
                    true => group.directory == *name,
                    false => name.starts_with(&group.directory),
                };
                let holding: Vec<_> = groups.iter().filter(holds).collect();
                prop_assert_eq!(holding.len(), 1, "{} in {:?}", name, groups);
                prop_assert!(holding[0].amount.files >= *files);
            }
        }
    }
}
