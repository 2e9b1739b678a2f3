//! What MLflow allows as names and how long they may be, with its refusals. Lengths are counted in characters, as Python counts.

use super::{failure::Failure, python};

/// Of metrics, params, and tags of runs and experiments.
pub(crate) const KEY_CHARS_MAX: usize = 250;
pub(crate) const PARAM_CHARS_MAX: usize = 6_000;
pub(crate) const TAG_CHARS_MAX: usize = 8_000;
pub(crate) const EXPERIMENT_NAME_CHARS_MAX: usize = 500;
pub(crate) const EXPERIMENT_TAG_CHARS_MAX: usize = 20_000;
const RUN_ID_CHARS_MAX: usize = 256;

const CHARACTERS: &str = "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) \
                          and slashes (/).";

/// Refuses a name of a metric, param or tag; `path` is where it stands.
pub(crate) fn check(name: &str, path: impl FnOnce() -> String) -> Result<(), Failure> {
    // Nearly every name ends here.
    if is_plain(name) {
        return Ok(());
    }
    let refuse = |why: &str| Err(invalid(&path(), &python::json(name), why));
    let is_allowed = |character: char| character.is_alphanumeric() || "/_-. :".contains(character);
    if !name.chars().all(is_allowed) {
        return refuse(CHARACTERS);
    }
    match other_meaning(name) {
        Some(why) => refuse(&why),
        None => Ok(()),
    }
}

/// Whether a name is allowed at a glance: in ASCII, its parts between slashes neither empty nor with a dot in front.
fn is_plain(name: &str) -> bool {
    let mut last = b'/';
    let plain = |byte: u8| {
        let starts_part = std::mem::replace(&mut last, byte) == b'/';
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'-' | b' ' | b':')
            || matches!(byte, b'.' | b'/') && !starts_part
    };
    name.bytes().all(plain) && last != b'/'
}

/// Why a name means another one where it is a path, if it does.
pub(crate) fn other_meaning(name: &str) -> Option<String> {
    let resolved = normal_path(name);
    let is_other = resolved != name || resolved == "." || resolved.starts_with("..") || resolved.starts_with('/');
    is_other.then(|| {
        let resolved = python::text(&resolved);
        format!(
            "Names may be treated as files in certain cases, and must not resolve to other names when treated as such. This \
             name would resolve to {resolved}"
        )
    })
}

/// Refuses what has more characters than allowed.
pub(crate) fn check_length(what: &str, chars_max: usize, text: &str) -> Result<(), Failure> {
    match is_longer(text, chars_max) {
        true => Err(Failure::invalid(format!("'{what}' exceeds the maximum length of {chars_max} characters"))),
        false => Ok(()),
    }
}

/// The text, without what it has past the limit.
pub(crate) fn cut(text: &str, chars_max: usize) -> &str {
    match is_longer(text, chars_max) {
        true => text.char_indices().nth(chars_max).map_or(text, |(end, _)| &text[..end]),
        false => text,
    }
}

/// Refuses what cannot be the id of a run.
pub(crate) fn check_run_id(run_id: &str) -> Result<(), Failure> {
    let is_allowed = |character: char| character.is_alphanumeric() || "_-".contains(character);
    let is_id = run_id.starts_with(|first: char| first.is_ascii_alphanumeric())
        && run_id.chars().all(is_allowed)
        && !is_longer(run_id, RUN_ID_CHARS_MAX);
    match is_id {
        true => Ok(()),
        false => {
            Err(Failure::invalid(format!("Invalid value {} for parameter 'run_id' supplied.", python::json(run_id))))
        }
    }
}

/// MLflow's refusal of a value; `value` is as JSON.
pub(crate) fn invalid(path: &str, value: &str, why: &str) -> Failure {
    Failure::invalid(format!("Invalid value {value} for parameter '{path}' supplied: {why}"))
}

fn is_longer(text: &str, chars_max: usize) -> bool {
    text.len() > chars_max && text.chars().nth(chars_max).is_some()
}

/// What a path comes to once `.`, `..` and repeated slashes are taken out of it.
fn normal_path(path: &str) -> String {
    // POSIX leaves the meaning of exactly two slashes at the beginning open.
    let slashes = path.len() - path.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match (part, parts.last()) {
            ("..", None) if slashes > 0 => {}
            ("..", Some(last)) if *last != ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let normal = root.to_owned() + &parts.join("/");
    if normal.is_empty() { ".".to_owned() } else { normal }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> Option<String> {
        check(name, || "metrics[3].name".to_owned()).err().map(|failure| failure.message)
    }

    #[test]
    fn names_are_those_that_mlflow_takes() {
        for name in ["loss", "train/loss", "a b:c-d_e.f", "точность/валид", ".hidden", "a/.b", "lr²"] {
            assert_eq!(refusal(name), None, "{name}");
        }
        assert_eq!(
            refusal("ä{").as_deref(),
            Some(
                "Invalid value \"\\u00e4{\" for parameter 'metrics[3].name' supplied: Names may only contain alphanumerics, \
                 underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
            )
        );
        for (name, resolved) in [
            ("", "."),
            (".", "."),
            ("..", ".."),
            ("a//b", "a/b"),
            ("a/../b", "b"),
            ("/a", "/a"),
            ("a/", "a"),
            ("../a", "../a"),
            ("..a", "..a"),
            ("//a", "//a"),
            ("///a", "/a"),
            ("./a", "a"),
            ("/..", "/"),
        ] {
            let refusal = refusal(name).unwrap_or_default();
            assert!(refusal.ends_with(&format!("This name would resolve to '{resolved}'")), "{name}: {refusal}");
        }
    }

    #[test]
    fn what_is_allowed_at_a_glance_is_allowed() {
        let mut names = vec![String::new()];
        for _ in 0..5 {
            let longer = names.iter().flat_map(|name| ["a", ".", "/", "ä", "{"].map(|part| name.clone() + part));
            names = longer.chain([String::new()]).collect();
            for name in names.iter().filter(|name| is_plain(name)) {
                assert!(name.is_ascii() && !name.contains('{') && other_meaning(name).is_none(), "{name}");
            }
        }
        assert!(is_plain("train/loss.0") && is_plain("a b:c-d_e") && !is_plain("") && !is_plain("a/.b"));
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let long = "ä".repeat(251);
        assert!(check_length("Param key", 251, &long).is_ok());
        let refusal = check_length("Param key", 250, &long).unwrap_err();
        assert_eq!(refusal.message, "'Param key' exceeds the maximum length of 250 characters");
        assert_eq!(cut(&long, 250), "ä".repeat(250));
        assert_eq!(cut("short", 250), "short");
    }

    #[test]
    fn ids_of_runs_are_plain_words() {
        assert!(check_run_id("0198a7b6c5d47e8f9a0b1c2d3e4f5061").is_ok() && check_run_id("a-b_c").is_ok());
        for id in ["", "-a", "a/b", "a b", "a".repeat(257).as_str()] {
            assert!(check_run_id(id).is_err(), "{id}");
        }
    }
}
