//! Why an import stopped.

use std::{io, path::PathBuf};

use stepwell_client::ClientError;

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
        /// The run.
        owner: String,
        uri: String,
    },
    /// Nobody said where the server of a directory or an SQLite file kept what it was sent.
    #[error(
        "{owner} has its files in its server's artifacts, and {} is no directory: name the server's --artifacts-destination with \
         --artifacts, an empty directory if there are none", path.display()
    )]
    NoArtifacts {
        /// The run.
        owner: String,
        path: PathBuf,
    },
}

impl ImportError {
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
