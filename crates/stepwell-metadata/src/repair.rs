//! Mending a file of metadata.
//!
//! A page in which one bit was flipped is turned back: its checksum of 64 bits says which bit. Of what is damaged further every row
//! that can be read is copied to a new file. The damaged file is kept.

use std::path::{Path, PathBuf};

use sqlx::{
    ConnectOptions, Connection,
    sqlite::{SqliteConnectOptions, SqliteSynchronous},
};
use stepwell_env::{Disk, RealDisk, UnreadablePart, read_what_can_be, write_atomically};

use crate::{
    btree,
    check::{check, damaged_pages},
    error::MetadataError,
    pages::{self, PAGE_BYTES},
    prepare::{State, failed, is_there, log_of, prepare, remove, sibling, state},
    replace::{self, replace, result_of},
    rows_lost::mark_rows_lost,
    salvage::salvage,
    store::checked,
    table_list::{self, Moment},
    version::refuse_newer,
};

/// What a repair did; of a dry run, what it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataRepair {
    /// What was found and done, for people; empty where nothing was damaged.
    pub lines: Vec<String>,
    /// Where damaged files are kept.
    pub quarantined: Vec<PathBuf>,
}

/// Repairs the file; nobody else uses it. A second call does nothing.
pub async fn repair(path: &Path, quarantine: &Path, dry_run: bool) -> Result<MetadataRepair, MetadataError> {
    let report = mend(path, quarantine, dry_run).await?;
    if !dry_run && !report.lines.is_empty() {
        table_list::keep(path, Moment::Closed)?;
    }
    Ok(report)
}

async fn mend(path: &Path, quarantine: &Path, dry_run: bool) -> Result<MetadataRepair, MetadataError> {
    let mut report = MetadataRepair::default();
    if replace::is_waiting(path)? {
        report
            .lines
            .push(format!("a repair of {} was cut short; its result takes the place of the file", path.display()));
        if dry_run {
            replace::refuse_other(path)?;
            return Ok(report);
        }
        finish(path, quarantine, &mut report)?;
    }
    let unreadable = replace_unreadable(path, quarantine, dry_run, &mut report)?;
    if unreadable && dry_run {
        report.lines.push("what is lost by that is known once zeros stand in its place".to_owned());
        return Ok(report);
    }
    let found = check(path).await?;
    if found.damages.is_empty() {
        return Ok(report);
    }
    for damage in &found.damages {
        report.lines.push(format!("{} is damaged at byte {}: {}", damage.path.display(), damage.offset, damage.detail));
    }
    let (log, tables) = (log_of(path), table_list::copy_of(path));
    if found.damages.iter().all(|damage| damage.path == tables) {
        report.lines.push("it is made anew from the file that it is a copy of; nothing is lost".to_owned());
        if !dry_run {
            report.quarantined.push(copy(&tables, quarantine)?);
        }
        return Ok(report);
    }
    if !dry_run {
        for file in [path, log.as_path()] {
            if is_there(file)? {
                report.quarantined.push(copy(file, quarantine)?);
            }
        }
    }
    if !is_there(path)? {
        report.lines.push("without the file its log is of no use, and is set aside".to_owned());
        if !dry_run {
            mark_rows_lost(path)?;
            remove(&log)?;
        }
        return Ok(report);
    }
    // What is tried is tried on copies; the file itself changes at the end, at once.
    let attempt = sibling(path, ".repair");
    remove_with_log(&attempt)?;
    let is_unchecked = state(path)? == State::Unchecked;
    let mended = if is_unchecked {
        RealDisk.read(path).map_err(failed("read", path))?
    } else {
        mend_pages(path, &mut report.lines)?
    };
    write_atomically(&RealDisk, &attempt, &mended).map_err(failed("write", &attempt))?;
    let mut loses_rows = false;
    if is_there(&log)? {
        let content = RealDisk.read(&log).map_err(failed("read", &log))?;
        if pages::log_damage(&content).is_some() {
            loses_rows = true;
            report.lines.push("changes in the log behind the damage are lost: SQLite can read none of them".to_owned());
        }
        let attempt_log = log_of(&attempt);
        write_atomically(&RealDisk, &attempt_log, &content).map_err(failed("write", &attempt_log))?;
    }
    if is_unchecked {
        // Its pages say nothing of themselves: it is read as far as SQLite can read all of it.
        prepare(&attempt).await?;
    }
    let is_whole = settle(&attempt).await.is_ok() && check(&attempt).await?.damages.is_empty();
    let new = sibling(path, ".salvaged");
    remove_with_log(&new)?;
    if !is_whole {
        // Rows of tables that only a newer program knows would be lost without a word.
        if let Ok(mut connection) = checked(SqliteConnectOptions::new().filename(&attempt))?.connect().await {
            let known = refuse_newer(&mut connection, path).await;
            connection.close().await?;
            if known.is_err() {
                remove_with_log(&attempt)?;
                known?;
            }
        }
        loses_rows = true;
        salvage(&attempt, &new, &mut report.lines).await?;
    }
    let result = if is_whole { &attempt } else { &new };
    if !dry_run {
        if loses_rows {
            mark_rows_lost(path)?;
        }
        replace(path, &RealDisk.read(result).map_err(failed("read", result))?)?;
    }
    remove_with_log(&attempt)?;
    remove_with_log(&new)?;
    Ok(report)
}

