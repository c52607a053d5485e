//! Pages that are lists of folders and files.

use askama::Template;

use super::{Frame, Here, Standing, When};

/// One folder of the start page.
#[derive(Clone, Debug)]
pub struct FolderRow {
    /// As it is shown.
    pub name: String,
    /// Leads into it.
    pub href: String,
    /// Whether it is in sync.
    pub standing: Standing,
    /// How many files, in words.
    pub files: String,
    /// Of all of them.
    pub size: String,
    /// Files that are not synced, in words; none if there is none.
    pub trouble: Option<String>,
    /// The last reconciliation.
    pub synced: Option<When>,
}

/// The start page: all folders.
#[derive(Template)]
#[template(path = "home.html")]
pub struct Home {
    /// Around it.
    pub frame: Frame,
    /// The folders, by name.
    pub folders: Vec<FolderRow>,
    /// Of all folders.
    pub search: Option<Search>,
}

/// The field to search in.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where it is sent.
    pub action: String,
    /// What is looked for now.
    pub value: String,
    /// For those who can't see where it stands.
    pub label: String,
    /// Leads back from the results; none where nothing is searched.
    pub clear: Option<String>,
}

/// One step of the way down to what is shown.
#[derive(Clone, Debug)]
pub struct Crumb {
    /// As it is shown.
    pub name: String,
    /// Leads there.
    pub href: String,
}

/// One line of the tree beside the files. `opens` and `closes` nest it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// As it is shown.
    pub name: String,
    /// Leads there.
    pub href: String,
    /// It is what is shown.
    pub current: bool,
    /// What is below it follows.
    pub opens: bool,
    /// So many levels end after it.
    pub closes: usize,
    /// Something in this folder needs attention.
    pub trouble: bool,
}

/// The head of one column.
#[derive(Clone, Debug)]
pub struct Column {
    /// For the style.
    pub class: &'static str,
    /// What it holds, the first of which is its name.
    pub by: Vec<SortBy>,
}

/// Something that a list can be sorted by.
#[derive(Clone, Debug)]
pub struct SortBy {
    /// What it is called.
    pub label: &'static str,
    /// Sorts by it, or the other way round if it is sorted by it; none where there is no order to choose.
    pub href: Option<String>,
    /// Whether it is sorted by it, and then whether the largest comes first.
    pub descending: Option<bool>,
}

impl Column {
    fn aria(&self) -> &'static str {
        match self.by.iter().find_map(|by| by.descending) {
            None => "none",
            Some(false) => "ascending",
            Some(true) => "descending",
        }
    }
}

/// One directory or file of a list.
#[derive(Clone, Debug)]
pub struct Row {
    /// Of its symbol.
    pub icon: &'static str,
    /// As it is shown.
    pub name: String,
    /// Leads to it.
    pub href: String,
    /// The directory that it was found in.
    pub place: Option<String>,
    /// Empty where it is not known.
    pub size: String,
    /// The last change.
    pub modified: Option<When>,
    /// How it stands; none for directories.
    pub standing: Option<Standing>,
    /// The last sync.
    pub synced: Option<When>,
    /// Where a link to it can be created.
    pub share: Option<String>,
}

/// A directory's entries, or what a search has found.
#[derive(Template)]
#[template(path = "browse.html")]
pub struct Browse {
    /// Around it.
    pub frame: Frame,
    /// The folders, and the way down to here.
    pub tree: Vec<Branch>,
    /// The way down to here.
    pub crumbs: Vec<Crumb>,
    /// What is shown here.
    pub heading: String,
    /// Of the folder.
    pub standing: Option<Standing>,
    /// When the folder was last found to be in sync.
    pub synced: Option<When>,
    /// Above the list.
    pub search: Search,
    /// What can be sorted by.
    pub columns: Vec<Column>,
    /// What there is.
    pub rows: Vec<Row>,
    /// How much was found, in words.
    pub found: Option<String>,
    /// Leads to what follows.
    pub more: Option<String>,
    /// Leads back to the first page.
    pub beginning: Option<String>,
}
