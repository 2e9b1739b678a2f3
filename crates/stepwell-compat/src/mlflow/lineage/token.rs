//! Page tokens of logged models: they hold what was asked, so that one is not taken to another question.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::mlflow::{failure::Failure, search::PageToken};

/// What of a question must stay the same from page to page: the members of a token, and how a refusal calls them.
pub(super) type Asked = [(&'static str, &'static str, Value); 3];

/// The token of the page that begins at `offset`.
pub(super) fn text(offset: usize, asked: Asked) -> String {
    let mut token = json!({"offset": offset});
    for (member, _, value) in asked {
        token[member] = value;
    }
    STANDARD.encode(token.to_string())
}

/// Reads a token of the same question.
pub(super) fn parse(token: Option<&str>, asked: &Asked) -> Result<PageToken, Failure> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(PageToken::default()) };
    let place = PageToken::parse(Some(token))?;
    let decoded = STANDARD.decode(token).ok().and_then(|decoded| serde_json::from_slice::<Value>(&decoded).ok());
    let decoded = decoded.unwrap_or_default();
    for (member, what, value) in asked {
        let found = decoded.get(*member).unwrap_or(&Value::Null);
        if found != value {
            let verb = if what.ends_with("IDs") { "do" } else { "does" };
            let lower = what.to_lowercase().replace("ids", "IDs");
            return Err(Failure::invalid(format!(
                "{what} in the page token {verb} not match the requested {lower}. Expected: {value}. Found: {found}"
            )));
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(filter: &str) -> Asked {
        [
            ("experiment_ids", "Experiment IDs", json!(["1"])),
            ("filter_string", "Filter string", json!(filter)),
            ("order_by", "Order by", json!([])),
        ]
    }

    #[test]
    fn a_token_belongs_to_its_question() {
        let token = text(50, asked("a"));
        assert_eq!(parse(Some(&token), &asked("a")).unwrap().offset, 50);
        let refusal = parse(Some(&token), &asked("b")).unwrap_err().message;
        assert_eq!(
            refusal,
            "Filter string in the page token does not match the requested filter string. Expected: \"b\". Found: \"a\""
        );
        assert!(parse(Some("x"), &asked("a")).is_err() && parse(None, &asked("a")).is_ok());
    }
}