/// Ends a repair that was cut short. If its result is damaged itself, that is set aside: the file is still there, and what was in its
/// log is in the quarantine.
fn finish(path: &Path, quarantine: &Path, report: &mut MetadataRepair) -> Result<(), MetadataError> {
    match replace::finish(path) {
        Err(error @ MetadataError::DamagedFile { .. }) => {
            let result = result_of(path);
            report.lines.push(format!("{error}; it is set aside, and the file is repaired anew"));
            report.quarantined.push(copy(&result, quarantine)?);
            // The log may have gone before it, and rows with that.
            mark_rows_lost(path)?;
            remove(&result)
        }
        ended => ended.map(drop),
    }
}

/// Puts files of the same content, with zeros for what cannot be read, in the place of those of which the device refuses some. Returns
/// whether there are such. The copy of the list of tables comes from the file itself.
fn replace_unreadable(
    path: &Path,
    quarantine: &Path,
    dry_run: bool,
    report: &mut MetadataRepair,
) -> Result<bool, MetadataError> {
    let mut is_any = false;
    let tables = table_list::copy_of(path);
    for file in [path.to_owned(), log_of(path), tables.clone()].iter().filter(|file| RealDisk.exists(file)) {
        let read = read_what_can_be(&RealDisk, file).map_err(failed("read", file))?;
        is_any |= !read.unreadable.is_empty();
        for UnreadablePart { range, error } in &read.unreadable {
            let (name, from, to) = (file.display(), range.start, range.end);
            report.lines.push(format!("{name} cannot be read from byte {from} to {to}: {error}"));
        }
        if read.unreadable.is_empty() || dry_run {
            continue;
        }
        report.quarantined.push(keep(file, &read.content, quarantine)?);
        if *file == tables {
            remove(file)?;
        } else {
            // Zeros at the end of the log are a torn write for whoever looks later.
            mark_rows_lost(path)?;
            write_atomically(&RealDisk, file, &read.content).map_err(failed("write", file))?;
        }
    }
    Ok(is_any)
}

/// The file with the flipped bits turned back that can be, with zeros for the pages that are missing at its end, and with those of the
/// list of tables from their copy.
fn mend_pages(path: &Path, lines: &mut Vec<String>) -> Result<Vec<u8>, MetadataError> {
    let mut file = RealDisk.read(path).map_err(failed("read", path))?;
    // Bits first: the header in the first page says how many pages there were.
    for damage in damaged_pages(path, &file) {
        if page_at(&mut file, damage.offset).is_some_and(|page| pages::mend_bit(page, damage.offset)) {
            lines.push(format!(
                "the page at byte {} had one flipped bit, which is turned back; nothing of it is lost",
                damage.offset
            ));
        }
    }
    add_missing(path, &mut file, lines)?;
    let kept = table_list::kept(path, &file);
    for damage in damaged_pages(path, &file) {
        if let (Some(kept), Some(page)) = (kept.get(&damage.offset), page_at(&mut file, damage.offset)) {
            page.copy_from_slice(kept);
            lines.push(format!(
                "the page at byte {} is of the list of tables, and comes back from its copy",
                damage.offset
            ));
        }
    }
    Ok(file)
}

fn page_at(file: &mut [u8], offset: u64) -> Option<&mut [u8]> {
    let from = usize::try_from(offset).ok()?;
    file.get_mut(from..from.checked_add(PAGE_BYTES)?)
}

/// Zeros for the pages that are missing at the end: SQLite reads nothing of a file that has fewer than its header says, and takes a part
/// of a page for a whole one. No page of zeros fits its checksum.
fn add_missing(path: &Path, file: &mut Vec<u8>, lines: &mut Vec<String>) -> Result<(), MetadataError> {
    let has = file.len() / PAGE_BYTES;
    let said = btree::pages_said(file).map_or(0, |said| said as usize);
    file.resize(file.len().div_ceil(PAGE_BYTES).max(said) * PAGE_BYTES, 0);
    // With a log beside it, they may be in that.
    if has < said && !is_there(&log_of(path))? {
        lines
            .push(format!("it has {has} of {said} pages; those that are missing are lost, as far as they were in use"));
    }
    Ok(())
}

/// Brings the log of a file into it.
async fn settle(path: &Path) -> Result<(), MetadataError> {
    let options = checked(SqliteConnectOptions::new().filename(path))?.synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    let settled = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut connection).await;
    connection.close().await?;
    settled?;
    Ok(())
}

/// Keeps a file in the quarantine.
fn copy(path: &Path, quarantine: &Path) -> Result<PathBuf, MetadataError> {
    keep(path, &RealDisk.read(path).map_err(failed("read", path))?, quarantine)
}

/// Keeps the content of a file there, under a name that is free.
fn keep(path: &Path, file: &[u8], quarantine: &Path) -> Result<PathBuf, MetadataError> {
    RealDisk.create_dir_all(quarantine).map_err(failed("create directory", quarantine))?;
    let name = quarantine.join(path.file_name().unwrap_or_default());
    for number in 0.. {
        let copy = if number == 0 { name.clone() } else { sibling(&name, &format!(".{number}")) };
        if !RealDisk.exists(&copy) {
            write_atomically(&RealDisk, &copy, file).map_err(failed("write", &copy))?;
            return Ok(copy);
        }
        if RealDisk.read(&copy).map_err(failed("read", &copy))? == file {
            return Ok(copy);
        }
    }
    Ok(name)
}

fn remove_with_log(path: &Path) -> Result<(), MetadataError> {
    let all = [path.to_owned(), log_of(path), sibling(path, "-shm"), table_list::copy_of(path)];
    all.iter().try_for_each(|file| remove(file))
}
