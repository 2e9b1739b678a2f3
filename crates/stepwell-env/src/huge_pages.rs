//! What kind of memory the operating system gives.

use std::io;

/// An argument that says nothing, as wide as the system reads it.
const NONE: libc::c_ulong = 0;

/// Has this process, and those it starts, given memory in small pages only. Called first thing in `main`.
///
/// A system may give huge pages to whoever asks for much memory. They have to be cleared whole before their first byte is used. On a
/// virtual machine whose host takes free memory back, as most clouds' do, that memory is not even there: a burst of points then
/// spent seven tenths of its time on clearing, and twice as many came through without. A system without huge pages gives an error
/// that can be ignored.
pub fn forgo_huge_pages() -> io::Result<()> {
    // SAFETY: `prctl` takes five integers, and this operation none that is an address; it changes what memory later page faults
    // give and nothing that is there already.
    let result = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1 as libc::c_ulong, NONE, NONE, NONE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_forgone() {
        forgo_huge_pages().unwrap();
        // SAFETY: as above; it only asks.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_THP_DISABLE, NONE, NONE, NONE, NONE) }, 1);
    }
}
