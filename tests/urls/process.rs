//! The program: `agent-portail urls`, `urls token add` and `url`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::common::agent::{Outcome, finish, until};
use crate::common::daemon::free_address;
use crate::world::{World, failed, request, service};

/// The built program, configured for a world.
pub(crate) struct Program {
    config: PathBuf,
    pub(crate) tokens: PathBuf,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// The service as a child, with a token that may do everything.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    monitor: SocketAddr,
    log: PathBuf,
    pub(crate) token: String,
}

impl Program {
    pub(crate) fn new(world: &World, home: &TempDir) -> Self {
        let settings = world.db.settings();
        let (config, tokens) = (home.path().join("config.toml"), home.path().join("tokens"));
        let password = settings.password.as_ref().map(|password| password.expose_secret()).unwrap_or_default();
        let text = format!(
            "[s3]\nbucket = {:?}\n[database]\nhost = {:?}\nport = {}\nname = {:?}\nuser = {:?}\npassword = {password:?}\n\
             [[folder]]\nname = \"files\"\npath = {:?}\n[urls]\ntokens_file = {tokens:?}\n",
            world.bucket,
            settings.host,
            settings.port,
            settings.name,
            settings.user,
            home.path(),
        );
        fs::write(&config, text).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).unwrap();
        Self { config, tokens, env: world.s3.env() }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-portail"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("USER", "tester");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.arg("--config").arg(&self.config).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Outcome {
        finish(self.command(args).spawn().unwrap()).await
    }

    pub(crate) async fn serve(&self, args: &[&str]) -> Running {
        if self.tokens.exists() {
            fs::remove_file(&self.tokens).unwrap();
        }
        let added = self.run(&["urls", "token", "add", "all", "--scope", "admin"]).await.expect_code(0);
        let (address, monitor) = (free_address(), free_address());
        let mut command = self.command(&[&["urls"], args].concat());
        command.env("AGENT_PORTAIL__URLS__LISTEN", address.to_string());
        command.env("AGENT_PORTAIL__URLS__MONITOR_LISTEN", monitor.to_string());
        let log = self.config.with_file_name(format!("log-{}", address.port()));
        let child = command.stdout(fs::File::create(&log).unwrap()).spawn().unwrap();
        until("the service answers", async || TcpStream::connect(address).await.is_ok()).await;
        Running { child, address, monitor, log, token: added.stdout.trim().to_owned() }
    }
}

impl Running {
    async fn get(&self, token: &str) -> u16 {
        let headers = [("authorization", format!("Bearer {token}"))];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        request("GET", &format!("http://{}/api/v1/folders", self.address), &headers, "").await.status
    }

    /// Waits until it knows so many tokens. Not by trying them: wrong ones are counted.
    async fn until_known(&self, tokens: u32) {
        let line = format!("agent_portail_urls_tokens {tokens}\n");
        let metrics = format!("http://{}/metrics", self.monitor);
        until(&line, async || request("GET", &metrics, &[], "").await.text().contains(&line)).await;
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

#[tokio::test]
async fn a_token_is_printed_once_and_is_good_until_its_line_is_gone() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::new(&world, &home);
    let running = program.serve(&[]).await;
    assert_eq!(running.get(&running.token).await, 200);
    let kept = fs::read_to_string(&program.tokens).unwrap();
    assert!(!kept.contains(&running.token) && kept.starts_with("all:admin:"), "{kept}");
    // While it runs: one more, and then the first one is taken away.
    let added =
        program.run(&["urls", "token", "add", "ann", "--scope", "read", "--scope", "link"]).await.expect_code(0);
    assert!(added.stderr.contains("shown this once") && !added.stderr.contains(added.stdout.trim()));
    let ann = added.stdout.trim();
    running.until_known(2).await;
    assert_eq!(running.get(ann).await, 200);
    let lines = fs::read_to_string(&program.tokens).unwrap();
    let left: String =
        lines.lines().filter(|line| line.starts_with("ann:read,link:")).map(|line| format!("{line}\n")).collect();
    fs::write(&program.tokens, left).unwrap();
    running.signal(rustix::process::Signal::HUP);
    running.until_known(1).await;
    assert_eq!((running.get(&running.token).await, running.get(ann).await), (401, 200));
    // A file that is not understood changes nothing.
    fs::write(&program.tokens, "nonsense").unwrap();
    running.signal(rustix::process::Signal::HUP);
    let told = async || fs::read_to_string(&running.log).unwrap().contains("the tokens stay as they were");
    until("the log tells of it", told).await;
    assert_eq!(running.get(ann).await, 200);
    for (args, code, word) in [
        (&["urls", "token", "add", "ann", "--scope", "read"][..], 1, "line 1"),
        (&["urls", "token", "add", "a b", "--scope", "read"], 2, "letters"),
        (&["urls", "token", "add", "x", "--scope", "write"], 2, "read, link or admin"),
        (&["urls", "token", "add", "x"], 2, "--scope"),
    ] {
        program.run(args).await.expect_code(code).expect_words(&[word]);
    }
    fs::write(&program.tokens, "").unwrap();
    program.run(&["urls", "token", "add", "ann", "--scope", "read"]).await.expect_code(0);
    program
        .run(&["urls", "token", "add", "ann", "--scope", "read"])
        .await
        .expect_code(1)
        .expect_words(&["one of this name"]);
}

#[tokio::test]
async fn it_is_never_open_to_the_network_without_a_token() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::new(&world, &home);
    let network = ["--set", "urls.listen=0.0.0.0:0", "--set", "urls.monitor_listen=127.0.0.1:0"];
    let start = async |more: &[&str]| program.run(&[&["urls"], &network[..], more].concat()).await;
    // A file that is not there, an empty one, and one that is not understood.
    start(&[]).await.expect_code(78).expect_words(&["tokens"]);
    fs::write(&program.tokens, "# nobody yet\n").unwrap();
    start(&[]).await.expect_code(78).expect_words(&["no tokens are set"]);
    fs::write(&program.tokens, "secret-that-somebody-pasted").unwrap();
    let outcome = start(&[]).await.expect_code(78).expect_words(&["line 1"]);
    assert!(!outcome.stderr.contains("pasted"));
    start(&["--set", "urls.auth=none"]).await.expect_code(78).expect_words(&["loopback"]);
    let header = ["--set", "urls.proxy_user_header=X-User"];
    start(&header).await.expect_code(78).expect_words(&["urls.proxies"]);
}

