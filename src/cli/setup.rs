//! `agent-portail setup`: the roles of both services and their database on a local PostgreSQL, as its superuser.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use clap::Args;

use super::{Exit, UsageError, output};
use crate::config::settings::{DatabaseSettings, Settings};
use crate::model::Printable;

/// Of `setup`.
#[derive(Args, Clone, Debug)]
pub struct SetupArgs {
    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
}

/// The account of PostgreSQL's superuser, on every system that has one.
const SUPERUSER: &str = "postgres";
/// The role of the link service, as its unit and config/urls.toml have it.
const LINK_ROLE: &str = "urls-generator";

/// It could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `psql` could not be run.
    #[error("run psql as {SUPERUSER}: install postgresql-client, and run this as root or as {SUPERUSER}")]
    Run(#[source] io::Error),
    /// PostgreSQL has refused.
    #[error("{what} on the PostgreSQL at {host}, port {port}: {}", Printable(told))]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// Its socket.
        host: String,
        /// Its port.
        port: u16,
        /// What psql said.
        told: String,
    },
    /// It answers otherwise than it was asked.
    #[error("understand what psql said of the server: {}", Printable(.0))]
    Strange(String),
    /// The answer could not be read.
    #[error("read the answer; `--yes` asks nothing")]
    Ask(#[source] io::Error),
}

/// Shows what is missing, asks, and makes it. A second run finds nothing to do.
///
/// # Errors
/// If the database is not on this machine, or PostgreSQL refuses.
pub fn run(settings: &Settings, args: &SetupArgs) -> anyhow::Result<Exit> {
    let database = &settings.database;
    if !database.host.starts_with('/') {
        let text = format!(
            "set up a database at {}: that is not a socket of this machine. Run this there, as a superuser:\n{}",
            database.host,
            script(&statements(database, &Found::default()))
        );
        return Err(UsageError(text).into());
    }
    let found = look(database)?;
    let missing = statements(database, &found);
    if missing.is_empty() {
        output::print(format_args!("nothing to do: roles and database are there\n"))?;
        return Ok(Exit::Done);
    }
    output::print(format_args!("{}", script(&missing)))?;
    if !args.yes && !agreed(database)? {
        output::print(format_args!("nothing was done\n"))?;
        return Ok(Exit::Trouble);
    }
    for statement in &missing {
        psql(database, statement.database.as_deref(), "set up roles and database", &statement.sql)?;
    }
    output::print(format_args!("done\n"))?;
    Ok(Exit::Done)
}

fn agreed(database: &DatabaseSettings) -> Result<bool, SetupError> {
    if !io::stdin().is_terminal() {
        // Nobody who could answer: `--yes` is for that.
        return Ok(false);
    }
    let mut stderr = io::stderr();
    write!(stderr, "Run this on the PostgreSQL at {}, port {}, as {SUPERUSER}? [y/N] ", database.host, database.port)
        .map_err(SetupError::Ask)?;
    stderr.flush().map_err(SetupError::Ask)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(SetupError::Ask)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    role: bool,
    link_role: bool,
    database: bool,
    /// The role may make the schema there.
    may_create: bool,
    /// The schema is there, and knows of links that their service may not write yet.
    links_closed: bool,
}

/// Something to run, in `postgres` unless it names another database.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    database: Option<String>,
    sql: String,
}

/// What has to be run so that everything is there.
fn statements(settings: &DatabaseSettings, found: &Found) -> Vec<Statement> {
    let (role, name, link_role) = (identifier(&settings.user), identifier(&settings.name), identifier(LINK_ROLE));
    let anywhere = |sql: String| Statement { database: None, sql };
    let mut statements = Vec::new();
    if !found.role {
        statements.push(anywhere(format!("CREATE ROLE {role} LOGIN;")));
    }
    if !found.link_role {
        statements.push(anywhere(format!("CREATE ROLE {link_role} LOGIN;")));
    }
    if !found.database {
        // Names of files are UTF-8, whatever the cluster was made with.
        statements.push(anywhere(format!("CREATE DATABASE {name} OWNER {role} ENCODING 'UTF8' TEMPLATE template0;")));
    } else if !found.may_create {
        statements.push(anywhere(format!("GRANT CREATE, CONNECT ON DATABASE {name} TO {role};")));
    }
    if found.links_closed {
        // As the owner of the tables, who makes the later ones, too.
        let sql = format!("SET ROLE {role}; SELECT portail.grant_links({});", literal(LINK_ROLE));
        statements.push(Statement { database: Some(settings.name.clone()), sql });
    }
    statements
}

fn script(statements: &[Statement]) -> String {
    let mut text = String::new();
    for Statement { database, sql } in statements {
        match database {
            Some(database) => _ = writeln!(text, "{sql}    -- in {}", identifier(database)),
            None => _ = writeln!(text, "{sql}"),
        }
    }
    text
}

