//! The layer between SQLite and the file system that checks each page it reads, and stamps each page it writes.
//!
//! It is a "VFS shim": SQLite's own file functions do the work, and only reads and writes of pages of databases pass through here.
//! Pages in SQLite's log are not checked when they are read: SQLite has checksums of them, which it checks when it recovers.

use std::{
    collections::BTreeSet,
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    ptr,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use libsqlite3_sys::{
    SQLITE_ERROR, SQLITE_IOERR, SQLITE_IOERR_DATA, SQLITE_IOERR_SHORT_READ, SQLITE_OK, SQLITE_OPEN_MAIN_DB,
    sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find,
    sqlite3_vfs_register,
};

use crate::pages::{self, PAGE_BYTES};

const NAME_C: &CStr = c"stepwell";
/// Its name, for who opens a database.
pub(crate) const NAME: &str = "stepwell";

/// Damaged pages met in this process, by file and offset.
struct Met {
    all: BTreeSet<(PathBuf, u64)>,
    last: Option<(PathBuf, u64)>,
}

static MET: Mutex<Met> = Mutex::new(Met { all: BTreeSet::new(), last: None });

fn met() -> MutexGuard<'static, Met> {
    MET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pages of a file that were found damaged.
pub(crate) fn damaged_pages(path: &Path) -> u64 {
    met().all.iter().filter(|(of, _)| of == path).count() as u64
}

/// The damage met last, in whatever file.
pub(crate) fn last_damage() -> Option<(PathBuf, u64)> {
    met().last.clone()
}

/// What SQLite takes for a file: this, and behind it the file of the VFS below.
#[repr(C)]
struct File {
    _base: sqlite3_file,
    is_database: bool,
    /// As SQLite names it, not null for a database; it outlives the file.
    name: *const c_char,
}

/// Makes the layer known to SQLite, once.
pub(crate) fn register() -> bool {
    static IS_REGISTERED: OnceLock<bool> = OnceLock::new();
    *IS_REGISTERED.get_or_init(|| {
        // SAFETY: the default VFS of SQLite lives as long as the process.
        let below = unsafe { sqlite3_vfs_find(ptr::null()) };
        if below.is_null() {
            return false;
        }
        // SAFETY: it is not null, and a VFS is plain data.
        let mut shim = unsafe { *below };
        // Its other functions are those of the VFS below, which on Unix do not look at the VFS they are called for.
        shim.szOsFile += size_of::<File>() as c_int;
        shim.pNext = ptr::null_mut();
        shim.zName = NAME_C.as_ptr();
        shim.pAppData = below.cast();
        shim.xOpen = Some(open);
        // SAFETY: SQLite keeps the pointer for ever, and the leak gives it for ever.
        unsafe { sqlite3_vfs_register(Box::leak(Box::new(shim)), 0) == SQLITE_OK }
    })
}

/// The file of the VFS below.
fn below(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite gives every file `szOsFile` bytes, of which the first are ours; both parts are aligned like pointers.
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: `vfs` is the shim registered above, whose `pAppData` is the VFS below; `file` has room for both parts.
    unsafe {
        (*file).pMethods = ptr::null();
        let vfs_below = (*vfs).pAppData.cast::<sqlite3_vfs>();
        let Some(open) = (*vfs_below).xOpen else { return SQLITE_ERROR };
        let result = open(vfs_below, name, below(file), flags, flags_out);
        if !(*below(file)).pMethods.is_null() {
            let is_database = flags & SQLITE_OPEN_MAIN_DB != 0 && !name.is_null();
            file.cast::<File>().write(File { _base: sqlite3_file { pMethods: &METHODS }, is_database, name });
        }
        result
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls this for files that `open` made, and `into` has room for `bytes`, which the read below has filled.
    unsafe {
        let Some(read) = (*(*below(file)).pMethods).xRead else { return SQLITE_IOERR };
        let result = read(below(file), into, bytes, offset);
        let this = &*file.cast::<File>();
        if !this.is_database || bytes as usize != PAGE_BYTES {
            return result;
        }
        // Behind the end there is nothing to check; of a page in which the file ends SQLite would take zeros for the rest.
        if result == SQLITE_IOERR_SHORT_READ && !ends_behind(file, offset) {
            return result;
        }
        if result != SQLITE_OK {
            // SQLite has words for what a device refuses that name no place.
            note(CStr::from_ptr(this.name), offset as u64);
            return SQLITE_IOERR_DATA;
        }
        if pages::is_good(std::slice::from_raw_parts(into.cast::<u8>(), bytes as usize), offset as u64) {
            return SQLITE_OK;
        }
        note(CStr::from_ptr(this.name), offset as u64);
        SQLITE_IOERR_DATA
    }
}

/// Whether the file ends behind an offset.
///
/// # Safety
/// `file` is one that `open` made.
unsafe fn ends_behind(file: *mut sqlite3_file, offset: sqlite3_int64) -> bool {
    let mut size = 0;
    // SAFETY: it is a file with one below it, and `size` is what that writes to.
    unsafe {
        let Some(file_size) = (*(*below(file)).pMethods).xFileSize else { return false };
        file_size(below(file), &mut size) == SQLITE_OK && size > offset
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, offset: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls this for files that `open` made, with `bytes` at `from`.
    unsafe {
        let Some(write) = (*(*below(file)).pMethods).xWrite else { return SQLITE_IOERR };
        if !(*file.cast::<File>()).is_database || bytes as usize != PAGE_BYTES {
            return write(below(file), from, bytes, offset);
        }
        let mut page = std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize).to_vec();
        pages::stamp(&mut page, offset as u64);
        write(below(file), page.as_ptr().cast(), bytes, offset)
    }
}

/// Keeps a damage, and says each once.
fn note(name: &CStr, offset: u64) {
    let path = PathBuf::from(name.to_string_lossy().into_owned());
    let mut met = met();
    met.last = Some((path.clone(), offset));
    if met.all.insert((path.clone(), offset)) {
        tracing::error!(
            path = %path.display(), offset,
            "a page of the metadata is damaged: what needs it fails; stop the server and run `stepwell repair`"
        );
    }
}

/// A function of files that is the one below.
macro_rules! passed_on {
    ($name:ident, $method:ident $(, $argument:ident: $kind:ty)*) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: SQLite calls this for files that `open` made; the file below gets what it would get without the shim.
            unsafe {
                match (*(*below(file)).pMethods).$method {
                    Some(method) => method(below(file) $(, $argument)*),
                    None => SQLITE_IOERR,
                }
            }
        }
    };
}

passed_on!(close, xClose);
passed_on!(truncate, xTruncate, size: sqlite3_int64);
passed_on!(sync, xSync, flags: c_int);
passed_on!(file_size, xFileSize, size: *mut sqlite3_int64);
passed_on!(lock, xLock, level: c_int);
passed_on!(unlock, xUnlock, level: c_int);
passed_on!(check_reserved_lock, xCheckReservedLock, result: *mut c_int);
passed_on!(file_control, xFileControl, operation: c_int, argument: *mut c_void);
passed_on!(sector_size, xSectorSize);
passed_on!(device_characteristics, xDeviceCharacteristics);
passed_on!(shm_map, xShmMap, region: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void);
passed_on!(shm_lock, xShmLock, offset: c_int, count: c_int, flags: c_int);
passed_on!(shm_unmap, xShmUnmap, delete: c_int);

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: as in `passed_on`.
    unsafe {
        if let Some(barrier) = (*(*below(file)).pMethods).xShmBarrier {
            barrier(below(file));
        }
    }
}

/// Version 2: without the functions that map the file, which would read past the checks.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
