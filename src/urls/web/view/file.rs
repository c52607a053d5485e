//! The page of a file, and links.

use askama::Template;

use super::{Crumb, Frame, Here, Standing, When};
use crate::urls::web::names::Kind;

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
