//! Counting what a thread allocates.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, which counts for each thread the bytes that it took less those that it gave back. A program that makes
/// it its `global_allocator` learns peaks from [`peak_bytes`]; in any other they are zero.
pub struct CountingAllocator;

thread_local! {
    /// Bytes now, and the most since the last reset.
    static COUNT: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its counters are gone.
    let _ = COUNT.try_with(|count| {
        let (now, peak) = count.get();
        let now = now + bytes;
        count.set((now, peak.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: by the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: by the contract of this function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: by the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // The old and the new may be there at once.
        count(new_size as isize);
        count(-(layout.size() as isize));
        // SAFETY: by the contract of this function.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Has panics print their text only, or nothing: some are caught as a decoder's answer, and a backtrace would take megabytes that were
/// counted as the decoder's.
pub fn without_backtraces(is_silent: bool) {
    std::panic::set_hook(Box::new(move |info| {
        if !is_silent {
            eprintln!("{info}");
        }
    }));
}

/// Runs `work`; returns what it returns, and the most bytes it held at a time on this thread.
pub fn peak_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let start = COUNT.with(|count| {
        let (now, _) = count.get();
        count.set((now, now));
        now
    });
    let result = work();
    let peak = COUNT.with(|count| count.get().1);
    (result, usize::try_from(peak - start).unwrap_or(0))
}
