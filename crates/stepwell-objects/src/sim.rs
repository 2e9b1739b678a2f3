//! Objects in memory that a test can have refused.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

/// A store in memory. It can be told to say what is there, and to give no part of it: as one whose objects were moved to an archive, or
/// are encrypted for others. Or to give and take nothing: as one that is down.
#[derive(Debug, Default)]
pub struct SimObjects {
    memory: InMemory,
    refuses_reads: AtomicBool,
    is_down: AtomicBool,
}

impl SimObjects {
    /// An empty store that refuses nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses to give parts of objects from now on, or no longer.
    pub fn refuse_reads(&self, refuses: bool) {
        self.refuses_reads.store(refuses, Ordering::SeqCst);
    }

    /// Refuses to give and to take objects from now on, or no longer.
    pub fn go_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn check_up(&self) -> Result<()> {
        match self.is_down.load(Ordering::SeqCst) {
            true => Err(Error::Generic { store: "SimObjects", source: "down by a test".into() }),
            false => Ok(()),
        }
    }

    fn check_read(&self, at: &Path) -> Result<()> {
        match self.refuses_reads.load(Ordering::SeqCst) {
            true => Err(Error::PermissionDenied { path: at.to_string(), source: "refused by a test".into() }),
            false => Ok(()),
        }
    }
}

impl fmt::Display for SimObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimObjects")
    }
}

#[async_trait]
impl ObjectStore for SimObjects {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.check_up()?;
        self.memory.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.check_up()?;
        if options.range.is_some() {
            self.check_read(at)?;
        }
        self.memory.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(all)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}
