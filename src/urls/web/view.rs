//! What the templates show: plain values, in the reader's language, with every address made.

use askama::Template;

use super::assets;
use super::format;
use super::words::Words;
pub use file::{Choice, Created, Fact, FilePage, LinkRow, LinksPage, Preview, Share};
pub use listing::{Branch, Browse, Column, Crumb, FolderRow, Home, Row, Search, SortBy};

mod file;
mod listing;

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
