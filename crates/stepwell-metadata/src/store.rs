//! Opening the database.

use std::{
    path::Path,
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

use crate::error::MetadataError;

static MIGRATIONS: Migrator = sqlx::migrate!("../../schemas/metadata");

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
}

impl Metadata {
    /// Opens the file, made if absent, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, MetadataError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        Ok(Self { writer, readers, version: Arc::default() })
    }

    /// Opens a file that a server may be using, for reading only.
    pub async fn open_read_only(path: &Path) -> Result<Self, MetadataError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        Ok(Self { writer: readers.clone(), readers, version: Arc::default() })
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
