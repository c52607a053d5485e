//! `check --service`: everything as the service has it. Only there can be seen what its user, its groups and its sandbox let it
//! read, and which credentials it is given.
//!
//! The check runs as a unit of its own, which is the service's with all its drop-ins, but for what is run.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::cli::{Exit, output};

/// The service.
const SERVICE: &str = "agent-portail.service";
/// The unit that lives as long as the check.
const UNIT: &str = "agent-portail-check.service";

/// The check could not be run as the service.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServiceError {
    /// Units are root's.
    #[error("check as the service: only root may start a unit; run this with sudo")]
    NotRoot,
    /// systemd could not be asked, or refuses.
    #[error("{what}: {told}")]
    Systemd {
        /// What was asked of it.
        what: String,
        /// What it said.
        told: String,
    },
    /// A file of the unit.
    #[error("write {}", crate::model::ShownPath(.0))]
    Write(PathBuf, #[source] io::Error),
}

/// Runs the check as the service, prints what it found, and exits as it did.
///
/// # Errors
/// If it can't be run so.
pub(super) fn run() -> anyhow::Result<Exit> {
    if !rustix::process::geteuid().is_root() {
        return Err(ServiceError::NotRoot.into());
    }
    let unit = systemctl(&["cat", SERVICE])?;
    let program =
        std::env::current_exe().map_err(|error| ServiceError::Write(PathBuf::from("/proc/self/exe"), error))?;
    let started = Started::write(&variant(&unit, &program.to_string_lossy(), FOUND))?;
    systemctl(&["daemon-reload"])?;
    // It fails where the check finds something: what counts is what it wrote, and how it ended.
    let failed = systemctl(&["start", UNIT]).err();
    let found = fs::read_to_string(FOUND).unwrap_or_default();
    let status = systemctl(&["show", "--property=ExecMainCode,ExecMainStatus", "--value", UNIT])?;
    drop(started);
    output::print(format_args!("{found}"))?;
    match (exit(&status), failed) {
        (Some(exit), _) => Ok(exit),
        // It did not come to run: a credential or a mount is missing, for instance.
        (None, Some(error)) => Err(error.into()),
        (None, None) => {
            Err(ServiceError::Systemd { what: format!("run {UNIT}"), told: status.trim().to_owned() }.into())
        }
    }
}

/// Whether there is one on this machine.
pub(super) fn is_installed() -> bool {
    ["/etc", "/usr/lib", "/lib"]
        .iter()
        .any(|root| std::path::Path::new(root).join("systemd/system").join(SERVICE).exists())
}

/// What the check prints, until it is read: root's folder, so nobody else can put a link there.
const FOUND: &str = "/run/agent-portail-check";

/// The unit of the service, for one run of the check. What comes last in a unit wins, and an empty value begins a list anew.
fn variant(unit: &str, program: &str, found: &str) -> String {
    format!(
        "{unit}\n\
         [Unit]\n\
         Description=Check as {SERVICE}\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStartPre=\n\
         ExecStart=\n\
         ExecStart={program} check\n\
         ExecReload=\n\
         Restart=no\n\
         WatchdogSec=0\n\
         StandardOutput=truncate:{found}\n\
         StandardError=append:{found}\n"
    )
}

/// How the process ended: `1` (it exited) and its status. None if it was killed, or never ran.
fn exit(shown: &str) -> Option<Exit> {
    const EXITED: &str = "1";
    let mut lines = shown.lines();
    (lines.next() == Some(EXITED)).then_some(())?;
    let codes = [Exit::Done, Exit::Trouble, Exit::Usage, Exit::Configuration];
    let status = lines.next()?;
    codes.into_iter().find(|exit| exit.code().to_string() == status)
}

/// The unit is there as long as this lives.
struct Started(PathBuf);

impl Started {
    fn write(text: &str) -> Result<Self, ServiceError> {
        let path = PathBuf::from("/run/systemd/system").join(UNIT);
        let failed = |error| ServiceError::Write(path.clone(), error);
        fs::write(&path, text).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It stays until here, so that it can be asked how it ended. Whatever is left of it goes at the next boot.
        let _ = systemctl(&["stop", UNIT]);
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(FOUND);
        let _ = systemctl(&["reset-failed", UNIT]);
        let _ = systemctl(&["daemon-reload"]);
    }
}

fn systemctl(arguments: &[&str]) -> Result<String, ServiceError> {
    let failed = |told| ServiceError::Systemd { what: format!("run systemctl {}", arguments.join(" ")), told };
    let ended = Command::new("systemctl").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if !ended.status.success() {
        return Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variant_differs_in_what_is_run_and_comes_last() {
        let unit = "# /lib/systemd/system/agent-portail.service\n[Service]\nExecStart=/usr/bin/agent-portail run\n";
        let text = variant(unit, "/usr/bin/agent-portail", "/run/found");
        let (kept, added) = text.split_at(unit.len());
        assert_eq!(kept, unit);
        assert!(added.contains("\nExecStart=\nExecStart=/usr/bin/agent-portail check\n"), "{added}");
    }

    #[test]
    fn it_exits_as_the_check_did() {
        assert_eq!(exit("1\n0\n"), Some(Exit::Done));
        assert_eq!(exit("1\n1\n"), Some(Exit::Trouble));
        assert_eq!(exit("1\n78\n"), Some(Exit::Configuration));
        assert_eq!(exit("2\n9\n"), None, "it was killed");
        assert_eq!(exit("0\n0\n"), None, "it never ran");
        assert_eq!(exit("1\n243\n"), None, "systemd could not give it its credentials");
    }
}
