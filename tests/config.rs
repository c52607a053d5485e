//! The configuration from its layers to the settings, and what the binary says about it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use agent_portail::config::settings::{
    DeletePolicy, Encryption, LogFormat, LogLevel, LogMethod, RecordAddresses, SymlinkPolicy, Tls, UrlsAuth,
};
use agent_portail::config::{
    ConfigFile, Effective, Origin, Shown, Sources, load, require_folders, require_link_access,
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// Everything from outside, in a folder of its own.
struct World {
    dir: TempDir,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let sources = Sources {
            config: ConfigFile::Default(dir.path().join("config.toml")),
            environment: vec![],
            flags: vec![],
            credentials: None,
            host_name: "host-1".into(),
            under_journald: false,
        };
        Self { dir, sources }
    }

    fn file(self, text: &str) -> Self {
        self.file_with_mode(text, 0o600)
    }

    fn file_with_mode(mut self, text: &str, mode: u32) -> Self {
        let path = self.dir.path().join("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self.sources.config = ConfigFile::Named(path);
        self
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, text: &str) -> Self {
        self.sources.flags.push(text.parse().unwrap());
        self
    }

    fn credential(mut self, name: &str, text: &str) -> Self {
        let directory = self.dir.path().join("credentials");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
        self.sources.credentials = Some(directory);
        self
    }

    fn load(&self) -> Effective {
        load(&self.sources).unwrap_or_else(|error| panic!("{:#?}", error.problems()))
    }

    /// Each problem as it is printed, with its causes.
    fn problems(&self) -> Vec<String> {
        let error = load(&self.sources).expect_err("accepted");
        error.problems().iter().map(|problem| format!("{:#}", DisplayChain(problem))).collect()
    }

    /// The only problem.
    fn problem(&self) -> String {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        problems.into_iter().next().unwrap()
    }
}

struct DisplayChain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for DisplayChain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", DisplayChain(source)))
    }
}

const FOLDER: &str = "[s3]\nbucket = \"files\"\n[[folder]]\npath = \"/srv/documents\"\n";

fn folder_with(lines: &str) -> World {
    World::new().file(&format!("{FOLDER}{lines}\n"))
}

