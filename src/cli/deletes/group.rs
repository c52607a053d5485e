//! Many files by directory, in few lines: the largest directories are taken apart as long as there is room.

use std::collections::BTreeMap;

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, other: Self) {
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
    /// What lies below it is not told apart any more, and counted as its own.
    folded: bool,
}

impl Directory {
    /// Answers how many directories are new.
    fn add(&mut self, path: &str, amount: Amount, depth: usize) -> usize {
        self.total.add(amount);
        match path.split_once('/') {
            Some((name, rest)) if depth > 0 => match self.below.get_mut(name) {
                Some(below) => below.add(rest, amount, depth - 1),
                None => 1 + self.below.entry(name.to_owned()).or_default().add(rest, amount, depth - 1),
            },
            Some(_) => {
                self.direct.add(amount);
                self.folded = true;
                0
            }
            None => {
                self.direct.add(amount);
                0
            }
        }
    }

    /// Lines that it takes when it is taken apart.
    fn parts(&self) -> usize {
        self.below.len() + usize::from(self.direct.files > 0)
    }

    /// Tells nothing apart that is further down than this; answers how many directories are left below it.
    fn fold(&mut self, depth: usize) -> usize {
        if depth == 0 {
            self.folded |= !self.below.is_empty();
            self.below.clear();
            self.direct = self.total;
            return 0;
        }
        self.below.values_mut().map(|below| 1 + below.fold(depth - 1)).sum()
    }
}

/// Amounts by directory. There are never more than so many directories in it: if there are too many, those that are furthest down are
/// not told apart.
#[derive(Debug)]
pub(super) struct Tree {
    root: Directory,
    directories: usize,
    most: usize,
    depth: usize,
}

impl Tree {
    pub(super) fn new(most: usize) -> Self {
        Self { root: Directory::default(), directories: 0, most, depth: usize::MAX }
    }

    /// Adds what is in a directory, whose name ends in `/` or is empty.
    pub(super) fn add(&mut self, directory: &str, amount: Amount) {
        self.directories += self.root.add(directory, amount, self.depth);
        if self.directories > self.most {
            self.depth = self.depth.min(deepest(&self.root));
        }
        while self.directories > self.most {
            self.depth -= 1;
            self.directories = self.root.fold(self.depth);
        }
    }

    /// Groups them into at most `lines` lines, in order: the largest are taken apart first.
    pub(super) fn group(&self, lines: usize) -> Vec<Group> {
        let mut shown = vec![(String::new(), &self.root)];
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
                apart.push(Group { directory: name.clone(), direct: !directory.folded, amount: directory.direct });
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
}

fn deepest(directory: &Directory) -> usize {
    directory.below.values().map(|below| 1 + deepest(below)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree<'a>(directories: impl IntoIterator<Item = (&'a str, u64)>, most: usize) -> Tree {
        let mut tree = Tree::new(most);
        for (name, files) in directories {
            tree.add(name, Amount { files, bytes: 10 * files });
        }
        tree
    }

    fn grouped(directories: &[(&str, u64)], lines: usize) -> Vec<(String, bool, u64)> {
        let groups = tree(directories.iter().copied(), 100).group(lines);
        groups.into_iter().map(|group| (group.directory, group.direct, group.amount.files)).collect()
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

    #[test]
    fn where_there_are_too_many_those_further_down_are_not_told_apart() {
        let directories = [("a/x/", 1), ("a/y/", 1), ("b/x/", 5), ("b/", 2), ("", 3)];
        let expected = [line("", true, 3), line("a/", false, 2), line("b/", false, 7)];
        assert_eq!(tree(directories, 5).group(9).len(), 5);
        let told = |tree: Tree| {
            tree.group(9)
                .into_iter()
                .map(|group| (group.directory, group.direct, group.amount.files))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(tree(directories, 4)), expected);
        assert_eq!(told(tree(directories, 1)), [line("", false, 12)]);
    }

    proptest! {
        #[test]
        fn every_file_is_counted_once_and_the_lines_suffice(
            directories in proptest::collection::btree_map("([a-c]/){0,4}", 1_u64..100, 0..40),
            lines in 1_usize..12,
            most in 0_usize..60,
        ) {
            let tree = tree(directories.iter().map(|(name, files)| (name.as_str(), *files)), most);
            prop_assert!(tree.directories <= most);
            let groups = tree.group(lines);
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
