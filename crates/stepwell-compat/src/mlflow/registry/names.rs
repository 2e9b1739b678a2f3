//! What MLflow allows in the registry, with its refusals.

use std::collections::BTreeMap;

use stepwell_app::Stage;

use crate::mlflow::{failure::Failure, names, python};

const TAG_KEY_CHARS_MAX: usize = 250;
const TAG_VALUE_CHARS_MAX: usize = 100_000;
const ALIAS_CHARS_MAX: usize = 255;
/// The alias of the newest version, which nobody sets.
pub(super) const LATEST: &str = "latest";

/// The tag that makes a registered model a prompt.
pub(super) const IS_PROMPT: &str = "mlflow.prompt.is_prompt";
/// The tag of a version that has the text of a prompt.
pub(super) const PROMPT_TEXT: &str = "mlflow.prompt.text";
pub(super) const PROMPT_TYPE: &str = "_mlflow_prompt_type";

/// Whether tags make a registered model or version a prompt.
pub(super) fn is_prompt(tags: &BTreeMap<String, String>) -> bool {
    tags.get(IS_PROMPT).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Refuses what cannot be the name of a registered model; `field` is where it stands.
pub(super) fn check_model(name: &str, field: &str) -> Result<(), Failure> {
    if name.trim().is_empty() {
        return Err(Failure::invalid(format!("Missing value for required parameter '{field}'.")));
    }
    if name.contains(['/', ':']) {
        return Err(Failure::invalid(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.")));
    }
    match names::other_meaning(name) {
        None => Ok(()),
        Some(why) => Err(names::invalid("name", &python::json(name), &why)),
    }
}

/// The number of a version. One that no version can have is -1.
pub(super) fn version(text: &str) -> Result<i64, Failure> {
    let number = text.trim();
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    match digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(Failure::invalid(format!("Parameter 'version' must be an integer, got '{text}'."))),
        false => Ok(number.parse().unwrap_or(-1)),
    }
}

/// Refuses a tag of a registered model.
pub(super) fn check_model_tag(key: &str, value: &str) -> Result<(), Failure> {
    names::check(key, || "key".to_owned())?;
    names::check_length("key", TAG_KEY_CHARS_MAX, key)?;
    names::check_length("value", TAG_VALUE_CHARS_MAX, value)
}

/// Refuses a tag of a version.
pub(super) fn check_version_tag(key: &str, value: &str) -> Result<(), Failure> {
    names::check(key, || "key".to_owned())?;
    names::check_length("key", TAG_KEY_CHARS_MAX, key)?;
    if key == PROMPT_TEXT && value.chars().nth(TAG_VALUE_CHARS_MAX).is_some() {
        return Err(Failure::invalid(format!("Prompt text exceeds max length of {TAG_VALUE_CHARS_MAX} characters.")));
    }
    names::check_length("value", TAG_VALUE_CHARS_MAX, value)
}

/// Refuses what cannot be an alias.
pub(super) fn check_alias(alias: &str) -> Result<(), Failure> {
    if alias.is_empty() {
        return Err(Failure::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|character| character.is_alphanumeric() || matches!(character, '_' | '-')) {
        return Err(Failure::invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    names::check_length("Registered model alias name", ALIAS_CHARS_MAX, alias)
}

/// Refuses an alias that means something already.
pub(super) fn check_alias_is_free(alias: &str) -> Result<(), Failure> {
    if alias.eq_ignore_ascii_case(LATEST) {
        return Err(Failure::invalid("'latest' alias name (case insensitive) is reserved."));
    }
    let number = alias.strip_prefix(['v', 'V']).unwrap_or_default();
    if !number.is_empty() && number.chars().all(char::is_numeric) {
        return Err(Failure::invalid(format!("Version alias name '{alias}' is reserved.")));
    }
    Ok(())
}

/// MLflow's word for a stage.
pub(super) fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::None => "None",
        Stage::Staging => "Staging",
        Stage::Production => "Production",
        Stage::Archived => "Archived",
    }
}

/// A stage by its word, however it is capitalised.
pub(super) fn stage(text: &str) -> Result<Stage, Failure> {
    Stage::parse(&text.to_lowercase()).ok_or_else(|| {
        Failure::invalid(format!(
            "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<(), Failure>) -> String {
        result.err().map(|failure| failure.message).unwrap_or_default()
    }

    #[test]
    fn names_of_models_are_those_that_mlflow_takes() {
        for name in ["m", "my model", "a.b", "модель", ".a", "a\"b"] {
            assert!(check_model(name, "name").is_ok(), "{name}");
        }
        assert_eq!(said(check_model(" ", "new_name")), "Missing value for required parameter 'new_name'.");
        assert_eq!(said(check_model("a/b", "name")), "Invalid model name 'a/b'. Names cannot contain '/' or ':'.");
        assert_eq!(
            said(check_model("..", "name")),
            "Invalid value \"..\" for parameter 'name' supplied: Names may be treated as files in certain cases, and must not \
             resolve to other names when treated as such. This name would resolve to '..'"
        );
    }

    #[test]
    fn aliases_are_words_that_mean_nothing_else() {
        assert!(check_alias("champion-2_ä").is_ok() && check_alias_is_free("v1x").is_ok());
        assert_eq!(
            said(check_alias("a b")),
            "Invalid alias name: 'a b'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        );
        assert!(said(check_alias(&"a".repeat(256))).contains("maximum length of 255"));
        assert_eq!(said(check_alias_is_free("Latest")), "'latest' alias name (case insensitive) is reserved.");
        assert_eq!(said(check_alias_is_free("V12")), "Version alias name 'V12' is reserved.");
    }

    #[test]
    fn versions_and_stages_are_read() {
        assert_eq!((version("12"), version(" 3 "), version("99999999999999999999")), (Ok(12), Ok(3), Ok(-1)));
        assert_eq!(version("1.0").unwrap_err().message, "Parameter 'version' must be an integer, got '1.0'.");
        assert!(version("").is_err());
        assert_eq!(stage("pRoduction"), Ok(Stage::Production));
        assert_eq!(
            stage("live").unwrap_err().message,
            "Invalid Model Version stage: live. Value must be one of None, Staging, Production, Archived."
        );
    }
}