#[test]
fn without_any_source_the_defaults_of_the_manual_are_in_force() {
    let settings = World::new().load().settings;
    assert_eq!(settings.agent.name, "host-1");
    assert_eq!(settings.agent.history_retention, Duration::from_secs(90 * 86_400));
    assert_eq!(settings.agent.verify_every, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((settings.s3.region, settings.s3.endpoint_url, settings.s3.path_style), (None, None, false));
    assert!(settings.s3.credentials.is_none() && settings.s3.encryption.is_none());
    assert_eq!(settings.database.host, "/run/postgresql");
    assert_eq!((settings.database.port, settings.database.pool_size), (5432, 8));
    assert_eq!((&*settings.database.name, &*settings.database.user), ("agent-portail", "agent-portail"));
    assert!(settings.database.password.is_none());
    assert_eq!(settings.database.tls, Tls::Prefer);
    assert!(settings.folders.is_empty());
    assert_eq!(settings.sync.debounce, Duration::from_millis(200));
    assert_eq!(settings.sync.max_delay, Duration::from_secs(30));
    assert_eq!(settings.sync.reconcile_every, Duration::from_secs(3600));
    assert_eq!((settings.sync.workers, settings.sync.queue_capacity), (32, 100_000));
    assert_eq!((settings.sync.part_size, settings.sync.bandwidth_limit), (8 << 20, None));
    assert_eq!(settings.sync.shutdown_grace, Duration::from_secs(20));
    assert_eq!(settings.log.method, LogMethod::Stdout);
    assert_eq!((settings.log.level, settings.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(settings.monitor.listen.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.urls.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.urls.monitor_listen.to_string(), "127.0.0.1:9465");
    assert_eq!(settings.urls.default_expiry, Duration::from_secs(3600));
    assert_eq!(settings.urls.max_expiry, Duration::from_secs(7 * 86_400));
    assert_eq!(settings.urls.auth, UrlsAuth::Token { tokens_file: None });
    assert_eq!((settings.urls.public_endpoint_url, settings.urls.public_url), (None, None));
    assert_eq!((settings.urls.rate_limit, settings.urls.request_timeout), (Some(100), Duration::from_secs(30)));
    assert_eq!(settings.urls.record_addresses, RecordAddresses::Truncated);
    assert!(settings.urls.proxies.is_empty() && settings.urls.proxy_user.is_none());
}

#[test]
fn a_folder_has_the_defaults_of_the_manual() {
    let folder = folder_with("").load().settings.folders.remove(0);
    assert_eq!((&*folder.name, &*folder.bucket, &*folder.prefix), ("documents", "files", ""));
    assert_eq!(folder.path, PathBuf::from("/srv/documents"));
    assert!(folder.exclude.is_empty());
    assert_eq!((folder.delete, folder.symlinks), (DeletePolicy::Mirror, SymlinkPolicy::Skip));
    assert_eq!((folder.max_delete_percent, folder.max_delete_count), (25.0, 100));
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let mut world = World::new();
    let host = |world: &World| {
        let effective = world.load();
        let entry = effective.provenance.entry("database", "host").unwrap().clone();
        (effective.settings.database.host, entry.origin)
    };
    assert_eq!(host(&world), ("/run/postgresql".into(), Origin::Default));
    world = world.file("[database]\nhost = \"of-file\"\n");
    let path = world.sources.config.path().to_owned();
    assert_eq!(host(&world), ("of-file".into(), Origin::File(path)));
    world = world.env("DB_HOST", "of-flat");
    assert_eq!(host(&world), ("of-flat".into(), Origin::Environment("DB_HOST".into())));
    world = world.env("AGENT_PORTAIL__DATABASE__HOST", "of-prefixed");
    assert_eq!(host(&world), ("of-prefixed".into(), Origin::Environment("AGENT_PORTAIL__DATABASE__HOST".into())));
    world = world.flag("database.host=of-flag");
    assert_eq!(host(&world), ("of-flag".into(), Origin::Flag));
}

#[test]
fn every_flat_name_reaches_its_key() {
    let effective = World::new()
        .env("AWS_REGION", "eu-west-3")
        .env("AWS_BUCKET_NAME", "files")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:3900")
        .env("DB_HOST", "db.example.org")
        .env("DB_PORT", "6543")
        .env("DB_NAME", "n")
        .env("DB_USER", "u")
        .env("DB_PASSWORD", "p")
        .env("LOG_METHOD", "logfile")
        .env("LOG_PATH", "/tmp/x.log")
        .env("LOG_LEVEL", "SucCess")
        .env("SYNC_PATH", "/srv/a")
        .load();
    let settings = &effective.settings;
    assert_eq!(settings.s3.region.as_deref(), Some("eu-west-3"));
    assert_eq!(settings.s3.endpoint_url.as_deref(), Some("http://127.0.0.1:3900"));
    assert!(settings.s3.path_style, "path style is the default with an endpoint");
    let database = &settings.database;
    assert_eq!((&*database.host, database.port), ("db.example.org", 6543));
    assert_eq!((&*database.name, &*database.user), ("n", "u"));
    assert_eq!(database.password.as_ref().unwrap().expose_secret(), "p");
    assert_eq!(settings.log.method, LogMethod::Logfile("/tmp/x.log".into()));
    assert_eq!(settings.log.level, LogLevel::Success);
    assert_eq!((&*settings.folders[0].bucket, &*settings.folders[0].name), ("files", "a"));
}

#[test]
fn a_password_arrives_as_it_was_typed_and_is_shown_nowhere() {
    for password in ["12345", "'q'", "\"quoted\"", " edges ", "true", "[1]", "{a=1}", "a=b#c", "1e5", "\\n"] {
        let effective = World::new().env("DB_PASSWORD", password).load();
        assert_eq!(effective.settings.database.password.as_ref().unwrap().expose_secret(), password);
        let entry = effective.provenance.entry("database", "password").unwrap();
        assert_eq!(entry.shown, Shown::Secret);
    }
    let effective = World::new()
        .env("DB_PASSWORD", "hunter2")
        .credential("aws-access-key-id", "id")
        .credential("aws-secret-access-key", "hunter2")
        .load();
    assert!(effective.provenance.to_string().contains("password = \"***\""));
    assert!(!format!("{effective:?} {}", effective.provenance).contains("hunter2"));
}

#[test]
fn no_error_shows_a_secret() {
    let worlds = [
        World::new().file("[database]\npassword = hunter2\n"),
        World::new().file("[database]\npasswrod = \"hunter2\"\n"),
        World::new().file("password = \"hunter2\"\n"),
        World::new().file("[database]\npassword = [\"hunter2\"]\n"),
        World::new().file("[database]\nport = \"postgres://me:hunter2@x\"\n"),
        World::new().file_with_mode("[database]\npassword = \"hunter2\"\n", 0o644),
        World::new().file("[s3]\nendpoint_url = \"http://me:hun/hunter2@x\"\n"),
        World::new().env("DB_HOST", "postgres://me:hunter2@x"),
        World::new().env("AGENT_PORTAIL__DATABASE__PASSWRD", "hunter2"),
        World::new().env("AGENT_PORTAIL_DATABASE_PASSWORD", "hunter2"),
        World::new().file("[database]\npassword = \"hunter2\"\npassword_file = \"/x\"\n"),
        World::new().file("[[notify]]\nurl = \"http://me:hunter2@x/\"\n"),
        World::new().file("[[notify]]\nurl = \"x/hunter2\"\n"),
        World::new().file("[[notify]]\nurl = [\"http://x/hunter2\"]\n"),
        World::new().file("[[notify]]\nurl = \"http://x/\"\nsecret = [\"hunter2\"]\n"),
        World::new().file("[[notify]]\nurl = \"http://x/\"\nsecret = \"hunter2\"\nsecret_file = \"/x\"\n"),
        World::new().file_with_mode("[[notify]]\nurl = \"http://x/\"\nsecret = \"hunter2\"\n", 0o644),
        World::new().env("AGENT_PORTAIL__NOTIFY__SECRET", "hunter2"),
    ];
    for world in worlds {
        let error = load(&world.sources).expect_err("accepted");
        let text = format!("{:?} {error:?}", world.problems());
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_number_in_the_environment_is_a_number() {
    let settings = World::new()
        .env("AGENT_PORTAIL__SYNC__WORKERS", "8")
        .env("AGENT_PORTAIL__S3__PATH_STYLE", "true")
        .env("AGENT_PORTAIL__SYNC__PART_SIZE", "16MiB")
        .env("AGENT_PORTAIL__SYNC__BANDWIDTH_LIMIT", "1000000")
        .load()
        .settings;
    assert_eq!((settings.sync.workers, settings.s3.path_style), (8, true));
    assert_eq!((settings.sync.part_size, settings.sync.bandwidth_limit), (16 << 20, Some(1_000_000)));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = World::new()
        .env("DB_HOST", "")
        .env("DB_PASSWORD", "")
        .env("SYNC_PATH", "")
        .env("AGENT_PORTAIL__SYNC__WORKERS", "")
        .env("AGENT_PORTAIL_S3_BUCKET", "")
        .load()
        .settings;
    assert_eq!((&*settings.database.host, settings.sync.workers), ("/run/postgresql", 32));
    assert!(settings.database.password.is_none() && settings.folders.is_empty());
}

#[test]
fn each_refusal_names_its_key_and_what_was_expected() {
    for (text, key, expected) in [
        ("[s3]\nbuket = \"x\"", "s3.buket", "bucket"),
        ("[s4]\nbucket = \"x\"", "s4", "the sections are"),
        ("agent = 5", "agent", "the section [agent]"),
        ("[agent]\nname = \" \"", "agent.name", "not empty"),
        ("[agent]\nhistory_retention = \"0\"", "agent.history_retention", "longer than 0"),
        ("[agent]\nverify_every = 30", "agent.verify_every", "found the number 30"),
        ("[s3]\nbucket = \"My_Bucket\"", "s3.bucket", "lower-case"),
        ("[s3]\nendpoint_url = \"localhost:9000\"", "s3.endpoint_url", "a URL such as"),
        ("[s3]\nstorage_class = \"standard\"", "s3.storage_class", "STANDARD_IA"),
        ("[s3]\nserver_side_encryption = \"aes\"", "s3.server_side_encryption", "AES256, aws:kms"),
        ("[s3]\nkms_key_id = \"k\"", "s3.kms_key_id", "aws:kms"),
        ("[s3]\nserver_side_encryption = \"AES256\"\nkms_key_id = \"k\"", "s3.kms_key_id", "aws:kms"),
        ("[database]\nport = 0", "database.port", "from 1 to 65535"),
        ("[database]\nport = \"5432\"", "database.port", "found the string \"5432\""),
        ("[database]\npool_size = 0", "database.pool_size", "from 1"),
        ("[database]\npassword = 12345", "database.password", "a string"),
        ("[database]\npassword = \"\"", "database.password", "not empty"),
        ("[database]\ntls = \"on\"", "database.tls", "verify-full"),
        ("[database]\nca_file = \"/x\"", "database.ca_file", "verify-full"),
        ("[database]\npassword = \"a\"\npassword_file = \"/x\"", "database.password_file", "remove one"),
        ("[database]\npassword_file = \"/does/not/exist\"", "/does/not/exist", "No such file"),
        ("[sync]\nworkers = 0", "sync.workers", "from 1 to 1024"),
        ("[sync]\nworkers = 1025", "sync.workers", "from 1 to 1024"),
        ("[sync]\nqueue_capacity = 999", "sync.queue_capacity", "from 1000"),
        ("[sync]\npart_size = \"4MiB\"", "sync.part_size", "5MiB to 5GiB"),
        ("[sync]\npart_size = \"6GiB\"", "sync.part_size", "5MiB to 5GiB"),
        ("[sync]\nbandwidth_limit = \"fast\"", "sync.bandwidth_limit", "10MiB"),
        ("[sync]\ndebounce = \"soon\"", "sync.debounce", "0ms = none"),
        ("[sync]\nmax_delay = \"100ms\"", "sync.max_delay", "sync.debounce"),
        ("[sync]\nreconcile_every = \"10ms\"", "sync.reconcile_every", "at least 1s"),
        ("[log]\nmethod = \"syslog\"", "log.method", "journald, stdout, logfile"),
        ("[log]\nlevel = \"loud\"", "log.level", "success"),
        ("[log]\nformat = \"xml\"", "log.format", "text, json"),
        ("[monitor]\nlisten = \"localhost\"", "monitor.listen", "ADDRESS:PORT"),
        ("[urls]\nlisten = \"127.0.0.1:9465\"", "urls.monitor_listen", "same address"),
        ("[urls]\nmax_expiry = \"8d\"", "urls.max_expiry", "7d"),
        ("[urls]\nmax_expiry = \"30m\"", "urls.default_expiry", "longer than urls.max_expiry"),
        ("[urls]\nauth = \"none\"\nlisten = \"0.0.0.0:80\"", "urls.auth", "loopback"),
        ("[urls]\npublic_url = \"portal.example.org\"", "urls.public_url", "URL"),
        ("[urls]\nrate_limit = -1", "urls.rate_limit", "0 to 1000000"),
        ("[urls]\nrecord_addresses = \"some\"", "urls.record_addresses", "truncated"),
        ("[urls]\nproxies = \"proxy.example.org\"", "urls.proxies", "10.0.1.0/24"),
        ("[urls]\nproxies = \"10.0.0.5\"\nproxy_user_header = \"X User\"", "urls.proxy_user_header", "header"),
        ("[urls]\nproxy_user_header = \"X-User\"", "urls.proxy_user_header", "urls.proxies"),
        ("[urls]\nproxy_user_scopes = \"write\"", "urls.proxy_user_scopes", "read,link"),
        ("[[folder]]\npath = \"/srv/a\"", "folder[a].bucket", "AWS_BUCKET_NAME"),
        ("[s3]\nbucket = \"x\"\n[[folder]]\npath = \"/srv/a\"", "s3.bucket", "3 to 63"),
        ("[folder]\npath = \"/srv/a\"", "folder", "[[folder]]"),
        ("folder = [1]", "folder", "[[folder]]"),
    ] {
        let world = World::new().file(text);
        let problem = world.problem();
        assert!(problem.contains(key) && problem.contains(expected), "{text:?}: {problem}");
        assert!(problem.contains("config.toml"), "{problem}");
    }
}

#[test]
fn an_event_may_be_acted_on_without_delay() {
    for none in ["0ms", "0s", "0"] {
        let settings = World::new().file(&format!("[sync]\ndebounce = \"{none}\"\n")).load().settings;
        assert_eq!(settings.sync.debounce, Duration::ZERO);
    }
}

#[test]
fn each_refusal_of_a_folder_names_the_folder_and_the_key() {
    for (lines, key, expected) in [
        ("path = \"a\"", "path", "duplicate key"),
        ("name = \"a/b\"", "folder[a/b].name", "without `/` and `:`"),
        ("name = \"x\"\nbucket = \"B\"", "folder[x].bucket", "lower-case"),
        ("prefix = \"documents\"", "folder[documents].prefix", "ends in /"),
        ("exclude = \"*.tmp\"", "folder[documents].exclude", "a list of strings"),
        ("exclude = [\"a\", \"[z-a]\"]", "folder[documents].exclude", "[z-a]"),
        ("exclude = [\"# note\"]", "folder[documents].exclude", "# note"),
        ("exclude = [\"\"]", "folder[documents].exclude", "gitignore"),
        ("delete = \"move\"", "folder[documents].delete", "mirror, keep"),
        ("symlinks = \"copy\"", "folder[documents].symlinks", "skip, follow"),
        ("max_delete = \"101%\"", "folder[documents].max_delete", "from 0% to 100%"),
        ("max_delete = 25", "folder[documents].max_delete", "such as \"25%\""),
        ("max_delete_count = -1", "folder[documents].max_delete_count", "from 0"),
        ("exlude = []", "folder[documents].exlude", "exclude"),
        ("[[folder]]\nname = \"p\"", "folder[p].path", "needs a path"),
        ("[[folder]]\npath = \"srv\"\nprefix = \"x/\"", "folder[srv].path", "absolute"),
        (
            "prefix = \"a/\"\n[[folder]]\npath = \"/\"\nprefix = \"x/\"\nname = \"root\"",
            "folder[root].path",
            "lie in each other",
        ),
        (
            "prefix = \"a/\"\n[[folder]]\npath = \"/srv/documents/x/\"\nprefix = \"x/\"",
            "folder[x].path",
            "lie in each other",
        ),
        (
            "prefix = \"a/\"\n[[folder]]\npath = \"/srv/b\"\nprefix = \"b/\"\nname = \"documents\"",
            "folder[documents].name",
            "taken",
        ),
        ("prefix = \"a/\"\n[[folder]]\npath = \"/srv/b\"\nprefix = \"a/b/\"", "folder[b].prefix", "overlap"),
        ("[[folder]]\npath = \"/srv/b\"", "folder[b].prefix", "overlap"),
    ] {
        let problem = folder_with(lines).problem();
        assert!(problem.contains(key) && problem.contains(expected), "{lines:?}: {problem}");
    }
}

#[test]
fn each_refusal_of_a_webhook_names_the_webhook_and_the_key() {
    for (lines, key, expected) in [
        ("url = \"hooks.example.org\"", "notify[1].url", "a URL such as"),
        ("name = \"ops\"", "notify[ops].url", "needs a URL"),
        ("url = \"https://x/\"\nevents = [\"helped\"]", "notify[1].events", "none of degraded, suspended"),
        ("url = \"https://x/\"\nsecret = \"\"", "notify[1].secret", "not empty"),
        ("url = \"https://x/\"\nsecret_file = \"/nowhere\"", "/nowhere", "read"),
        ("url = \"https://x/\"\nsecrte = \"x\"", "notify[1].secrte", "secret"),
        ("url = \"http://x/\"\nca_file = \"/x\"", "notify[1].ca_file", "https://"),
        ("url = \"http://x/\"\n[[notify]]\nurl = \"http://x/y\"", "notify[2].name", "taken"),
    ] {
        let problem = folder_with(&format!("[[notify]]\n{lines}")).problem();
        assert!(problem.contains(key) && problem.contains(expected), "{lines:?}: {problem}");
    }
    assert!(folder_with("[notify]\nurl = \"http://x/\"").problem().contains("[[notify]]"));
}

#[test]
fn a_webhook_has_the_defaults_of_the_manual() {
    let notify = folder_with("[[notify]]\nurl = \"https://hooks.example.org:8443/secret\"").load().settings.notify;
    let [webhook] = &notify[..] else { panic!("{notify:?}") };
    assert_eq!((webhook.name.as_str(), webhook.url.port()), ("hooks.example.org", 8443));
    assert!(webhook.secret.is_none() && webhook.ca_file.is_none() && webhook.events.len() == 5);
    assert!(!format!("{webhook:?}").contains("/secret"));
}

#[test]
fn prefixes_and_paths_that_only_look_alike_are_accepted() {
    let world = World::new().file(
        "[[folder]]\npath = \"/srv/doc\"\nbucket = \"files\"\nprefix = \"a/\"\n\
         [[folder]]\npath = \"/srv/docs\"\nbucket = \"files\"\nprefix = \"ab/\"\n\
         [[folder]]\npath = \"/srv/other\"\nbucket = \"other\"\n",
    );
    let names: Vec<_> = world.load().settings.folders.into_iter().map(|folder| folder.name).collect();
    assert_eq!(names, ["doc", "docs", "other"]);
}

#[test]
fn all_problems_are_reported_at_once() {
    let world = World::new()
        .file("typo = 1\n[s3]\nbuket = \"x\"\nregion = 5\n[sync]\nworkers = 0\n[[folder]]\npath = \"x\"\ndelete = \"x\"\n")
        .env("DB_PORT", "many")
        .env("AGENT_PORTAIL_LOG_LEVEL", "info")
        .env("AGENT_PORTAIL__LOG__COLOUR", "yes");
    let all = world.problems().join("\n");
    for key in [
        "typo",
        "s3.buket",
        "s3.region",
        "sync.workers",
        "folder[x].path",
        "folder[x].delete",
        "folder[x].bucket",
        "environment DB_PORT: database.port",
        "AGENT_PORTAIL__LOG__LEVEL",
        "environment AGENT_PORTAIL__LOG__COLOUR: log.colour",
    ] {
        assert!(all.contains(key), "{key} is missing in:\n{all}");
    }
    assert_eq!(all.lines().count(), 10, "{all}");
}

#[test]
fn a_near_miss_of_a_variable_is_told_the_right_name() {
    for (name, right) in [
        ("AGENT_PORTAIL_S3_BUCKET", "AGENT_PORTAIL__S3__BUCKET"),
        ("AGENT_PORTAIL__S3_BUCKET", "AGENT_PORTAIL__S3__BUCKET"),
        ("AGENT_PORTAIL_S3__BUCKET", "AGENT_PORTAIL__S3__BUCKET"),
        ("AGENT_PORTAIL_DATABASE_PASSWORD_FILE", "AGENT_PORTAIL__DATABASE__PASSWORD_FILE"),
        ("AGENT_PORTAIL__WHAT", "AGENT_PORTAIL__SECTION__KEY"),
        ("AGENT_PORTAIL__FOLDER__PATH", "SYNC_PATH"),
    ] {
        let problem = World::new().env(name, "files").problem();
        assert!(problem.contains(name) && problem.contains(right), "{problem}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    World::new()
        .env("AGENT_PORTAIL_SERVICE_HOST", "10.0.0.1")
        .env("AGENT_PORTAIL_PORT_9464_TCP", "tcp://10.0.0.1:9464")
        .env("AGENT_PORTAIL_CONFIG", "/x")
        .env("AWS_ACCESS_KEY_ID", "id")
        .load();
}

#[test]
fn a_missing_default_file_is_fine_and_a_missing_named_one_is_not() {
    let mut world = World::new();
    world.load();
    world.sources.config = ConfigFile::Named(world.dir.path().join("named.toml"));
    assert!(world.problem().contains("named.toml: no such file"));
}

#[test]
fn a_file_that_is_not_toml_is_refused_with_line_and_column() {
    let problem = World::new().file("[s3]\nbucket = \"files\"\nregion = eu\n").problem();
    assert!(problem.contains("config.toml: line 3, column 10: not valid TOML"), "{problem}");
}

#[test]
fn a_password_in_a_file_that_others_may_read_is_refused_with_the_remedy() {
    let text = "[database]\npassword = \"p\"\n";
    assert!(World::new().file_with_mode(text, 0o644).problem().contains("chmod o-rwx"));
    let settings = World::new().file_with_mode(text, 0o640).load().settings;
    assert_eq!(settings.database.password.unwrap().expose_secret(), "p");
    World::new().file_with_mode("[database]\nhost = \"x\"\n", 0o644).load();
}

#[test]
fn a_password_file_loses_only_its_final_newline() {
    let world = World::new().credential("elsewhere", " p w \r\n");
    let path = world.dir.path().join("credentials/elsewhere");
    let world = world.env("AGENT_PORTAIL__DATABASE__PASSWORD_FILE", path);
    assert_eq!(world.load().settings.database.password.unwrap().expose_secret(), " p w ");
}

#[test]
fn of_password_and_password_file_the_later_layer_wins() {
    let world = World::new().credential("pw", "of-file\n");
    let path = world.dir.path().join("credentials/pw");
    let world = world.file(&format!("[database]\npassword_file = \"{}\"\n", path.to_string_lossy()));
    assert_eq!(world.load().settings.database.password.unwrap().expose_secret(), "of-file");
    let world = world.env("DB_PASSWORD", "of-env");
    assert_eq!(world.load().settings.database.password.unwrap().expose_secret(), "of-env");
}

#[test]
fn systemd_credentials_lie_between_the_file_and_the_environment() {
    let world = World::new()
        .file("[database]\npassword = \"of-file\"\n[urls]\ntokens_file = \"/of-file\"\n")
        .credential("db-password", "of-credential\n")
        .credential("urls-tokens", "a:read:00\n");
    let effective = world.load();
    assert_eq!(effective.settings.database.password.as_ref().unwrap().expose_secret(), "of-credential");
    assert_eq!(effective.provenance.entry("database", "password").unwrap().origin, Origin::Credential("db-password"));
    let tokens = world.dir.path().join("credentials/urls-tokens");
    assert_eq!(effective.settings.urls.auth, UrlsAuth::Token { tokens_file: Some(tokens) });
    let world = world.env("DB_PASSWORD", "of-env");
    assert_eq!(world.load().settings.database.password.unwrap().expose_secret(), "of-env");
}

#[test]
fn s3_credentials_come_in_pairs() {
    let world = World::new().credential("aws-access-key-id", "id\n");
    let problem = world.problem();
    assert!(problem.contains("aws-secret-access-key is missing"), "{problem}");
    let credentials = world.credential("aws-secret-access-key", "secret\n").load().settings.s3.credentials.unwrap();
    assert_eq!((&*credentials.access_key_id, credentials.secret_access_key.expose_secret()), ("id", "secret"));
}

#[test]
fn sync_path_makes_the_single_folder_or_replaces_its_path() {
    let bucket = |world: World| world.env("AWS_BUCKET_NAME", "files").env("SYNC_PATH", "/data/in");
    let folder = bucket(World::new()).load().settings.folders.remove(0);
    assert_eq!((&*folder.name, folder.path), ("in", "/data/in".into()));

    let world = bucket(World::new().file("[[folder]]\nname = \"n\"\npath = \"relative\"\nprefix = \"p/\"\n"));
    let folder = world.load().settings.folders.remove(0);
    assert_eq!((&*folder.name, &*folder.prefix, folder.path), ("n", "p/", "/data/in".into()));

    let two = "[[folder]]\npath = \"/a\"\nprefix = \"a/\"\n[[folder]]\npath = \"/b\"\nprefix = \"b/\"\n";
    let problem = bucket(World::new().file(two)).problem();
    assert!(problem.contains("SYNC_PATH") && problem.contains("2 folders"), "{problem}");

    let problem = World::new().env("AWS_BUCKET_NAME", "files").env("SYNC_PATH", "in").problem();
    assert!(problem.contains("environment SYNC_PATH") && problem.contains("absolute"), "{problem}");
}

#[test]
fn sync_path_need_not_be_utf8_but_every_other_variable_must() {
    use std::os::unix::ffi::OsStringExt as _;
    let raw = OsString::from_vec(b"/data/\xff".to_vec());
    let folder =
        World::new().env("AWS_BUCKET_NAME", "files").env("SYNC_PATH", raw.clone()).load().settings.folders.remove(0);
    assert_eq!((folder.path, &*folder.name), (PathBuf::from(&raw), "%FF"));
    assert!(World::new().env("DB_USER", raw).problem().contains("DB_USER"));
}

#[test]
fn zero_switches_off_what_may_be_off() {
    let settings =
        World::new().file("[agent]\nverify_every = \"0\"\n[sync]\nbandwidth_limit = \"0\"\n").load().settings;
    assert_eq!((settings.agent.verify_every, settings.sync.bandwidth_limit), (None, None));
}

#[test]
fn encryption_and_tls_take_their_companions() {
    let settings = World::new()
        .file("[s3]\nserver_side_encryption = \"aws:kms\"\nkms_key_id = \"k\"\n[database]\ntls = \"verify-full\"\nca_file = \"/ca\"\n")
        .load()
        .settings;
    assert_eq!(settings.s3.encryption, Some(Encryption::Kms { key_id: Some("k".into()) }));
    assert_eq!(settings.database.tls, Tls::VerifyFull { ca_file: Some("/ca".into()) });
}

#[test]
fn under_systemd_the_journal_is_the_default_only() {
    let mut world = World::new();
    world.sources.under_journald = true;
    assert_eq!(world.load().settings.log.method, LogMethod::Journald);
    assert_eq!(world.env("LOG_METHOD", "stdout").load().settings.log.method, LogMethod::Stdout);
}

#[test]
fn commands_that_sync_want_a_folder_and_an_open_link_service_wants_tokens() {
    let settings = World::new().load().settings;
    assert!(require_folders(&settings).unwrap_err().problems()[0].to_string().contains("[[folder]]"));
    assert!(require_link_access(&settings.urls).is_ok());

    let open = World::new().flag("urls.listen=0.0.0.0:8080");
    let error = require_link_access(&open.load().settings.urls).unwrap_err();
    assert!(error.problems()[0].to_string().contains("urls.tokens_file"));
    assert!(require_link_access(&open.flag("urls.tokens_file=/x").load().settings.urls).is_ok());
    assert!(require_folders(&folder_with("").load().settings).is_ok());
}

const EXAMPLE: &str = include_str!("../config/agent-portail.toml");

#[test]
fn the_example_holds_the_built_in_defaults() {
    let example = World::new().file_with_mode(EXAMPLE, 0o644).load();
    let built_in = World::new().load();
    assert_eq!(format!("{:?}", example.settings), format!("{:?}", built_in.settings));
    let values = |effective: &Effective| -> Vec<_> {
        effective.provenance.entries().iter().map(|e| (e.section.clone(), e.key, e.shown.clone())).collect()
    };
    assert_eq!(values(&example), values(&built_in));
}

#[test]
fn the_example_names_every_key() {
    let keys = folder_with("[[notify]]\nurl = \"http://x/\"").load().provenance;
    let mut heading = String::new();
    let mut named = Vec::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            heading = line.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.contains(' ')) {
            named.push(format!("{heading} {key}"));
        }
    }
    for entry in keys.entries() {
        let key = format!("{} {}", entry.heading, entry.key);
        assert!(named.contains(&key), "{key} is missing");
    }
    assert_eq!(named.len(), keys.entries().len());
}

#[test]
fn the_manual_names_every_key_with_its_default() {
    let manual = include_str!("../docs/CONFIGURATION.md");
    let (mut sections, mut named, mut of_keys) = (Vec::new(), Vec::new(), false);
    for line in manual.lines() {
        // What kinds of events there are stands in a table, too.
        of_keys = line.starts_with("| key | default |") || of_keys && line.starts_with('|');
        if let Some(heading) = line.strip_prefix("## ") {
            // `[monitor]` and `[urls]` share one, and name their keys in full.
            sections = heading.split('`').filter(|part| part.starts_with('[')).collect();
        } else if let Some(cells) = line.strip_prefix("| `").filter(|_| of_keys && !sections.is_empty()) {
            let mut cells = cells.split(" | ");
            let key = cells.next().unwrap().trim_end_matches('`').to_owned();
            let key = match &sections[..] {
                [section] => format!("{} {key}", section.trim_matches(['[', ']'])),
                _ => key.replacen('.', " ", 1),
            };
            named.push((key, cells.next().unwrap_or_default().trim_matches(['`', ' ']).to_owned()));
        }
    }
    let known = folder_with("[[notify]]\nurl = \"https://hooks.example.org/a\"").load().provenance;
    for entry in known.entries() {
        let key = format!("{} {}", entry.heading.trim_matches(['[', ']']), entry.key);
        let Some((_, default)) = named.iter().find(|(name, _)| *name == key) else { panic!("{key} is missing") };
        let machine = [
            "agent name",
            "log method",
            "s3 path_style",
            "s3 bucket",
            "folder name",
            "folder path",
            "folder bucket",
            "notify url",
            "notify name",
            "notify events",
        ];
        let shown = match &entry.shown {
            Shown::Quoted(text) => format!("\"{text}\""),
            Shown::Bare(text) => text.clone(),
            Shown::List(_) => "[]".to_owned(),
            Shown::Unset | Shown::Secret => continue,
        };
        assert!(machine.contains(&&*key) || *default == shown, "{key}: the manual says {default}, the program {shown}");
    }
    assert_eq!(named.len(), known.entries().len(), "the manual has a key that there is not");
}

#[test]
fn the_example_stays_valid_with_every_comment_taken_away() {
    let is_key = |line: &str| {
        line.starts_with("[[") || line.split_once(" = ").is_some_and(|(key, _)| !key.is_empty() && !key.contains(' '))
    };
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line))
        // Of two ways to give a secret, one; and the certificate's authority needs the mode that checks it.
        .filter(|line| !line.starts_with("password_file") && !line.starts_with("secret_file"))
        .map(|line| if line.starts_with("tls = ") { "tls = \"verify-full\"\n".into() } else { format!("{line}\n") })
        .collect();
    let effective = World::new().file(&uncommented).load();
    assert_eq!(effective.settings.folders[0].name, "documents");
    let unset: Vec<_> =
        effective.provenance.entries().iter().filter(|e| e.shown == Shown::Unset).map(|e| e.key).collect();
    assert_eq!(unset, ["password_file", "secret_file"]);
    let defaults: Vec<_> =
        effective.provenance.entries().iter().filter(|e| e.origin == Origin::Default).map(|e| e.key).collect();
    assert_eq!(defaults, ["password_file", "secret_file"]);
}

#[test]
fn what_config_prints_can_be_read_back() {
    let world = folder_with("exclude = [\"*.tmp\", \"a\\\"b\"]\nprefix = \"d/\"\nmax_delete = \"5%\"\n")
        .env("AGENT_PORTAIL__SYNC__PART_SIZE", "16MiB")
        .flag("log.level=WARN");
    let effective = world.load();
    let again = World::new().file(&effective.provenance.to_string()).load();
    assert_eq!(format!("{:?}", effective.settings), format!("{:?}", again.settings));
}

fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agent-portail")).args(args).env_clear().envs(env.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn wrong_usage_exits_2_and_quotes_no_password() {
    for args in [
        &["frobnicate"][..],
        &[],
        &["config", "--nope"],
        &["--set", "database.password=hunter2", "config"],
        &["config", "--set", "hunter2"],
        &["deletes", "approve"],
    ] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty() && !stderr(&output).contains("hunter2"), "{}", stderr(&output));
    }
}

