//! The third stage: which keys there are, their defaults, and what is refused.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;

use super::error::Problem;
use super::folders;
use super::layers::{read_credential, read_secret};
use super::notify;
use super::reader::Reader;
use super::section::Section;
use super::settings::{
    AgentSettings, DatabaseSettings, Encryption, LogFormat, LogLevel, LogMethod, LogSettings, MonitorSettings,
    S3Settings, Settings, StaticCredentials, SyncSettings, Tls, UrlsAuth, UrlsSettings,
};
use super::show::Origin;
use super::sources::Sources;
use super::values;

const MIB: u64 = 1 << 20;

/// S3's limits for a part. <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PART_SIZE: std::ops::RangeInclusive<u64> = 5 * MIB..=5 * 1024 * MIB;

/// The longest that a presigned URL may live: the signature's own limit.
const MAX_EXPIRY: Duration = Duration::from_secs(7 * 86_400);

/// What stands for an address that was refused.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const DURATION: &str = "a duration such as 500ms, 15m or 7d, longer than 0";
const DURATION_OR_OFF: &str = "a duration such as 500ms, 15m or 7d; 0 = off";
const DURATION_OR_NONE: &str = "a duration such as 500ms, 15m or 7d; 0ms = none";
const URL: &str = "a URL such as https://s3.example.org, without user, password or query";

/// Reads every section in the order of the manual.
pub(super) fn settings(reader: &mut Reader, sources: &Sources) -> Settings {
    let agent = agent(reader.section("agent"), &sources.host_name);
    let (s3, bucket) = s3(reader.section("s3"), sources);
    let database = database(reader.section("database"));
    let folders = folders::folders(reader, bucket, &sources.environment);
    let sync = sync(reader.section("sync"));
    let log = log(reader.section("log"), sources.under_journald);
    let monitor = monitor(reader.section("monitor"));
    let urls = urls(reader.section("urls"));
    let notify = notify::webhooks(reader);
    Settings { agent, s3, database, folders, sync, log, monitor, urls, notify }
}

fn longer_than_nothing(time: Duration) -> bool {
    !time.is_zero()
}

fn agent(mut section: Section<'_>, host_name: &str) -> AgentSettings {
    let name = section.name("name", Some(host_name)).unwrap_or_default();
    let history_retention = section.duration("history_retention", "90d", DURATION, longer_than_nothing);
    let verify_every = section.duration("verify_every", "30d", DURATION_OR_OFF, |_| true);
    section.finish();
    AgentSettings { name, history_retention, verify_every: Some(verify_every).filter(|time| !time.is_zero()) }
}

/// The settings and the bucket of the folders that name none, with its origin.
fn s3(mut section: Section<'_>, sources: &Sources) -> (S3Settings, Option<folders::DefaultBucket>) {
    let name = section.parsed("bucket", None, folders::BUCKET, values::bucket);
    let origin = section.origin("bucket");
    // One that was refused still counts as given: it is reported once, not again for every folder.
    let bucket = match (name, &origin) {
        (None, Origin::Default) => None,
        (name, _) => Some(folders::DefaultBucket { name: name.unwrap_or_default(), origin }),
    };
    let region = section.name("region", None);
    let endpoint_url = section.parsed("endpoint_url", None, URL, values::endpoint);
    let path_style = section.truth("path_style", endpoint_url.is_some());
    let storage_class =
        section.parsed("storage_class", None, "a storage class such as STANDARD_IA", values::storage_class);
    let encryption = encryption(&mut section);
    let credentials = match static_credentials(sources) {
        Ok(credentials) => credentials,
        Err(problem) => {
            section.report(problem);
            None
        }
    };
    section.finish();
    (S3Settings { region, endpoint_url, path_style, storage_class, encryption, credentials }, bucket)
}

fn encryption(section: &mut Section<'_>) -> Option<Encryption> {
    let kms = Encryption::Kms { key_id: None };
    let choice =
        section.choice("server_side_encryption", None, &[("AES256", &Encryption::Aes256), ("aws:kms", &kms)]).cloned();
    let key_id = section.name("kms_key_id", None);
    match (choice, key_id) {
        (Some(Encryption::Kms { .. }), key_id) => Some(Encryption::Kms { key_id }),
        (choice, None) => choice,
        (choice, Some(_)) => {
            section.conflict("kms_key_id", "set s3.server_side_encryption = \"aws:kms\" with it, or remove it");
            choice
        }
    }
}

