//! Where the files of a store without a server are: what its artifact URIs mean on this machine.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

use super::ImportError;

/// Where a server keeps files if it is not told.
const ARTIFACTS: &str = "mlartifacts";

/// What artifact URIs are resolved against.
pub(super) struct Places {
    /// What relative paths are below.
    folder: PathBuf,
    /// What the store's server was sent.
    artifacts: PathBuf,
}

impl Places {
    /// Of a store in `folder`; `artifacts` is beside it if it is not given.
    pub(super) fn new(folder: PathBuf, artifacts: Option<&Path>) -> Self {
        let artifacts = artifacts.map_or_else(|| folder.join(ARTIFACTS), Path::to_owned);
        Self { folder, artifacts }
    }

    /// The directory that a URI names; `owner` is whose files are there.
    pub(super) fn of(&self, owner: &str, uri: &str) -> Result<PathBuf, ImportError> {
        match below_server(uri) {
            Some(path) if self.artifacts.is_dir() => Ok(self.artifacts.join(path)),
            Some(_) => Err(ImportError::NoArtifacts { owner: owner.to_owned(), path: self.artifacts.clone() }),
            None if uri.contains("://") && !uri.starts_with("file://") => {
                Err(ImportError::FilesElsewhere { owner: owner.to_owned(), uri: uri.to_owned() })
            }
            // MLflow decodes a path without a scheme as well.
            None => Ok(self.folder.join(decoded(below_file(uri).unwrap_or(uri)))),
        }
    }
}

/// The path of a `file:` URI, or what is a path as it is.
pub(super) fn local_path(name: &str) -> PathBuf {
    below_file(name).map_or_else(|| PathBuf::from(name), decoded)
}

/// The path of a URI below the artifacts of a server; `None` if they are not a server's.
pub(super) fn below_server(uri: &str) -> Option<&str> {
    let path = uri.strip_prefix("mlflow-artifacts:")?;
    Some(match path.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => path.trim_start_matches('/'),
    })
}

/// The path of a `file:` URI, as it is written there.
fn below_file(uri: &str) -> Option<&str> {
    let path = uri.strip_prefix("file:")?;
    let path = path.strip_prefix("//localhost").filter(|path| path.starts_with('/')).unwrap_or(path);
    Some(path.strip_prefix("//").unwrap_or(path))
}

fn decoded(path: &str) -> PathBuf {
    PathBuf::from(percent_decode_str(path).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_files_are_decoded_and_paths_on_the_command_line_are_not() {
        for (name, path) in [
            ("file:///a/my%20dir", "/a/my dir"),
            ("file:/a/%C3%BC", "/a/ü"),
            ("file://localhost/a%25", "/a%"),
            ("file://mlruns", "mlruns"),
            ("/a/my%20dir", "/a/my%20dir"),
        ] {
            assert_eq!(local_path(name), Path::new(path), "{name}");
        }
    }

    #[test]
    fn a_uri_names_a_directory_of_this_machine_or_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path().to_owned(), None);
        for (uri, path) in [("0/r/artifacts", "0/r/artifacts"), ("./my%20dir", "my dir"), ("file:a%20b", "a b")] {
            assert_eq!(places.of("run r", uri).unwrap(), folder.path().join(path), "{uri}");
        }
        let of_server = ["mlflow-artifacts:/0/r/artifacts", "mlflow-artifacts://host:5000/0/r/artifacts"];
        for uri in of_server {
            assert!(matches!(places.of("run r", uri), Err(ImportError::NoArtifacts { .. })), "{uri}");
        }
        std::fs::create_dir(folder.path().join(ARTIFACTS)).unwrap();
        for uri in of_server {
            assert_eq!(places.of("run r", uri).unwrap(), folder.path().join("mlartifacts/0/r/artifacts"), "{uri}");
        }
        assert!(matches!(places.of("run r", "s3://bucket/0"), Err(ImportError::FilesElsewhere { .. })));
    }
}
