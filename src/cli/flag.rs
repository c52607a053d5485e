//! `--set` as clap parses it. clap's own parser quotes a value that it refuses, and this one may be a password.

use std::ffi::{OsStr, OsString};

use clap::builder::TypedValueParser;
use clap::error::{Error, ErrorKind};
use clap::{Arg, Command};

use crate::config::{Flag, FlagError};

/// See [`Flag`].
#[derive(Clone, Copy)]
pub(super) struct FlagParser;

impl TypedValueParser for FlagParser {
    type Value = Flag;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<Flag, Error> {
        value
            .to_str()
            .ok_or(FlagError::Form)
            .and_then(str::parse)
            .map_err(|error| Error::raw(ErrorKind::ValueValidation, format_args!("{error}\n")).with_cmd(command))
    }
}

/// Brings every `--set VALUE` to the front, in order. clap keeps those of the innermost subcommand only, and would drop the
/// others without a word.
pub(super) fn gather(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut front: Vec<OsString> = args.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest.push(arg);
            rest.extend(args);
            break;
        }
        // Without a value it stays where it is, so that clap's complaint is about this and not about the next word.
        let value = if arg == "--set" { args.next_if(|next| !next.as_encoded_bytes().starts_with(b"-")) } else { None };
        if value.is_some() || arg.as_encoded_bytes().starts_with(b"--set=") {
            front.push(arg);
            front.extend(value);
        } else {
            rest.push(arg);
        }
    }
    front.extend(rest);
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_first_and_keep_their_order() {
        for (given, expected) in [
            ("p --set a.b=1 x --set=c.d=2 y --json", "p --set a.b=1 --set=c.d=2 x y --json"),
            ("p x --set", "p x --set"),
            ("p --set --json x", "p --set --json x"),
            ("p x -- --set a.b=1", "p x -- --set a.b=1"),
            ("p", "p"),
        ] {
            let gathered = gather(given.split(' ').map(OsString::from));
            assert_eq!(gathered, expected.split(' ').map(OsString::from).collect::<Vec<_>>(), "{given}");
        }
    }
}
