//! Standard output, which may be closed at any time: `agent-portail status | head -1`.

use std::fmt;
use std::io::{self, Write as _};

/// Standard output could not be written to.
#[derive(Debug, thiserror::Error)]
#[error("write to standard output")]
pub struct OutputError(#[from] io::Error);

impl OutputError {
    /// Whether the reader has seen enough, which is nothing to complain about.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes to standard output as `print!` does, but fails where that panics.
///
/// # Errors
/// If standard output is closed or full.
pub fn print(text: fmt::Arguments<'_>) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(text)?;
    stdout.flush()?;
    Ok(())
}
