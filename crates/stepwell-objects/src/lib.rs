//! An object store at a URL: objects under keys, and a disk whose files are objects.
//!
//! `store` opens what a URL names, with credentials from the environment, and puts, finds, lists and removes objects; `object` reads
//! one piece by piece; `disk` has files that are written here and become objects with their name; `lock` lets one process at a time
//! change them; `sim` is a store in memory for tests. Every call blocks, and must come from a thread that may. Requests that fail for a moment are sent again by the library, for some minutes at most.

mod disk;
mod error;
mod lock;
mod object;
mod sim;
mod store;

pub use disk::ObjectDisk;
pub use error::{ObjectError, ObjectLockError};
pub use lock::ObjectLock;
pub use object::Object;
pub use object_store::memory::InMemory;
pub use sim::SimObjects;
pub use store::{Listed, Objects, is_url};

#[cfg(test)]
mod tests;