#[tokio::test]
async fn a_signal_ends_it_in_order_with_what_is_under_way() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::new(&world, &home);
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut running = program.serve(&[]).await;
        // A request whose body is still on its way.
        let mut slow = TcpStream::connect(running.address).await.unwrap();
        let body = json!({"folder": "nothing", "path": "a"}).to_string();
        let head = format!(
            "POST /api/v1/urls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            running.token,
            body.len()
        );
        slow.write_all(head.as_bytes()).await.unwrap();
        slow.write_all(&body.as_bytes()[..5]).await.unwrap();
        assert_eq!(running.get(&running.token).await, 200);
        running.signal(signal);
        until("nobody new is let in", async || TcpStream::connect(running.address).await.is_err()).await;
        assert!(running.child.try_wait().unwrap().is_none());
        slow.write_all(&body.as_bytes()[5..]).await.unwrap();
        let mut answer = String::new();
        slow.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let ended = tokio::time::timeout(Duration::from_secs(10), running.child.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

#[tokio::test]
async fn systemd_hears_when_it_is_ready_and_when_it_ends() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let mut program = Program::new(&world, &home);
    let socket = home.path().join("notify");
    let heard = tokio::net::UnixDatagram::bind(&socket).unwrap();
    program.env.push(("NOTIFY_SOCKET", socket.to_str().unwrap().to_owned()));
    let running = program.serve(&[]).await;
    let next = async |wanted: &str| {
        let mut message = [0; 256];
        loop {
            let read = tokio::time::timeout(Duration::from_secs(20), heard.recv(&mut message)).await.unwrap().unwrap();
            if String::from_utf8_lossy(&message[..read]).lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    next("READY=1").await;
    running.signal(rustix::process::Signal::HUP);
    next("RELOADING=1").await;
    next("READY=1").await;
    running.signal(rustix::process::Signal::TERM);
    next("STOPPING=1").await;
}

#[tokio::test]
async fn its_own_health_and_numbers_are_on_another_address() {
    let world = World::new().await;
    world.put("a", "x").await;
    let (address, monitor, cancel, _task) = service(&world.settings).await;
    let see = async |path: &str| request("GET", &format!("http://{monitor}{path}"), &[], "").await;
    assert_eq!(see("/healthz").await.text(), "ok\n");
    assert_eq!((see("/readyz").await.status, see("/readyz").await.text()), (200, "ready\n".to_owned()));
    request("GET", &format!("http://{address}/api/v1/folders"), &[], "").await.expect(401);
    let metrics = see("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.text().contains("agent_portail_urls_http_responses_total{code=\"4xx\"} 1\n"), "{}", metrics.text());
    assert_eq!(see("/other").await.status, 404);
    // It is of no use there, but nothing is shown to strangers on the other one.
    assert_eq!(request("GET", &format!("http://{address}/metrics"), &[], "").await.status, 404);
    world.db.rows("DROP SCHEMA portail CASCADE").await;
    let answer = see("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("agent-portail run"), "{}", answer.text());
    cancel.cancel();
}

#[tokio::test]
async fn without_a_catalog_it_says_so_and_goes_on_when_there_is_one() {
    let world = World::new().await;
    world.db.rows("DROP SCHEMA portail CASCADE").await;
    for path in ["/api/v1/folders", "/api/v1/files", "/api/v1/links"] {
        let answer = world.get("admin", path).await;
        answer.expect_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    assert_eq!(world.get("", "/healthz").await.status, 200);
    agent_portail::catalog::schema::migrate(&world.catalog).await.unwrap();
    world.get("admin", "/api/v1/folders").await.expect(200);
    world.get("admin", "/api/v1/files").await.expect(200);
    world.get("admin", "/api/v1/links").await.expect(200);
}

#[tokio::test]
async fn one_url_is_printed_for_a_local_path_or_one_in_a_folder() {
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let program = Program::new(&world, &home);
    world.put("reports/q1.txt", "the first quarter").await;
    world.record(&[failed("bad", "permission denied")]).await;
    let local = home.path().join("reports/q1.txt");
    fs::create_dir(home.path().join("reports")).unwrap();
    for path in ["files:reports/q1.txt", local.to_str().unwrap()] {
        let outcome = program.run(&["url", path, "--expires", "2m"]).await.expect_code(0);
        assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
        assert!(outcome.stdout.contains("X-Amz-Expires=120&"));
        assert_eq!(request("GET", outcome.stdout.trim(), &[], "").await.text(), "the first quarter");
    }
    for (args, code, words) in [
        (&["url", "files:bad"][..], 1, &["permission denied"][..]),
        (&["url", "files:nothing"], 1, &["there is no such file"]),
        (&["url", "/nowhere/at/all"], 2, &["below none of the configured"]),
        (&["url", "files:reports/q1.txt", "--expires", "8d"], 2, &["--expires", "7days"]),
        (&["url", "files:reports/q1.txt", "--expires", "0s"], 2, &["--expires", "1s"]),
        (&["url", "files:reports/q1.txt", "--expires", "soon"], 2, &["duration"]),
    ] {
        program.run(args).await.expect_code(code).expect_words(words);
    }
}

#[tokio::test]
async fn the_role_of_the_service_reads_the_catalog_and_writes_links_and_nothing_else() {
    let world = World::new().await;
    world.put("a", "x").await;
    let role = format!("urls_{}", world.db.settings().name);
    world.db.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'; SELECT portail.grant_links('{role}')")).await;
    let mut settings = world.settings.clone();
    settings.database.user = role.clone();
    settings.database.password = Some("p".into());
    let portal = agent_portail::urls::Portal::open(&settings, crate::world::tokens()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(agent_portail::urls::server::serve(
        listener,
        portal.clone(),
        cancel.clone(),
        Duration::from_secs(5),
    ));
    let call = async |method: &str, path: &str, body: &str| {
        let headers = [("authorization", "Bearer admin"), ("content-type", "application/json")];
        request(method, &format!("http://{address}{path}"), &headers, body.to_owned()).await
    };
    call("GET", "/api/v1/folders", "").await.expect(200);
    call("GET", "/api/v1/files?q=a", "").await.expect(200);
    call("POST", "/api/v1/urls", r#"{"folder": "files", "path": "a"}"#).await.expect(201);
    let made = call("POST", "/api/v1/links", r#"{"folder": "files", "path": "a"}"#).await.expect(201);
    let href = made["href"].as_str().unwrap();
    assert_eq!(request("GET", href, &[], "").await.status, 302);
    call("GET", "/api/v1/links?all=true", "").await.expect(200);
    call("DELETE", &format!("/api/v1/links/{}", made["id"]), "").await.expect(204);
    let catalog = agent_portail::catalog::Catalog::open(&settings.database, "test").unwrap();
    agent_portail::catalog::link::forget(&catalog, Duration::from_secs(1), 10).await.unwrap();
    let client = crate::common::pg::connect(&settings.database).await;
    for forbidden in [
        "UPDATE portail.file SET state = 'kept'",
        "DELETE FROM portail.file",
        "INSERT INTO portail.folder (agent, name, path, endpoint, bucket, prefix) VALUES ('a', 'a', 'a', 'a', 'a', 'a')",
        "UPDATE portail.held_delete SET decision = 'approved'",
        "CREATE TABLE portail.x ()",
        "DROP TABLE portail.link",
    ] {
        let error = client.execute(forbidden, &[]).await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE),
            "{forbidden}: {error:?}"
        );
    }
    cancel.cancel();
    task.await.unwrap();
    world.db.rows(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
