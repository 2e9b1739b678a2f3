//! MLflow's params are texts; ours are typed, so that SQL can compare them as numbers.

use stepwell_app::ParamValue;

use super::python;

/// The typed value of a text, if its text is that one again; else the text itself. So `0.1`, `1e-05` and `True` are what they
/// look like, while `007` or `1e-5`, which nobody's `str` writes, stay text.
pub(crate) fn typed(text: &str) -> ParamValue {
    let is_exact = |value: &ParamValue| self::text(value) == text;
    let number = || text.parse().ok().map(ParamValue::Int);
    // Words such as nan and inf are more often names than numbers.
    let float = || text.parse().ok().filter(|value: &f64| value.is_finite()).map(ParamValue::Float);
    let value = match text {
        "True" => Some(ParamValue::Bool(true)),
        "False" => Some(ParamValue::Bool(false)),
        _ if text.ends_with(|last: char| last.is_ascii_digit()) => number().or_else(float),
        _ => None,
    };
    value.filter(is_exact).unwrap_or_else(|| ParamValue::String(text.to_owned()))
}

/// The text of a value, as Python's `str` would give it.
pub(crate) fn text(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(true) => "True".to_owned(),
        ParamValue::Bool(false) => "False".to_owned(),
        ParamValue::Float(value) => python::float(*value),
        ParamValue::Int(_) | ParamValue::String(_) | ParamValue::Json(_) => value.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_went_in_and_is_a_number_where_it_looks_like_one() {
        for text in [
            "",
            "0",
            "-7",
            "007",
            "+1",
            "1_0",
            "0.1",
            "1e-05",
            "1e-5",
            "1e+16",
            "1.50",
            "nan",
            "inf",
            "True",
            "true",
            "None",
            "adam",
            "9223372036854775808",
            "1e400",
            "[1, 2]",
            " 1",
            "½",
            "-0.0",
            "-0",
        ] {
            assert_eq!(super::text(&typed(text)), text);
        }
        assert_eq!([typed("3"), typed("1e-05")], [ParamValue::Int(3), ParamValue::Float(1e-5)]);
        assert_eq!([typed("True"), typed("0.10")], [ParamValue::Bool(true), ParamValue::String("0.10".into())]);
        assert_eq!(text(&ParamValue::Json(serde_json::json!({"a": [1]}))), r#"{"a":[1]}"#);
    }
}
