//! The mark that rows are lost, a file beside the metadata: while it is there, blobs that no row names may be those of lost rows.
//!
//! It is on the disk before the rows are gone, and goes once a repair has set such blobs aside. So a repair may be cut short, or fail
//! behind the metadata: neither the next start nor the next repair takes them for what nobody needs.

use std::path::{Path, PathBuf};

use stepwell_env::{RealDisk, write_atomically};

use crate::{
    error::MetadataError,
    prepare::{failed, is_there, remove, sibling},
};

/// For people; that it is there is all that counts.
const WORDS: &[u8] = b"Rows of the metadata were lost. The next `stepwell repair` that ends well removes this file.\n";

fn mark_of(path: &Path) -> PathBuf {
    sibling(path, ".rows-lost")
}

/// Whether rows of the file are lost whose blobs are not set aside yet.
pub fn rows_were_lost(path: &Path) -> Result<bool, MetadataError> {
    is_there(&mark_of(path))
}

/// Says so for whoever goes on. Durable when it returns.
pub fn mark_rows_lost(path: &Path) -> Result<(), MetadataError> {
    let mark = mark_of(path);
    write_atomically(&RealDisk, &mark, WORDS).map_err(failed("write", &mark))
}

/// The blobs are set aside. A mark that a loss of power brings back only has the next repair look for more.
pub fn unmark_rows_lost(path: &Path) -> Result<(), MetadataError> {
    remove(&mark_of(path))
}
