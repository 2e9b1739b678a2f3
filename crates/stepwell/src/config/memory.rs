//! One budget of memory, and the shares of it that the knobs not set by themselves get.

use std::str::FromStr;

use anyhow::{Result, bail};

use super::{layers::Values, settings::get};

/// The word for "a share of what is above".
pub(super) const AUTO: &str = "auto";
/// Most that is taken unasked.
const AUTO_MAX: u64 = 2 << 30;
/// Generations of memtables that fill memory at once: one active, two waiting for the flush thread.
const GENERATIONS: usize = 3;
/// A body is not larger unless the operator says so, however much memory there is.
const BODY_MAX: usize = 64 << 20;
const DECODED_MAX: usize = 256 << 20;

/// Bytes of everything that has a budget. What is left of `total` is for what has none: buffers of connections, batches between the
/// operators of a query, charts, the allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: usize,
    /// Of each generation of memtables.
    pub(crate) memtable: usize,
    pub(crate) queue: usize,
    /// Bodies of all requests and messages of all streams, received and decoded.
    pub(crate) requests: usize,
    pub(crate) body_limit: usize,
    pub(crate) decoded_limit: usize,
    pub(crate) query: usize,
    /// Footers of segments.
    pub(crate) footers: usize,
    /// Runs with their params and tags: nobody sets it.
    pub(crate) runs: usize,
    /// Segments while a flush and a merge write them: nobody sets it.
    pub(crate) segments: usize,
}

impl Memory {
    /// Shares of the budget for what is `auto`; an error where the parts together are more than the whole.
    pub(super) fn resolve(values: &Values) -> Result<Self> {
        let total = share(values, "memory_bytes", half_of_machine)?;
        let requests = share(values, "request_bytes", || total / 16 * 3)?;
        let memory = Self {
            total,
            memtable: share(values, "memtable_bytes", || total / 8)?,
            queue: share(values, "queue_bytes", || total / 32)?,
            requests,
            body_limit: share(values, "body_limit_bytes", || BODY_MAX.min(requests / 6))?,
            decoded_limit: share(values, "decoded_limit_bytes", || DECODED_MAX.min(requests / 3 * 2))?,
            query: share(values, "query_memory_bytes", || total / 4)?,
            footers: share(values, "footer_bytes", || total / 16)?,
            runs: total / 32,
            segments: total / 16,
        };
        memory.check()?;
        Ok(memory)
    }

    fn check(&self) -> Result<()> {
        let Self { total, memtable, queue, requests, body_limit, decoded_limit, query, footers, runs, segments } =
            *self;
        // In 128 bits, since the parts are what somebody typed.
        let parts = [memtable, memtable, memtable, queue, requests, query, footers, runs, segments];
        let sum: u128 = parts.into_iter().map(|bytes| bytes as u128).sum();
        if sum > total as u128 {
            bail!(
                "the parts of memory need {sum} bytes, `memory_bytes` is {total}: {GENERATIONS} × `memtable_bytes` {memtable} + \
                 `queue_bytes` {queue} + `request_bytes` {requests} + `query_memory_bytes` {query} + `footer_bytes` \
                 {footers} + {} for segments being written and for runs; raise `memory_bytes` or lower a part",
                runs + segments
            );
        }
        if body_limit as u128 + decoded_limit as u128 > requests as u128 {
            bail!(
                "`body_limit_bytes` {body_limit} + `decoded_limit_bytes` {decoded_limit} are more than `request_bytes` {requests}: \
                 the largest body would be refused for ever; raise `request_bytes` or lower a limit"
            );
        }
        Ok(())
    }
}

fn share(values: &Values, name: &str, auto: impl FnOnce() -> usize) -> Result<usize> {
    match values.get(name).map(String::as_str) {
        Some(AUTO) => Ok(auto()),
        _ => get(values, name),
    }
}

/// Half of what this machine, or the container, has; at most two GiB.
fn half_of_machine() -> usize {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(u64::from_str(line.trim().trim_end_matches(" kB")).ok()? * 1_024)
    });
    let of_container = |path: &str| u64::from_str(read(path)?.trim()).ok();
    let containers = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let least = machine.into_iter().chain(containers.into_iter().filter_map(of_container)).min();
    least.map_or(AUTO_MAX, |bytes| (bytes / 2).min(AUTO_MAX)) as usize
}
