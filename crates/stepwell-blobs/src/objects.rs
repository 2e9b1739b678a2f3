//! Blobs in an object store, under the same names below a URL.
//!
//! Every call blocks, and must come from a thread that may. Requests that fail for a moment are sent again by the library, for some minutes
//! at most.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures::TryStreamExt;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path as ObjectPath};
use stepwell_env::ReadFile;
use tokio::runtime::Handle;
use url::Url;

use crate::{
    error::BlobError,
    format::{Blob, BlobId, CHUNK_BYTES},
    reader::BlobReader,
    store::Found,
};

/// Bytes of a request that uploads a part; smaller blobs go up in one request.
const PART_BYTES: usize = 8 << 20;
/// Parts of one upload under way at once.
const PARTS_AT_ONCE: usize = 2;
/// Bytes asked for at once by who reads one chunk after the other: this many at first, doubled up to the most.
const AHEAD_BYTES_MIN: u64 = CHUNK_BYTES as u64;
const AHEAD_BYTES_MAX: u64 = 1 << 20;
/// Whose variables in the environment are read: credentials, endpoints, regions.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Name of an object that is written and removed to see whether that works.
const PROBE: &str = "stepwell-probe";

/// The part of an object store below a URL.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    below: ObjectPath,
    /// Without a `/` at its end.
    url: String,
    runtime: Handle,
}

