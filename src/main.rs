//! The `agent-portail` program.

use std::process::ExitCode;

use agent_portail::cli::{Cli, Exit};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _crash = agent_portail::boundary::Crash::from_environment();
    // clap prints and exits: with 2 on wrong usage, with 0 after --help and --version.
    let cli = Cli::parse_args(std::env::args_os()).unwrap_or_else(|usage| usage.exit());
    cli.run().unwrap_or_else(|error| Exit::from_error(&error)).into()
}
