//! A throw-away PostgreSQL from the installed binaries: a cluster in a temporary folder, gone when it is dropped.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tempfile::TempDir;

use crate::config::settings::{DatabaseSettings, Tls};

/// The role that owns the cluster.
const OWNER: &str = "postgres";
/// Of the owner over TCP. The cluster listens on loopback only and ends with its process.
const PASSWORD: &str = "throw-away";
/// A cold machine needs some seconds for it.
const START: Duration = Duration::from_secs(60);
/// Waits for the end of its standard input, then ends the process `$1` in order and removes the folder `$2`. It is bounded,
/// since a process that nobody waits for stays there after its end.
const WATCH: &str = "read -r _; kill -INT \"$1\"; n=0
while kill -0 \"$1\" && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.1; done; rm -rf \"$2\"";

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    bin: PathBuf,
    // Before `home`, so that the server has ended when its files go.
    server: Option<Child>,
    /// Holds the other end of a pipe, which the kernel closes when this process ends, however it ends: see [`WATCH`].
    watch: Option<Child>,
    home: TempDir,
    port: u16,
    /// None where this process is not root, and the server runs as the same user.
    user: Option<(u32, u32)>,
}

/// The cluster could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// PostgreSQL is not installed.
    #[error("find PostgreSQL's initdb and postgres: install the package `postgresql`")]
    NotInstalled,
    /// Nobody to run it as.
    #[error(
        "find a user to run PostgreSQL as: it refuses to run as root, and there is neither `postgres` nor `nobody`"
    )]
    NoUser,
    /// A file or process.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// One of its programs failed.
    #[error("run {program}: {output}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it said.
        output: String,
    },
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> ClusterError {
    move |source| ClusterError::Io { what, source }
}

