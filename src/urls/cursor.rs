//! Where a page ended, as text that the caller hands back: opaque to them, and checked here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// No cursor is longer: it holds a path at most.
const LONGEST: usize = 8 * 1024;

/// A place in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Cursor {
    /// After a directory of this name.
    #[serde(rename = "d")]
    Directory(String),
    /// After all directories, before the first file.
    #[serde(rename = "s")]
    Files,
    /// After the file at this path, which has this place in the order.
    #[serde(rename = "f")]
    File(String, i64),
    /// After a path in a folder.
    #[serde(rename = "p")]
    Path(i64, String),
    /// After the link of this number.
    #[serde(rename = "l")]
    Link(i64),
}

impl Cursor {
    /// For the caller.
    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// From the caller.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::Invalid("`after` is not the `next` of an earlier page of this list".to_owned());
        if text.len() > LONGEST {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let cursor: Self = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let path = match &cursor {
            Self::Directory(path) | Self::File(path, _) | Self::Path(_, path) => path,
            Self::Files | Self::Link(_) => return Ok(cursor),
        };
        // PostgreSQL's text holds no such character.
        if path.contains('\0') { Err(wrong()) } else { Ok(cursor) }
    }

    /// The text is of another list.
    pub(super) fn foreign() -> Refusal {
        Refusal::Invalid("`after` is of another list".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_anything_else_is_refused() {
        for cursor in [
            Cursor::Directory("a \"b\"\n<script>".to_owned()),
            Cursor::Files,
            Cursor::File("é/写".to_owned(), i64::MIN),
            Cursor::Path(7, String::new()),
            Cursor::Link(1),
        ] {
            assert_eq!(Cursor::parse(&cursor.to_text()).unwrap(), cursor);
        }
        let nul = URL_SAFE_NO_PAD.encode(br#"{"d":"\u0000"}"#);
        for wrong in ["", "x", "AAAA", &nul, &"A".repeat(20_000)] {
            assert!(matches!(Cursor::parse(wrong), Err(Refusal::Invalid(_))), "{wrong}");
        }
    }
}
