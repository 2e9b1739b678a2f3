//! Paths as clients send them: MLflow's rules for what is safe, and then one spelling for each.

use percent_encoding::percent_decode_str;
use stepwell_types::check_artifact_path;

use crate::mlflow::Failure;

/// Times a path is percent-decoded until it stays the same; one that then still changes is refused.
const DECODES_MAX: usize = 10;

/// The logical path that a client means; it names an artifact.
pub fn path_of(raw: &str) -> Result<String, Failure> {
    let path = directory_of(raw)?;
    if path.is_empty() { Err(invalid()) } else { Ok(path) }
}

/// The same of a directory; the top is empty.
pub(super) fn directory_of(raw: &str) -> Result<String, Failure> {
    let decoded = escaped(&decoded(raw)?);
    let parts: Vec<&str> = decoded.split('/').filter(|part| !["", "."].contains(part)).collect();
    let path = parts.join("/");
    let is_refused = decoded.starts_with('/')
        || decoded.contains(['\\', '#', '\0'])
        || parts.contains(&"..")
        || [decoded.as_str(), path.as_str()].iter().any(|path| path.starts_with("file:") || has_drive(path));
    if is_refused {
        return Err(invalid());
    }
    if !path.is_empty() {
        check_artifact_path(&path).map_err(|error| Failure::invalid(format!("Invalid path: {error}")))?;
    }
    Ok(path)
}

/// Whether another operating system would take it for an absolute path.
fn has_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [_, b':', b'/', ..])
}

/// Decoded until nothing is left to decode, so that nothing hides behind a second encoding.
fn decoded(raw: &str) -> Result<String, Failure> {
    let mut path = raw.to_owned();
    for _ in 0..DECODES_MAX {
        let decoded = percent_decode_str(&path).decode_utf8().map_err(|_| invalid())?;
        if decoded == path {
            return Ok(path);
        }
        path = decoded.into_owned();
    }
    Err(invalid())
}

/// Control characters as they were before; but none of NUL is left.
fn escaped(path: &str) -> String {
    let escape = |character: char| match character {
        '\u{1}'..='\u{1f}' | '\u{7f}' => format!("%{:02x}", u32::from(character)),
        other => other.to_string(),
    };
    path.chars().map(escape).collect()
}

fn invalid() -> Failure {
    Failure::invalid("Invalid path")
}
