//! The third stage of the configuration: validated values in the types that the program works with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::model::NoticeKind;

/// Everything that is configured, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of this agent.
    pub agent: AgentSettings,
    /// The object store.
    pub s3: S3Settings,
    /// The catalog.
    pub database: DatabaseSettings,
    /// The folders, in the order of the file. At least one for `run` and `sync`.
    pub folders: Vec<FolderSettings>,
    /// How the work is done.
    pub sync: SyncSettings,
    /// Where logs go.
    pub log: LogSettings,
    /// Health and metrics of the daemon.
    pub monitor: MonitorSettings,
    /// The link service.
    pub urls: UrlsSettings,
    /// Webhooks, in the order of the file.
    pub notify: Vec<NotifySettings>,
}

/// `[agent]`.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// How this agent is called in the catalog; default: the host name.
    pub name: String,
    /// How long `portail.event` is kept.
    pub history_retention: Duration,
    /// A rolling verification covers each folder once in this time; none = off.
    pub verify_every: Option<Duration>,
}

/// `[s3]`, without the bucket, which each folder has.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// None = what the AWS chain says.
    pub region: Option<String>,
    /// Only for S3-compatible stores.
    pub endpoint_url: Option<String>,
    /// The bucket in the path instead of the host name.
    pub path_style: bool,
    /// As S3 spells it; none = the bucket's default.
    pub storage_class: Option<String>,
    /// None = the bucket's default.
    pub encryption: Option<Encryption>,
    /// From the systemd credentials `aws-access-key-id` and `aws-secret-access-key`; none = the AWS chain.
    pub credentials: Option<StaticCredentials>,
}

/// `s3.server_side_encryption`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// SSE-S3.
    Aes256,
    /// SSE-KMS, with a key's id or the account's default key. The ETag is then not an MD5.
    Kms {
        /// `s3.kms_key_id`.
        key_id: Option<String>,
    },
}

/// A pair of keys from systemd credentials.
#[derive(Clone, Debug)]
pub struct StaticCredentials {
    /// Names the key; not a secret.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
}

/// `[database]`.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// A host name, an address, or the folder of a Unix socket (begins with `/`).
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Of the database.
    pub name: String,
    /// The role.
    pub user: String,
    /// None = peer, trust or certificate authentication.
    pub password: Option<SecretString>,
    /// Encryption of the connection.
    pub tls: Tls,
    /// Connections in the pool, without the writer's lock and LISTEN.
    pub pool_size: usize,
}

/// `database.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Disable,
    /// If the server offers it; the certificate is not checked.
    Prefer,
    /// Always; the certificate is not checked (as libpq's `require`).
    Require,
    /// Always, and the certificate must be of the host, signed by this CA or by one of the system's.
    VerifyFull {
        /// PEM; none = the system's trust store.
        ca_file: Option<PathBuf>,
    },
}

/// `[[folder]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FolderSettings {
    /// Unique among the folders of the configuration.
    pub name: String,
    /// Absolute.
    pub path: PathBuf,
    /// Of the bucket that it is mirrored to.
    pub bucket: String,
    /// Before each key; empty, or ends in `/`.
    pub prefix: String,
    /// gitignore patterns, relative to the folder.
    pub exclude: Vec<String>,
    /// What happens to the object of a file that is gone.
    pub delete: DeletePolicy,
    /// What happens to symbolic links.
    pub symlinks: SymlinkPolicy,
    /// In percent of the synced rows, 0 to 100; 100 = no threshold.
    pub max_delete_percent: f64,
    /// A number that is always allowed.
    pub max_delete_count: u64,
}

/// `folder.delete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletePolicy {
    /// The object goes too.
    Mirror,
    /// The object stays, the row becomes `kept`.
    Keep,
}

/// `folder.symlinks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymlinkPolicy {
    /// Reported, not synced.
    Skip,
    /// Synced as what they point to, if that is inside the folder.
    Follow,
}

/// `[sync]`.
#[derive(Clone, Debug)]
pub struct SyncSettings {
    /// Quiet time after the last event of a path.
    pub debounce: Duration,
    /// A path that never goes quiet is tried this often.
    pub max_delay: Duration,
    /// Between full reconciliations, jittered.
    pub reconcile_every: Duration,
    /// Concurrent S3 requests, 1 to 1024.
    pub workers: usize,
    /// Distinct paths in the queue, at least 1000.
    pub queue_capacity: usize,
    /// Bytes of a part, 5 MiB to 5 GiB; also the multipart threshold.
    pub part_size: u64,
    /// Bytes a second; none = no limit.
    pub bandwidth_limit: Option<u64>,
    /// How long acts in flight may take to finish at SIGTERM.
    pub shutdown_grace: Duration,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Where to.
    pub method: LogMethod,
    /// The least severe that is logged.
    pub level: LogLevel,
    /// How a line looks on stdout and in the file.
    pub format: LogFormat,
}

/// `log.method`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogMethod {
    /// systemd's journal.
    Journald,
    /// Standard output.
    Stdout,
    /// A file that is rotated daily, 14 kept.
    Logfile(PathBuf),
}

/// `log.level`, the most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something needs attention.
    Warn,
    /// Outcomes: uploaded, deleted, reconciled.
    Success,
    /// What the program does.
    Info,
    /// How.
    Debug,
    /// Every step.
    Trace,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[monitor]`.
#[derive(Clone, Debug)]
pub struct MonitorSettings {
    /// Of `/metrics`, `/healthz`, `/readyz` and `/status`.
    pub listen: SocketAddr,
}

/// `[urls]`.
#[derive(Clone, Debug)]
pub struct UrlsSettings {
    /// Of the API and the page.
    pub listen: SocketAddr,
    /// Of its metrics and health.
    pub monitor_listen: SocketAddr,
    /// Of a link, when the caller names none.
    pub default_expiry: Duration,
    /// The longest that may be asked for, at most 7 days.
    pub max_expiry: Duration,
    /// Who may call.
    pub auth: UrlsAuth,
    /// The S3 host that browsers reach, where it differs.
    pub public_endpoint_url: Option<String>,
}

/// `urls.auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlsAuth {
    /// Bearer tokens; none where no file is named and no systemd credential was given.
    Token {
        /// `urls.tokens_file` or the systemd credential `urls-tokens`.
        tokens_file: Option<PathBuf>,
    },
    /// Everybody on this machine; loopback only.
    Open,
}

/// `[[notify]]`.
#[derive(Clone, Debug)]
pub struct NotifySettings {
    /// Unique among the webhooks. Its place in the history is kept under this name.
    pub name: String,
    /// Where to.
    pub url: WebhookUrl,
    /// What it is signed with; none = not at all.
    pub secret: Option<SecretString>,
    /// What it is told of.
    pub events: Vec<NoticeKind>,
    /// PEM, for `https://`; none = the system's trust store.
    pub ca_file: Option<PathBuf>,
}

/// The URL of a webhook. Its path and query may be a secret, so they are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(pub(super) http::Uri);

impl WebhookUrl {
    /// All of it.
    pub fn uri(&self) -> &http::Uri {
        &self.0
    }

    /// Whether it begins with `https://`.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// A name or an address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// As given, or the scheme's own.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }

    /// Host and port, for messages.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    /// As the header `Host` has it.
    pub fn host_header(&self) -> String {
        self.0.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default()
    }
}

impl std::fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}/***", self.0.scheme_str().unwrap_or_default(), self.host_header())
    }
}

impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}
