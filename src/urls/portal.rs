//! The service without HTTP, which both the API and the web page call: what all of it shares, and who calls. What there is to see is in
//! `browsing`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::{HeaderMap, header};

use super::caller::Caller;
use super::client::{self, Client};
use super::counters::Counters;
use super::limits::Limiter;
use super::refusal::Refusal;
use super::tokens::{Tokens, is_name};
use crate::agent::endpoint_name;
use crate::catalog::browse::{Counts, FolderLine};
use crate::catalog::{Catalog, CatalogError};
use crate::config::settings::{Settings, UrlsAuth, UrlsSettings};
use crate::model::{FolderId, Scopes};
use crate::remote::{self, Limits, RemoteError};

mod browsing;

pub use browsing::{Directory, Files, LARGEST_PAGE, Level};

/// Wrong tokens that a client may send at once, and how many more a second: nobody mistypes more often, and nobody guesses one so.
const WRONG_TOKENS: (u32, f64) = (10, 1.0 / 6.0);

/// What was asked for last, and when.
type Dated<T> = tokio::sync::Mutex<Option<(Instant, T)>>;

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Portal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    catalog: Catalog,
    store: remote::Client,
    endpoint: String,
    settings: UrlsSettings,
    tokens: RwLock<Arc<Tokens>>,
    calls: Option<Mutex<Limiter>>,
    wrong_tokens: Mutex<Limiter>,
    folders: Dated<Arc<Vec<FolderLine>>>,
    counts: Dated<Arc<HashMap<FolderId, Counts>>>,
    indexed: Dated<bool>,
    counters: Counters,
}

/// The service could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(RemoteError),
    /// The catalog.
    #[error("open the catalog")]
    Catalog(#[source] CatalogError),
}

/// How long things may last: what forms offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// Where nothing is asked for.
    pub default_expiry: Duration,
    /// At most.
    pub max_expiry: Duration,
}

impl Portal {
    /// Prepares the clients of both servers. Nothing is asked of either yet.
    ///
    /// # Errors
    /// If a client can't be made.
    pub async fn open(settings: &Settings, tokens: Tokens) -> Result<Self, OpenError> {
        let catalog = Catalog::open(&settings.database, "agent-portail urls").map_err(OpenError::Catalog)?;
        // URLs are signed for the host that browsers reach.
        let mut s3 = settings.s3.clone();
        if let Some(public) = &settings.urls.public_endpoint_url {
            s3.endpoint_url = Some(public.clone());
        }
        let limits = Limits { workers: 1, bandwidth: None };
        let store = remote::connect(&s3, &limits).await.map_err(OpenError::Store)?;
        let urls = settings.urls.clone();
        let (capacity, rate) = WRONG_TOKENS;
        let portal = Self {
            inner: Arc::new(Inner {
                catalog,
                store,
                endpoint: endpoint_name(&settings.s3),
                // A page with its pictures comes at once.
                calls: urls.rate_limit.map(|rate| Mutex::new(Limiter::new(rate.saturating_mul(2), f64::from(rate)))),
                settings: urls,
                tokens: RwLock::default(),
                wrong_tokens: Mutex::new(Limiter::new(capacity, rate)),
                folders: tokio::sync::Mutex::new(None),
                counts: tokio::sync::Mutex::new(None),
                indexed: tokio::sync::Mutex::new(None),
                counters: Counters::default(),
            }),
        };
        portal.set_tokens(tokens);
        Ok(portal)
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(super) fn store(&self) -> &remote::Client {
        &self.inner.store
    }

    /// The store as the catalog names it.
    pub(super) fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// As configured.
    pub fn settings(&self) -> &UrlsSettings {
        &self.inner.settings
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// How long things may last.
    pub fn limits(&self) -> Expiries {
        let settings = &self.inner.settings;
        Expiries { default_expiry: settings.default_expiry, max_expiry: settings.max_expiry }
    }

    /// The tokens that are known from now on.
    pub fn set_tokens(&self, tokens: Tokens) {
        self.inner.counters.tokens.store(tokens.len() as u64, Ordering::Relaxed);
        *self.inner.tokens.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tokens);
    }

    fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.inner.tokens.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nobody is asked for a token.
    pub fn is_open(&self) -> bool {
        matches!(self.inner.settings.auth, UrlsAuth::Open)
    }

    /// Who calls: by a token, by what a proxy of ours says, or anybody where nobody is asked. None if nothing was said.
    ///
    /// # Errors
    /// If the token is nobody's (401), or the client has sent too many such (429).
    pub fn authenticate(&self, headers: &HeaderMap, client: &Client) -> Result<Option<Caller>, Refusal> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let text = value.to_str().unwrap_or_default();
            let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let (_, token) = token.ok_or(Refusal::Unauthenticated)?;
            return self.token(token.trim(), client).map(Some);
        }
        if self.is_open() {
            return Ok(Some(Caller::named("local", Scopes::all())));
        }
        Ok(self.proxied(headers, client))
    }

    fn proxied(&self, headers: &HeaderMap, client: &Client) -> Option<Caller> {
        let user = self.inner.settings.proxy_user.as_ref().filter(|_| client.by_proxy)?;
        let name = headers.get(&user.header)?.to_str().ok()?;
        is_name(name).then(|| Caller::named(name, user.scopes))
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// If it is nobody's (401), or the client has sent too many such (429): then it is not even looked at.
    pub fn token(&self, token: &str, client: &Client) -> Result<Caller, Refusal> {
        self.may_guess(client)?;
        match self.tokens().find(token) {
            Some(entry) => Ok(Caller::of(entry)),
            None => {
                self.guessed_wrong(client);
                Err(Refusal::Unauthenticated)
            }
        }
    }

    /// The caller of this name as the file of tokens has them now: a session lasts as long as its caller's
    /// [`proof`](Caller::proof) is the one that it began with.
    pub fn caller_named(&self, name: &str) -> Option<Caller> {
        self.tokens().named(name).map(Caller::of)
    }

    /// Whether a client may try a secret of any kind.
    ///
    /// # Errors
    /// If it has sent too many wrong ones (429).
    pub fn may_guess(&self, client: &Client) -> Result<(), Refusal> {
        let wrong = self.inner.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.look(client::counted(client.address), Instant::now()).map_err(|wait| {
            self.inner.counters.limited.add(1);
            Refusal::TooMany(wait)
        })
    }

    /// Counts a secret that nobody has.
    pub fn guessed_wrong(&self, client: &Client) {
        self.inner.counters.wrong_tokens.add(1);
        let mut wrong = self.inner.wrong_tokens.lock().unwrap_or_else(PoisonError::into_inner);
        // Where there is none left, it was refused before.
        let _ = wrong.take(client::counted(client.address), Instant::now());
    }

    /// A path of this service as a URL: under `urls.public_url`, or as the client calls it.
    pub fn absolute(&self, client: &Client, path: &str) -> String {
        let base = self.inner.settings.public_url.clone().or_else(|| client.base());
        format!("{}{path}", base.unwrap_or_else(|| format!("http://{}", self.inner.settings.listen)))
    }

    /// Counts a call of a client.
    ///
    /// # Errors
    /// If there were too many (429).
    pub fn admit(&self, address: IpAddr) -> Result<(), Refusal> {
        let Some(calls) = &self.inner.calls else { return Ok(()) };
        let taken = calls.lock().unwrap_or_else(PoisonError::into_inner).take(client::counted(address), Instant::now());
        taken.map_err(|wait| {
            self.inner.counters.limited.add(1);
            Refusal::TooMany(wait)
        })
    }
}
