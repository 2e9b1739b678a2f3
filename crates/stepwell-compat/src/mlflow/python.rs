//! Values as Python writes them: MLflow keeps params as such text, and shows it in its refusals.

use std::fmt::Write;

/// A float as `repr` and `str` do: the shortest digits that read back as the same, with an exponent where it is long.
pub(crate) fn float(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() { "nan" } else { ["inf", "-inf"][usize::from(value < 0.0)] }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ if value.fract() == 0.0 => format!("{value:.1}"),
        _ => value.to_string(),
    }
}

/// A text as `repr` does.
pub(crate) fn text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut shown = String::from(quote);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            _ if character == quote => shown.extend(['\\', quote]),
            _ => shown.push(character),
        }
    }
    shown.push(quote);
    shown
}

/// Bytes as `repr` does.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { b'"' } else { b'\'' };
    let mut shown = format!("b{}", char::from(quote));
    for &byte in bytes {
        match byte {
            b'\n' => shown.push_str("\\n"),
            b'\r' => shown.push_str("\\r"),
            b'\t' => shown.push_str("\\t"),
            b'\\' => shown.push_str("\\\\"),
            _ if byte == quote => shown.extend(['\\', char::from(quote)]),
            b' '..=b'~' => shown.push(char::from(byte)),
            // Writing to a text does not fail.
            _ => drop(write!(shown, "\\x{byte:02x}")),
        }
    }
    shown.push(char::from(quote));
    shown
}

/// A list of texts as `repr` does.
pub(crate) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// A text as `json.dumps` does: in ASCII.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::new();
    for character in serde_json::Value::from(text).to_string().chars() {
        if character.is_ascii() {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a text does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_the_digits_of_python() {
        let shown = [0.1, 1.0, -0.0, 100_000.0, 1e-5, 1e-4, 1.5e-7, 1e16, 1e15, 123456789012345680.0, 5e-324, f64::MAX];
        let expected = [
            "0.1",
            "1.0",
            "-0.0",
            "100000.0",
            "1e-05",
            "0.0001",
            "1.5e-07",
            "1e+16",
            "1000000000000000.0",
            "1.2345678901234568e+17",
            "5e-324",
            "1.7976931348623157e+308",
        ];
        assert_eq!(shown.map(float), expected);
        assert_eq!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(float), ["nan", "inf", "-inf"]);
    }

    #[test]
    fn texts_are_quoted_and_escaped_as_python_does() {
        assert_eq!([text("a"), text("it's"), text("'\"\n")], ["'a'", "\"it's\"", "'\\'\"\\n'"]);
        assert_eq!(bytes(b"\x9ea'\n"), "b\"\\x9ea'\\n\"");
        assert_eq!(bytes("ä\"'".as_bytes()), "b'\\xc3\\xa4\"\\''");
        assert_eq!(list(["a", "b"]), "['a', 'b']");
        assert_eq!(json("ä\"😀"), "\"\\u00e4\\\"\\ud83d\\ude00\"");
    }
}
