//! The part of an object store below a URL.

use std::{path::PathBuf, sync::Arc};

use futures::TryStreamExt;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, WriteMultipart, path::Path as ObjectPath,
};
use tokio::runtime::Handle;
use url::Url;

use crate::{error::ObjectError, object::Object};

/// Bytes of a request that uploads a part; smaller objects go up in one request.
pub(crate) const PART_BYTES: usize = 8 << 20;
/// Parts of one upload under way at once.
const PARTS_AT_ONCE: usize = 2;
/// Whose variables in the environment are read: credentials, endpoints, regions.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
/// Name of an object that is written and removed to see whether that works.
const PROBE: &str = "stepwell-probe";

/// Whether a text is a URL of something that may be an object store, and no path or `file:` URL.
pub fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
}

/// Objects below a URL, by keys: names between single `/`. Clones share the connections.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    below: ObjectPath,
    /// Without a `/` at its end.
    url: String,
    runtime: Handle,
}

/// An object that a list has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
}

impl Objects {
    /// What is below a URL such as `s3://bucket/prefix`. Nothing is asked of the store.
    pub fn at(url: &str, runtime: Handle) -> Result<Self, ObjectError> {
        let refused = |reason: String| ObjectError::Place { url: shown(url), reason };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() || parsed.query().is_some() {
            return Err(refused("credentials and options come from the environment, not from the URL".to_owned()));
        }
        if matches!(parsed.scheme(), "file" | "memory") {
            return Err(refused("it is on this machine, where a directory is synced and this would not be".to_owned()));
        }
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name =
                name.into_string().ok().filter(|name| VARIABLES.iter().any(|prefix| name.starts_with(prefix)))?;
            Some((name, value.into_string().ok()?))
        });
        let opened = object_store::parse_url_opts(&parsed, variables);
        let (store, below) = opened.map_err(|error| refused(error.to_string()))?;
        Ok(Self::over(Arc::from(store), below.as_ref(), url, runtime))
    }

    /// Any store, below a path of it.
    pub fn over(store: Arc<dyn ObjectStore>, below: &str, url: &str, runtime: Handle) -> Self {
        Self { store, below: ObjectPath::from(below), url: url.trim_end_matches('/').to_owned(), runtime }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    pub(crate) fn wait<T>(&self, request: impl Future<Output = T>) -> T {
        self.runtime.block_on(request)
    }

    /// The URL, without a `/` at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where an object is, for messages.
    pub fn url_of(&self, key: &str) -> PathBuf {
        PathBuf::from(format!("{}/{key}", self.url))
    }

    pub(crate) fn path_of(&self, key: &str) -> ObjectPath {
        key.split('/').filter(|part| !part.is_empty()).fold(self.below.clone(), |path, part| path.join(part))
    }

    /// Writes, reads and removes something, so that a wrong name or a missing permission shows before it is relied on.
    pub fn probe(&self) -> Result<(), ObjectError> {
        let at = self.path_of(PROBE);
        let tried = self.wait(async {
            self.store.put(&at, PutPayload::from_static(b"probe")).await?;
            self.store.get(&at).await?.bytes().await?;
            self.store.delete(&at).await
        });
        tried.map_err(|error| ObjectError::Place { url: self.url.clone(), reason: error.to_string() })
    }

    /// Writes an object of `bytes` bytes in place of what is there: all that `next` gives until it gives nothing. It is there
    /// whole when this returns, or not at all.
    pub fn put<E: From<ObjectError>>(
        &self,
        key: &str,
        bytes: u64,
        mut next: impl FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<(), E> {
        let at = self.path_of(key);
        let failed = |error| E::from(self.failed("write", key, error));
        if bytes <= PART_BYTES as u64 {
            let mut all = Vec::with_capacity(bytes as usize);
            while let Some(piece) = next()? {
                all.extend_from_slice(&piece);
            }
            return self.wait(self.store.put(&at, PutPayload::from(all))).map(drop).map_err(failed);
        }
        self.wait(async {
            let upload = self.store.put_multipart(&at).await.map_err(failed)?;
            let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            loop {
                let sent = match next() {
                    Ok(None) => break,
                    Ok(Some(piece)) => {
                        let room = upload.wait_for_capacity(PARTS_AT_ONCE).await;
                        room.map(|()| upload.put(piece.into())).map_err(failed)
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

    /// Writes a small object if there is none of its key. Where the store cannot write on a condition it looks before.
    pub fn create(&self, key: &str, content: &[u8]) -> Result<(), ObjectError> {
        let (at, payload) = (self.path_of(key), PutPayload::from(content.to_vec()));
        let created = self.wait(async {
            match self.store.put_opts(&at, payload.clone(), PutMode::Create.into()).await {
                Err(Error::NotImplemented { .. }) => match self.store.head(&at).await {
                    Err(Error::NotFound { .. }) => self.store.put(&at, payload).await.map(drop),
                    found => found.map(drop),
                },
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(()),
                put => put.map(drop),
            }
        });
        created.map_err(|error| self.failed("write", key, error))
    }

    /// All of a small object, if it is there.
    pub fn read(&self, key: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let at = self.path_of(key);
        match self.wait(async { self.store.get(&at).await?.bytes().await }) {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", key, error)),
        }
    }

    /// Whether there is one with such a key.
    pub fn any(&self, is_such: impl Fn(&str) -> bool) -> Result<bool, ObjectError> {
        let mut listed = self.store.list(Some(&self.below));
        while let Some(meta) = self.wait(listed.try_next()).map_err(|error| self.failed("list", "", error))? {
            if self.key_of(&meta).is_some_and(|key| is_such(&key)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn key_of(&self, meta: &ObjectMeta) -> Option<String> {
        Some(meta.location.as_ref().strip_prefix(self.below.as_ref())?.trim_start_matches('/').to_owned())
    }

    /// The length of an object, if it is there.
    pub fn bytes_of(&self, key: &str) -> Result<Option<u64>, ObjectError> {
        match self.wait(self.store.head(&self.path_of(key))) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look for", key, error)),
        }
    }

    /// Opens an object, if it is there.
    pub fn open(&self, key: &str) -> Result<Option<Object>, ObjectError> {
        let bytes = self.bytes_of(key)?;
        Ok(bytes.map(|bytes| Object::new(self.clone(), key, bytes)))
    }

    /// Removes an object, if it is there.
    pub fn remove(&self, key: &str) -> Result<(), ObjectError> {
        match self.wait(self.store.delete(&self.path_of(key))) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", key, error)),
        }
    }

    /// All objects whose keys begin with those names, sorted; all there are where it is empty.
    pub fn list(&self, below: &str) -> Result<Vec<Listed>, ObjectError> {
        let prefix = self.path_of(below);
        let listed = self.wait(self.store.list(Some(&prefix)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|error| self.failed("list", below, error))?;
        let mut found: Vec<Listed> =
            listed.iter().filter_map(|meta| Some(Listed { key: self.key_of(meta)?, bytes: meta.size })).collect();
        found.sort();
        Ok(found)
    }

    pub(crate) fn failed(&self, what: &'static str, key: &str, error: Error) -> ObjectError {
        ObjectError::Request { what, path: self.url_of(key), error }
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
