//! The memory of a server's process, as Linux counts it.

use std::fmt;

use anyhow::{Context, Result};
use stepwell_tests::Server;

/// What is resident, in GiB, and of what kind it is.
pub(super) struct Resident {
    now: f64,
    /// The part of `now` that is its own.
    anonymous: f64,
    /// The part of `now` that are pages of files, segments mapped for reading among them: the system takes them back at will.
    files: f64,
}

impl Resident {
    /// Of a running server.
    pub(super) fn of(server: &Server) -> Result<Self> {
        let path = format!("/proc/{}/status", server.id());
        Self::read(&std::fs::read_to_string(&path).context(path)?)
    }

    fn read(status: &str) -> Result<Self> {
        let gib = |name: &str| -> Result<f64> {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = value.with_context(|| format!("no {name} of the process"))?.trim().trim_end_matches(" kB");
            Ok(kib.parse::<f64>().with_context(|| name.to_owned())? / f64::from(1 << 20))
        };
        Ok(Self { now: gib("VmRSS")?, anonymous: gib("RssAnon")?, files: gib("RssFile")? })
    }
}

impl fmt::Display for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { now, anonymous, files } = self;
        write!(f, "VmRSS {now:.2} GiB at the end: RssAnon {anonymous:.2}, RssFile {files:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_as_the_kernel_tells_it() {
        let status = "Name:\tstepwell\nVmRSS:\t 2097152 kB\nRssAnon:\t 1572864 kB\nRssFile:\t  524288 kB\n";
        let memory = Resident::read(status).unwrap();
        assert_eq!(memory.to_string(), "VmRSS 2.00 GiB at the end: RssAnon 1.50, RssFile 0.50");
        assert!(Resident::read("VmRSS: 1 kB").is_err());
    }
}
