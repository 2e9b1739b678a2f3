//! File descriptors: how many this process may have, and what it looks like when they have run out.

use std::{io, path::PathBuf};

/// Raises this process's limit of open files as far as it may, and returns it. Connections take one each, and the limit that
/// shells and supervisors hand on is meant for programs that have few.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `getrlimit` writes one `rlimit` to the address it is given, which is that of a live one.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: `setrlimit` reads one `rlimit` from the address it is given, which is that of a live one.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            return Ok(raised.rlim_cur);
        }
    }
    // What cannot be raised still is a limit to keep to.
    Ok(limit.rlim_cur)
}

/// Whether an error of opening something says that the process, or the machine, has no descriptor left: a want that passes, and
/// that left nothing half done.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().or_else(|| error.get_ref()?.downcast_ref::<AtPath>()?.source.raw_os_error());
    matches!(code, Some(libc::EMFILE | libc::ENFILE))
}

/// An error of the machine's file system with the path it is about.
#[derive(Debug)]
pub(crate) struct AtPath {
    pub(crate) what: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl std::fmt::Display for AtPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.what, self.path.display(), self.source)
    }
}

impl std::error::Error for AtPath {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_out_of_files_is_known_with_and_without_a_path() {
        assert!(raise_open_files().unwrap() >= 64);
        let error = || io::Error::from_raw_os_error(libc::EMFILE);
        let kind = error().kind();
        let with_path = AtPath { what: "open", path: "f".into(), source: error() };
        assert!(is_out_of_files(&error()) && is_out_of_files(&io::Error::new(kind, with_path)));
        assert!(!is_out_of_files(&io::Error::from_raw_os_error(libc::EIO)));
    }
}
