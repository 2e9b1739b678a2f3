//! One process at a time: a lease in an object, which only one of many can make, and which its holder renews while it lives.
//!
//! Who finds it made waits for nothing and hears who has it, unless it has not been renewed for as long as the lease lasts, by the
//! store's own clock: then its holder is gone, and it is taken over. A holder that could not renew it for half of that time changes
//! nothing any more, and a request that is under way by then is given up by the library after three minutes, so that two are never
//! at work together.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode, PutPayload, UpdateVersion};
use stepwell_env::{Env, JoinHandle, Signal, spawn};

use crate::{error::ObjectLockError, store::Objects};

const LOCK: &str = "LOCK";
/// How long a lease lasts without being renewed.
pub(crate) const LASTS: Duration = Duration::from_secs(600);
/// Renewals while it lasts.
const RENEWALS: u32 = 10;

/// Held while a process changes what is below a URL. Given back when dropped; if the process ends otherwise, some minutes later.
pub struct ObjectLock {
    lease: Arc<Lease>,
    renewer: Option<JoinHandle<()>>,
}

/// The object, as its holder knows it.
pub(crate) struct Lease {
    objects: Objects,
    env: Env,
    lasts: Duration,
    /// What nobody else writes into it.
    token: String,
    purpose: String,
    state: Mutex<State>,
    is_over: AtomicBool,
    changed: Signal,
}

struct State {
    version: UpdateVersion,
    /// What makes the content of each renewal another one, for stores whose versions are sums of it.
    renewals: u64,
    /// Another process has it.
    is_lost: bool,
    /// By the monotonic clock: before the request that renewed it last was sent.
    renewed_at: Duration,
}

impl ObjectLock {
    /// Makes the object `LOCK`, or takes one over that nobody renews. `None` where the store cannot write on a condition: then it is
    /// on the callers that one of them at a time is at work.
    pub(crate) fn acquire(objects: &Objects, env: &Env, purpose: &str) -> Result<Option<Self>, ObjectLockError> {
        Self::acquire_for(objects, env, purpose, LASTS)
    }

    /// The same, of another length.
    pub(crate) fn acquire_for(
        objects: &Objects,
        env: &Env,
        purpose: &str,
        lasts: Duration,
    ) -> Result<Option<Self>, ObjectLockError> {
        let version = UpdateVersion { e_tag: None, version: None };
        let lease = Lease {
            objects: objects.clone(),
            env: env.clone(),
            lasts,
            token: format!("{:016x}{:016x}", env.random.next_u64(), env.random.next_u64()),
            purpose: purpose.to_owned(),
            state: Mutex::new(State { version, renewals: 0, is_lost: false, renewed_at: Duration::ZERO }),
            is_over: AtomicBool::new(false),
            changed: Signal::new(),
        };
        if !lease.take()? {
            return Ok(None);
        }
        let lease = Arc::new(lease);
        let renewed = lease.clone();
        let renewer = spawn("stepwell-lock", move || renewed.keep());
        // Without the thread it holds for as long as nobody has to renew it.
        Ok(Some(Self { lease, renewer: renewer.ok() }))
    }

    pub(crate) fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    /// Ends the thread that renews it.
    pub(crate) fn leave(&mut self) {
        self.lease.is_over.store(true, Ordering::SeqCst);
        self.lease.changed.raise();
        if let Some(renewer) = self.renewer.take() {
            // A panic of it has been told.
            drop(renewer.join());
        }
    }
}

impl Drop for ObjectLock {
    fn drop(&mut self) {
        self.leave();
        if self.lease.check().is_ok() {
            // What cannot be removed is taken over later.
            drop(self.lease.objects.remove(LOCK));
        }
    }
}

impl Lease {
    /// Fails once another process may hold it.
    pub(crate) fn check(&self) -> io::Result<()> {
        let (now, state) = (self.env.clock.monotonic(), self.state());
        let unrenewed = now.saturating_sub(state.renewed_at);
        let why = if state.is_lost {
            "was taken over by another process".to_owned()
        } else if unrenewed * 2 >= self.lasts {
            format!("was not renewed for {} s, and another process may take it over", unrenewed.as_secs())
        } else {
            return Ok(());
        };
        let path = self.objects.url_of(LOCK);
        Err(io::Error::other(format!("{} {why}; nothing is changed without it: begin anew", path.display())))
    }

