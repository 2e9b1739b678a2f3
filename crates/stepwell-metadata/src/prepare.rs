//! What happens to a file before SQLite sees it: it is made with room for checksums, or gets that room; damage that SQLite would
//! not notice is refused.

use std::{
    ffi::{CStr, c_int},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use libsqlite3_sys::{SQLITE_FCNTL_RESERVE_BYTES, SQLITE_OK, sqlite3_file_control};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use stepwell_env::{Disk, RealDisk, is_out_of_files, write_atomically};

use crate::{
    error::MetadataError,
    pages::{self, MAGIC, PAGE_BYTES, RESERVED_AT, RESERVED_BYTES},
    replace,
};

/// Looks at a log that seems damaged.
const LOOKS: usize = 4;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
const MAIN: &CStr = c"main";

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    Checked,
    /// Made by an earlier version: its pages have no checksums.
    Unchecked,
    Damaged {
        path: PathBuf,
        offset: u64,
        detail: String,
    },
}

/// Makes the file one whose pages have checksums. The caller is the only one who uses it.
pub(crate) async fn prepare(path: &Path) -> Result<(), MetadataError> {
    if replace::finish(path)? {
        tracing::warn!(
            path = %path.display(),
            "a repair of the metadata was cut short: its result has taken the place of the file, which is in the quarantine as it was"
        );
    }
    match state(path)? {
        State::Checked => Ok(()),
        State::Absent => create(path).await,
        State::Unchecked => convert(path).await,
        State::Damaged { path, offset, detail } => Err(MetadataError::DamagedFile { path, offset, detail }),
    }
}

/// What a file is, by its beginning and by its log. For who has it not open yet: to close a descriptor of a file gives up all locks that
/// the process has on it, SQLite's too.
pub(crate) fn state(path: &Path) -> Result<State, MetadataError> {
    let log = log_of(path);
    if replace::is_waiting(path)? {
        // Its log may be gone already, and with it what was changed last.
        let detail = "a repair of it was cut short".to_owned();
        return Ok(State::Damaged { path: path.to_owned(), offset: 0, detail });
    }
    if !is_there(path)? {
        if !is_there(&log)? {
            return Ok(State::Absent);
        }
        // A new file beside it would be filled from the log of the old one.
        let detail = "the file is missing, of which a log is beside it".to_owned();
        return Ok(State::Damaged { path: path.to_owned(), offset: 0, detail });
    }
    let first = first_page(path).map_err(unreadable(path))?;
    let damaged = |offset, detail: &str| State::Damaged { path: path.to_owned(), offset, detail: detail.to_owned() };
    if first.is_empty() {
        return Ok(damaged(0, "it is empty"));
    }
    if !first.starts_with(MAGIC) {
        return Ok(damaged(0, "it does not begin as a SQLite database does"));
    }
    if let Some((offset, detail)) = log_damage(&log)? {
        return Ok(State::Damaged { path: log, offset, detail });
    }
    match first.get(RESERVED_AT).copied() {
        Some(reserved) if reserved as usize == RESERVED_BYTES => Ok(State::Checked),
        // A file that had checksums, and of which the byte that says so is damaged.
        Some(_) if is_good_but_for_flag(first.clone()) => {
            Ok(damaged(RESERVED_AT as u64, "the header does not fit its checksum"))
        }
        Some(0) => Ok(State::Unchecked),
        _ => Ok(damaged(RESERVED_AT as u64, "the header is none of ours")),
    }
}

/// Damage to SQLite's log, looked at again while there is some: a server may be writing it.
fn log_damage(log: &Path) -> Result<Option<(u64, String)>, MetadataError> {
    let mut found = None;
    for _ in 0..LOOKS {
        if !is_there(log)? {
            return Ok(None);
        }
        let content = RealDisk.read(log).map_err(unreadable(log))?;
        found = pages::log_damage(&content);
        if found.is_none() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN_AFTER);
    }
    Ok(found)
}

