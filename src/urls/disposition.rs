//! What a browser is told of a file: its name (RFC 6266, RFC 8187) and its type. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a browser is to do with the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposition {
    /// To save it.
    #[default]
    Attachment,
    /// To show it, if it is of a type that can do no harm.
    Inline,
}

/// What needs no encoding in `filename*`: `attr-char` of RFC 8187.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition` for a file of this name: in ASCII for old clients, and in full.
pub fn header(disposition: Disposition, name: &str) -> String {
    let kind = match disposition {
        Disposition::Attachment => "attachment",
        Disposition::Inline => "inline",
    };
    // Quotes and backslashes could be escaped, but not every client knows; a percent sign, some clients decode.
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("{kind}; filename=\"{plain}\"");
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ATTR_CHAR))
}

fn is_plain(c: char) -> bool {
    (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%' | '/')
}

/// Whether a browser may show it: pictures without script, sound, films, PDF, plain text.
pub fn may_be_shown(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    match kind.split_once('/') {
        Some(("image", sub)) => sub != "svg+xml",
        Some(("audio" | "video", _)) => true,
        Some(("application", "pdf") | ("text", "plain")) => true,
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_name_stands_as_it_is_and_any_other_in_two_ways() {
        assert_eq!(header(Disposition::Attachment, "a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(
            header(Disposition::Inline, "numéro \"17\".csv"),
            "inline; filename=\"num_ro _17_.csv\"; filename*=UTF-8''num%C3%A9ro%20%2217%22.csv"
        );
    }

    #[test]
    fn what_could_run_script_is_never_shown() {
        for kind in ["image/png", "application/pdf", "text/plain; charset=utf-8", "video/mp4"] {
            assert!(may_be_shown(kind), "{kind}");
        }
        for kind in ["text/html", "image/svg+xml", "application/xhtml+xml", "text/xml", "application/javascript", ""] {
            assert!(!may_be_shown(kind), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn every_name_fits_into_a_header_and_comes_out_of_it_again(name in "\\PC{0,40}|[\\x01-\\x7f\"%\\\\]{0,40}|.{0,40}") {
            let text = header(Disposition::Attachment, &name);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
            let full = match text.split_once("filename*=UTF-8''") {
                Some((_, encoded)) => percent_decode_str(encoded).decode_utf8().unwrap().into_owned(),
                None => text.strip_prefix("attachment; filename=\"").unwrap().strip_suffix('"').unwrap().to_owned(),
            };
            prop_assert_eq!(full, name);
            prop_assert_eq!(text.matches('"').count(), 2);
        }
    }
}
