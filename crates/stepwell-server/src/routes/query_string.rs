//! The part of a URL after the question mark: an unknown parameter, or one given twice, is an error that names it.

use axum::http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::{fields::missing, problem::Problem};

/// The decoded parameters, in order.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes parameters all of which must be `known`.
    pub(super) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = Vec::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| not_utf8(name))?;
            if !known.contains(&name.as_str()) {
                let shown: String = name.chars().take(100).collect();
                let detail = format!("the parameter {shown:?} is unknown: there are {}", known.join(", "));
                return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown_field", detail).field(shown));
            }
            let value = decode(value).ok_or_else(|| not_utf8(&name))?;
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// A parameter that may be given once.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(Problem::invalid(name, format!("{name} is given {} times", values.len())));
        }
        Ok(values.pop())
    }

    /// A parameter that must be given.
    pub(super) fn required(&mut self, name: &str) -> Result<String, Problem> {
        self.one(name)?.ok_or_else(|| missing(name))
    }

    /// A parameter that is an integer.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Problem> {
        let parse = |text: String| {
            text.parse().map_err(|_| Problem::invalid(name, format!("{name} must be an integer of 64 bits")))
        };
        self.one(name)?.map(parse).transpose()
    }

    /// A parameter that may be repeated. A single one may hold several values with commas between; commas within braces, as
    /// in `loss{a=1,b=2}`, belong to the name.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let values = self.all(name);
        match values.as_slice() {
            [one] => split_outside_braces(one),
            _ => values,
        }
    }

    fn all(&mut self, name: &str) -> Vec<String> {
        let (wanted, rest) = std::mem::take(&mut self.0).into_iter().partition(|(given, _)| given == name);
        self.0 = rest;
        let wanted: Vec<(String, String)> = wanted;
        wanted.into_iter().map(|(_, value)| value).collect()
    }
}

fn split_outside_braces(text: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let outside = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth <= 0
    };
    text.split(outside).map(str::to_owned).collect()
}

fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(|text| text.into_owned())
}

fn not_utf8(name: &str) -> Problem {
    Problem::invalid(name, "the parameter is not UTF-8 once percent-decoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text), &["a", "b"]).unwrap()
    }

    #[test]
    fn lists_are_repeated_or_comma_separated() {
        assert_eq!(query("a=x,y&b=1").list("a"), ["x", "y"]);
        assert_eq!(query("a=x%2Cy").list("a"), ["x", "y"]);
        assert_eq!(query("a=x,y&a=z").list("a"), ["x,y", "z"]);
        assert_eq!(query("a=loss%7Bu=1,v=2%7D,acc").list("a"), ["loss{u=1,v=2}", "acc"]);
        assert_eq!(query("a=train%2Floss+1").list("a"), ["train/loss 1"]);
        assert!(query("").list("a").is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Query::parse(Some("c=1"), &["a"]).unwrap_err().to_json().contains("\"field\":\"c\""));
        assert!(Query::parse(Some("a=%ff"), &["a"]).unwrap_err().to_json().contains("\"field\":\"a\""));
        assert!(query("a=1&a=2").one("a").is_err());
        assert!(query("a=x").integer("a").is_err());
        assert!(query("b=1").required("a").is_err());
    }
}
