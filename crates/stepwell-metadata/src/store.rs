//! Opening the database.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    error::MetadataError,
    prepare::{self, State},
    vfs,
};

pub(crate) static MIGRATIONS: Migrator = sqlx::migrate!("../../schemas/metadata");

/// Connections that read side by side.
const READERS: u32 = 4;
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The metadata of one server. Clones share it.
#[derive(Clone)]
pub struct Metadata {
    /// One connection: SQLite has one writer anyway, and so nobody waits by polling.
    pub(crate) writer: SqlitePool,
    pub(crate) readers: SqlitePool,
    version: Arc<AtomicU64>,
    path: Arc<PathBuf>,
}

impl Metadata {
    /// Opens the file, made if absent, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, MetadataError> {
        prepare::prepare(path).await?;
        let options = checked(SqliteConnectOptions::new().filename(path))?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        Ok(Self { writer, readers, version: Arc::default(), path: Arc::new(full(path)) })
    }

    /// Opens a file that a server may be using, for reading only.
    pub async fn open_read_only(path: &Path) -> Result<Self, MetadataError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let options = match prepare::state(path)? {
            State::Checked => checked(options)?,
            // Without checksums as yet, which only its server can give it.
            State::Unchecked | State::Absent => options,
            State::Damaged { path, offset, detail } => return Err(MetadataError::DamagedFile { path, offset, detail }),
        };
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        Ok(Self { writer: readers.clone(), readers, version: Arc::default(), path: Arc::new(full(path)) })
    }

    /// Pages of the file that were found damaged since this process began.
    pub fn damaged_pages(&self) -> u64 {
        vfs::damaged_pages(&self.path)
    }

    /// Rises with every change made through this handle and its clones: what was read before is still true while it stays.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Opens through the layer that checks each page.
pub(crate) fn checked(options: SqliteConnectOptions) -> Result<SqliteConnectOptions, MetadataError> {
    match vfs::register() {
        true => Ok(options.vfs(vfs::NAME)),
        false => Err(sqlx::Error::Protocol("SQLite does not take the layer that checks its pages".to_owned()).into()),
    }
}

/// The path as SQLite names it.
fn full(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
