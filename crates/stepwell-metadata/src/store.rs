//! Opening the database.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    changes::{Change, Changes},
    error::MetadataError,
    prepare::{self, State},
    run_cache::RunCache,
    table_list::{self, Moment},
    version::refuse_newer,
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
    pub(crate) changes: Arc<Changes>,
    pub(crate) run_cache: Arc<RunCache>,
    /// The last change was not made durable.
    last_commit_failed: Arc<AtomicBool>,
    path: Arc<PathBuf>,
    is_read_only: bool,
}

impl Metadata {
    /// Opens the file, made if absent, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, MetadataError> {
        prepare::prepare(path).await?;
        table_list::keep(path, Moment::Opening)?;
        let options = checked(SqliteConnectOptions::new().filename(path))?
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let one = SqlitePoolOptions::new().max_connections(1);
        let one = one.after_release(|connection, _| Box::pin(is_whole(connection)));
        let writer = one.connect_with(options.clone()).await?;
        refuse_newer(&mut *writer.acquire().await?, path).await?;
        MIGRATIONS.run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await?;
        let path = Arc::new(full(path));
        Ok(Self {
            writer,
            readers,
            version: Arc::default(),
            changes: Arc::default(),
            run_cache: Arc::default(),
            last_commit_failed: Arc::default(),
            path,
            is_read_only: false,
        })
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
        refuse_newer(&mut *readers.acquire().await?, path).await?;
        Ok(Self {
            writer: readers.clone(),
            readers,
            version: Arc::default(),
            changes: Arc::default(),
            // Another process makes the changes, of which nothing is heard here.
            run_cache: Arc::new(RunCache::new(0)),
            last_commit_failed: Arc::default(),
            path: Arc::new(full(path)),
            is_read_only: true,
        })
    }

    /// Pages of the file that were found damaged since this process began.
    pub fn damaged_pages(&self) -> u64 {
        vfs::damaged_pages(&self.path)
    }

    /// Rises with every change made through this handle and its clones: what was read before is still true while it stays.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The same with room for so many bytes of runs in memory.
    pub fn with_run_cache(self, bytes_max: usize) -> Self {
        Self { run_cache: Arc::new(RunCache::new(bytes_max)), ..self }
    }

    pub(crate) fn changed(&self, change: Option<Change>) {
        if let Some(change) = change {
            self.changes.note(change);
        }
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn committed(&self, is_durable: bool) {
        self.last_commit_failed.store(!is_durable, Ordering::Release);
    }

    /// Whether it can be read, and, where the last change failed, written: for whoever watches.
    pub async fn probe(&self) -> Result<(), MetadataError> {
        sqlx::query("SELECT (SELECT count(*) FROM (SELECT 1 FROM projects LIMIT 1)) + (SELECT count(*) FROM (SELECT 1 FROM runs LIMIT 1))")
            .fetch_one(&self.readers)
            .await?;
        if self.last_commit_failed.load(Ordering::Acquire) {
            // A number in the file's head that nobody reads: small, and as durable as a change of rows.
            let mut tx = self.writer.begin().await?;
            sqlx::query("PRAGMA user_version = 1").execute(&mut *tx).await?;
            self.commit_beside_runs(tx, ()).await?;
        }
        Ok(())
    }

    /// Whether the connections were ended.
    pub fn is_closed(&self) -> bool {
        self.readers.is_closed()
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        if self.is_read_only {
            return;
        }
        // Of a file that is now as a whole in its place, log included.
        if let Err(error) = table_list::keep(&self.path, Moment::Closed) {
            tracing::warn!(%error, "the list of tables was not copied; the next start does it");
        }
    }
}

/// Whether a connection can go on to the next change. After a commit that failed SQLite has left the transaction and the driver has
/// not: its next transactions would be savepoints, and once the commit of such a one failed, all later ones would end in success and
/// be lost with the connection.
async fn is_whole(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // Behind what the end of a transaction has queued.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
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