    /// Renews it until it is over.
    fn keep(&self) {
        let every = (self.lasts / RENEWALS).max(Duration::from_secs(1));
        self.changed.wait_until(every, || {
            let is_due = self.env.clock.monotonic().saturating_sub(self.state().renewed_at) * 2 >= every;
            if is_due && !self.is_over.load(Ordering::SeqCst) {
                self.renew();
            }
            self.is_over.load(Ordering::SeqCst) || self.state().is_lost
        });
    }

    /// Writes it anew. Where that fails it is tried again later, for as long as it lasts.
    pub(crate) fn renew(&self) {
        let version = self.state().version.clone();
        let renewed = self.put(PutMode::Update(version));
        if let Err(Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. }) = renewed
            && let Ok(found) = self.look()
        {
            // Ours all the same, if the answer to an earlier request was lost on its way.
            let is_ours = found.is_some_and(|found| self.adopt(&found));
            self.state().is_lost = !is_ours;
        }
    }

    /// Whether it is ours now; `false` where the store does not write on conditions.
    fn take(&self) -> Result<bool, ObjectLockError> {
        let failed = |what, error| self.objects.failed(what, LOCK, error);
        let mut mode = PutMode::Create;
        loop {
            match self.put(mode) {
                Ok(()) => return Ok(true),
                Err(Error::NotImplemented { .. }) => return Ok(false),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotFound { .. }) => {}
                Err(error) => return Err(failed("write", error).into()),
            }
            let Some(found) = self.look().map_err(|error| failed("read", error))? else {
                // Given back since.
                mode = PutMode::Create;
                continue;
            };
            if self.adopt(&found) {
                return Ok(true);
            }
            let now_us = self.store_time_us().map_err(|error| failed("ask the time for", error))?;
            let unrenewed = Duration::from_micros((now_us - micros(&found.meta)).max(0).unsigned_abs());
            if unrenewed < self.lasts {
                let (path, left) = (self.objects.url_of(LOCK), self.lasts - unrenewed);
                return Err(ObjectLockError::Held { path, holder: found.holder().to_owned(), left_s: left.as_secs() });
            }
            mode = PutMode::Update(UpdateVersion { e_tag: found.meta.e_tag, version: found.meta.version });
        }
    }

    fn put(&self, mode: PutMode) -> Result<(), Error> {
        let (renewals, sent_at) = (self.state().renewals + 1, self.env.clock.monotonic());
        let content = format!("{} {renewals} {}", self.token, holder(&self.purpose));
        let (at, content) = (self.at(), PutPayload::from(content));
        let put = self.objects.wait(self.objects.store().put_opts(&at, content, mode.into()));
        let mut state = self.state();
        state.renewals = renewals;
        put.map(|put| {
            state.version = UpdateVersion { e_tag: put.e_tag, version: put.version };
            state.renewed_at = sent_at;
        })
    }

    /// What the object is now, if it is there.
    fn look(&self) -> Result<Option<Found>, Error> {
        let at = self.at();
        let found = self.objects.wait(async {
            let found = self.objects.store().get(&at).await?;
            let meta = found.meta.clone();
            Ok(Found { meta, content: String::from_utf8_lossy(&found.bytes().await?).into_owned() })
        });
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether it is of ours, by a request whose answer did not come.
    fn adopt(&self, found: &Found) -> bool {
        let is_ours = found.content.starts_with(&self.token);
        if is_ours {
            let meta = &found.meta;
            // When it was written is not known by our clock; it goes on from the renewal before.
            self.state().version = UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() };
        }
        is_ours
    }

    /// The store's clock, by an object that is written now.
    fn store_time_us(&self) -> Result<i64, Error> {
        let at = self.objects.path_of(&format!("{LOCK}.{}", self.token));
        self.objects.wait(async {
            let store = self.objects.store();
            store.put(&at, PutPayload::from_static(b"the time")).await?;
            let meta = store.head(&at).await?;
            store.delete(&at).await?;
            Ok(micros(&meta))
        })
    }

    fn at(&self) -> object_store::path::Path {
        self.objects.path_of(LOCK)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The object as somebody left it: a token, a number, and who they are.
struct Found {
    meta: ObjectMeta,
    content: String,
}

impl Found {
    fn holder(&self) -> &str {
        self.content.splitn(3, ' ').last().unwrap_or_default()
    }
}

fn micros(meta: &ObjectMeta) -> i64 {
    meta.last_modified.timestamp_micros()
}

fn holder(purpose: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} of host {} ({purpose})", std::process::id(), host.trim())
}
