//! A directory, or what a search below it has found.

use axum::extract::State;
use axum::response::Response;
use futures_util::future::{try_join, try_join_all};
use http::{StatusCode, Uri};
use serde::Deserialize;

use super::{page, place, query};
use crate::catalog::browse::{FileLine, FolderLine};
use crate::catalog::level::{Order, Sort};
use crate::model::{FolderState, Scope};
use crate::urls::web::names::{Shown, ancestry, encoded_part, last, parent};
use crate::urls::web::present::{directory_row, file_row, folder_standing, href, place as place_text, slug, unix};
use crate::urls::web::view::{Branch, Browse, Column, Crumb, Here, Row, Search, SortBy, When};
use crate::urls::web::visitor::Visitor;
use crate::urls::web::words::Words;
use crate::urls::{Portal, Refusal};

/// Entries of a page: more than a screen, and rendered in a moment.
const PAGE: usize = 100;
/// Files of a page of a search.
pub(super) const FOUND: usize = 50;
/// Directories of each level in the tree; the list itself has all of them.
const BRANCHES: usize = 60;

/// What follows the question mark.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    q: Option<String>,
    sort: Option<String>,
    order: Option<String>,
    after: Option<String>,
}

/// A directory of a folder, and with `q` what is found below it.
pub async fn show(State(portal): State<Portal>, visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    let (name, path) = place(&uri)?;
    let asked: Asked = query(&uri);
    let folder = portal.folder(&name).await?;
    let folders = portal.folders().await?;
    let directory = if path.is_empty() { String::new() } else { format!("{path}/") };
    let here = Directory { visitor: &visitor, slug: slug(&folders, &folder), folder: &folder, path, directory };
    let listed = async {
        match asked.q.as_deref().map(str::trim).filter(|part| !part.is_empty()) {
            Some(part) => here.found(&portal, part, asked.after.as_deref()).await,
            None => here.listed(&portal, &asked).await,
        }
    };
    let (listed, tree) = try_join(listed, here.tree(&portal, &folders)).await?;
    let w = visitor.w;
    let heading = Shown(if here.path.is_empty() { &folder.name } else { last(&here.path) }).to_string();
    let browse = Browse {
        frame: visitor.frame(&heading, Here::Files),
        tree,
        crumbs: here.crumbs(),
        standing: Some(folder_standing(w, &folder)),
        synced: folder.last_reconciled_at.map(|at| When::ago(w, unix(at), visitor.now)),
        search: Search {
            action: here.href(),
            value: listed.part.unwrap_or_default(),
            label: w.with(w.search_in, &heading),
            clear: listed.found.is_some().then(|| here.href()),
        },
        heading,
        columns: listed.columns,
        rows: listed.rows,
        found: listed.found,
        more: listed.more,
        beginning: listed.beginning,
    };
    page(StatusCode::OK, w, &browse, None)
}

/// Where the visitor is.
struct Directory<'a> {
    visitor: &'a Visitor,
    slug: String,
    folder: &'a FolderLine,
    /// Without a slash at its end.
    path: String,
    /// With one, unless it is the top.
    directory: String,
}

/// What there is.
struct Listed {
    part: Option<String>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    found: Option<String>,
    more: Option<String>,
    beginning: Option<String>,
}

