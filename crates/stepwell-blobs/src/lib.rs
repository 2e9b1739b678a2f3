//! Files under the hash of their content: written once, checked whenever they are read, gone when nobody names them.
//!
//! In the order of the data: `writer` takes bytes into a temporary file while it hashes them, and gives the file its name; `store`
//! knows where files lie, and removes what a crash left; `objects` is the same below a URL; `reader` gives bytes back, each chunk checked before it leaves. Who names
//! which blob is not known here: that is the metadata's.
#![doc = include_str!("../../../schemas/artifacts.md")]

mod error;
mod format;
mod objects;
mod reader;
mod store;
mod writer;

pub use error::BlobError;
pub use format::{Blob, BlobId, CHUNK_BYTES};
pub use reader::BlobReader;
pub use store::{BLOBS, BlobStore, Found, SHARDS, SweptIncoming, relative_path};
pub use writer::{BlobWriter, StagedBlob};

#[cfg(test)]
mod tests;