/// Bytes that hold the first page, if it is of the size that all of ours have.
fn first_page(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut first = Vec::new();
    std::fs::File::open(path)?.take(PAGE_BYTES as u64).read_to_end(&mut first)?;
    Ok(first)
}

fn is_good_but_for_flag(mut first: Vec<u8>) -> bool {
    first[RESERVED_AT] = RESERVED_BYTES as u8;
    pages::is_good(&first, 0)
}

async fn create(path: &Path) -> Result<(), MetadataError> {
    let new = sibling(path, ".new");
    remove(&new)?;
    let options = SqliteConnectOptions::new().filename(&new).create_if_missing(true);
    let mut connection = options.connect().await?;
    reserve(&mut connection).await?;
    // The first page is written with the first change.
    sqlx::query("PRAGMA user_version = 1").execute(&mut connection).await?;
    connection.close().await?;
    put_in_place(&new, path)
}

/// Writes the content of an old file anew, with room for checksums.
async fn convert(path: &Path) -> Result<(), MetadataError> {
    tracing::info!(path = %path.display(), "the metadata gets checksums");
    let new = sibling(path, ".new");
    remove(&new)?;
    let options = SqliteConnectOptions::new().filename(path).synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    reserve(&mut connection).await?;
    sqlx::query("VACUUM INTO ?").bind(new.to_string_lossy().into_owned()).execute(&mut connection).await?;
    // The last to close it brings its log into it and removes the log.
    connection.close().await?;
    if RealDisk.exists(&log_of(path)) {
        // A log of the old file beside the new one would be read as that of the new one.
        let source = io::Error::other("another program has it open; end that one, then start again");
        return Err(failed("add checksums to", path)(source));
    }
    put_in_place(&new, path)
}

/// Has pages that are written anew reserve room.
async fn reserve(connection: &mut SqliteConnection) -> Result<(), MetadataError> {
    let mut handle = connection.lock_handle().await?;
    let mut bytes = RESERVED_BYTES as c_int;
    // SAFETY: the handle is locked, so that nobody else uses the connection; SQLite reads and writes one integer.
    let result = unsafe {
        sqlite3_file_control(
            handle.as_raw_handle().as_ptr(),
            MAIN.as_ptr(),
            SQLITE_FCNTL_RESERVE_BYTES,
            (&raw mut bytes).cast(),
        )
    };
    match result {
        SQLITE_OK => Ok(()),
        code => Err(sqlx::Error::Protocol(format!("SQLite reserves no room for checksums: code {code}")).into()),
    }
}

/// Stamps the pages of `new` and makes it the file at `path`.
fn put_in_place(new: &Path, path: &Path) -> Result<(), MetadataError> {
    let mut file = RealDisk.read(new).map_err(failed("read", new))?;
    stamp_all(&mut file);
    write_atomically(&RealDisk, path, &file).map_err(failed("write", path))?;
    remove(new)
}

fn stamp_all(file: &mut [u8]) {
    for (number, page) in file.chunks_exact_mut(PAGE_BYTES).enumerate() {
        pages::stamp(page, (number * PAGE_BYTES) as u64);
    }
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), MetadataError> {
    if RealDisk.exists(path) { RealDisk.remove(path).map_err(failed("remove", path)) } else { Ok(()) }
}

/// SQLite's log beside a file.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    sibling(path, "-wal")
}

pub(crate) fn sibling(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The error of a file that cannot be read.
fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> MetadataError {
    let path = path.to_owned();
    // Neither says anything of the file's bytes.
    move |source| match is_out_of_files(&source) || source.kind() == io::ErrorKind::NotFound {
        true => MetadataError::Io { what: "read", path, source },
        false => MetadataError::Unreadable { path, source },
    }
}

/// Whether a file is there. What cannot be looked at is an error: taken for absent, it would be made anew.
pub(crate) fn is_there(path: &Path) -> Result<bool, MetadataError> {
    RealDisk.try_exists(path).map_err(failed("look for", path))
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> MetadataError {
    let path = path.to_owned();
    move |source| MetadataError::Io { what, path, source }
}
