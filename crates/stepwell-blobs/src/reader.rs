//! Bytes out: a chunk at a time, each checked before it leaves (I11).

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use stepwell_env::ReadFile;

use crate::{
    error::{BlobError, read_error},
    format::{Blob, BlobId, CHUNK_BYTES},
};

/// A blob being read. It stays readable after its removal.
pub struct BlobReader {
    file: Box<dyn ReadFile>,
    path: PathBuf,
    blob: Blob,
}

impl BlobReader {
    pub(crate) fn new(file: Box<dyn ReadFile>, path: PathBuf, blob: Blob) -> Result<Self, BlobError> {
        let bytes = file.bytes().map_err(read_error(&path))?;
        if bytes != blob.bytes {
            let detail = format!("it has {bytes} bytes, {} were written", blob.bytes);
            return Err(BlobError::Damaged { path, offset: bytes.min(blob.bytes), detail });
        }
        Ok(Self { file, path, blob })
    }

    /// The blob.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// The chunk of that number, of [`CHUNK_BYTES`] bytes but for the last; empty behind the last.
    pub fn chunk(&self, chunk: u64) -> Result<Vec<u8>, BlobError> {
        let Some((bytes, crc)) = self.blob.chunk(chunk) else { return Ok(Vec::new()) };
        let offset = chunk * CHUNK_BYTES as u64;
        let read = self.file.read_at(offset, bytes).map_err(read_error(&self.path))?;
        if read.len() != bytes || crc32c::crc32c(&read) != crc {
            let detail = format!("the {bytes} bytes from there on do not fit their checksum");
            return Err(BlobError::Damaged { path: self.path.clone(), offset, detail });
        }
        Ok(read)
    }

    /// Reads all of it and compares its hash with its name, too.
    pub fn verify(&self) -> Result<(), BlobError> {
        let mut hash = Sha256::new();
        for chunk in 0..self.blob.chunks() {
            hash.update(self.chunk(chunk)?);
        }
        let found = BlobId::new(hash.finalize().into());
        if found == self.blob.id {
            return Ok(());
        }
        let detail = format!("the hash of its content is {found}, which is not its name");
        Err(BlobError::Damaged { path: self.path.clone(), offset: 0, detail })
    }
}
