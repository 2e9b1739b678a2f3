//! One file from here to there, checked on both sides.

use std::{io, path::Path};

use stepwell_env::{Disk, MappedFile};

use super::{
    error::{BackupError, io_error},
    index::BackupFile,
};

/// Bytes written between two syncs. Left to the end, they would all go to the device at once, and on a device that both share
/// the server's syncs would wait behind them.
const PIECE_BYTES: usize = 4 << 20;

/// Writes the first `expected.bytes` of `content`, which was read from `from`, as the new file `to`, and reads it back. When
/// this returns, the content is durable and is what was expected; the entry in the directory is not synced.
pub(crate) fn copy(
    disk: &dyn Disk,
    from: &Path,
    content: &MappedFile,
    expected: &BackupFile,
    to: &Path,
) -> Result<(), BackupError> {
    let bytes = usize::try_from(expected.bytes).ok().and_then(|bytes| content.bytes().get(..bytes));
    let damaged = |path: &Path, offset: usize, detail: &str| BackupError::Damaged {
        path: path.to_owned(),
        offset: offset as u64,
        detail: detail.to_owned(),
    };
    let Some(bytes) = bytes else {
        return Err(damaged(
            from,
            content.bytes().len(),
            &format!("it ends here and should have {} bytes", expected.bytes),
        ));
    };
    let mut file = disk.create(to).map_err(io_error("create", to))?;
    let mut crc = 0;
    for start in (0..bytes.len()).step_by(PIECE_BYTES) {
        let range = start..bytes.len().min(start + PIECE_BYTES);
        let piece = content.get(range.clone()).map_err(io_error("read", from))?;
        crc = crc32c::crc32c_append(crc, piece);
        file.append(piece).map_err(io_error("write", to))?;
        file.sync().map_err(io_error("sync", to))?;
        content.release_range(range);
    }
    file.sync().map_err(io_error("sync", to))?;
    drop(file);
    if crc != expected.crc32c {
        return Err(damaged(from, 0, "the checksum does not fit the content"));
    }
    let written = disk.map(to).map_err(io_error("read back", to))?;
    let is_same = is_content_of(&written, expected).map_err(io_error("read back", to))?;
    if is_same { Ok(()) } else { Err(damaged(to, 0, "it reads otherwise than it was written")) }
}

/// Whether a whole file is the one expected; an error where it cannot be read.
pub(crate) fn is_content_of(content: &MappedFile, expected: &BackupFile) -> io::Result<bool> {
    if content.bytes().len() as u64 != expected.bytes {
        return Ok(false);
    }
    let mut crc = 0;
    for piece in content.pieces(PIECE_BYTES) {
        crc = crc32c::crc32c_append(crc, piece?);
    }
    content.release();
    Ok(crc == expected.crc32c)
}

/// Removes the file, if there is one.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<(), BackupError> {
    if disk.exists(path) { disk.remove(path).map_err(io_error("remove", path)) } else { Ok(()) }
}
