//! The command line: one file a command, the exit codes, and how an error is printed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

#[cfg(feature = "demo")]
use crate::config::settings::{LogFormat, LogMethod};
use crate::config::settings::{LogLevel, LogSettings};
use crate::config::{Effective, Flag, Origin, Sources, load, parse_duration};
use crate::logging::{self, Destination};
use crate::model::Scope;

pub mod check;
pub mod config;
pub mod deletes;
#[cfg(feature = "demo")]
pub mod demo;
pub mod explain;
pub mod generate;
pub mod migrate;
pub mod output;
pub mod progress;
pub mod restore;
pub mod run;
pub mod setup;
pub mod status;
pub mod summary;
pub mod sync;
pub mod url;
pub mod urls;
pub mod verify;

mod exit;
mod flag;
mod located;
mod signals;

pub use exit::{Exit, UsageError};
pub use generate::GenerateArgs;
pub use restore::RestoreArgs;
pub use setup::SetupArgs;
pub use verify::VerifyArgs;

/// Mirrors local folders to an S3 bucket and records each file in PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "agent-portail", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub struct Cli {
    /// The configuration file [env: AGENT_PORTAIL_CONFIG] [default: /etc/agent-portail/config.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key of the configuration, over the file and the environment; may be repeated
    ///
    /// For example `--set sync.workers=8`. Passwords are refused, because other users see the command line, and folders,
    /// which are written into the file.
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = flag::FlagParser)]
    pub set: Vec<Flag>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0    done and in sync
  1    something failed, differs or is held; each is named
  2    wrong usage
  78   invalid configuration
  130  interrupted";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watches every folder and mirrors each change as it happens, until SIGTERM or SIGINT
    ///
    /// A full reconciliation at the start, at intervals (sync.reconcile_every) and whenever events may have been lost is the
    /// safety net. SIGHUP reads the configuration again.
    Run,
    /// Mirrors every folder once, then exits
    ///
    /// One reconciliation: what was added or changed is uploaded, what is gone is deleted from the bucket, and the catalog
    /// records each. A pass that would delete more than a folder's threshold holds the deletions until they are approved
    /// (see `deletes`).
    Sync(SyncArgs),
    /// Shows each folder's state, files, bytes, failures and held deletions
    ///
    /// From the daemon, if one answers at monitor.listen, and from the catalog.
    Status(StatusArgs),
    /// Proves that folder, catalog and bucket hold the same
    ///
    /// Every file is read and compared with its row, every row with what the bucket lists. One line each where they differ, with
    /// what to do about it. Nothing is changed without --repair. While an agent syncs a folder, what differs is given the time to be
    /// synced (sync.max_delay and 5 s) before it is called a difference.
    Verify(VerifyArgs),
    /// Brings files back from the bucket, checked by their MD5, with modification time and mode
    ///
    /// Files that are there already are left alone, so a restore that was interrupted goes on where it was. Needs nothing but the
    /// bucket; where the catalog knows the folder, it says what is to be brought back.
    Restore(RestoreArgs),
    /// Validates the configuration and tries each thing that it names
    ///
    /// Folders, inotify limits, PostgreSQL, and the bucket's permissions, by writing and removing a probe object. One line
    /// each, with the remedy where it fails.
    Check(CheckArgs),
    /// Prints one presigned URL, by which anybody can fetch a synced file for a while
    Url {
        /// A local path, or FOLDER:REL/PATH
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// How long it lasts, from 1s to urls.max_expiry (7d at most) [default: urls.default_expiry, 1h]
        #[arg(long, value_name = "DURATION", value_parser = expiry)]
        expires: Option<Duration>,
    },
    /// Serves links to files for people without credentials: an HTTP API and a web page, until SIGTERM or SIGINT
    ///
    /// It reads the catalog, never the folders, and signs temporary URLs. SIGHUP reads the tokens again.
    Urls {
        /// Something else than to serve
        #[command(subcommand)]
        command: Option<UrlsCommand>,
    },
    /// Lists, approves or rejects the deletions that a folder's threshold holds back
    #[command(subcommand)]
    Deletes(DeletesCommand),
    /// Says why a path is or isn't synced: the rule that matched, its row, its last events
    Explain {
        /// A local path, or FOLDER:REL/PATH
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Makes the roles of both services and their database on the local PostgreSQL, after asking
    ///
    /// Run it as root or as postgres. What is there already is left alone. For a server elsewhere it prints the SQL.
    Setup(SetupArgs),
    /// Brings the database schema up to date
    ///
    /// `sync` does it at its start, too.
    Migrate,
    /// Prints the configuration in force, each value with the layer that it came from
    ///
    /// Layers, later wins: built-in defaults, the file, systemd credentials, the environment (DB_HOST, AWS_BUCKET_NAME…),
    /// AGENT_PORTAIL__SECTION__KEY, --set. Secrets are shown as ***.
    Config,
    /// Shows everything on this machine, with nothing to configure
    ///
    /// A throw-away PostgreSQL, an embedded S3 server, and the daemon on DIR or a sample folder, until Ctrl-C. Removes what it
    /// made when it ends.
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Writes manual pages and completions, for packages
    #[command(hide = true)]
    Generate(GenerateArgs),
}

