//! Names of files: how they are shown, and how they stand in an address.

use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A name as it is shown. What would break the line or turn the text around is made visible, so that no name looks like
/// another: `invoice⟨U+202E⟩fdp.exe`. The template escapes what HTML would read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                c if c.is_control() || is_invisible(c) => write!(f, "⟨U+{:04X}⟩", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Characters that order text, break lines or take no room.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// What is left as it is in a part of an address: RFC 3986 calls these unreserved.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A path as it stands in an address: each part encoded, `/` kept between them.
pub fn encoded(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(|part| utf8_percent_encode(part, KEPT).to_string()).collect();
    parts.join("/")
}

/// One part of an address, or a value in its query.
pub fn encoded_part(part: &str) -> String {
    utf8_percent_encode(part, KEPT).to_string()
}

/// The last part of a path.
pub fn last(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// The directory that a path lies in; empty at the top.
pub fn parent(path: &str) -> &str {
    path.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The path and each directory above it, the topmost first: `a`, `a/b`, `a/b/c`.
pub fn ancestry(path: &str) -> impl Iterator<Item = &str> {
    let path = path.trim_end_matches('/');
    path.match_indices('/').map(|(end, _)| &path[..end]).chain((!path.is_empty()).then_some(path))
}

/// What a file is, as far as its name tells: which icon it has, and whether it can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shown as a picture.
    Image,
    /// Shown by the browser's own reader.
    Pdf,
    /// Words.
    Text,
    /// Tables.
    Sheet,
    /// Files in a file.
    Archive,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// Anything else.
    Other,
}

impl Kind {
    /// By the end of the name.
    pub fn of(name: &str) -> Self {
        let end = name.rsplit_once('.').map_or("", |(_, end)| end);
        match end.to_ascii_lowercase().as_str() {
            "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "bmp" | "ico" => Self::Image,
            "tif" | "tiff" | "heic" | "raw" | "psd" => Self::Other,
            "pdf" => Self::Pdf,
            "txt" | "md" | "rst" | "log" | "doc" | "docx" | "odt" | "rtf" | "html" | "json" | "xml" | "toml"
            | "yaml" | "yml" => Self::Text,
            "csv" | "tsv" | "xls" | "xlsx" | "ods" | "parquet" => Self::Sheet,
            "zip" | "gz" | "tgz" | "xz" | "zst" | "bz2" | "7z" | "tar" | "rar" | "deb" | "iso" => Self::Archive,
            "mp3" | "flac" | "ogg" | "opus" | "wav" | "m4a" | "aac" => Self::Audio,
            "mp4" | "mkv" | "webm" | "mov" | "avi" | "m4v" => Self::Video,
            _ => Self::Other,
        }
    }

    /// Of its symbol in the page.
    pub const fn icon(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Pdf => "pdf",
            Self::Text => "text",
            Self::Sheet => "sheet",
            Self::Archive => "archive",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Other => "file",
        }
    }

    /// The type that a preview of `name` is sent with, so that a browser can take it for nothing else; none = there is no preview.
    pub fn previewed_as(self, name: &str) -> Option<&'static str> {
        match self {
            Self::Pdf => Some("application/pdf"),
            Self::Image => {
                let end = name.rsplit_once('.').map_or("", |(_, end)| end);
                Some(match end.to_ascii_lowercase().as_str() {
                    "jpg" | "jpeg" => "image/jpeg",
                    "gif" => "image/gif",
                    "webp" => "image/webp",
                    "avif" => "image/avif",
                    "svg" => "image/svg+xml",
                    "bmp" => "image/bmp",
                    "ico" => "image/x-icon",
                    _ => "image/png",
                })
            }
            Self::Text | Self::Sheet | Self::Archive | Self::Audio | Self::Video | Self::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_shows_what_it_hides() {
        for (name, shown) in [
            ("plain é 写真.txt", "plain é 写真.txt"),
            ("two\nlines\ttab", "two⟨U+000A⟩lines⟨U+0009⟩tab"),
            ("invoice\u{202e}fdp.exe", "invoice⟨U+202E⟩fdp.exe"),
            ("zero\u{200b}width\u{7f}", "zero⟨U+200B⟩width⟨U+007F⟩"),
            ("\u{85}next", "⟨U+0085⟩next"),
            ("<script>", "<script>"),
        ] {
            assert_eq!(Shown(name).to_string(), shown);
        }
    }

    proptest! {
        #[test]
        fn an_address_holds_the_path_and_nothing_that_a_browser_reads(path in "\\PC{0,40}(/[\\x00-\\x7f]{0,20}){0,3}") {
            let address = encoded(&path);
            prop_assert_eq!(percent_decode_str(&address).decode_utf8().unwrap(), path);
            prop_assert!(address.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~/%".contains(&b)), "{}", address);
        }
    }

    #[test]
    fn the_crumbs_of_a_path_lead_down_to_it() {
        assert_eq!(ancestry("").count(), 0);
        assert_eq!(ancestry("a").collect::<Vec<_>>(), ["a"]);
        assert_eq!(ancestry("a/é/c/").collect::<Vec<_>>(), ["a", "a/é", "a/é/c"]);
        assert_eq!((last("a/b"), parent("a/b"), last("a"), parent("a")), ("b", "a", "a", ""));
    }

    #[test]
    fn only_images_and_pdf_are_previewed_and_never_as_a_page() {
        for name in ["a.html", "b.svgz", "c", "d.txt", "png", "e.xhtml"] {
            assert_eq!(Kind::of(name).previewed_as(name), None, "{name}");
        }
        assert_eq!(Kind::of("a.JPG").previewed_as("a.JPG"), Some("image/jpeg"));
        assert_eq!(Kind::of("b.pdf").previewed_as("b.pdf"), Some("application/pdf"));
    }
}