impl Objects {
    /// What is below a URL such as `s3://bucket/prefix`. Nothing is asked of the store.
    pub(crate) fn at(url: &str, runtime: Handle) -> Result<Self, BlobError> {
        let refused = |reason: String| BlobError::Place { url: shown(url), reason };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err(refused("credentials and options come from the environment, not from the URL".to_owned()));
        }
        if matches!(parsed.scheme(), "file" | "memory") {
            return Err(refused(
                "artifacts on this machine are in the data directory, where they are synced; leave `artifacts_url` away".to_owned(),
            ));
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name =
                name.into_string().ok().filter(|name| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))?;
            Some((name, value.into_string().ok()?))
        });
        let opened = object_store::parse_url_opts(&parsed, variables);
        let (store, below) = opened.map_err(|error| refused(error.to_string()))?;
        Ok(Self::over(Arc::from(store), below, url, runtime))
    }

    /// Any store, below a path of it.
    pub(crate) fn over(store: Arc<dyn ObjectStore>, below: ObjectPath, url: &str, runtime: Handle) -> Self {
        Self { store, below, url: url.trim_end_matches('/').to_owned(), runtime }
    }

    /// Writes, reads and removes something, so that a wrong name or a missing permission shows before it is relied on.
    pub(crate) fn probe(&self) -> Result<(), BlobError> {
        let at = self.below.clone().join(PROBE);
        let tried = self.runtime.block_on(async {
            self.store.put(&at, PutPayload::from_static(b"probe")).await?;
            self.store.get(&at).await?.bytes().await?;
            self.store.delete(&at).await
        });
        tried.map_err(|error| BlobError::Place { url: self.url.clone(), reason: error.to_string() })
    }

    /// Where a blob is, for messages.
    pub(crate) fn path_of(&self, id: BlobId) -> PathBuf {
        let name = id.to_string();
        PathBuf::from(format!("{}/{}/{name}", self.url, &name[..2]))
    }

    /// Writes a blob under its name, in place of what is there. Each chunk is checked before it is sent.
    pub(crate) fn put(&self, reader: &BlobReader) -> Result<(), BlobError> {
        let blob = reader.blob();
        let at = self.object(blob.id);
        let failed = |source| self.failed("write", blob.id, source);
        if blob.bytes <= PART_BYTES as u64 {
            let chunks = (0..blob.chunks()).map(|chunk| reader.chunk(chunk)).collect::<Result<Vec<_>, _>>()?;
            let payload = PutPayload::from(chunks.concat());
            return self.runtime.block_on(self.store.put(&at, payload)).map(drop).map_err(failed);
        }
        self.runtime.block_on(async {
            let upload = self.store.put_multipart(&at).await.map_err(failed)?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            for chunk in 0..blob.chunks() {
                let sent = match reader.chunk(chunk) {
                    Ok(bytes) => {
                        upload.wait_for_capacity(PARTS_AT_ONCE).await.map(|()| upload.put(bytes.into())).map_err(failed)
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = sent {
                    // What cannot be removed now is removed by the store's own rules for uploads that never ended.
                    drop(upload.abort().await);
                    return Err(error);
                }
            }
            upload.finish().await.map(drop).map_err(failed)
        })
    }

    /// Whether an object of a blob's name and length is there.
    pub(crate) fn has(&self, blob: &Blob) -> Result<bool, BlobError> {
        match self.runtime.block_on(self.store.head(&self.object(blob.id))) {
            Ok(meta) => Ok(meta.size == blob.bytes),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed("look for", blob.id, error)),
        }
    }

    /// Opens a blob.
    pub(crate) fn open(&self, blob: Blob) -> Result<BlobReader, BlobError> {
        let path = self.path_of(blob.id);
        match self.raw(blob.id)? {
            Some(object) => BlobReader::new(object, path, blob),
            None => Err(BlobError::Missing { path }),
        }
    }

    /// The object of a blob's name, whatever is in it.
    pub(crate) fn raw(&self, id: BlobId) -> Result<Option<Box<dyn ReadFile>>, BlobError> {
        let at = self.object(id);
        match self.runtime.block_on(self.store.head(&at)) {
            Ok(meta) => {
                let object = Object { objects: self.clone(), at, bytes: meta.size, ahead: Mutex::default() };
                Ok(Some(Box::new(object)))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", id, error)),
        }
    }

    /// Removes a blob, if it is there.
    pub(crate) fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        match self.runtime.block_on(self.store.delete(&self.object(id))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", id, error)),
        }
    }

    /// The objects whose names begin with the two hexadecimal digits of a byte, as blobs have them.
    pub(crate) fn shard(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
        let digits = format!("{shard:02x}");
        let below = self.below.clone().join(digits.as_str());
        let listed = self.runtime.block_on(self.store.list(Some(&below)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|source| BlobError::Objects {
            what: "list",
            path: PathBuf::from(format!("{}/{digits}", self.url)),
            source,
        })?;
        let found = listed.into_iter().filter_map(|meta| {
            let id = BlobId::parse(meta.location.filename()?).filter(|id| self.object(*id) == meta.location)?;
            Some(Found { path: self.path_of(id), bytes: meta.size, id: Some(id) })
        });
        Ok(found.collect())
    }

    fn object(&self, id: BlobId) -> ObjectPath {
        let name = id.to_string();
        self.below.clone().join(&name[..2]).join(name.as_str())
    }

    fn failed(&self, what: &'static str, id: BlobId, source: Error) -> BlobError {
        BlobError::Objects { what, path: self.path_of(id), source }
    }
}

/// An object being read. Unlike a file, it is not readable any more once it is removed.
struct Object {
    objects: Objects,
    at: ObjectPath,
    bytes: u64,
    ahead: Mutex<Ahead>,
}

/// Bytes that came with those asked for last.
#[derive(Default)]
struct Ahead {
    from: u64,
    bytes: Vec<u8>,
    /// How many are asked for next.
    next_bytes: u64,
}

impl Ahead {
    fn end(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    /// Part of what is there, if all of it is.
    fn slice(&self, from: u64, to: u64) -> Option<Vec<u8>> {
        let begin = usize::try_from(from.checked_sub(self.from)?).ok()?;
        let end = usize::try_from(to.checked_sub(self.from)?).ok()?;
        self.bytes.get(begin..end).map(<[u8]>::to_vec)
    }
}

impl ReadFile for Object {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let end = offset.saturating_add(bytes as u64).min(self.bytes);
        if offset >= end {
            return Ok(Vec::new());
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = ahead.slice(offset, end) {
            return Ok(slice);
        }
        let follows = offset == ahead.end() && offset > 0;
        let wanted = if follows { ahead.next_bytes } else { AHEAD_BYTES_MIN };
        let to = offset.saturating_add(wanted).clamp(end, self.bytes);
        let read = self.objects.runtime.block_on(self.objects.store.get_range(&self.at, offset..to));
        let read = read.map_err(io::Error::from)?;
        *ahead = Ahead {
            from: offset,
            bytes: read.into(),
            next_bytes: (wanted * 2).clamp(AHEAD_BYTES_MIN, AHEAD_BYTES_MAX),
        };
        // Fewer than asked for are told as they are; the checksum says the rest.
        Ok(ahead.slice(offset, end.min(ahead.end())).unwrap_or_default())
    }
}

/// A URL without what may be secret in it.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) => {
            // A URL that cannot have them has none.
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.set_query(None);
            parsed.to_string()
        }
        Err(_) => url.split(['@', '?']).next_back().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests;
