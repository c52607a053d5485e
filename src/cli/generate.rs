//! `agent-portail generate DIR`: manual pages and completions, for packages. Not in `--help`, since nobody else needs it.
//!
//! `agent-portail(1)` and a page for each command come from what `--help` prints; `agent-portail.toml(5)` from
//! docs/CONFIGURATION.md, whose keys and defaults are compared with the program's by a test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit};

mod manual;

const NAME: &str = "agent-portail";
/// The source of `agent-portail.toml(5)`.
const CONFIGURATION: &str = include_str!("../../docs/CONFIGURATION.md");

/// Of `generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Where the folders `man` and `completions` are made
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Something could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {}: make its folder writable, or name another one", crate::model::ShownPath(path))]
pub struct GenerateError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes all of them.
///
/// # Errors
/// If something can't be written.
pub fn run(args: &GenerateArgs) -> anyhow::Result<Exit> {
    let man = made(&args.dir.join("man"))?;
    pages(&man)?;
    write(&man.join("agent-portail.toml.5"), manual::page(&CONFIG_PAGE, CONFIGURATION).as_bytes())?;
    let completions = made(&args.dir.join("completions"))?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command(), NAME, &completions)
            .map_err(|source| GenerateError { path: completions.clone(), source })?;
    }
    Ok(Exit::Done)
}

const CONFIG_PAGE: manual::Title = manual::Title {
    name: "agent-portail.toml",
    section: "5",
    summary: "configuration of agent-portail",
    see_also: &["agent-portail(1)", "systemd.exec(5)", "systemd-creds(1)"],
};

fn command() -> clap::Command {
    Cli::command().disable_help_subcommand(true)
}

/// One for the program, and one for each command that is not hidden.
fn pages(folder: &Path) -> Result<(), GenerateError> {
    let mut all = command();
    all.build();
    let mut waiting = vec![all];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        let page =
            Man::new(command).source(concat!("agent-portail ", env!("CARGO_PKG_VERSION"))).manual("agent-portail");
        let path = folder.join(page.get_filename());
        let mut text = Vec::new();
        page.render(&mut text).map_err(|source| GenerateError { path: path.clone(), source })?;
        write(&path, &text)?;
    }
    Ok(())
}

fn made(folder: &Path) -> Result<PathBuf, GenerateError> {
    fs::create_dir_all(folder).map_err(|source| GenerateError { path: folder.to_owned(), source })?;
    Ok(folder.to_owned())
}

fn write(path: &Path, text: &[u8]) -> Result<(), GenerateError> {
    fs::write(path, text).map_err(|source| GenerateError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_and_each_shell_its_completions() {
        let folder = tempfile::tempdir().unwrap();
        run(&GenerateArgs { dir: folder.path().to_owned() }).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("man/agent-portail.1").contains("Exit status"));
        for page in ["agent-portail-sync.1", "agent-portail-deletes-approve.1", "agent-portail-setup.1"] {
            assert!(read(&format!("man/{page}")).starts_with(".ie"), "{page}");
        }
        assert!(!folder.path().join("man/agent-portail-generate.1").exists(), "it is for packages only");
        for (shell, file) in [("bash", "agent-portail.bash"), ("zsh", "_agent-portail"), ("fish", "agent-portail.fish")]
        {
            assert!(read(&format!("completions/{file}")).contains("dry-run"), "{shell}");
        }
    }

    #[test]
    fn the_manual_of_the_configuration_has_every_key_of_the_document() {
        let page = manual::page(&CONFIG_PAGE, CONFIGURATION);
        let keys =
            CONFIGURATION.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(key, _)| key));
        let keys: Vec<&str> = keys.collect();
        assert!(keys.len() > 40, "{keys:?}");
        for key in keys {
            assert!(page.contains(&format!("\\fB{}\\fR", key.replace('-', "\\-"))), "{key}");
        }
    }
}
