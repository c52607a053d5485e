//! Tells webhooks what people are to know. What there is to tell is in the catalog, and so is how far each has come: nothing is
//! lost over a restart, and nobody who syncs waits for a webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::catalog::notice::{self, Notice};
use crate::catalog::{Catalog, CatalogError};
use crate::config::settings::NotifySettings;
use crate::queue::backoff;
use crate::sync::act::chain;
use crate::webhook::Webhook;

/// How often the catalog is asked for news.
const POLL: Duration = Duration::from_secs(2);
/// Notices that are read at once.
const PAGE: i64 = 100;
/// What could not be delivered for so long is given up: whoever is told a day late is misled.
const GIVE_UP: Duration = Duration::from_secs(86_400);

/// What has become of a webhook's notifications since the start.
#[derive(Debug, Default)]
pub struct Told {
    /// The webhook's name.
    pub name: String,
    /// Taken.
    pub delivered: AtomicU64,
    /// Not taken, and tried again.
    pub again: AtomicU64,
    /// Not taken for too long.
    pub given_up: AtomicU64,
}

/// A webhook that is told. It ends when it is dropped; what is under way then comes again with the next one.
#[derive(Debug)]
pub(super) struct Telling {
    pub(super) told: Arc<Told>,
    task: JoinHandle<()>,
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Telling {
    /// Begins. None, with a line in the log, if its authorities can't be read.
    pub(super) fn start(
        settings: &NotifySettings,
        catalog: Catalog,
        agent: &str,
        cancel: &CancellationToken,
    ) -> Option<Self> {
        let NotifySettings { name, url, secret, ca_file, .. } = settings;
        let webhook = match Webhook::new(url.clone(), secret.as_ref(), ca_file.as_deref()) {
            Ok(webhook) => webhook,
            Err(error) => {
                tracing::error!(webhook = %name, "the webhook {name} can't be used: failed to {}", chain(&error));
                return None;
            }
        };
        let told = Arc::new(Told { name: name.clone(), ..Told::default() });
        let teller =
            Teller { settings: settings.clone(), webhook, catalog, agent: agent.to_owned(), told: Arc::clone(&told) };
        let cancel = cancel.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = teller.tell() => {}
                () = cancel.cancelled() => {}
            }
        });
        Some(Self { told, task })
    }
}

struct Teller {
    settings: NotifySettings,
    webhook: Webhook,
    catalog: Catalog,
    agent: String,
    told: Arc<Told>,
}

impl Teller {
    /// Without end.
    async fn tell(&self) {
        loop {
            if let Err(error) = self.tell_all().await {
                // Who needs the catalog for more than this says so louder.
                tracing::debug!(webhook = %self.settings.name, "failed to {}", chain(&error));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// All that there is to tell, in order.
    async fn tell_all(&self) -> Result<(), CatalogError> {
        let (catalog, agent, name) = (&self.catalog, self.agent.as_str(), self.settings.name.as_str());
        let mut last = notice::cursor(catalog, agent, name).await?;
        loop {
            let page = notice::after(catalog, agent, last, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            for notice in page {
                let wanted = self.settings.events.contains(&notice.kind);
                let delivered = wanted && self.deliver(&notice).await;
                notice::advance(catalog, agent, name, notice.id, delivered).await?;
                last = notice.id;
            }
        }
    }

    /// Until it is taken, or too old; answers whether it was taken.
    async fn deliver(&self, notice: &Notice) -> bool {
        let name = &self.settings.name;
        let (id, body) = (identifier(notice), Bytes::from(body(&self.agent, notice)));
        let mut attempts = 0;
        loop {
            let Err(error) = self.webhook.post(&id, SystemTime::now(), body.clone()).await else {
                self.told.delivered.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(webhook = %name, id, "told {name} of `{}`", notice.kind.as_str());
                return true;
            };
            if notice.at.elapsed().is_ok_and(|age| age > GIVE_UP) {
                self.told.given_up.fetch_add(1, Ordering::Relaxed);
                tracing::error!(webhook = %name, id, "`{}` of {} was not delivered to {name} for a day and is given up: failed to {}",
                    notice.kind.as_str(), notice.folder, chain(&error));
                return false;
            }
            self.told.again.fetch_add(1, Ordering::Relaxed);
            if attempts == 0 {
                tracing::warn!(webhook = %name, id, "notifications to {name} wait: failed to {}", chain(&error));
            }
            let pause = backoff(attempts, &mut rand::rng());
            tokio::time::sleep(pause).await;
            attempts = attempts.saturating_add(1);
        }
    }
}

/// The same each time that the same is told.
fn identifier(notice: &Notice) -> String {
    let micros = notice.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    format!("notice-{}-{micros}", notice.id)
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    agent: &'a str,
    folder: &'a str,
    path: &'a str,
    bucket: &'a str,
    prefix: &'a str,
    reason: Option<&'a str>,
    state: &'a str,
    held_deletes: u64,
}

fn body(agent: &str, notice: &Notice) -> String {
    let body = Body {
        kind: format!("folder.{}", notice.kind.as_str()),
        timestamp: humantime::format_rfc3339_millis(notice.at).to_string(),
        data: Data {
            agent,
            folder: &notice.folder,
            path: &notice.path,
            bucket: &notice.bucket,
            prefix: &notice.prefix,
            reason: notice.reason.as_deref(),
            state: &notice.state,
            held_deletes: notice.held,
        },
    };
    // Nothing in it can't be written.
    serde_json::to_string(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NoticeKind;

    #[test]
    fn the_body_is_what_the_manual_shows() {
        let notice = Notice {
            id: 7,
            at: UNIX_EPOCH + Duration::from_millis(1_766_000_000_123),
            kind: NoticeKind::DeletionsHeld,
            reason: Some("more than 25% \"at once\"".to_owned()),
            folder: "documents".to_owned(),
            path: "/srv/documents".to_owned(),
            bucket: "company-files".to_owned(),
            prefix: "documents/".to_owned(),
            state: "degraded".to_owned(),
            held: 412,
        };
        assert_eq!(identifier(&notice), "notice-7-1766000000123000");
        let shown = r#"{"type":"folder.deletions_held","timestamp":"2025-12-17T19:33:20.123Z","data":{"agent":"srv-1","folder":"documents","path":"/srv/documents","bucket":"company-files","prefix":"documents/","reason":"more than 25% \"at once\"","state":"degraded","held_deletes":412}}"#;
        assert_eq!(body("srv-1", &notice), shown);
    }
}