impl Directory<'_> {
    fn href(&self) -> String {
        href("browse", &self.slug, &self.path)
    }

    async fn listed(&self, portal: &Portal, asked: &Asked) -> Result<Listed, Refusal> {
        let order = order(asked);
        let after = asked.after.as_deref().filter(|after| !after.is_empty());
        let level = portal.level(self.folder, &self.directory, order, after, PAGE).await?;
        let may_share = self.visitor.caller.may(Scope::Link);
        let mut rows: Vec<Row> =
            level.directories.iter().map(|directory| directory_row(&self.slug, directory)).collect();
        rows.extend(level.files.iter().map(|file| file_row(self.visitor, &self.slug, file, None, may_share)));
        let sorted = ordered(&self.href(), order);
        let join = if sorted.contains('?') { '&' } else { '?' };
        Ok(Listed {
            part: None,
            columns: columns(self.visitor.w, &self.href(), order),
            rows,
            found: None,
            more: level.next.map(|next| format!("{sorted}{join}after={}", encoded_part(&next))),
            beginning: after.map(|_| sorted.clone()),
        })
    }

    async fn found(&self, portal: &Portal, part: &str, after: Option<&str>) -> Result<Listed, Refusal> {
        let after = after.filter(|after| !after.is_empty());
        let found = portal.files(Some(self.folder), &self.directory, Some(part), after, FOUND).await?;
        let may_share = self.visitor.caller.may(Scope::Link);
        let row = |file: &FileLine| {
            let place = place_text(&self.folder.name, parent(&file.path));
            file_row(self.visitor, &self.slug, file, Some(place), may_share)
        };
        let search = format!("{}?q={}", self.href(), encoded_part(part));
        Ok(Listed {
            part: Some(part.to_owned()),
            columns: plain_columns(self.visitor.w),
            found: self::found(self.visitor.w, after, found.files.len(), found.next.is_some()),
            more: found.next.map(|next| format!("{search}&after={}", encoded_part(&next))),
            beginning: after.map(|_| search),
            rows: found.files.iter().map(row).collect(),
        })
    }

    fn crumbs(&self) -> Vec<Crumb> {
        let top = Crumb { name: self.visitor.w.all_folders.to_owned(), href: "/".to_owned() };
        let mut crumbs = vec![top];
        if !self.path.is_empty() {
            crumbs.extend(crumbs_to(self.folder, &self.slug, parent(&self.path)));
        }
        crumbs
    }

    /// The folders, and in this one each level on the way down to here, with what lies beside it.
    async fn tree(&self, portal: &Portal, folders: &[FolderLine]) -> Result<Vec<Branch>, Refusal> {
        let levels: Vec<String> =
            std::iter::once(String::new()).chain(ancestry(&self.path).map(|path| format!("{path}/"))).collect();
        let asked = levels.iter().map(|level| portal.directories(self.folder, level, BRANCHES));
        let answered = try_join_all(asked).await?;
        let mut below: Vec<Level> = Vec::with_capacity(levels.len());
        for (index, (directories, more)) in answered.into_iter().enumerate() {
            let mut names: Vec<String> = directories.into_iter().map(|directory| directory.name).collect();
            // The way down is there, even where there are more than fit.
            let open = levels.get(index + 1).map(|next| last(next).to_owned());
            if let Some(open) = open.as_ref().filter(|open| !names.contains(open)) {
                names.push(open.clone());
            }
            below.push(Level { directory: levels[index].clone(), names, more, open });
        }
        let mut tree = trunk(folders);
        if let Some(index) = folders.iter().position(|folder| folder.id == self.folder.id) {
            let branches = grow(&self.slug, &below, &self.path);
            tree[index].current = self.path.is_empty();
            tree[index].opens = !branches.is_empty();
            tree.splice(index + 1..index + 1, branches);
        }
        Ok(tree)
    }
}

/// The crumbs of a folder and of the directories down to `path`.
pub(super) fn crumbs_to(folder: &FolderLine, slug: &str, path: &str) -> Vec<Crumb> {
    let top = Crumb { name: Shown(&folder.name).to_string(), href: href("browse", slug, "") };
    let below =
        ancestry(path).map(|path| Crumb { name: Shown(last(path)).to_string(), href: href("browse", slug, path) });
    std::iter::once(top).chain(below).collect()
}

/// The folders, closed.
pub(super) fn trunk(folders: &[FolderLine]) -> Vec<Branch> {
    let branch = |folder: &FolderLine| Branch {
        name: Shown(&folder.name).to_string(),
        href: href("browse", &slug(folders, folder), ""),
        current: false,
        opens: false,
        closes: 0,
        trouble: matches!(folder.state, FolderState::Degraded | FolderState::Suspended),
    };
    folders.iter().map(branch).collect()
}

/// One level of the tree.
struct Level {
    /// With a slash at its end, unless it is the top.
    directory: String,
    names: Vec<String>,
    more: bool,
    /// The one that leads down to where the visitor is.
    open: Option<String>,
}

/// The branches of a folder, in the order in which they are written: each level inside the branch that is open above it.
fn grow(slug: &str, levels: &[Level], here: &str) -> Vec<Branch> {
    let Some((level, deeper)) = levels.split_first() else { return Vec::new() };
    let mut branches = Vec::new();
    for name in &level.names {
        let path = format!("{}{name}", level.directory);
        let inside = if level.open.as_ref() == Some(name) { grow(slug, deeper, here) } else { Vec::new() };
        branches.push(Branch {
            name: Shown(name).to_string(),
            href: href("browse", slug, &path),
            current: path == here,
            opens: !inside.is_empty(),
            closes: 0,
            trouble: false,
        });
        branches.extend(inside);
    }
    if level.more {
        let href = href("browse", slug, &level.directory);
        branches.push(Branch { name: "…".to_owned(), href, current: false, opens: false, closes: 0, trouble: false });
    }
    if let Some(last) = branches.last_mut() {
        last.closes += 1;
    }
    branches
}

