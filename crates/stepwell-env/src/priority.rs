//! Which work waits for which when there are more threads than cores.

use std::io;

/// How much nicer than the rest of the process a thread of background work is. It gets about a tenth of a core that others want,
/// and all that they leave.
const NICENESS: libc::c_int = 10;

/// Has the calling thread give way to those that somebody waits for. For good: an ordinary user may not take it back.
pub fn work_in_background() -> io::Result<()> {
    // SAFETY: both take integers only; on Linux an id of a thread names that thread alone.
    let result = unsafe {
        let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
        libc::setpriority(libc::PRIO_PROCESS, thread, NICENESS)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn;

    #[test]
    fn only_the_calling_thread_gives_way() {
        // SAFETY: as above; it only asks, for the calling thread.
        let niceness = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = niceness();
        let of_thread = spawn("background", move || {
            work_in_background().unwrap();
            niceness()
        });
        assert_eq!(of_thread.unwrap().join().unwrap(), before.max(NICENESS));
        assert_eq!(niceness(), before);
    }
}
