//! Values as filters write them.

use super::filter::Number;

/// Why a list is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ListError {
    IllFormed,
    Empty,
    /// Something that is not text is in it.
    NotText,
}

/// Texts of a list `('a', "b")`, as Python reads it: escapes count, and texts with nothing between are one.
pub(super) fn list(text: &str) -> Result<Vec<String>, ListError> {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).ok_or(ListError::IllFormed)?;
    let mut rest = inner.trim();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let mut element = String::new();
        if !rest.starts_with(['\'', '"']) {
            let is_number = rest.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.' | '('));
            return Err(if is_number { ListError::NotText } else { ListError::IllFormed });
        }
        while rest.starts_with(['\'', '"']) {
            rest = one_text(rest, &mut element).ok_or(ListError::IllFormed)?.trim_start();
        }
        texts.push(element);
        rest = match rest.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err(ListError::IllFormed),
        };
    }
    if texts.is_empty() { Err(ListError::Empty) } else { Ok(texts) }
}

/// Appends the text that `quoted` begins with, and returns what is behind it.
fn one_text<'a>(quoted: &'a str, out: &mut String) -> Option<&'a str> {
    let mut chars = quoted.chars();
    let quote = chars.next()?;
    loop {
        match chars.next()? {
            end if end == quote => return Some(chars.as_str()),
            '\\' => escape(&mut chars, out)?,
            other => out.push(other),
        }
    }
}

/// Appends what the characters after a backslash stand for.
fn escape(chars: &mut std::str::Chars<'_>, out: &mut String) -> Option<()> {
    let plain = |text: &mut String, character: char| {
        text.push(character);
        Some(())
    };
    let digits = match chars.next()? {
        'n' => return plain(out, '\n'),
        't' => return plain(out, '\t'),
        'r' => return plain(out, '\r'),
        same @ ('\\' | '\'' | '"') => return plain(out, same),
        '\n' => return Some(()),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        other => {
            out.push('\\');
            return plain(out, other);
        }
    };
    let code = chars.as_str().get(..digits).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    out.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
    chars.nth(digits - 1).map(|_| ())
}

/// A number; an integer beyond 64 bits is the float next to it.
pub(super) fn number(text: &str) -> Option<Number> {
    match text.parse() {
        Ok(integer) => Some(Number::Integer(integer)),
        Err(_) => text.parse().ok().map(Number::Float),
    }
}

/// Without the quotes around it, if there are any. What is between them stays as it is: MLflow knows no escapes here.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    let between = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    between('\'').or_else(|| between('"'))
}

/// Without the backticks around it, if there are any.
pub(super) fn without_backticks(text: &str) -> &str {
    text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(text)
}

/// A set of names as Python shows it.
pub(super) fn shown_set<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("'{name}'")).collect();
    format!("{{{}}}", names.join(", "))
}
