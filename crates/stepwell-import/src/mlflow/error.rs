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
        "{source_name:?} is no tracking URI (http://…) and no mlruns directory: of a database, run `mlflow server --backend-store-uri …` \
         and import from its address"
    )]
    NoSource { source_name: String },
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
