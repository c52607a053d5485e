//! One file: a look at it, what is known of it, and links to it.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::browse::crumbs_to;
use super::{page, place};
use crate::catalog::browse::{FileDetail, FolderLine};
use crate::model::{Digest, RowState, Scope};
use crate::urls::disposition::Disposition;
use crate::urls::sharing::LinkWish;
use crate::urls::signing::Wish;
use crate::urls::web::format::{duration, size};
use crate::urls::web::names::{Kind, Shown, parent};
use crate::urls::web::present::{explanation, file_standing, href, link_row, place as place_text, slug, unix};
use crate::urls::web::view::{Choice, Created, Crumb, Fact, FilePage, Here, Preview, Share, When};
use crate::urls::web::visitor::{Form, Visitor};
use crate::urls::web::words::Words;
use crate::urls::{Portal, Refusal};

/// How long a preview can be loaded: a page may stay open for a while before its document is read to its end.
const PREVIEW: Duration = Duration::from_secs(3600);
/// How long a download may take to begin.
const STEP: Duration = Duration::from_secs(60);
/// A larger picture is not loaded by itself.
const LARGEST_PICTURE: u64 = 64 << 20;
/// Links that are listed beside their file; the page of links has all.
const LINKS: usize = 20;

/// A file and its folder.
struct Found {
    folder: FolderLine,
    slug: String,
    file: FileDetail,
}

impl Found {
    async fn at(portal: &Portal, uri: &Uri) -> Result<Self, Refusal> {
        let (name, path) = place(uri)?;
        let folder = portal.folder(&name).await?;
        let slug = slug(&portal.folders().await?, &folder);
        let file = portal.file(&folder, &path).await?;
        Ok(Self { folder, slug, file })
    }

    fn is_there(&self) -> bool {
        matches!(self.file.line.state, RowState::Synced | RowState::Kept)
    }
}

/// Everything about a file.
pub async fn show(State(portal): State<Portal>, visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    let found = Found::at(&portal, &uri).await?;
    let share = offer(&portal, &visitor, &found);
    render(&portal, &visitor, &found, share, StatusCode::OK).await
}

/// The fields of the form.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    #[serde(default)]
    form_token: String,
    /// In seconds.
    expires_in: u64,
    #[serde(default)]
    max_uses: String,
    #[serde(default)]
    version: String,
}

/// Creates a link.
pub async fn share(
    State(portal): State<Portal>,
    visitor: Visitor,
    uri: Uri,
    Form(wanted): Form<Wanted>,
) -> Result<Response, Refusal> {
    visitor.check(&wanted.form_token)?;
    let found = Found::at(&portal, &uri).await?;
    let w = visitor.w;
    let mut share = offer(&portal, &visitor, &found);
    let max_uses = match wanted.max_uses.trim() {
        "" => Ok(None),
        text => text.parse::<u32>().map(Some),
    };
    let Ok(max_uses) = max_uses else {
        share.error = Some(w.wrong_uses.to_owned());
        return render(&portal, &visitor, &found, share, StatusCode::BAD_REQUEST).await;
    };
    let lasting = Some(Duration::from_secs(wanted.expires_in));
    let wish = LinkWish { lasting, max_uses, pinned: wanted.version == "pinned" };
    match portal.create_link(&visitor.caller, &found.folder, &found.file, wish).await {
        Ok(created) => {
            share.created = Some(Created {
                href: portal.absolute(&visitor.client, &created.href()),
                until: When::date(w, unix(created.expires_at)),
                uses: max_uses.map(|most| w.count(&w.downloads, u64::from(most))),
            });
            render(&portal, &visitor, &found, share, StatusCode::CREATED).await
        }
        // Beside the form, where it can be put right.
        Err(Refusal::Invalid(_)) => {
            share.error = Some(w.wrong_link.to_owned());
            render(&portal, &visitor, &found, share, StatusCode::BAD_REQUEST).await
        }
        Err(refusal) => Err(refusal),
    }
}

/// Leads to the file, for the browser to show, if it can.
pub async fn open(State(portal): State<Portal>, _visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    lead(&portal, &uri, Disposition::Inline).await
}

/// Leads to the file, for the browser to save.
pub async fn download(State(portal): State<Portal>, _visitor: Visitor, uri: Uri) -> Result<Response, Refusal> {
    lead(&portal, &uri, Disposition::Attachment).await
}

