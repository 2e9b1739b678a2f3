//! Named threads.

use std::io;

pub use std::thread::JoinHandle;

/// Starts a named thread; fails where the operating system refuses one.
#[expect(clippy::disallowed_methods, reason = "this is the one door to threads")]
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// What `work` makes of each number below `parts`, in order. The first is done on the caller's thread, the others on named threads
/// for as long as it takes, or by the caller too where the operating system refuses one. A panic of one is the caller's.
pub fn in_parallel<T: Send>(name: &str, parts: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let start = |part| std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, move || work(part));
        let others: Vec<_> = (1..parts).map(start).collect();
        let mut results: Vec<T> = (0..parts.min(1)).map(work).collect();
        for (part, thread) in (1..).zip(others) {
            results.push(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => work(part),
            });
        }
        results
    })
}

/// What both make; `side` on a named thread for as long as it takes, or by the caller first where the operating system refuses one.
/// A panic of either is the caller's.
pub fn beside<S: Send, M>(name: &str, side: impl Fn() -> S + Sync, main: impl FnOnce() -> M) -> (S, M) {
    let side = &side;
    std::thread::scope(|scope| match std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, side) {
        Ok(thread) => {
            let made = main();
            (thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), made)
        }
        Err(_) => (side(), main()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_a_panic_is_passed_on() {
        assert_eq!(in_parallel("square", 5, |part| part * part), [0, 1, 4, 9, 16]);
        assert!(in_parallel("none", 0, |part| part).is_empty());
        let panics = |part| {
            if part == 1 {
                panic!("of part {part}")
            }
        };
        assert!(std::panic::catch_unwind(|| in_parallel("panic", 2, panics)).is_err());
    }
}
