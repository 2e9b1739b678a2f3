//! Blobs in an object store, under the same names below a URL.

use std::path::PathBuf;

use stepwell_env::ReadFile;
use stepwell_objects::Objects;

use crate::{
    error::BlobError,
    format::{Blob, BlobId},
    reader::BlobReader,
    store::Found,
};

/// Name of the object that says whose the others are.
const OWNER: &str = "stepwell-owner";

/// The objects that are blobs.
#[derive(Clone)]
pub(crate) struct BlobObjects(pub(crate) Objects);

impl BlobObjects {
    /// Where a blob is, for messages.
    pub(crate) fn path_of(&self, id: BlobId) -> PathBuf {
        self.0.url_of(&key(id))
    }

    /// Writes a blob under its name, in place of what is there. Each chunk is checked before it is sent.
    pub(crate) fn put(&self, reader: &BlobReader) -> Result<(), BlobError> {
        let blob = reader.blob();
        let mut chunks = 0..blob.chunks();
        self.0.put(&key(blob.id), blob.bytes, || chunks.next().map(|chunk| reader.chunk(chunk)).transpose())
    }

    /// Whether an object of a blob's name and length is there.
    pub(crate) fn has(&self, blob: &Blob) -> Result<bool, BlobError> {
        Ok(self.0.bytes_of(&key(blob.id))? == Some(blob.bytes))
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
        Ok(self.0.open(&key(id))?.map(|object| Box::new(object) as Box<dyn ReadFile>))
    }

    /// Removes a blob, if it is there.
    pub(crate) fn remove(&self, id: BlobId) -> Result<(), BlobError> {
        Ok(self.0.remove(&key(id))?)
    }

    /// Whether there is a blob.
    pub(crate) fn any(&self) -> Result<bool, BlobError> {
        Ok(self.0.any(|key| id_of(key).is_some())?)
    }

    /// Who owns the objects, if anybody does.
    pub(crate) fn owner(&self) -> Result<Option<String>, BlobError> {
        Ok(self.0.read(OWNER)?.map(|owner| String::from_utf8_lossy(&owner).into_owned()))
    }

    /// Makes one the owner in the place of another, or of nobody.
    pub(crate) fn set_owner(&self, owner: &str, before: Option<&str>) -> Result<(), BlobError> {
        if before.is_none() {
            return Ok(self.0.create(OWNER, owner.as_bytes())?);
        }
        let mut content = Some(owner.as_bytes().to_vec());
        self.0.put(OWNER, owner.len() as u64, || Ok(content.take()))
    }

    /// The blobs whose names begin with the two hexadecimal digits of a byte.
    pub(crate) fn shard(&self, shard: u8) -> Result<Vec<Found>, BlobError> {
        let listed = self.0.list(&format!("{shard:02x}"))?;
        let found = listed.into_iter().filter_map(|listed| {
            let id = id_of(&listed.key)?;
            Some(Found { path: self.path_of(id), bytes: listed.bytes, id: Some(id) })
        });
        Ok(found.collect())
    }
}

fn key(id: BlobId) -> String {
    let name = id.to_string();
    format!("{}/{name}", &name[..2])
}

/// The blob of a key. What is not called as we call blobs is none of ours.
fn id_of(name: &str) -> Option<BlobId> {
    BlobId::parse(name.split('/').nth(1)?).filter(|id| key(*id) == name)
}

#[cfg(test)]
mod tests;
