//! What the operating system says of this process.

use std::fs;

/// Resources of the running process. What the system does not tell is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessFigures {
    /// File descriptors in use, and how many there may be.
    pub open_files: Option<u64>,
    pub open_files_limit: Option<u64>,
    /// Memory that is resident, bytes.
    pub resident_bytes: Option<u64>,
    /// Address space in use, mapped files included, bytes.
    pub virtual_bytes: Option<u64>,
    pub threads: Option<u64>,
}

impl ProcessFigures {
    /// As they are now.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let kib = |name: &str| number_after(&status, name).map(|kib| kib * 1_024);
        Self {
            // The listing itself takes one.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
            open_files_limit: number_after(&limits, "Max open files"),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: number_after(&status, "Threads:"),
        }
    }
}

/// The first number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_file_is_counted() {
        let before = ProcessFigures::read();
        let many: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let after = ProcessFigures::read();
        // Other tests of this process open and close a few meanwhile.
        assert!(after.open_files.unwrap() >= before.open_files.unwrap() + 40);
        assert!(after.open_files_limit.unwrap() >= after.open_files.unwrap());
        assert!(after.resident_bytes.unwrap() > 1 << 20 && after.virtual_bytes >= after.resident_bytes);
        assert!(after.threads.unwrap() >= 1);
        drop(many);
    }

    #[test]
    fn a_limit_that_is_none_is_absent() {
        assert_eq!(number_after("Max open files   unlimited  unlimited  files", "Max open files"), None);
    }
}
