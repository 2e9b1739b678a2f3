//! The result of a repair takes the place of the file.
//!
//! It is written beside the file, and is what counts once it is named `….repaired`: then the log of the damaged file goes, which belongs
//! to no other, and the result is renamed. Cut short before, nothing is changed; after, the next start or repair ends it.

use std::path::{Path, PathBuf};

use stepwell_env::{Disk, RealDisk, write_atomically};

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

/// Whether the result of a repair is there, and not in its place.
pub(crate) fn is_waiting(path: &Path) -> Result<bool, MetadataError> {
    is_there(&result_of(path))
}

/// Makes `whole` the file.
pub(crate) fn replace(path: &Path, whole: &[u8]) -> Result<(), MetadataError> {
    let result = result_of(path);
    write_atomically(&RealDisk, &result, whole).map_err(failed("write", &result))?;
    finish(path)
}

/// Ends what was cut short, if something was. For the only one who uses the file.
pub(crate) fn finish(path: &Path) -> Result<(), MetadataError> {
    if !is_waiting(path)? {
        return Ok(());
    }
    let result = result_of(path);
    let file = RealDisk.read(&result).map_err(failed("read", &result))?;
    let damages = damaged_pages(&result, &file);
    if !file.starts_with(MAGIC) || !damages.is_empty() {
        let offset = damages.first().map_or(0, |damage| damage.offset);
        let detail = "it is the result of a repair that was cut short".to_owned();
        return Err(MetadataError::DamagedFile { path: result, offset, detail });
    }
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
    sync()
}