/// Both systemd credentials, or none. One alone would leave the other half to the AWS chain, which may know another account.
fn static_credentials(sources: &Sources) -> Result<Option<StaticCredentials>, Problem> {
    const ID: &str = "aws-access-key-id";
    const SECRET: &str = "aws-secret-access-key";
    let Some(directory) = &sources.credentials else { return Ok(None) };
    match (read_credential(directory, ID)?, read_credential(directory, SECRET)?) {
        (Some(access_key_id), Some(secret)) => {
            Ok(Some(StaticCredentials { access_key_id, secret_access_key: SecretString::from(secret) }))
        }
        (Some(_), None) => Err(Problem::HalfCredentials { present: ID, missing: SECRET }),
        (None, Some(_)) => Err(Problem::HalfCredentials { present: SECRET, missing: ID }),
        (None, None) => Ok(None),
    }
}

fn database(mut section: Section<'_>) -> DatabaseSettings {
    let host = section
        .parsed(
            "host",
            Some("/run/postgresql"),
            "a host name, an address or the folder of a socket, not a URL",
            |text| {
                let is_host = !text.contains("://") && !text.contains('@') && !text.contains(char::is_whitespace);
                (text.starts_with('/') || is_host).then(|| values::name(text)).flatten()
            },
        )
        .unwrap_or_default();
    let port = section.number("port", "5432", 1..=u16::MAX);
    let name = section.name("name", Some("agent-portail")).unwrap_or_default();
    let user = section.name("user", Some("agent-portail")).unwrap_or_default();
    let password = password(&mut section);
    let tls = tls(&mut section);
    let pool_size = section.number("pool_size", "8", 1..=1000);
    section.finish();
    DatabaseSettings { host, port, name, user, password, tls, pool_size }
}

/// A password of a later layer replaces a password file of an earlier one, and the reverse; both in one layer contradict
/// each other.
fn password(section: &mut Section<'_>) -> Option<SecretString> {
    let password = section.secret("password");
    let file = section.path("password_file", None);
    let (of_password, of_file) = (section.origin("password").rank(), section.origin("password_file").rank());
    let file = match (&password, file) {
        (Some(_), Some(_)) if of_password == of_file => {
            section.conflict("password_file", "database.password is set, too: remove one of them");
            None
        }
        (Some(_), Some(file)) => (of_file > of_password).then_some(file),
        (_, file) => file,
    };
    let Some(path) = file else { return password.map(SecretString::from) };
    match read_secret(&path) {
        Ok(secret) => Some(SecretString::from(secret)),
        Err(source) => {
            let origin = section.origin("password_file");
            section.report(Problem::Read { origin, path, source });
            None
        }
    }
}

fn tls(section: &mut Section<'_>) -> Tls {
    let verify = Tls::VerifyFull { ca_file: None };
    let choices =
        [("disable", &Tls::Disable), ("prefer", &Tls::Prefer), ("require", &Tls::Require), ("verify-full", &verify)];
    let tls = section.choice("tls", Some("prefer"), &choices).cloned().unwrap_or(Tls::Prefer);
    match (tls, section.path("ca_file", None)) {
        (Tls::VerifyFull { .. }, ca_file) => Tls::VerifyFull { ca_file },
        (tls @ (Tls::Disable | Tls::Prefer | Tls::Require), None) => tls,
        (tls @ (Tls::Disable | Tls::Prefer | Tls::Require), Some(_)) => {
            section.conflict("ca_file", "checked only with database.tls = \"verify-full\": set that, or remove it");
            tls
        }
    }
}