/// As it is asked for; by name else.
fn order(asked: &Asked) -> Order {
    let sort = match asked.sort.as_deref() {
        Some("size") => Sort::Size,
        Some("modified") => Sort::Modified,
        Some("state") => Sort::State,
        Some("synced") => Sort::Synced,
        Some(_) | None => Sort::Name,
    };
    Order { sort, descending: asked.order.as_deref() == Some("desc") }
}

/// An address with an order, which is left out where it is the usual one.
fn ordered(href: &str, order: Order) -> String {
    let sort = match order.sort {
        Sort::Name if !order.descending => return href.to_owned(),
        Sort::Name => "name",
        Sort::Size => "size",
        Sort::Modified => "modified",
        Sort::State => "state",
        Sort::Synced => "synced",
    };
    format!("{href}?sort={sort}{}", if order.descending { "&order=desc" } else { "" })
}

fn columns(w: &Words, href: &str, now: Order) -> Vec<Column> {
    let by = |label, sort| {
        let is_sorted = now.sort == sort;
        // Sizes and times begin with the largest, and states with what needs attention.
        let first = matches!(sort, Sort::Size | Sort::Modified | Sort::Synced);
        let descending = if is_sorted { !now.descending } else { first };
        let href = Some(ordered(href, Order { sort, descending }));
        SortBy { label, href, descending: is_sorted.then_some(now.descending) }
    };
    vec![
        Column { class: "name", by: vec![by(w.name, Sort::Name)] },
        Column { class: "size", by: vec![by(w.size, Sort::Size)] },
        Column { class: "date", by: vec![by(w.modified, Sort::Modified)] },
        Column { class: "state", by: vec![by(w.state, Sort::State), by(w.last_sync, Sort::Synced)] },
    ]
}

/// Of a search, whose order is that of the paths.
pub(super) fn plain_columns(w: &Words) -> Vec<Column> {
    [(w.name, "name"), (w.size, "size"), (w.modified, "date"), (w.last_sync, "state")]
        .map(|(label, class)| Column { class, by: vec![SortBy { label, href: None, descending: None }] })
        .to_vec()
}

/// How much a search has found, in words. A later page only goes on.
pub(super) fn found(w: &Words, after: Option<&str>, count: usize, more: bool) -> Option<String> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    Some(match (after, more) {
        (Some(_), _) => w.further.to_owned(),
        (None, true) if count > 0 => w.count(&w.found_at_least, count),
        (None, true) => w.nothing_yet.to_owned(),
        (None, false) => w.count(&w.found, count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(directory: &str, names: &[&str], open: Option<&str>) -> Level {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Level { directory: directory.to_owned(), names, more: false, open: open.map(str::to_owned) }
    }

    #[test]
    fn the_tree_is_open_down_to_here_and_every_level_ends() {
        let levels =
            [level("", &["a", "b"], Some("a")), level("a/", &["x", "y"], Some("y")), level("a/y/", &["z"], None)];
        let branches = grow("docs", &levels, "a/y");
        let seen: Vec<_> = branches.iter().map(|b| (b.name.as_str(), b.current, b.opens, b.closes)).collect();
        assert_eq!(
            seen,
            [
                ("a", false, true, 0),
                ("x", false, false, 0),
                ("y", true, true, 0),
                ("z", false, false, 2),
                ("b", false, false, 1)
            ]
        );
        assert_eq!(branches[3].href, "/browse/docs/a/y/z");
        for levels in [&levels[..], &[level("", &[], None)], &[level("", &["q"], Some("q")), level("q/", &[], None)]] {
            let branches = grow("docs", levels, "");
            let opened = branches.iter().filter(|branch| branch.opens).count() + usize::from(!branches.is_empty());
            assert_eq!(branches.iter().map(|branch| branch.closes).sum::<usize>(), opened);
        }
    }

    #[test]
    fn a_column_sorts_and_then_the_other_way_round() {
        let w = Words::of(crate::urls::web::language::Language::English);
        let hrefs = |order| -> Vec<String> {
            columns(w, "/b", order).into_iter().flat_map(|column| column.by).filter_map(|by| by.href).collect()
        };
        let others = ["/b?sort=modified&order=desc", "/b?sort=state", "/b?sort=synced&order=desc"];
        assert_eq!(hrefs(Order::default())[..2], ["/b?sort=name&order=desc", "/b?sort=size&order=desc"]);
        assert_eq!(hrefs(Order::default())[2..], others);
        let by_size = Order { sort: Sort::Size, descending: true };
        assert_eq!(hrefs(by_size)[..2], ["/b", "/b?sort=size"]);
        assert_eq!(hrefs(by_size)[2..], others);
        for (address, order) in [("/b", Order::default()), ("/b?sort=size&order=desc", by_size)] {
            assert_eq!(ordered("/b", order), address);
        }
    }
}
