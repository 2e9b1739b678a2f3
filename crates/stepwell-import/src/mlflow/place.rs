//! Where the files of a store without a server are: what its artifact URIs mean on this machine.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use percent_encoding::percent_decode_str;

use super::ImportError;

/// Where a server keeps files if it is not told.
const ARTIFACTS: &str = "mlartifacts";

/// Where the files of a directory or an SQLite file may be, beside the directory itself or `mlruns` beside the SQLite file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// Where its server kept what it was sent; `mlartifacts` beside it if it is not given.
    pub folder: Option<PathBuf>,
    /// Wherever the source says. Who wrote it could name any directory of this machine, and who reads the server read that.
    pub anywhere: bool,
}

/// What artifact URIs are resolved against.
pub(super) struct Places {
    /// What relative paths are below.
    folder: PathBuf,
    /// What its clients wrote without a server.
    mlruns: PathBuf,
    /// What the store's server was sent.
    artifacts: PathBuf,
    anywhere: bool,
}

impl Places {
    /// Of a store in `folder`.
    pub(super) fn new(folder: PathBuf, mlruns: PathBuf, given: &Artifacts) -> Self {
        let artifacts = given.folder.clone().unwrap_or_else(|| folder.join(ARTIFACTS));
        Self { folder, mlruns, artifacts, anywhere: given.anywhere }
    }

    /// The directory that a URI names, none if it is empty; `owner` is whose files are there.
    pub(super) fn of(&self, owner: &str, uri: &str) -> Result<Option<PathBuf>, ImportError> {
        if uri.is_empty() {
            return Ok(None);
        }
        let path = match below_server(uri) {
            Some(path) if !stays_below(path) => {
                return Err(ImportError::NotBelowArtifacts { owner: owner.to_owned(), uri: uri.to_owned() });
            }
            Some(path) if self.artifacts.is_dir() => self.artifacts.join(path),
            Some(_) => return Err(ImportError::NoArtifacts { owner: owner.to_owned(), path: self.artifacts.clone() }),
            None if uri.contains("://") && !uri.starts_with("file://") => {
                return Err(ImportError::FilesElsewhere { owner: owner.to_owned(), uri: uri.to_owned() });
            }
            // MLflow decodes a path without a scheme as well.
            None => self.folder.join(decoded(below_file(uri).unwrap_or(uri))),
        };
        self.permitted(owner, path).map(Some)
    }

    /// The directory, unless it is there and outside of the source: links count as what they name.
    pub(super) fn permitted(&self, owner: &str, path: PathBuf) -> Result<PathBuf, ImportError> {
        // What is not there is not read either. So it is in a copy of a source, whose URIs name what it was copied from.
        let Ok(real) = fs::canonicalize(&path) else { return Ok(path) };
        let holds = |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        match self.anywhere || [&self.mlruns, &self.artifacts].into_iter().any(holds) {
            true => Ok(path),
            false => Err(ImportError::OutsideOfSource { owner: owner.to_owned(), path }),
        }
    }
}

/// Whether a path leads nowhere but below what it is joined to.
fn stays_below(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
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
        let places = of(folder.path(), &Artifacts::default());
        for (uri, path) in [("0/r/artifacts", "0/r/artifacts"), ("./my%20dir", "my dir"), ("file:a%20b", "a b")] {
            assert_eq!(places.of("run r", uri).unwrap(), Some(folder.path().join(path)), "{uri}");
        }
        assert_eq!(places.of("run r", "").unwrap(), None, "not the folder that all of the source is in");
        let of_server = ["mlflow-artifacts:/0/r/artifacts", "mlflow-artifacts://host:5000/0/r/artifacts"];
        for uri in of_server {
            assert!(matches!(places.of("run r", uri), Err(ImportError::NoArtifacts { .. })), "{uri}");
        }
        fs::create_dir(folder.path().join(ARTIFACTS)).unwrap();
        for uri in of_server {
            assert_eq!(
                places.of("run r", uri).unwrap(),
                Some(folder.path().join("mlartifacts/0/r/artifacts")),
                "{uri}"
            );
        }
        assert!(matches!(places.of("run r", "s3://bucket/0"), Err(ImportError::FilesElsewhere { .. })));
    }

    /// As somebody has it who imports a folder that somebody else wrote.
    #[test]
    fn a_directory_outside_of_the_source_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let at = |path: &str| home.path().join(path);
        ["secret", "mlruns/1/r/artifacts", "mlartifacts/1", "kept/1"]
            .iter()
            .for_each(|path| fs::create_dir_all(at(path)).unwrap());
        std::os::unix::fs::symlink(at("secret"), at("mlruns/1/link")).unwrap();
        let absolute = format!("file://{}", at("secret").display());
        let outside = [
            &absolute,
            absolute.trim_start_matches("file://"),
            "secret",
            "mlruns/1/../../secret",
            "mlruns/1/%2E%2E/../secret",
            "mlruns/1/link",
            ".",
            "file:",
            "file:///",
        ];
        let strict = of(home.path(), &Artifacts::default());
        let is_outside = |places: &Places, uri| matches!(places.of("r", uri), Err(ImportError::OutsideOfSource { .. }));
        for uri in outside {
            assert!(is_outside(&strict, uri), "{uri}");
        }
        let anywhere = of(home.path(), &Artifacts { anywhere: true, ..Artifacts::default() });
        assert_eq!(anywhere.of("r", &absolute).unwrap(), Some(at("secret")));
        for uri in ["mlruns/1/r/artifacts", "mlartifacts/1", "mlflow-artifacts:/1", "file:///none/r/artifacts"] {
            assert!(strict.of("r", uri).is_ok(), "{uri}");
        }
        let told = of(home.path(), &Artifacts { folder: Some(at("kept")), ..Artifacts::default() });
        assert_eq!(told.of("r", "kept/1").unwrap(), Some(at("kept/1")));
        assert!(is_outside(&told, "mlartifacts/1") && is_outside(&told, &absolute));
    }

    #[test]
    fn a_uri_does_not_lead_out_of_the_servers_artifacts() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(ARTIFACTS)).unwrap();
        let places = of(folder.path(), &Artifacts { anywhere: true, ..Artifacts::default() });
        for uri in ["mlflow-artifacts:/../x", "mlflow-artifacts:/a/../../x", "mlflow-artifacts://host//etc"] {
            assert!(matches!(places.of("r", uri), Err(ImportError::NotBelowArtifacts { .. })), "{uri}");
        }
    }

    fn of(folder: &Path, given: &Artifacts) -> Places {
        Places::new(folder.to_owned(), folder.join("mlruns"), given)
    }
}