fn sync(mut section: Section<'_>) -> SyncSettings {
    let debounce = section.duration("debounce", "200ms", DURATION_OR_NONE, |_| true);
    let max_delay = section.duration("max_delay", "30s", DURATION, longer_than_nothing);
    // A value that was refused is reported once, not again for what it stands against.
    if !max_delay.is_zero() && max_delay < debounce {
        section.conflict("max_delay", "shorter than sync.debounce");
    }
    let reconcile_every =
        section.duration("reconcile_every", "1h", "a duration of at least 1s", |time| time >= Duration::from_secs(1));
    let workers = section.number("workers", "32", 1..=1024);
    let queue_capacity = section.number("queue_capacity", "100000", 1000..=100_000_000);
    let part_size = section.size("part_size", "8MiB", "a size from 5MiB to 5GiB", |bytes| PART_SIZE.contains(&bytes));
    let bandwidth = section.size("bandwidth_limit", "0", "a size such as 10MiB, per second; 0 = none", |_| true);
    let shutdown_grace = section.duration("shutdown_grace", "20s", DURATION, longer_than_nothing);
    section.finish();
    let bandwidth_limit = Some(bandwidth).filter(|bytes| *bytes > 0);
    SyncSettings {
        debounce,
        max_delay,
        reconcile_every,
        workers,
        queue_capacity,
        part_size,
        bandwidth_limit,
        shutdown_grace,
    }
}

fn log(mut section: Section<'_>, under_journald: bool) -> LogSettings {
    let default = if under_journald { "journald" } else { "stdout" };
    let journald = LogMethod::Journald;
    let logfile = LogMethod::Logfile(Default::default());
    let choices = [("journald", &journald), ("stdout", &LogMethod::Stdout), ("logfile", &logfile)];
    let method = section.choice("method", Some(default), &choices).cloned();
    let path = section
        .parsed("path", Some("/var/log/agent-portail/agent-portail.log"), "the path of a file", |text| {
            values::name(text).map(std::path::PathBuf::from).filter(|path| path.file_name().is_some())
        })
        .unwrap_or_default();
    let method = match method {
        Some(LogMethod::Journald) => LogMethod::Journald,
        Some(LogMethod::Logfile(_)) => LogMethod::Logfile(path),
        Some(LogMethod::Stdout) | None => LogMethod::Stdout,
    };
    let levels = "one of error, warn, success, info, debug, trace, in any case";
    let level = section.parsed("level", Some("info"), levels, level).unwrap_or(LogLevel::Info);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice("format", Some("text"), &formats).unwrap_or(LogFormat::Text);
    section.finish();
    LogSettings { method, level, format }
}

fn level(text: &str) -> Option<LogLevel> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "success" => LogLevel::Success,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return None,
    })
}

fn monitor(mut section: Section<'_>) -> MonitorSettings {
    let listen = listen(&mut section, "listen", "127.0.0.1:9464");
    section.finish();
    MonitorSettings { listen }
}

fn listen(section: &mut Section<'_>, key: &'static str, default: &str) -> SocketAddr {
    section
        .parsed(key, Some(default), "ADDRESS:PORT such as 127.0.0.1:8080 or [::1]:8080", values::listen)
        .unwrap_or(NOWHERE)
}

fn urls(mut section: Section<'_>) -> UrlsSettings {
    let listen_on = listen(&mut section, "listen", "127.0.0.1:8080");
    let monitor_listen = listen(&mut section, "monitor_listen", "127.0.0.1:9465");
    if listen_on == monitor_listen && listen_on.port() != 0 {
        section.conflict("monitor_listen", "the same address as urls.listen");
    }
    let default_expiry = section.duration("default_expiry", "1h", "a duration of at least 1s", at_least_a_second);
    let max_expiry = section
        .duration("max_expiry", "7d", "a duration from 1s to 7d", |time| at_least_a_second(time) && time <= MAX_EXPIRY);
    if !max_expiry.is_zero() && default_expiry > max_expiry {
        section.conflict("default_expiry", "longer than urls.max_expiry");
    }
    let asks = section.choice("auth", Some("token"), &[("token", true), ("none", false)]).unwrap_or(true);
    let tokens_file = section.path("tokens_file", None);
    if !asks && !values::is_loopback(listen_on) {
        section.conflict("auth", format!("\"none\" is for loopback only, and urls.listen is {listen_on}"));
    }
    let auth = if asks { UrlsAuth::Token { tokens_file } } else { UrlsAuth::Open };
    let public_endpoint_url = section.parsed("public_endpoint_url", None, URL, values::endpoint);
    section.finish();
    UrlsSettings { listen: listen_on, monitor_listen, default_expiry, max_expiry, auth, public_endpoint_url }
}

fn at_least_a_second(time: Duration) -> bool {
    time >= Duration::from_secs(1)
}
