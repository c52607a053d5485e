//! A raw value of the tree as text, by how its key is written.

use figment::value::Value;

use super::values;

/// How a value is written in the file, and whether it may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// Text, or a plain number of bytes.
    Size,
    Truth,
    Secret,
}

/// The value as text, if it is of the type that the key has. Layers other than the file have nothing but text.
pub(super) fn as_written(value: &Value, kind: Kind, in_file: bool) -> Option<String> {
    let text = || value.as_str().map(str::to_owned);
    if !in_file {
        return text();
    }
    match kind {
        Kind::Text | Kind::Secret => text(),
        Kind::Number => value.to_i128().map(|number| number.to_string()),
        Kind::Size => text().or_else(|| value.to_i128().map(|number| number.to_string())),
        Kind::Truth => value.to_bool().map(|truth| truth.to_string()),
    }
}

/// What a value of the wrong type is, never with the text of a secret.
pub(super) fn describe(value: &Value, kind: Kind) -> Option<String> {
    if kind == Kind::Secret {
        return None;
    }
    Some(match value {
        Value::String(_, text) => format!("the string \"{}\"", shorten(&values::mask(text))),
        Value::Char(_, c) => format!("the string \"{c}\""),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(..) => match (value.to_i128(), value.to_f64()) {
            (Some(number), _) => format!("the number {number}"),
            (None, Some(number)) => format!("the number {number}"),
            (None, None) => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    })
}

/// Enough to recognise a value in a message.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
