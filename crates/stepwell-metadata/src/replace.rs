//! The result of a repair takes the place of the file.
//!
//! It is written beside the file, and is what counts once it is named `….repaired`: then the log of the damaged file goes, which belongs
//! to no other, and the result is renamed. Cut short before, nothing is changed; after, the next start or repair ends it, unless the file
//! is no more the one of which it is the result: beside it lie the length and CRC-32C of that.

use std::path::{Path, PathBuf};

use stepwell_env::{Disk, RealDisk, read_what_can_be, write_atomically};

use crate::{
    check::damaged_pages,
    error::MetadataError,
    pages::MAGIC,
    prepare::{failed, is_there, log_of, remove, sibling},
};

/// Where the result of a repair is until it is in its place.
pub(crate) fn result_of(path: &Path) -> PathBuf {
    sibling(path, ".repaired")
}

/// Where it is said of which file it is the result.
fn origin_of(path: &Path) -> PathBuf {
    sibling(path, ".repaired-from")
}

/// What is said of a file there.
fn figures(file: &[u8]) -> String {
    format!("{} bytes, CRC-32C {:08x}\n", file.len(), crc32c::crc32c(file))
}

/// Whether the result of a repair is there, and not in its place.
pub(crate) fn is_waiting(path: &Path) -> Result<bool, MetadataError> {
    is_there(&result_of(path))
}

/// Makes `whole` the file.
pub(crate) fn replace(path: &Path, whole: &[u8]) -> Result<(), MetadataError> {
    let (result, origin) = (result_of(path), origin_of(path));
    let file = RealDisk.read(path).map_err(failed("read", path))?;
    write_atomically(&RealDisk, &origin, figures(&file).as_bytes()).map_err(failed("write", &origin))?;
    write_atomically(&RealDisk, &result, whole).map_err(failed("write", &result))?;
    finish(path).map(drop)
}

/// Refuses to put the result that waits in the place of a file that somebody has put there since.
pub(crate) fn refuse_other(path: &Path) -> Result<(), MetadataError> {
    let origin = origin_of(path);
    // Of the result of an earlier version it is not known.
    if !is_there(path)? || !is_there(&origin)? {
        return Ok(());
    }
    let file = read_what_can_be(&RealDisk, path).map_err(failed("read", path))?;
    // What its device refuses to read is no file that was put there to be used.
    let is_readable = file.unreadable.is_empty();
    if is_readable && figures(&file.content).as_bytes() != RealDisk.read(&origin).map_err(failed("read", &origin))? {
        return Err(MetadataError::ChangedSinceRepair { path: path.to_owned(), result: result_of(path) });
    }
    Ok(())
}

/// Ends what was cut short; returns whether something was. For the only one who uses the file.
pub(crate) fn finish(path: &Path) -> Result<bool, MetadataError> {
    if !is_waiting(path)? {
        return Ok(false);
    }
    let result = result_of(path);
    let file = RealDisk.read(&result).map_err(failed("read", &result))?;
    let damages = damaged_pages(&result, &file);
    if !file.starts_with(MAGIC) || !damages.is_empty() {
        let offset = damages.first().map_or(0, |damage| damage.offset);
        let detail = "it is the result of a repair that was cut short".to_owned();
        return Err(MetadataError::DamagedFile { path: result, offset, detail });
    }
    refuse_other(path)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let sync = || RealDisk.sync_dir(directory).map_err(failed("sync directory", directory));
    // The result may have been named by a process that ended before it could sync that: a power loss must not keep the removal of the
    // log alone.
    sync()?;
    remove(&log_of(path))?;
    remove(&sibling(path, "-shm"))?;
    // A power loss must not bring the log back beside the result.
    sync()?;
    RealDisk.rename(&result, path).map_err(failed("rename", &result))?;
    sync()?;
    remove(&origin_of(path))?;
    Ok(true)
}
