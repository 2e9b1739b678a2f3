//! Named threads.

use std::io;

pub use std::thread::JoinHandle;

/// Starts a named thread; fails where the operating system refuses one.
#[expect(clippy::disallowed_methods, reason = "this is the one door to threads")]
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}
