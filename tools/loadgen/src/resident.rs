//! The memory of a process, as Linux counts it.

use anyhow::{Context, Result};

/// Resident memory of a process, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    pub all: u64,
    /// Its heap.
    pub anon: u64,
    /// Mapped files, which the operating system takes back when it needs the room.
    pub file: u64,
}

impl Resident {
    /// Of a process that runs.
    pub fn of(process: u32) -> Result<Self> {
        Self::read(&std::fs::read_to_string(format!("/proc/{process}/status")).context("has the process ended?")?)
    }

    fn read(status: &str) -> Result<Self> {
        let bytes = |name: &str| -> Result<u64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.with_context(|| format!("no {name} of the process"))?.trim().trim_end_matches(" kB");
            Ok(kib.parse::<u64>().with_context(|| name.to_owned())? * 1_024)
        };
        Ok(Self { all: bytes("VmRSS")?, anon: bytes("RssAnon")?, file: bytes("RssFile")? })
    }

    /// The larger of each number.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { all: self.all.max(other.all), anon: self.anon.max(other.anon), file: self.file.max(other.file) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_as_the_kernel_tells_it() {
        let status = "Name:\tstepwell\nVmRSS:\t 2048 kB\nRssAnon:\t 1536 kB\nRssFile:\t  512 kB\n";
        let expected = Resident { all: 2_048 << 10, anon: 1_536 << 10, file: 512 << 10 };
        assert_eq!(Resident::read(status).unwrap(), expected);
        assert!(Resident::read("VmRSS: 1 kB").is_err());
        let own = Resident::of(std::process::id()).unwrap();
        assert!(own.all >= own.anon && own.anon > 0, "{own:?}");
    }
}