/// As SQL quotes a name.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// As SQL quotes a text, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn look(settings: &DatabaseSettings) -> Result<Found, SetupError> {
    let (role, name, link_role) = (literal(&settings.user), literal(&settings.name), literal(LINK_ROLE));
    let what = "look for roles and database";
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = {role}), EXISTS (SELECT FROM pg_roles WHERE rolname = {link_role}),
            EXISTS (SELECT FROM pg_database WHERE datname = {name}),
            coalesce((SELECT has_database_privilege(r.oid, d.oid, 'CREATE') FROM pg_roles r, pg_database d
                WHERE r.rolname = {role} AND d.datname = {name}), false);"
    );
    let answers = psql(settings, None, what, &sql)?;
    let [role, link_role, database, may_create] = truths(&answers)?;
    let mut found = Found { role, link_role, database, may_create, links_closed: false };
    if found.database && found.role {
        let sql = "SELECT to_regprocedure('portail.grant_links(name)') IS NOT NULL;";
        let [knows_links] = truths(&psql(settings, Some(&settings.name), what, sql)?)?;
        found.links_closed = knows_links && !found.link_role;
        if knows_links && found.link_role {
            let sql = format!(
                "SELECT has_table_privilege({0}, 'portail.link', 'INSERT') AND has_table_privilege({0}, 'portail.file', 'SELECT');",
                literal(LINK_ROLE)
            );
            let [open] = truths(&psql(settings, Some(&settings.name), what, &sql)?)?;
            found.links_closed = !open;
        }
    }
    Ok(found)
}

/// `t|f|t` as psql prints a row of truths.
fn truths<const N: usize>(answer: &str) -> Result<[bool; N], SetupError> {
    let strange = || SetupError::Strange(answer.to_owned());
    let cells: Option<Vec<bool>> = answer
        .trim()
        .split('|')
        .map(|cell| match cell {
            "t" => Some(true),
            "f" => Some(false),
            _ => None,
        })
        .collect();
    cells.ok_or_else(strange)?.try_into().map_err(|_| strange())
}

/// Runs SQL as the superuser, whom the socket knows by the account that asks (peer authentication), and gives what it prints.
fn psql(
    settings: &DatabaseSettings,
    database: Option<&str>,
    what: &'static str,
    sql: &str,
) -> Result<String, SetupError> {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", SUPERUSER, "--", "psql"]);
        command
    } else {
        Command::new("psql")
    };
    let port = settings.port.to_string();
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", &settings.host, "-p", &port, "-U", SUPERUSER]);
    command.args(["-d", database.unwrap_or("postgres")]).current_dir("/");
    // Neither a password nor another server of whoever runs this.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(SetupError::Run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it has read all says why.
        let _ = stdin.write_all(sql.as_bytes());
    }
    let ended = child.wait_with_output().map_err(SetupError::Run)?;
    if !ended.status.success() {
        let told = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(SetupError::Refused { what, host: settings.host.clone(), port: settings.port, told });
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Tls;

    fn settings() -> DatabaseSettings {
        DatabaseSettings {
            host: "/run/postgresql".to_owned(),
            port: 5432,
            name: "files".to_owned(),
            user: "o\"brien".to_owned(),
            password: None,
            tls: Tls::Prefer,
            pool_size: 8,
        }
    }

    #[test]
    fn only_what_is_missing_is_made_and_names_are_quoted() {
        let all = statements(&settings(), &Found::default());
        let sql: Vec<&str> = all.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(
            sql,
            [
                "CREATE ROLE \"o\"\"brien\" LOGIN;",
                "CREATE ROLE \"urls-generator\" LOGIN;",
                "CREATE DATABASE \"files\" OWNER \"o\"\"brien\" ENCODING 'UTF8' TEMPLATE template0;"
            ]
        );
        let found = Found { role: true, link_role: true, database: true, may_create: true, links_closed: false };
        assert_eq!(statements(&settings(), &found), []);
        let closed = statements(&settings(), &Found { links_closed: true, ..found });
        assert_eq!(closed[0].database.as_deref(), Some("files"));
        let poor = statements(&settings(), &Found { may_create: false, ..found });
        assert_eq!(poor[0].sql, "GRANT CREATE, CONNECT ON DATABASE \"files\" TO \"o\"\"brien\";");
    }

    #[test]
    fn what_psql_prints_is_read_or_refused() {
        assert_eq!(truths("t|f\n").unwrap(), [true, false]);
        for strange in ["", "t", "t|f|t", "true|f"] {
            assert!(truths::<2>(strange).is_err(), "{strange}");
        }
        assert_eq!(literal("a'b\\"), "E'a''b\\\\'");
    }
}
