//! What the templates show: plain values, in the reader's language, with every address made.

use askama::Template;

use super::assets;
use super::format;
use super::names::Kind;
use super::words::Words;

/// What is around every page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// In the reader's language.
    pub w: &'static Words,
    /// Of the browser's tab, without the product's name.
    pub title: String,
    /// Who is logged in; none on pages that anybody may see.
    pub user: Option<User>,
    /// Which part of the page this is.
    pub here: Here,
}

impl Frame {
    fn css(&self) -> String {
        assets::CSS.href()
    }

    fn js(&self) -> String {
        assets::JS.href()
    }

    fn icon(&self) -> String {
        assets::ICON.href()
    }
}

/// Who is logged in.
#[derive(Clone, Debug)]
pub struct User {
    /// Of the token, or what the reverse proxy says.
    pub name: String,
    /// Not where nobody needs to log in.
    pub can_log_out: bool,
    /// What a form must bring along.
    pub form_token: String,
}

/// The parts of the page that the navigation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// Folders and files.
    Files,
    /// The links of who is logged in.
    Links,
    /// Neither.
    Elsewhere,
}

/// A moment.
#[derive(Clone, Debug)]
pub struct When {
    /// For machines, and for the script, which shows the reader's own time.
    pub iso: String,
    /// As it is shown.
    pub text: String,
    /// `text` tells the distance, and the date is what else there is to know.
    pub relative: bool,
}

impl When {
    /// As a date.
    pub fn date(w: &Words, unix: i64) -> Self {
        Self { iso: format::iso(unix), text: format::date(w.language, unix), relative: false }
    }

    /// By its distance.
    pub fn ago(w: &Words, unix: i64, now: i64) -> Self {
        let text = format::ago(w.language, unix, now);
        let relative = text != format::date(w.language, unix);
        Self { iso: format::iso(unix), text, relative }
    }

    /// As a date to come, by its distance.
    pub fn until(w: &Words, unix: i64, now: i64) -> Self {
        Self { iso: format::iso(unix), text: format::until(w.language, unix, now), relative: true }
    }
}

/// How something stands: the one that is as it should be is quiet, so that the others are seen.
#[derive(Clone, Debug)]
pub struct Standing {
    /// `good`, `busy`, `bad` or `quiet`, for the style.
    pub tone: &'static str,
    /// Of its symbol.
    pub icon: &'static str,
    /// In words.
    pub text: &'static str,
    /// What else is known, from the daemon or the store, as it said it.
    pub reason: Option<String>,
}

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

/// A way to look at a file without downloading it.
#[derive(Clone, Debug)]
pub enum Preview {
    /// As a picture, from this address.
    Image(String),
    /// In the browser's reader, from this address.
    Pdf(String),
    /// There is none.
    None,
}

/// One fact of a file.
#[derive(Clone, Debug)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// Its value.
    pub value: String,
    /// Its value, where it is a moment.
    pub when: Option<When>,
    /// For digests: each character as wide as the other.
    pub mono: bool,
}

/// One choice of a field.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// Chosen unless another is.
    pub chosen: bool,
}

/// A link that has just been created.
#[derive(Clone, Debug)]
pub struct Created {
    /// All of it.
    pub href: String,
    /// When it ends.
    pub until: When,
    /// How often it can be used, in words.
    pub uses: Option<String>,
}

/// The form that creates a link, or why there is none.
#[derive(Clone, Debug)]
pub struct Share {
    /// Where it is sent.
    pub action: String,
    /// How long the link may be valid.
    pub expiries: Vec<Choice>,
    /// The store keeps versions, one of which a link could stay with.
    pub can_pin: bool,
    /// Why there is no form.
    pub refused: Option<String>,
    /// What was wrong with what was sent.
    pub error: Option<String>,
    /// What has come of it.
    pub created: Option<Created>,
}

/// One link of a list.
#[derive(Clone, Debug)]
pub struct LinkRow {
    /// Names it in the page.
    pub id: String,
    /// Of its file, as it is shown.
    pub name: String,
    /// Leads to the file; none where it is gone.
    pub href: Option<String>,
    /// The folder and directory of the file.
    pub place: String,
    /// Of its symbol.
    pub icon: &'static str,
    /// Whether it can still be used.
    pub standing: Standing,
    /// When it was created.
    pub created: When,
    /// By whom, where it was somebody else.
    pub creator: Option<String>,
    /// When it ends, or ended.
    pub ends: When,
    /// How often it was used, and may be.
    pub uses: String,
    /// When it was used last.
    pub last_used: Option<When>,
    /// It gives one version only.
    pub pinned: bool,
    /// Revokes it; none where there is nothing to revoke.
    pub revoke: Option<String>,
}

/// Everything about one file.
#[derive(Template)]
#[template(path = "file.html")]
pub struct FilePage {
    /// Around it.
    pub frame: Frame,
    /// The way down to its directory.
    pub crumbs: Vec<Crumb>,
    /// As it is shown.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it stands.
    pub standing: Standing,
    /// What that means, where it needs telling.
    pub explanation: Option<&'static str>,
    /// A look at it.
    pub preview: Preview,
    /// Leads to its bytes, as a download; none while there are none.
    pub download: Option<String>,
    /// Leads to its bytes, in the browser.
    pub open: Option<String>,
    /// Size, dates and digest.
    pub facts: Vec<Fact>,
    /// The form.
    pub share: Share,
    /// Links to it that the reader may see.
    pub links: Vec<LinkRow>,
    /// Where to go on once one was revoked.
    pub back: String,
}

/// The reader's links.
#[derive(Template)]
#[template(path = "links.html")]
pub struct LinksPage {
    /// Around it.
    pub frame: Frame,
    /// Above them.
    pub heading: &'static str,
    /// What they are.
    pub hint: &'static str,
    /// The newest first.
    pub links: Vec<LinkRow>,
    /// Leads from one's own links to everybody's, or back: address and label.
    pub other: Option<(&'static str, &'static str)>,
    /// Where to go on once one was revoked.
    pub back: String,
    /// Leads to the older ones.
    pub more: Option<String>,
    /// What has just happened.
    pub notice: Option<&'static str>,
}

/// The form to log in with.
#[derive(Template)]
#[template(path = "login.html")]
pub struct Login {
    /// Around it.
    pub frame: Frame,
    /// Where to go on, once logged in.
    pub next: String,
    /// What was wrong.
    pub error: Option<&'static str>,
    /// What has just happened.
    pub notice: Option<&'static str>,
}

/// Something that can't be shown, and what to do about it.
#[derive(Template)]
#[template(path = "problem.html")]
pub struct Problem {
    /// Around it.
    pub frame: Frame,
    /// Of its symbol.
    pub icon: &'static str,
    /// In a few words.
    pub heading: &'static str,
    /// What to do.
    pub hint: String,
    /// Where to go on: address and label.
    pub action: Option<(String, &'static str)>,
}
