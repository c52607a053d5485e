//! Share links: making, listing and revoking them, and what becomes of one that is opened.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret as _, SecretString};

use super::caller::Caller;
use super::client;
use super::cursor::Cursor;
use super::portal::{LARGEST_PAGE, Portal};
use super::refusal::{Gone, Refusal};
use super::signing::{Wish, not_synced};
use super::tokens;
use crate::catalog::browse::{FileDetail, FolderLine};
use crate::catalog::link::{self, Link, NewLink, Outcome, Target, Wanted};
use crate::model::{Printable, Scope};
use crate::remote::Presigned;

/// How long the URL lasts that a link leads to: long enough to begin the download.
const STEP: Duration = Duration::from_secs(60);

/// What a link is to be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkWish {
    /// How long it is to last; none = `urls.default_expiry`.
    pub lasting: Option<Duration>,
    /// How often it may be opened; none = as often as one likes.
    pub max_uses: Option<u32>,
    /// Whether it stays with the version of today instead of following the file.
    pub pinned: bool,
}

/// A link that was made. Its token is nowhere else.
#[derive(Clone, Debug)]
pub struct Created {
    /// Of the link.
    pub id: i64,
    /// What the recipient is to have. The path on this service is [`Created::href`].
    pub token: SecretString,
    /// When it ends.
    pub expires_at: SystemTime,
}

impl Created {
    /// Where the link leads, on this service.
    pub fn href(&self) -> String {
        format!("/l/{}", self.token.expose_secret())
    }
}

/// How a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkStatus {
    /// It can be opened.
    Active,
    /// It can't any more.
    Ended(Gone),
}

impl LinkStatus {
    /// Of a link, at a time.
    pub fn of(link: &Link, now: SystemTime) -> Self {
        if link.revoked_at.is_some() {
            Self::Ended(Gone::Revoked)
        } else if link.expires_at <= now {
            Self::Ended(Gone::Expired)
        } else if link.max_uses.is_some_and(|most| link.uses >= most) {
            Self::Ended(Gone::UsedUp)
        } else if link.file_gone {
            Self::Ended(Gone::Deleted)
        } else {
            Self::Active
        }
    }

    /// For machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Ended(gone) => gone.as_str(),
        }
    }
}

impl Portal {
    /// Makes a share link to a file that [`Portal::file`] has found.
    ///
    /// # Errors
    /// If the caller may not (403), the wish can't be granted (400), or the file can't be served as things are (409, 410).
    pub async fn create_link(
        &self,
        caller: &Caller,
        folder: &FolderLine,
        file: &FileDetail,
        wish: LinkWish,
    ) -> Result<Created, Refusal> {
        caller.need(Scope::Link)?;
        let lasting = self.expiry(wish.lasting)?;
        let max_uses = match wish.max_uses {
            None => None,
            Some(0) => return Err(Refusal::Invalid("`max_uses` must be at least 1".to_owned())),
            Some(most) => {
                Some(i32::try_from(most).map_err(|_| Refusal::Invalid("`max_uses` is too large".to_owned()))?)
            }
        };
        self.may_be_served(folder, file)?;
        let pinned = match (wish.pinned, file.version_id.as_deref()) {
            (false, _) => None,
            (true, Some(version)) => Some((file.key.as_str(), version)),
            (true, None) => {
                return Err(Refusal::Conflict(
                    "the bucket keeps no versions, so a link can't stay with one: leave `pinned` out".to_owned(),
                ));
            }
        };
        let token = tokens::new_link_token(&mut rand::rng());
        let hash = tokens::hash_of(&token);
        let expires_at = SystemTime::now() + lasting;
        let new = NewLink {
            hash: &hash,
            folder: folder.id,
            file: file.line.id,
            path: &file.line.path,
            pinned,
            created_by: &caller.name,
            expires_at,
            max_uses,
        };
        let id = link::create(self.catalog(), &new).await?.ok_or(Refusal::Gone(Gone::Deleted))?;
        self.counters().links_made.add(1);
        tracing::info!(link = id, caller = caller.name, path = %Printable(&file.line.path), "made a link");
        Ok(Created { id, token, expires_at })
    }

