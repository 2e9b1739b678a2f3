//! Named threads. One that is started by a thread of a simulation is a thread of it.

use std::{io, thread};

use crate::simulation::{Member, ProcessId, current};

/// A thread to wait for.
pub struct JoinHandle<T> {
    thread: thread::JoinHandle<T>,
    simulated: Option<Member>,
}

impl<T> JoinHandle<T> {
    /// Waits for its end and takes what it made; an error is what it panicked with.
    pub fn join(self) -> thread::Result<T> {
        if let Some(simulated) = &self.simulated {
            simulated.wait_for_end();
        }
        self.thread.join()
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.simulated.as_ref().map_or_else(|| self.thread.is_finished(), Member::is_finished)
    }
}

/// Starts a named thread; fails where the operating system refuses one.
pub fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    if current().is_some() {
        return spawn_simulated(name, None, body).map(|(handle, _)| handle);
    }
    Ok(JoinHandle { thread: start(name, body)?, simulated: None })
}

#[expect(clippy::disallowed_methods, reason = "this is the one door to threads")]
fn start<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}

/// Starts a thread of the running thread's simulation.
pub(crate) fn spawn_simulated<T: Send + 'static>(
    name: &str,
    process: Option<ProcessId>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<(JoinHandle<T>, Member)> {
    let me = current().ok_or_else(|| io::Error::other("not a thread of a simulation"))?;
    let member = me.add(name, process);
    let (started, handle) = (member.clone(), member.clone());
    let thread = start(name, move || started.run(body)).inspect_err(|_| member.was_refused())?;
    Ok((JoinHandle { thread, simulated: Some(handle) }, member))
}

/// A thread that ends before `scope` does.
struct Scoped<'scope, T> {
    thread: Option<thread::ScopedJoinHandle<'scope, T>>,
    simulated: Option<Member>,
}

impl<'scope, T: Send + 'scope> Scoped<'scope, T> {
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        name: &str,
        body: impl FnOnce() -> T + Send + 'scope,
    ) -> io::Result<Self> {
        let simulated = current().map(|me| me.add(name, None));
        let member = simulated.clone();
        let run = move || match member {
            Some(member) => member.run(body),
            None => body(),
        };
        match thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run) {
            Ok(thread) => Ok(Self { thread: Some(thread), simulated }),
            Err(error) => {
                simulated.iter().for_each(Member::was_refused);
                Err(error)
            }
        }
    }
}

impl<T> Scoped<'_, T> {
    /// Waits for its end; `None` if that was done before.
    fn join(&mut self) -> Option<thread::Result<T>> {
        let thread = self.thread.take()?;
        if let Some(simulated) = &self.simulated {
            simulated.wait_for_end();
        }
        Some(thread.join())
    }

    /// What it made. Its panic is the caller's.
    fn result(mut self) -> Option<T> {
        self.join().map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

/// A caller that unwinds waits here, where other threads of a simulation get their turns, and not at the end of the scope.
impl<T> Drop for Scoped<'_, T> {
    fn drop(&mut self) {
        drop(self.join());
    }
}

/// What `work` makes of each number below `parts`, in order. The first is done on the caller's thread, the others on named threads
/// for as long as it takes, or by the caller too where the operating system refuses one. A panic of one is the caller's.
pub fn in_parallel<T: Send>(name: &str, parts: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = (1..parts).map(|part| Scoped::start(scope, name, move || work(part))).collect();
        let mut results: Vec<T> = (0..parts.min(1)).map(work).collect();
        for (part, thread) in (1..).zip(others) {
            results.push(thread.ok().and_then(Scoped::result).unwrap_or_else(|| work(part)));
        }
        results
    })
}

/// What both make; `side` on a named thread for as long as it takes, or by the caller first where the operating system refuses one.
/// A panic of either is the caller's.
pub fn beside<S: Send, M>(name: &str, side: impl Fn() -> S + Sync, main: impl FnOnce() -> M) -> (S, M) {
    let side = &side;
    thread::scope(|scope| {
        let Ok(thread) = Scoped::start(scope, name, side) else { return (side(), main()) };
        let made = main();
        (thread.result().unwrap_or_else(side), made)
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
