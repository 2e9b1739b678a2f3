//! URIs of models: `models:/name/version`, `models:/name/stage`, `models:/name@alias`, `models:/model_id`.

/// What a URI with the scheme `models` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelUri {
    /// A logged model.
    Logged(String),
    Version {
        name: String,
        version: String,
    },
    /// The newest version in a stage.
    Stage {
        name: String,
        stage: String,
    },
    /// The newest version.
    Latest {
        name: String,
    },
    Alias {
        name: String,
        alias: String,
    },
}

/// Scheme, authority and path of a URI, as Python's `urlparse` splits it; without query and fragment.
pub(super) fn split(uri: &str) -> (String, &str, &str) {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
    };
    let (scheme, rest) = match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), uri),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            (scheme, &rest[..end], &rest[end..])
        }
        None => (scheme, "", rest),
    }
}

/// Reads the path of such a URI; `None` if it names nothing.
pub(super) fn parse(path: &str) -> Option<ModelUri> {
    let path = path.strip_prefix('/').filter(|path| !path.is_empty())?.trim_start_matches('/');
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [name, ..] if name.trim().is_empty() => None,
        [name, suffix] if !suffix.trim().is_empty() => {
            let (name, suffix) = ((*name).to_owned(), (*suffix).to_owned());
            Some(match suffix.as_str() {
                number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                    ModelUri::Version { name, version: suffix }
                }
                word if word.eq_ignore_ascii_case("latest") => ModelUri::Latest { name },
                _ => ModelUri::Stage { name, stage: suffix },
            })
        }
        [one] => match one.rsplit_once('@') {
            None => Some(ModelUri::Logged((*one).to_owned())),
            Some((_, alias)) if alias.trim().is_empty() => None,
            Some((name, alias)) => Some(ModelUri::Alias { name: name.to_owned(), alias: alias.to_owned() }),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_versions_stages_aliases_and_logged_models() {
        let parse = |uri| super::parse(split(uri).2);
        let name = || "m".to_owned();
        assert_eq!(parse("models:/m/12"), Some(ModelUri::Version { name: name(), version: "12".into() }));
        assert_eq!(parse("models:/m/Latest"), Some(ModelUri::Latest { name: name() }));
        assert_eq!(parse("models:/m/Prod"), Some(ModelUri::Stage { name: name(), stage: "Prod".into() }));
        assert_eq!(parse("models:/m@a"), Some(ModelUri::Alias { name: name(), alias: "a".into() }));
        assert_eq!(parse("models:/m-0a"), Some(ModelUri::Logged("m-0a".into())));
        for uri in ["models:", "models:/", "models:m/1", "models:/m/1/x", "models:/m/", "models:/m@", "models:/ /1"] {
            assert_eq!(parse(uri), None, "{uri}");
        }
    }

    #[test]
    fn uris_are_split_as_python_splits_them() {
        assert_eq!(split("S3://b/k?q=1#f"), ("s3".into(), "b", "/k"));
        assert_eq!(split("/tmp/a:b"), (String::new(), "", "/tmp/a:b"));
        assert_eq!(split("runs:/id/model"), ("runs".into(), "", "/id/model"));
    }
}