    /// A page of the caller's links, the newest first; of everybody's for an admin who asks for `all`. Of one file only, if it is given.
    ///
    /// # Errors
    /// If the caller may not (403), or `after` or `limit` can't be used (400).
    pub async fn links(
        &self,
        caller: &Caller,
        all: bool,
        file: Option<&FileDetail>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Link>, Option<String>), Refusal> {
        caller.need(if all { Scope::Admin } else { Scope::Read })?;
        if !(1..=LARGEST_PAGE).contains(&limit) {
            return Err(Refusal::Invalid(format!("`limit` must be from 1 to {LARGEST_PAGE}")));
        }
        let before = match after.map(Cursor::parse).transpose()? {
            None => None,
            Some(Cursor::Link(id)) => Some(id),
            Some(Cursor::Directory(_) | Cursor::Files | Cursor::File(..) | Cursor::Path(..)) => {
                return Err(Cursor::foreign());
            }
        };
        let created_by = (!all).then_some(caller.name.as_str());
        let wanted = Wanted { created_by, file: file.map(|file| file.line.id), before };
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let mut links = link::list(self.catalog(), wanted, one_more).await?;
        let more = links.len() > limit;
        links.truncate(limit);
        let next = links.last().filter(|_| more).map(|link| Cursor::Link(link.id).to_text());
        Ok((links, next))
    }

    /// Puts an end to a link, at once.
    ///
    /// # Errors
    /// If there is none (404), or it is another's and the caller is no admin (403).
    pub async fn revoke(&self, caller: &Caller, id: i64) -> Result<(), Refusal> {
        caller.need(Scope::Link)?;
        let owner = link::owner(self.catalog(), id).await?.ok_or(Refusal::NotFound("link"))?;
        if owner != caller.name {
            caller.need(Scope::Admin)?;
        }
        link::revoke(self.catalog(), id, &caller.name).await?;
        self.counters().links_revoked.add(1);
        tracing::info!(link = id, caller = caller.name, "revoked a link");
        Ok(())
    }

    /// Whether a link would lead somewhere, without opening it.
    ///
    /// # Errors
    /// If there is none (404), or it leads nowhere (409, 410).
    pub async fn look_at_link(&self, token: &str) -> Result<(), Refusal> {
        let target = self.find_link(token).await?;
        check(&target)?;
        self.is_our_store(&target.endpoint)
    }

    /// Opens a link: counts the use, and answers where it leads.
    ///
    /// # Errors
    /// If there is none (404), or it leads nowhere (409, 410).
    pub async fn open_link(&self, token: &str, address: IpAddr) -> Result<Presigned, Refusal> {
        let target = self.find_link(token).await?;
        let address = client::recorded(address, self.settings().record_addresses);
        if let Err(refusal) = check(&target) {
            return self.opened_in_vain(&target, address, target.outcome, refusal).await;
        }
        self.is_our_store(&target.endpoint)?;
        // Signed first: what can't be signed is not to count.
        let Target { bucket, key, version, path, .. } = &target;
        let signed = self.sign(bucket, key, version.as_deref(), path, &Wish::default(), STEP).await?;
        if link::take(self.catalog(), target.id, address).await? {
            self.counters().link_used(Outcome::Served);
            return Ok(signed);
        }
        // Between the look and the count something has ended it.
        let now = self.find_link(token).await?;
        let (outcome, refusal) = match check(&now) {
            Err(refusal) => (now.outcome, refusal),
            Ok(()) => (Outcome::UsedUp, Refusal::Gone(Gone::UsedUp)),
        };
        self.opened_in_vain(&target, address, outcome, refusal).await
    }

    async fn opened_in_vain(
        &self,
        target: &Target,
        address: Option<IpAddr>,
        outcome: Outcome,
        refusal: Refusal,
    ) -> Result<Presigned, Refusal> {
        link::refused(self.catalog(), target.id, address, outcome).await?;
        self.counters().link_used(outcome);
        Err(refusal)
    }

    async fn find_link(&self, token: &str) -> Result<Target, Refusal> {
        let unknown = Refusal::NotFound("link");
        if !tokens::may_be_link(token) {
            return Err(unknown);
        }
        link::target(self.catalog(), &tokens::hash(token)).await?.ok_or(unknown)
    }
}

fn check(target: &Target) -> Result<(), Refusal> {
    Err(match target.outcome {
        Outcome::Served => return Ok(()),
        Outcome::Expired => Refusal::Gone(Gone::Expired),
        Outcome::Revoked => Refusal::Gone(Gone::Revoked),
        Outcome::UsedUp => Refusal::Gone(Gone::UsedUp),
        Outcome::Deleted => Refusal::Gone(Gone::Deleted),
        // Who opens a link is not told what has gone wrong on the other side.
        Outcome::NotSynced => not_synced(None),
    })
}
