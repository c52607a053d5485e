//! `agent-portail urls`: the link service, and its tokens.

use std::io::Write as _;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;

use super::{Exit, UsageError, output};
use crate::config::settings::{Settings, UrlsAuth};
use crate::model::{Scope, Scopes};
use crate::urls::run::{self, RunError};
use crate::urls::token_file;
use crate::urls::tokens::{self, Entry, is_name};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it can't start.
pub async fn run(settings: &Settings) -> anyhow::Result<Exit> {
    match run::run(settings).await {
        Ok(()) => Ok(Exit::Done),
        // Found by its type, for the exit status.
        Err(RunError::Configuration(error)) => Err(error.into()),
        Err(error @ (RunError::Start(_) | RunError::Listen { .. } | RunError::Signals(_))) => Err(error.into()),
    }
}

/// Makes a token, writes its digest into the file of tokens, and prints it, this once.
///
/// # Errors
/// If no file is configured, it can't be written, or the name can't be used.
pub async fn add_token(settings: &Settings, name: &str, scopes: &[Scope]) -> anyhow::Result<Exit> {
    let UrlsAuth::Token { tokens_file: Some(path) } = &settings.urls.auth else {
        return Err(UsageError("add a token: set urls.tokens_file to the file that it is to be in".to_owned()).into());
    };
    if !is_name(name) {
        return Err(UsageError("add a token: a name has 1 to 64 letters, digits and ._@-".to_owned()).into());
    }
    let token = tokens::new_token(&mut rand::rng());
    let scopes: Scopes = scopes.iter().copied().collect();
    let entry = Entry { name: name.to_owned(), scopes, hash: tokens::hash_of(&token) };
    let path = path.clone();
    tokio::task::spawn_blocking(move || token_file::add(&path, &entry)).await.context("add a token")??;
    output::print(format_args!("{}\n", token.expose_secret()))?;
    // Beside the result, so that a script gets nothing but the token.
    let note = format!("This is the token of {name}, with the scopes {scopes}. It is shown this once.\n");
    let _ = std::io::stderr().write_all(note.as_bytes());
    Ok(Exit::Done)
}