#[test]
fn an_invalid_configuration_exits_78_and_prints_every_problem() {
    let world = World::new().file("[s3]\nbuket = \"x\"\n[sync]\nworkers = 0\n");
    let file = world.sources.config.path().to_str().unwrap();
    for (args, env) in [(vec!["-c", file, "config"], vec![]), (vec!["config"], vec![("AGENT_PORTAIL_CONFIG", file)])] {
        let output = run(&args, &env);
        assert_eq!(output.status.code(), Some(78));
        assert!(output.stdout.is_empty());
        let text = stderr(&output);
        assert!(text.contains("s3.buket") && text.contains("sync.workers"), "{text}");
    }
    let output = run(&["-c", "/does/not/exist", "config"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("/does/not/exist"));
    let empty = World::new().file("");
    let output = run(&["-c", empty.sources.config.path().to_str().unwrap(), "sync"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("[[folder]]") && stderr(&output).contains("SYNC_PATH"));
}

#[test]
fn config_prints_each_value_with_its_layer_and_no_secret() {
    let world = folder_with("");
    let file = world.sources.config.path().to_str().unwrap();
    let output =
        run(&["-c", file, "config", "--set", "sync.workers=8"], &[("DB_PASSWORD", "hunter2"), ("DB_PORT", "6543")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}:\n{text}"));
    assert!(line("workers = 8").ends_with("# flag --set"));
    assert!(line("port = 6543").ends_with("# environment DB_PORT"));
    assert!(line("password = \"***\"").ends_with("# environment DB_PASSWORD"));
    assert!(line("debounce = \"200ms\"").ends_with("# default"));
    assert!(line("path = \"/srv/documents\"").ends_with(&format!("# file {file}")));
    assert!(!text.contains("hunter2") && !stderr(&Output { stdout: vec![], ..output }).contains("hunter2"));
}

#[test]
fn a_closed_standard_output_is_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output =
        Command::new(env!("CARGO_BIN_EXE_agent-portail")).arg("config").env_clear().stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(1), ""));
}
