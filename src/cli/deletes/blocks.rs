//! Held deletions, counted: by what was said of them and by the judgement that holds them, in memory that does not grow with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use super::group::{Amount, Tree};
use super::list::rfc3339;
use crate::catalog::Catalog;
use crate::catalog::judgement::{self, FoundBy, InDirectory, Written};
use crate::cli::summary;
use crate::model::{Absence, FolderId, Printable};

/// Held deletions that are counted at a time.
const COUNTED: i64 = 10_000;
/// Directories that are told apart, in all blocks: however many files are held, the list takes no more memory.
const TOLD_APART: usize = 20_000;
/// Directories of one block that are shown.
const DIRECTORIES: usize = 20;

/// What was said of deletions, as the column holds it, and the judgement that holds them; none of those that are not shown by
/// themselves.
pub(super) type Which = (Option<String>, Option<i64>);

/// Held deletions of one judgement of which one thing was said.
pub(super) struct Block {
    pub(super) amount: Amount,
    pub(super) since: SystemTime,
    /// What stood in the files' place, as the column holds it.
    seen: BTreeMap<String, u64>,
    pub(super) tree: Tree,
}

/// All held deletions, counted: by what was said of them, then by the judgement that holds them.
pub(super) async fn count(
    catalog: &Catalog,
    id: FolderId,
    sub: Option<&str>,
    latest: &[Written],
) -> anyhow::Result<BTreeMap<Which, Block>> {
    let mut blocks: BTreeMap<Which, Block> = BTreeMap::new();
    let each = TOLD_APART / (latest.len() + 1);
    let mut after = String::new();
    while let Some((page, last)) = judgement::by_directory(catalog, id, sub, &after, COUNTED).await? {
        after = last;
        for InDirectory { judgement, decision, seen, directory, count, bytes, since } in page {
            let shown = judgement.filter(|number| latest.iter().any(|written| written.id == *number));
            let block = blocks.entry((decision, shown)).or_insert_with(|| Block {
                amount: Amount::default(),
                since,
                seen: BTreeMap::new(),
                tree: Tree::new(each),
            });
            let amount = Amount { files: count, bytes };
            block.amount.add(amount);
            block.since = block.since.min(since);
            block.tree.add(&directory, amount);
            if let Some(seen) = seen {
                *block.seen.entry(seen).or_default() += count;
            }
        }
    }
    Ok(blocks)
}

/// Why, since when, and what was seen.
pub(super) fn write(text: &mut String, written: Option<&Written>, block: &Block) {
    let since = rfc3339(block.since);
    let Some(Written { judgement, .. }) = written else {
        let _ = writeln!(text, "  since {since}, by earlier judgements (--json shows them)");
        return;
    };
    let _ = writeln!(text, "  since {since}: {}", Printable(&judgement.reason));
    let mut facts = vec![match judgement.found_by {
        FoundBy::Reconciliation if judgement.complete => {
            "found by going through the whole folder, of which everything could be seen".to_owned()
        }
        FoundBy::Reconciliation => {
            "found by going through the folder, of which not everything could be seen".to_owned()
        }
        FoundBy::Events => "found by events".to_owned(),
    }];
    if judgement.same_folder {
        facts.push("it was the folder that had been synced".to_owned());
    }
    for absence in Absence::ALL {
        if let Some(files) = block.seen.get(absence.as_str()) {
            facts.push(format!("looked at once more, {files} were {}", absence.describe()));
        }
    }
    let _ = writeln!(text, "    {}", facts.join("; "));
}

pub(super) fn write_directories(text: &mut String, tree: &Tree) {
    for group in tree.group(DIRECTORIES) {
        let directory = if group.directory.is_empty() { "/" } else { &group.directory };
        let direct = if group.direct { ", directly in it" } else { "" };
        let (files, bytes) = (group.amount.files, summary::bytes(group.amount.bytes));
        let _ = writeln!(text, "    {} {files} files{direct} ({bytes})", Printable(directory));
    }
}
