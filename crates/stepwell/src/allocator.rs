//! Memory comes from jemalloc, and goes back to the system soon after it is freed.
//!
//! Batches are allocated by one thread and freed by another, thousands of times a second, and queries take and free tens of megabytes
//! on threads of their own. What an allocator keeps of that for later is memory that no budget knows of (I9).

use std::ffi::{CStr, c_char};

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Freed pages are given back after a second, instead of ten; by a thread of the allocator's, also where nobody allocates any more.
const OPTIONS: &CStr = c"dirty_decay_ms:1000,background_thread:true";

/// A pointer to text that is there for as long as the program.
#[repr(transparent)]
pub(crate) struct Options(*const c_char);

// SAFETY: nobody writes through the pointer, nor to what it points to.
unsafe impl Sync for Options {}

/// Read by the allocator before `main` (jemalloc(3), "TUNING"); the environment's `_RJEM_MALLOC_CONF` goes before it.
// SAFETY: the allocator's library declares this name as a `const char *` that the program may define, and reads text up to its zero.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub(crate) static MALLOC_CONF: Options = Options(OPTIONS.as_ptr());

#[cfg(test)]
mod tests {
    use tikv_jemalloc_ctl::raw;

    #[test]
    fn i9_the_allocator_gives_back_what_is_freed() {
        // SAFETY: both options are read with the types that jemalloc(3) names, `ssize_t` and `bool`.
        let options: (isize, bool) =
            unsafe { (raw::read(b"opt.dirty_decay_ms\0").unwrap(), raw::read(b"opt.background_thread\0").unwrap()) };
        assert_eq!(options, (1_000, true));
    }
}