impl Cluster {
    /// Makes and starts a cluster. Several can run side by side.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or does not start.
    pub fn start() -> Result<Self, ClusterError> {
        let bin = find_binaries().ok_or(ClusterError::NotInstalled)?;
        let user = if rustix::process::geteuid().is_root() { Some(unprivileged_user()?) } else { None };
        let home = tempfile::Builder::new()
            .prefix("agent-portail-pg-")
            .tempdir()
            .map_err(io_error("make a temporary folder for PostgreSQL"))?;
        if let Some((uid, gid)) = user {
            chown(home.path(), Some(uid), Some(gid)).map_err(io_error("hand PostgreSQL its folder"))?;
        }
        // Others may look up the socket in it, but not list it.
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o711))
            .map_err(io_error("open PostgreSQL's folder for its clients"))?;
        let mut cluster = Self { bin, server: None, watch: None, home, port: 0, user };
        cluster.initialise()?;
        cluster.resume()?;
        Ok(cluster)
    }

    fn initialise(&self) -> Result<(), ClusterError> {
        let password = self.home.path().join("password");
        std::fs::write(&password, PASSWORD).map_err(io_error("write the throw-away password"))?;
        if let Some((uid, gid)) = self.user {
            chown(&password, Some(uid), Some(gid)).map_err(io_error("hand PostgreSQL its password"))?;
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        initdb.arg(format!("--username={OWNER}")).arg("--pwfile").arg(&password);
        initdb.arg("-D").arg(self.data());
        let output = initdb.output().map_err(io_error("run initdb"))?;
        succeed("initdb", &output)
    }

    /// Starts the server, again after [`Self::stop`] or [`Self::kill`] on the same port.
    ///
    /// # Errors
    /// If it does not start.
    pub fn resume(&mut self) -> Result<(), ClusterError> {
        if self.port == 0 {
            self.port = free_port()?;
        }
        let log = std::fs::File::create(self.log()).map_err(io_error("make PostgreSQL's log file"))?;
        let errors = log.try_clone().map_err(io_error("make PostgreSQL's log file"))?;
        let mut postgres = self.command("postgres");
        postgres.arg("-D").arg(self.data()).arg("-k").arg(self.home.path());
        postgres.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        // Nothing here outlives the process, so nothing needs to reach the disk.
        for setting in [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=300",
            "shared_buffers=32MB",
        ] {
            postgres.args(["-c", setting]);
        }
        let server =
            postgres.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().map_err(io_error("run postgres"))?;
        let pid = server.id().to_string();
        self.server = Some(server);
        let mut watch = self.as_owner(Command::new("/bin/sh"));
        watch.args(["-c", WATCH, "sh", &pid]).arg(self.home.path());
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.watch = Some(watch.spawn().map_err(io_error("watch over PostgreSQL"))?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), ClusterError> {
        let began = Instant::now();
        while began.elapsed() < START {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            if ended.is_some() {
                break;
            }
            let ready = self
                .command("pg_isready")
                .args(["-q", "-h"])
                .arg(self.home.path())
                .args(["-p", &self.port.to_string()])
                .status();
            if ready.is_ok_and(|status| status.success()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = std::fs::read_to_string(self.log()).unwrap_or_default();
        Err(ClusterError::Program { program: "postgres", output })
    }

    /// Makes an empty database.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn create_database(&self, name: &str) -> Result<(), ClusterError> {
        self.run_sql("postgres", &format!("CREATE DATABASE \"{name}\"")).map(|_| ())
    }

    /// Runs SQL with `psql` as the owner, and answers its output: unaligned, rows only.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn run_sql(&self, database: &str, sql: &str) -> Result<String, ClusterError> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-U", OWNER, "-d", database, "-h"])
            .arg(self.home.path());
        psql.args(["-p", &self.port.to_string(), "-c", sql]);
        let output = psql.output().map_err(io_error("run psql"))?;
        succeed("psql", &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// How to connect to a database of the cluster over TCP, with the password.
    pub fn settings(&self, database: &str) -> DatabaseSettings {
        DatabaseSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            name: database.to_owned(),
            user: OWNER.to_owned(),
            password: Some(SecretString::from(PASSWORD)),
            tls: Tls::Prefer,
            pool_size: 8,
        }
    }

    /// The password of [`Self::settings`], for a child process' environment.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The TCP port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the socket.
    pub fn socket(&self) -> &Path {
        self.home.path()
    }

    /// The folder of the data, where a test may put certificates.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Ends the server in order, cutting its connections.
    pub fn stop(&mut self) {
        self.end(rustix::process::Signal::INT);
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.end(rustix::process::Signal::QUIT);
    }

    fn end(&mut self, signal: rustix::process::Signal) {
        // Before the server, whose process number may be somebody else's afterwards.
        if let Some(mut watch) = self.watch.take() {
            let _ = watch.kill();
            let _ = watch.wait();
        }
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself; waiting tells.
            let _ = rustix::process::kill_process(pid, signal);
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if !matches!(server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = server.kill();
        let _ = server.wait();
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// One of PostgreSQL's programs, run as the server's user.
    fn command(&self, program: &str) -> Command {
        self.as_owner(Command::new(self.bin.join(program)))
    }

    /// Run as the server's user, in its folder.
    fn as_owner(&self, mut command: Command) -> Command {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        // Its own variables could lead it to another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        // Not a member of our process group: Ctrl-C is for us, and we end it in order.
        command.env("LC_ALL", "C").current_dir(self.home.path()).process_group(0);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

fn succeed(program: &'static str, output: &Output) -> Result<(), ClusterError> {
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ClusterError::Program { program, output: text.trim().to_owned() })
}

/// Debian keeps each version's programs in a folder of their own; the newest first, then the path.
fn find_binaries() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = versions.into_iter().map(|(_, bin)| bin).chain(std::env::split_paths(&path).collect::<Vec<_>>());
    candidates
        .into_iter()
        .find(|bin| ["initdb", "postgres", "psql", "pg_isready"].iter().all(|name| bin.join(name).is_file()))
}

/// The user and group to run the server as, where we are root.
fn unprivileged_user() -> Result<(u32, u32), ClusterError> {
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(io_error("read /etc/passwd"))?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next() == Some(name);
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            found.then_some((uid, gid))
        })
    };
    find("postgres").or_else(|| find("nobody")).ok_or(ClusterError::NoUser)
}

/// A port that is free now. Another process may take it before the server does, which then does not start.
fn free_port() -> Result<u16, ClusterError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_error("find a free port"))?;
    Ok(listener.local_addr().map_err(io_error("find a free port"))?.port())
}