/// Of `sync`.
#[derive(Args, Clone, Debug)]
pub struct SyncArgs {
    /// Print what would be done, one line an action, and change nothing anywhere
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Only this folder; may be repeated
    #[arg(long = "folder", value_name = "NAME")]
    pub folders: Vec<String>,
    /// Wait while another agent holds the writer's lock, instead of giving up after 5 s
    #[arg(long)]
    pub wait: bool,
}

/// Of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Only the configuration and the files that it names: no folder, no PostgreSQL, no S3
    #[arg(long, conflicts_with = "service")]
    pub offline: bool,
    /// As the installed service: with its user, groups, sandbox and credentials, and its configuration. Only for root
    #[arg(long)]
    pub service: bool,
}

/// Of `urls`.
#[derive(Clone, Debug, Subcommand)]
pub enum UrlsCommand {
    /// Looks after the tokens that callers have
    #[command(subcommand)]
    Token(TokenCommand),
}

/// Of `urls token`.
#[derive(Clone, Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, this once; its digest goes into urls.tokens_file
    Add {
        /// Who is to have it; their links bear this name
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do: read (browse and search), link (make URLs and links), admin (see and revoke everybody's links, and the
        /// other two); may be repeated
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| "expected read, link or admin".to_owned())
}

fn expiry(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a duration such as 15m, 1h or 7d".to_owned())
}

/// Of `deletes`.
#[derive(Clone, Debug, Subcommand)]
pub enum DeletesCommand {
    /// Shows the deletions that wait for a decision: why, since when, what was seen, how many, and where
    ///
    /// Many are counted by directory; --json has them all, one a line. It also says whether the bucket keeps versions, so that a
    /// deletion could be undone.
    List {
        /// Print JSON, a line for each deletion
        #[arg(long)]
        json: bool,
        /// Only this folder
        #[arg(long, value_name = "NAME")]
        folder: Option<String>,
        /// Only this path and what is below it
        #[arg(long, value_name = "SUB")]
        path: Option<String>,
    },
    /// Lets held deletions happen: at once, if the daemon runs, else in the next pass
    ///
    /// Each file is looked at again right before its object goes; one that is back is kept, and its approval forgotten.
    Approve {
        /// The folder
        #[arg(long, value_name = "NAME")]
        folder: String,
        /// Only this path and what is below it
        #[arg(long, value_name = "SUB", conflicts_with = "identity")]
        path: Option<String>,
        /// Accept that the folder, or what is mounted in it, is another than the one that was synced, such as a new disk
        #[arg(long)]
        identity: bool,
    },
    /// Keeps the objects of held deletions for good
    ///
    /// Their rows become `kept`. The same happens to what nobody has decided on for 30 days.
    Reject {
        /// The folder
        #[arg(long, value_name = "NAME")]
        folder: String,
        /// Only this path and what is below it
        #[arg(long, value_name = "SUB")]
        path: Option<String>,
    },
}

/// Of `demo`.
#[cfg(feature = "demo")]
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The folder to mirror; without it, a sample
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Exit after the pass instead of waiting for Ctrl-C
    #[arg(long)]
    pub once: bool,
}

