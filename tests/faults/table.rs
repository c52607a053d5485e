//! The table of all faults, for the terminal and for the manual.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Case;
use crate::trial::Findings;

/// Where the manual has it.
const MANUAL: &str = "docs/SEMANTICS.md";
const BEGIN: &str = "<!-- faults: written by `make faults ARGS=--write` -->\n";
const END: &str = "<!-- end of faults -->\n";

/// A fault, and what came of it.
pub(crate) type Row<'a> = (&'a Case, Option<&'a Findings>);

/// Whether everything is the same in the end, nothing is lost, and the fault was there at all.
pub(crate) fn is_good((_, found): &Row<'_>) -> bool {
    found.is_some_and(Findings::is_good)
}

/// In Markdown, which is read as well as it is.
pub(crate) fn text(rows: &[Row<'_>]) -> String {
    let mut text =
        String::from("| fault | injected | while it lasts | in the end | lost |\n| --- | ---: | --- | --- | ---: |\n");
    let mut chapter = "";
    for (case, found) in rows {
        if case.chapter != chapter {
            chapter = case.chapter;
            let _ = writeln!(text, "| **{chapter}** | | | | |");
        }
        let _ = match found {
            Some(found) => {
                let end = if found.same.is_ok() { "equal" } else { "NOT EQUAL" };
                writeln!(text, "| {} | {} | {} | {end} | {} |", case.name, found.injected, found.said, found.lost)
            }
            None => writeln!(text, "| {} | | | FAILED | |", case.name),
        };
    }
    let injected: u64 = rows.iter().filter_map(|(_, found)| Some((*found)?.injected)).sum();
    let lost: u64 = rows.iter().filter_map(|(_, found)| Some((*found)?.lost)).sum();
    let equal = rows.iter().filter(|row| is_good(row)).count();
    let _ = writeln!(text, "| **{} faults** | **{injected}** | | **{equal} equal** | **{lost}** |", rows.len());
    text
}

/// Puts it into the manual.
pub(crate) fn write(rows: &[Row<'_>]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANUAL);
    let manual = fs::read_to_string(&path).unwrap();
    let (before, rest) = manual.split_once(BEGIN).expect("the manual has a place for the table");
    let (_, after) = rest.split_once(END).expect("the place for the table has an end");
    fs::write(path, format!("{before}{BEGIN}\n{}\n{END}{after}", text(rows))).unwrap();
}