async fn lead(portal: &Portal, uri: &Uri, disposition: Disposition) -> Result<Response, Refusal> {
    let found = Found::at(portal, uri).await?;
    let wish = Wish { lasting: Some(shortest(portal, STEP)), disposition, content_type: None };
    let signed = portal.presign(&found.folder, &found.file, &wish).await?;
    let location = HeaderValue::try_from(signed.url).map_err(|_| Refusal::Defect)?;
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// No longer than is allowed.
fn shortest(portal: &Portal, wanted: Duration) -> Duration {
    wanted.min(portal.limits().max_expiry)
}

async fn render(
    portal: &Portal,
    visitor: &Visitor,
    found: &Found,
    share: Share,
    status: StatusCode,
) -> Result<Response, Refusal> {
    let (w, line) = (visitor.w, &found.file.line);
    let name = Shown(&line.name).to_string();
    // The page is good without one, too: what is in the way has been logged.
    let (preview, store) = match look(portal, visitor, found).await {
        Ok(Some((preview, store))) => (preview, Some(store)),
        Ok(None) | Err(_) => (Preview::None, None),
    };
    let folders = portal.folders().await?;
    let may_link = visitor.caller.may(Scope::Link);
    let all = visitor.caller.may(Scope::Admin);
    let (links, _) = portal.links(&visitor.caller, all, Some(&found.file), None, LINKS).await?;
    let mut crumbs = vec![Crumb { name: w.all_folders.to_owned(), href: "/".to_owned() }];
    crumbs.extend(crumbs_to(&found.folder, &found.slug, parent(&line.path)));
    let to = |part| found.is_there().then(|| href(part, &found.slug, &line.path));
    let file = FilePage {
        frame: visitor.frame(&name, Here::Files),
        crumbs,
        kind: Kind::of(&line.name),
        standing: file_standing(w, line),
        explanation: explanation(w, line.state),
        preview,
        download: to("download"),
        open: to("open"),
        facts: facts(w, found),
        share,
        links: links.iter().map(|link| link_row(visitor, &folders, link, may_link)).collect(),
        back: href("file", &found.slug, &line.path),
        name,
    };
    page(status, w, &file, store.as_deref())
}

/// A look at the file, and where it comes from. Its type is fixed, so that whatever is in the file, a browser takes it for nothing else;
/// and a picture runs no script, even one that could. A frame with `sandbox` would keep a document from the browser's reader: what keeps
/// it from the page is that it comes from another origin.
async fn look(portal: &Portal, visitor: &Visitor, found: &Found) -> Result<Option<(Preview, String)>, Refusal> {
    let (line, kind) = (&found.file.line, Kind::of(&found.file.line.name));
    let Some(content_type) = kind.previewed_as(&line.name).filter(|_| found.is_there()) else { return Ok(None) };
    if kind == Kind::Image && line.size.is_none_or(|size| size > LARGEST_PICTURE) {
        return Ok(None);
    }
    let store = portal.store_origin(&found.folder.bucket).await?;
    if kind == Kind::Pdf && visitor.client.base().is_none_or(|own| own.eq_ignore_ascii_case(&store)) {
        return Ok(None);
    }
    let wish = Wish {
        lasting: Some(shortest(portal, PREVIEW)),
        disposition: Disposition::Inline,
        content_type: Some(content_type.to_owned()),
    };
    let signed = portal.presign(&found.folder, &found.file, &wish).await?;
    let preview = if kind == Kind::Pdf { Preview::Pdf(signed.url) } else { Preview::Image(signed.url) };
    Ok(Some((preview, store)))
}

fn facts(w: &Words, found: &Found) -> Vec<Fact> {
    let (file, line) = (&found.file, &found.file.line);
    let text = |label, value: String| Fact { label, value, when: None, mono: false };
    let moment = |label, at: Option<std::time::SystemTime>| {
        at.map(|at| Fact { label, value: String::new(), when: Some(When::date(w, unix(at))), mono: false })
    };
    let mut facts = vec![text(w.location, place_text(&found.folder.name, parent(&line.path)))];
    if let Some(bytes) = line.size {
        let exactly = w.count(&w.bytes, bytes);
        let value = size(w.language, bytes);
        facts.push(text(w.exact_size, if bytes < 1000 { exactly } else { format!("{value} ({exactly})") }));
    }
    facts.extend(moment(w.created, file.created_at));
    facts.extend(moment(w.modified, line.modified_at));
    facts.extend(moment(w.synced_at, line.synced_at));
    if let Some(md5) = line.md5 {
        facts.push(Fact { label: w.md5, value: Digest::to_hex(md5), when: None, mono: true });
    }
    facts
}

/// The form, or why there is none.
fn offer(portal: &Portal, visitor: &Visitor, found: &Found) -> Share {
    let w = visitor.w;
    let refused = if !visitor.caller.may(Scope::Link) {
        Some(w.no_right_to_link.to_owned())
    } else if !found.is_there() {
        Some(w.not_now.to_owned())
    } else {
        None
    };
    let limits = portal.limits();
    Share {
        action: href("file", &found.slug, &found.file.line.path),
        expiries: expiries(w, limits.default_expiry, limits.max_expiry),
        can_pin: found.file.version_id.is_some(),
        refused,
        error: None,
        created: None,
    }
}

/// What people ask for, as far as it is allowed, and what is configured.
fn expiries(w: &Words, default: Duration, longest: Duration) -> Vec<Choice> {
    const USUAL: [u64; 4] = [3_600, 86_400, 3 * 86_400, 7 * 86_400];
    let (default, longest) = (default.as_secs(), longest.as_secs());
    let mut all: Vec<u64> = USUAL.into_iter().filter(|seconds| *seconds < longest).collect();
    all.extend([default, longest]);
    all.sort_unstable();
    all.dedup();
    all.into_iter()
        .map(|seconds| Choice {
            value: seconds.to_string(),
            label: duration(w.language, Duration::from_secs(seconds)),
            chosen: seconds == default,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::urls::web::language::Language;

    #[test]
    fn what_is_offered_is_allowed_and_what_is_usual_here_is_chosen() {
        let w = Words::of(Language::English);
        let offered = |default, longest| {
            let all = expiries(w, Duration::from_secs(default), Duration::from_secs(longest));
            let text =
                all.iter().map(|c| format!("{}{}", c.label.replace('\u{a0}', " "), if c.chosen { "*" } else { "" }));
            text.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(offered(3_600, 604_800), "1 hour*, 1 day, 3 days, 7 days");
        assert_eq!(offered(900, 7_200), "15 minutes*, 1 hour, 2 hours");
        assert_eq!(offered(60, 60), "1 minute*");
    }
}