impl Cli {
    /// Parses the command line of this process; the first argument is the program.
    ///
    /// # Errors
    /// With wrong usage, and with the text of `--help` and `--version`; clap's own `exit` prints either.
    pub fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(flag::gather(args))
    }

    /// Loads the configuration, starts logging and runs the command.
    ///
    /// # Errors
    /// With a [`ConfigError`](crate::config::ConfigError) if the configuration is invalid, or whatever the command failed
    /// with.
    pub fn run(self) -> anyhow::Result<Exit> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = self.run_on(&runtime);
        // A thread that hangs in the file system, as on a server that is gone, must not keep the process.
        runtime.shutdown_timeout(LINGER);
        result
    }

    fn run_on(self, runtime: &tokio::runtime::Runtime) -> anyhow::Result<Exit> {
        #[cfg(feature = "demo")]
        if let Command::Demo(args) = self.command {
            let _guard = logging::init(&demo_log(&args), Destination::Command)?;
            return runtime.block_on(demo::run(args));
        }
        if let Command::Generate(args) = &self.command {
            return generate::run(args);
        }
        let sources = Sources::capture(self.config, self.set, std::env::vars_os());
        let effective = load(&sources)?;
        if let Command::Run = self.command {
            check::refuse_unusable(&effective.settings)?;
            let _guard = logging::init(&effective.settings.log, Destination::Service)?;
            return runtime.block_on(run::run(effective, Box::new(move || load(&sources))));
        }
        if let Command::Urls { command: None } = self.command {
            let _guard = logging::init(&effective.settings.log, Destination::Service)?;
            return runtime.block_on(urls::run(&effective.settings));
        }
        let _guard = logging::init(&command_log(&effective), Destination::Command)?;
        runtime.block_on(dispatch(self.command, effective))
    }
}

/// How long the process waits for its threads when all is done.
const LINGER: Duration = Duration::from_secs(1);

/// A command's results are on standard output; unless somebody asked for more, standard error has only what went wrong.
fn command_log(effective: &Effective) -> LogSettings {
    let log = &effective.settings.log;
    let asked = effective.provenance.entry("log", "level").is_some_and(|entry| entry.origin != Origin::Default);
    LogSettings { level: if asked { log.level } else { log.level.min(LogLevel::Warn) }, ..log.clone() }
}

/// The demo reads no configuration. While it watches, each outcome is shown.
#[cfg(feature = "demo")]
fn demo_log(args: &DemoArgs) -> LogSettings {
    let level = if args.once { LogLevel::Warn } else { LogLevel::Success };
    LogSettings { method: LogMethod::Stdout, level, format: LogFormat::Text }
}

/// One line a command.
async fn dispatch(command: Command, effective: Effective) -> anyhow::Result<Exit> {
    match command {
        Command::Config => config::run(&effective).await,
        // Started before, since it logs elsewhere and reads its configuration again.
        Command::Run | Command::Urls { command: None } => Ok(Exit::Usage),
        Command::Sync(args) => sync::run(&effective.settings, args).await,
        Command::Status(args) => status::run(&effective.settings, args).await,
        Command::Verify(args) => verify::run(&effective.settings, args).await,
        Command::Restore(args) => restore::run(&effective.settings, args).await,
        Command::Check(args) => check::run(&effective.settings, args).await,
        Command::Deletes(command) => deletes::run(&effective.settings, command).await,
        Command::Explain { path } => explain::run(&effective.settings, &path).await,
        Command::Url { path, expires } => url::run(&effective.settings, &path, expires).await,
        Command::Urls { command: Some(UrlsCommand::Token(TokenCommand::Add { name, scopes })) } => {
            urls::add_token(&effective.settings, &name, &scopes).await
        }
        Command::Setup(args) => setup::run(&effective.settings, &args),
        Command::Migrate => migrate::run(&effective.settings).await,
        // Before, since it needs no configuration.
        Command::Generate(args) => generate::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_before_and_after_the_command() {
        for args in [["agent-portail", "-c", "/x", "config"], ["agent-portail", "config", "-c", "/x"]] {
            assert_eq!(Cli::try_parse_from(args).unwrap().config, Some("/x".into()));
        }
        let line = "agent-portail --set log.level=warn deletes --set sync.workers=8 list --set log.format=json";
        let flags = Cli::parse_args(line.split(' ').map(OsString::from)).unwrap().set;
        let flag = |text: &str| text.parse::<Flag>().unwrap();
        assert_eq!(flags, [flag("log.level=warn"), flag("sync.workers=8"), flag("log.format=json")]);
    }
}
