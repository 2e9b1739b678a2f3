//! What is damaged in a file of metadata.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, Row, sqlite::SqliteConnectOptions};
use stepwell_env::{Disk, RealDisk, UnreadablePart, read_what_can_be};

use crate::{
    error::MetadataError,
    pages::{self, PAGE_BYTES},
    prepare::{State, failed, log_of, state},
    store::checked,
    table_list,
};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataCheck {
    pub files: u64,
    pub bytes: u64,
    pub damages: Vec<MetadataDamage>,
    pub notes: Vec<String>,
}

/// A damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataDamage {
    pub path: PathBuf,
    pub offset: u64,
    /// Of the page; 0 where none is known.
    pub bytes: u64,
    pub detail: String,
}

/// Looks anew at a page that is damaged: a server may have been writing it.
const TRIES: usize = 4;
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Reads every byte and changes nothing; also beside the server that uses the file.
pub async fn check(path: &Path) -> Result<MetadataCheck, MetadataError> {
    let mut found = MetadataCheck::default();
    for file in [path.to_owned(), log_of(path), table_list::copy_of(path)].iter().filter(|file| RealDisk.exists(file)) {
        found.files += 1;
        let read = read_what_can_be(&RealDisk, file).map_err(failed("read", file))?;
        found.bytes += read.content.len() as u64;
        let damage = |UnreadablePart { range, error }| MetadataDamage {
            path: file.clone(),
            offset: range.start,
            bytes: range.end - range.start,
            detail: format!("it cannot be read: {error}"),
        };
        found.damages.extend(read.unreadable.into_iter().map(damage));
    }
    if !found.damages.is_empty() {
        found.notes.push("the metadata is not checked further while some of it cannot be read".to_owned());
        return Ok(found);
    }
    match state(path)? {
        State::Absent => found.notes.push(format!("{} is not there yet", path.display())),
        State::Damaged { path, offset, detail } => {
            found.damages.push(MetadataDamage { path, offset, bytes: 0, detail });
        }
        State::Unchecked => {
            let path = path.display();
            found
                .notes
                .push(format!("the pages of {path} have no checksums yet; the next start of a server adds them"));
        }
        State::Checked => check_pages(path, &mut found).await?,
    }
    if found.damages.is_empty() && RealDisk.exists(path) {
        check_structure(path, &mut found).await;
    }
    let copy = table_list::copy_of(path);
    if RealDisk.exists(&copy) && !table_list::is_whole(path) {
        let detail = "the copy of the list of tables is damaged, the file itself has it too".to_owned();
        found.damages.push(MetadataDamage { path: copy, offset: 0, bytes: 0, detail });
    }
    Ok(found)
}

async fn check_pages(path: &Path, found: &mut MetadataCheck) -> Result<(), MetadataError> {
    let mut damages = Vec::new();
    for _ in 0..TRIES {
        let file = RealDisk.read(path).map_err(failed("read", path))?;
        damages = damaged_pages(path, &file);
        if damages.is_empty() {
            break;
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    found.damages.extend(damages);
    Ok(())
}

/// The pages that are not as they were written.
pub(crate) fn damaged_pages(path: &Path, file: &[u8]) -> Vec<MetadataDamage> {
    let damage = |offset: usize, bytes: usize, detail: String| MetadataDamage {
        path: path.to_owned(),
        offset: offset as u64,
        bytes: bytes as u64,
        detail,
    };
    let count = file.len().div_ceil(PAGE_BYTES);
    let mut found = Vec::new();
    // A page that was freed before it was ever written is a hole.
    let has_free_pages = file.get(36..40).is_some_and(|free| free != [0; 4]);
    for (number, content) in file.chunks(PAGE_BYTES).enumerate() {
        let offset = number * PAGE_BYTES;
        let is_hole = has_free_pages && content.iter().all(|byte| *byte == 0);
        if content.len() < PAGE_BYTES || !(is_hole || pages::is_good(content, offset as u64)) {
            let what = if number == 0 { ", which has the header and the list of tables" } else { "" };
            let detail = format!("page {} of {count} does not fit its checksum{what}", number + 1);
            found.push(damage(offset, content.len(), detail));
        }
    }
    let said = file.get(28..).and_then(|said| said.first_chunk()).map_or(0, |said| u32::from_be_bytes(*said) as usize);
    let has = file.len() / PAGE_BYTES;
    // With a log beside it, the header in the file may be of another moment.
    if found.is_empty() && has < said && !RealDisk.exists(&log_of(path)) {
        found.push(damage(file.len(), 0, format!("it ends after {has} pages, the header says {said}")));
    }
    found
}

/// SQLite's own check of how pages hang together.
async fn check_structure(path: &Path, found: &mut MetadataCheck) {
    let lines = structure(path).await.unwrap_or_else(|error| vec![error.to_string()]);
    let damage = |detail: String| MetadataDamage { path: path.to_owned(), offset: 0, bytes: 0, detail };
    found.damages.extend(lines.into_iter().filter(|line| line != "ok").map(damage));
}

async fn structure(path: &Path) -> Result<Vec<String>, MetadataError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    // Without a log nobody writes it, and SQLite need make no file beside it.
    let options = if RealDisk.exists(&log_of(path)) { options } else { options.immutable(true) };
    let options = if state(path)? == State::Checked { checked(options)? } else { options };
    let mut connection = options.connect().await?;
    let rows = sqlx::query("PRAGMA integrity_check(10)").fetch_all(&mut connection).await?;
    connection.close().await?;
    rows.iter().map(|row| row.try_get(0).map_err(MetadataError::from)).collect()
}
