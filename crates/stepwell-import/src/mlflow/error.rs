//! Why an import stopped.

use std::{error::Error, io, path::PathBuf};

use stepwell_client::ClientError;
use stepwell_types::ErrorKind;

/// Why an import stopped. What was sent stays, and the next import goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source or Stepwell refused a call, or does not answer.
    #[error("{what}")]
    Ask {
        /// The call, or the file.
        what: String,
        #[source]
        source: Box<ClientError>,
    },
    /// A file or directory cannot be read.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The source says what MLflow's sources do not say.
    #[error("the source cannot be understood: {detail}")]
    Odd { detail: String },
    /// It is nothing that can be imported.
    #[error(
        "{source_name:?} is no tracking URI (http://…), no mlruns directory and no SQLite file of MLflow's: of another database, run \
         `mlflow server --backend-store-uri …` and import from its address"
    )]
    NoSource { source_name: String },
    /// An SQLite file cannot be read.
    #[error("read the database")]
    Database(#[from] rusqlite::Error),
    /// Its runs have files where this machine does not reach.
    #[error(
        "{owner} has its files at {uri}, which is not read from here: run `mlflow server --backend-store-uri …` on the source and import \
         from its address"
    )]
    FilesElsewhere {
        /// The run or logged model.
        owner: String,
        uri: String,
    },
    /// Nobody said where the server of a directory or an SQLite file kept what it was sent.
    #[error(
        "{owner} has its files in its server's artifacts, and {} is no directory: name the server's --artifacts-destination with \
         --artifacts, an empty directory if there are none", path.display()
    )]
    NoArtifacts {
        /// The run or logged model.
        owner: String,
        path: PathBuf,
    },
    /// A source may be written by somebody else, who could name any directory of this machine.
    #[error(
        "{owner} has its files at {}, which is outside of the source: name the folder that they are below with --artifacts, or have files \
         read wherever the source says with --artifacts-anywhere", path.display()
    )]
    OutsideOfSource {
        /// The run or logged model.
        owner: String,
        path: PathBuf,
    },
    /// What no server of MLflow's writes.
    #[error("{owner} has its files at {uri}, which is not below the artifacts of its server")]
    NotBelowArtifacts {
        /// The run or logged model.
        owner: String,
        uri: String,
    },
    /// A version's files are those of a logged model that was purged, or that the source's server does not give: one that was deleted,
    /// or one of a deleted experiment of a file store.
    #[error("its files are those of the logged model {id}, which the source does not have")]
    NoLoggedModel { id: String },
    /// A number that Stepwell has given already is not given again.
    #[error("{model}: version {wanted} cannot be made after version {made}")]
    VersionTaken { model: String, wanted: u64, made: u64 },
}

impl ImportError {
    /// Whether it is about the one thing that was asked for, so that others may be imported all the same.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Ask { source, .. } => {
                matches!(source.kind(), ErrorKind::InvalidCall | ErrorKind::NotFound | ErrorKind::Conflict)
            }
            Self::FilesElsewhere { .. }
            | Self::NoArtifacts { .. }
            | Self::OutsideOfSource { .. }
            | Self::NotBelowArtifacts { .. }
            | Self::NoLoggedModel { .. }
            | Self::VersionTaken { .. } => true,
            Self::Read { .. } | Self::Odd { .. } | Self::NoSource { .. } | Self::Database(_) => false,
        }
    }

    /// What is wrong and why, for a report.
    pub(super) fn in_full(&self) -> String {
        let (mut text, mut cause) = (self.to_string(), self.source());
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        text
    }

    pub(super) fn ask(what: &str, source: ClientError) -> Self {
        Self::Ask { what: what.to_owned(), source: Box::new(source) }
    }

    pub(super) fn odd(detail: String) -> Self {
        Self::Odd { detail }
    }

    pub(super) fn read(path: &std::path::Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}
