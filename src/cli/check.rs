//! `agent-portail check`: tries each real thing that the configuration names, one line each, with the remedy where it fails.

use super::{CheckArgs, Exit, output};
use crate::agent::application_name;
use crate::catalog::Catalog;
use crate::config::settings::{LogMethod, Settings, UrlsAuth};
use crate::model::ShownPath;
use line::{Findings, Line};

mod buckets;
mod database;
mod folders;
mod habits;
mod line;
mod service;

/// Tries everything, in the order in which one thing needs another, and prints each finding as it is found.
///
/// # Errors
/// If standard output can't be written to. What is wrong with the things themselves is on their lines.
pub async fn run(settings: &Settings, args: CheckArgs) -> anyhow::Result<Exit> {
    if args.service {
        return service::run();
    }
    let mut findings = Findings::new(|line| output::print(format_args!("{line}\n")));
    findings.say(configuration(settings))?;
    if !args.offline && rustix::process::geteuid().is_root() && service::is_installed() {
        findings.say(
            Line::warn("user", "this is root, who may read what the service may not, and has not its credentials")
                .remedy("`agent-portail check --service` tries everything as the service"),
        )?;
    }
    for line in files(settings) {
        findings.say(line)?;
    }
    // Reads the CA file, and asks nothing of the server yet.
    let catalog = match Catalog::open(&settings.database, &application_name(&settings.agent.name)) {
        Ok(catalog) => Some(catalog),
        Err(error) => {
            findings.say(Line::failed("PostgreSQL", &error))?;
            None
        }
    };
    if !args.offline {
        folders::check(settings, &mut findings).await?;
        if let Some(catalog) = &catalog {
            database::check(settings, catalog, &mut findings).await?;
        }
        buckets::check(settings, &mut findings).await?;
    }
    Ok(if findings.any_failed() { Exit::Trouble } else { Exit::Done })
}

/// What the configuration names can't be used, and no waiting would mend it.
#[derive(Debug, thiserror::Error)]
#[error("use what the configuration names: {}", .0.join("; "))]
pub struct Unusable(pub(super) Vec<String>);

/// What `--offline` looks at, for the daemon before it begins: so that it is not started again and again in vain.
///
/// # Errors
/// With a line for each thing that fails.
pub fn refuse_unusable(settings: &Settings) -> Result<(), Unusable> {
    let mut lines = files(settings);
    if let Err(error) = Catalog::open(&settings.database, &application_name(&settings.agent.name)) {
        lines.push(Line::failed("PostgreSQL", &error));
    }
    let failed: Vec<String> = lines.iter().filter(|line| line.has_failed()).map(ToString::to_string).collect();
    if failed.is_empty() { Ok(()) } else { Err(Unusable(failed)) }
}

/// It was loaded before any command runs, so it is valid; but it may be of no use.
fn configuration(settings: &Settings) -> Line {
    match settings.folders.len() {
        0 => Line::warn("configuration", "it is valid, but has no folder")
            .remedy("add a [[folder]] to the file, or set SYNC_PATH, before `sync` or `run`"),
        1 => Line::ok("configuration", "valid, 1 folder"),
        count => Line::ok("configuration", format!("valid, {count} folders")),
    }
}

/// The files that the configuration names and that are not read with it.
fn files(settings: &Settings) -> Vec<Line> {
    let mut lines = Vec::new();
    if let UrlsAuth::Token { tokens_file: Some(path) } = &settings.urls.auth {
        let what = format!("tokens file {}", ShownPath(path));
        lines.push(match std::fs::File::open(path) {
            Ok(_) => Line::ok(what, "readable"),
            Err(error) => {
                Line::failed(what, &error).remedy("make it readable for this user, or correct urls.tokens_file")
            }
        });
    }
    if let LogMethod::Logfile(path) = &settings.log.method {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let what = format!("log file {}", ShownPath(path));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        let may_write = accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        lines.push(match may_write.map_err(std::io::Error::from) {
            Ok(()) => Line::ok(what, "its folder can be written to"),
            Err(error) => Line::failed(what, &error)
                .remedy("create its folder and make it writable for the user who runs the daemon, or correct log.path"),
        });
    }
    lines
}
