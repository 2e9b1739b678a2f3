//! Bytes in: into a temporary file, hashed on the way, under their name once they are whole.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use stepwell_env::WriteFile;

use crate::{
    error::{BlobError, io_error},
    format::{Blob, BlobId, CHUNK_BYTES},
    reader::BlobReader,
    store::BlobStore,
};

/// Bytes written between two syncs. Left to the end, gigabytes would go to the device at once, and the log's syncs would wait
/// behind them.
const SYNC_EVERY_BYTES: usize = 16 << 20;

/// A blob that is being written. Dropped, it leaves nothing.
pub struct BlobWriter {
    file: Box<dyn WriteFile>,
    temporary: Temporary,
    hash: Sha256,
    bytes: u64,
    /// Of chunks that are full.
    checksums: Vec<u32>,
    /// Of the chunk at hand.
    crc: u32,
    chunk_bytes: usize,
    unsynced_bytes: usize,
}

/// A file without a name of its own, removed with this value.
struct Temporary {
    store: BlobStore,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let disk = self.store.disk();
        if disk.exists(&self.path) {
            // What cannot be removed now, the next start removes.
            drop(disk.remove(&self.path));
        }
    }
}

impl BlobWriter {
    pub(crate) fn create(store: BlobStore, path: PathBuf) -> Result<Self, BlobError> {
        let file = store.disk().create(&path).map_err(io_error("create", &path))?;
        Ok(Self {
            file,
            temporary: Temporary { store, path },
            hash: Sha256::new(),
            bytes: 0,
            checksums: Vec::new(),
            crc: 0,
            chunk_bytes: 0,
            unsynced_bytes: 0,
        })
    }

    /// Appends; after an error nothing but dropping it is of use.
    pub fn write(&mut self, data: &[u8]) -> Result<(), BlobError> {
        self.file.append(data).map_err(io_error("write", &self.temporary.path))?;
        self.hash.update(data);
        self.bytes += data.len() as u64;
        let mut rest = data;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(CHUNK_BYTES - self.chunk_bytes));
            self.crc = crc32c::crc32c_append(self.crc, piece);
            self.chunk_bytes += piece.len();
            if self.chunk_bytes == CHUNK_BYTES {
                self.end_chunk();
            }
            rest = others;
        }
        self.unsynced_bytes += data.len();
        if self.unsynced_bytes >= SYNC_EVERY_BYTES {
            self.unsynced_bytes = 0;
            self.file.sync().map_err(io_error("sync", &self.temporary.path))?;
        }
        Ok(())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ends it: its bytes are durable when this returns, and its name is known.
    pub fn finish(mut self) -> Result<StagedBlob, BlobError> {
        if self.chunk_bytes > 0 {
            self.end_chunk();
        }
        self.file.sync().map_err(io_error("sync", &self.temporary.path))?;
        let id = BlobId::new(self.hash.finalize().into());
        Ok(StagedBlob { blob: Blob::new(id, self.bytes, self.checksums), temporary: self.temporary })
    }

    fn end_chunk(&mut self) {
        self.checksums.push(std::mem::take(&mut self.crc));
        self.chunk_bytes = 0;
    }
}

/// A blob that is whole and has no name yet. Dropped, it leaves nothing.
pub struct StagedBlob {
    blob: Blob,
    temporary: Temporary,
}

impl StagedBlob {
    /// What it is.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// Reads it as it lies there.
    pub fn reader(&self) -> Result<BlobReader, BlobError> {
        self.temporary.store.open_at(self.temporary.path.clone(), self.blob.clone())
    }

    /// Sends its bytes to where blobs go, if that is an object store; may take long. Not named by anybody yet, they may be gone again
    /// when it is published.
    pub fn upload(&self) -> Result<(), BlobError> {
        let store = &self.temporary.store;
        match store.objects() {
            Some(objects) if store.owns()? => objects.put(&self.reader()?),
            _ => Ok(()),
        }
    }

    /// Gives it its name, in place of whatever is there under it: the same bytes, or what rot made of them. Durable when this
    /// returns.
    pub fn publish(self) -> Result<Blob, BlobError> {
        let store = &self.temporary.store;
        match store.objects() {
            Some(objects) if store.owns()? => {
                if !objects.has(&self.blob)? {
                    objects.put(&self.reader()?)?;
                }
            }
            // Nor to the objects of another: their owner removes those that it does not name.
            _ => store.place(&self.temporary.path, self.blob.id)?,
        }
        Ok(self.blob.clone())
    }
}
