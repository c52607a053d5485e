//! `agent-portail config`: what is in force, and where it came from.

use super::{Exit, output};
use crate::config::Effective;

/// Prints every key with its value, secrets as `***`, and the layer that it came from.
///
/// # Errors
/// If standard output cannot be written to.
pub async fn run(effective: &Effective) -> anyhow::Result<Exit> {
    output::print(format_args!("{}", effective.provenance))?;
    if effective.settings.s3.credentials.is_some() {
        output::print(format_args!(
            "\n# S3 credentials: the systemd credentials aws-access-key-id and aws-secret-access-key\n"
        ))?;
    } else {
        output::print(format_args!("\n# S3 credentials: the AWS chain (environment, profile, instance role)\n"))?;
    }
    Ok(Exit::Done)
}
