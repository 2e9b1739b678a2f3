//! The table of knobs.

use super::memory::AUTO;

/// What text a knob takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A path; not empty.
    Path,
    /// `ADDRESS:PORT`.
    Address,
    /// `true` or `false`; as a flag it stands alone.
    Switch,
    /// A whole number within the inclusive range.
    Integer { min: u64, max: u64 },
    /// The same, or `auto`: a share of `memory_bytes`, or of what the machine has.
    Bytes { min: u64, max: u64 },
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Free text.
    Text,
}

/// One thing an operator may set.
#[derive(Debug)]
pub(super) struct Knob {
    /// Key in the file; `--like-this` as a flag, `STEPWELL_LIKE_THIS` in the environment.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: &'static str,
    /// Empty: no default; the knob must be set, unless it takes any text.
    pub(super) default: &'static str,
    /// What it does, and why one would change it.
    pub(super) reason: &'static str,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every knob of `serve`, in the order of the reference.
pub(super) const KNOBS: &[Knob] = &[
    Knob {
        name: "data_dir",
        kind: Kind::Path,
        unit: "path",
        default: "",
        reason: "Everything durable lies below it; one process at a time owns it. Put it on a local disk that honours fsync.",
    },
    Knob {
        name: "listen",
        kind: Kind::Address,
        unit: "address:port",
        default: "127.0.0.1:9090",
        reason: "Where HTTP is served; port 0 takes a free one, printed at start.",
    },
    Knob {
        name: "allow_remote",
        kind: Kind::Switch,
        unit: "switch",
        default: "false",
        reason: "There are no users or passwords yet, so an address that other machines reach is refused unless this says that \
                 something else (a firewall, a proxy that authenticates) stands in front.",
    },
    Knob {
        name: "connections_max",
        kind: Kind::Integer { min: 16, max: 1_000_000 },
        unit: "connections",
        default: "16384",
        reason: "Connections open at once; one more hears 503 and is closed. Never more than the limit of open files (`ulimit -n`, raised \
                 to its hard limit at start) less 128, which are kept for storage, so that no number of clients can take them.",
    },
    Knob {
        name: "head_timeout_seconds",
        kind: Kind::Integer { min: 1, max: 3_600 },
        unit: "seconds",
        default: "60",
        reason: "A connection on which no whole head of a request arrives for so long is closed, whether it is silent, slow, or at rest \
                 between two requests. More lets clients keep connections for longer; less gets rid of slow and lost ones sooner.",
    },
    Knob {
        name: "body_idle_seconds",
        kind: Kind::Integer { min: 1, max: 3_600 },
        unit: "seconds",
        default: "30",
        reason: "A body, or message of a stream, of which nothing arrives for so long is refused with 408, and so is a body that arrives \
                 more slowly than 1,024 bytes a second for longer than that: what has come of it holds memory. More suits clients that stall.",
    },
    Knob {
        name: "memory_bytes",
        kind: Kind::Bytes { min: 64 * MIB, max: 1_024 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "The budget of which the knobs that say so get their shares; 3 × `memtable_bytes` + `queue_bytes` + `request_bytes` + \
                 `query_memory_bytes` + `footer_bytes` may not be more than 29 of its 32 parts: two are for segments while they are \
                 written, one for runs. `auto`: half of the machine's or container's memory, at most 2147483648.",
    },
    Knob {
        name: "memtable_bytes",
        kind: Kind::Bytes { min: MIB, max: 64 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Points in memory at which a segment is written. More makes fewer, larger segments and a longer replay after a crash. `auto`: an eighth of `memory_bytes`.",
    },
    Knob {
        name: "flush_age_seconds",
        kind: Kind::Integer { min: 1, max: 86_400 },
        unit: "seconds",
        default: "60",
        reason: "Points reach a segment, and so other Parquet readers, at most this long after they arrive, however few they are.",
    },
    Knob {
        name: "queue_bytes",
        kind: Kind::Bytes { min: MIB, max: 16 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Batches accepted but not yet in the log; past it writers get 429 and Retry-After (I9). More rides out longer stalls of the disk. `auto`: a 32nd of `memory_bytes`.",
    },
    Knob {
        name: "wal_retain_bytes",
        kind: Kind::Integer { min: 0, max: 1_024 * GIB },
        unit: "bytes",
        default: "0",
        reason: "How much of the log is kept behind what a restart needs, about 12 bytes a point. Backups take it along, and `stepwell restore \
                 --lsn` can go back as far as it reaches.",
    },
    Knob {
        name: "series_per_run_max",
        kind: Kind::Integer { min: 1, max: 100_000_000 },
        unit: "series",
        default: "200000",
        reason: "Most series of one run; a batch that would make it more is refused with 422. A metric name with a number or text of \
                 the data in it, which is a new metric each time, ends here and not with all memory in use.",
    },
    Knob {
        name: "metrics_per_project_max",
        kind: Kind::Integer { min: 1, max: 100_000_000 },
        unit: "metrics",
        default: "1000000",
        reason: "Most metrics of all runs of one project; a batch that would make it more is refused with 422. Each takes about 16 bytes \
                 of memory.",
    },
    Knob {
        name: "request_bytes",
        kind: Kind::Bytes { min: 4_096, max: 256 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Bodies and messages being received and decoded, of all connections together; past it 429 and Retry-After, and \
                 streams wait (I9). `auto`: three sixteenths of `memory_bytes`.",
    },
    Knob {
        name: "body_limit_bytes",
        kind: Kind::Bytes { min: 1_024, max: 4 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Largest request body as received; past it 413. Bounds what one connection can hold in memory. `auto`: a sixth of `request_bytes`, at most 67108864.",
    },
    Knob {
        name: "decoded_limit_bytes",
        kind: Kind::Bytes { min: 1_024, max: 16 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Largest request body after decompression; past it 413. Bounds what a small compressed body can grow to. `auto`: two thirds of `request_bytes`, at most 268435456.",
    },
    Knob {
        name: "query_memory_bytes",
        kind: Kind::Bytes { min: 16 * MIB, max: 256 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Memory of SQL queries for sorting, grouping and joining, and of charts and histories for their points, buckets and text: of all at once, or of one alone; where it is taken a query spills to disk, then fails alone, and a chart is refused. `auto`: a quarter of `memory_bytes`.",
    },
    Knob {
        name: "footer_bytes",
        kind: Kind::Bytes { min: 0, max: 64 * GIB },
        unit: "bytes",
        default: AUTO,
        reason: "Footers and page indexes of segments kept for the next query; what has not been used for longest is read anew. `auto`: a sixteenth of `memory_bytes`.",
    },
    Knob {
        name: "query_spill_bytes",
        kind: Kind::Integer { min: 0, max: 1_024 * GIB },
        unit: "bytes",
        default: "17179869184",
        reason: "Spill files of one SQL query, below the data directory; past it the query fails alone.",
    },
    Knob {
        name: "query_timeout_seconds",
        kind: Kind::Integer { min: 1, max: 86_400 },
        unit: "seconds",
        default: "60",
        reason: "A query that runs longer is stopped, so that a forgotten one does not hold cores and memory.",
    },
    Knob {
        name: "artifacts_url",
        kind: Kind::Text,
        unit: "URL",
        default: "",
        reason: "An object store for the bytes of artifacts, instead of the data directory: `s3://bucket/prefix`, `gs://…`, `az://…`. Credentials, regions \
                 and endpoints come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, … as the `object_store` crate names them). It is \
                 tried when it is first given and kept with the data directory, so that it need not be given again.",
    },
    Knob {
        name: "artifacts_take_over",
        kind: Kind::Text,
        unit: "owner",
        default: "",
        reason: "The owner of the objects at `artifacts_url`, as the log or the refusal names it, in whose place this data directory is to own them: \
                 for one that was restored from a backup, or whose files were copied here, while no server uses the other any more. \
                 Only the owner writes and removes objects; it removes those that its artifacts do not name. Of no effect where another owns them.",
    },
    Knob {
        name: "webhook_private",
        kind: Kind::Switch,
        unit: "switch",
        default: "false",
        reason: "Webhooks are sent only over TLS and only to public addresses: who may make one chooses a URL that this machine then asks. \
                 This allows plain HTTP, the machine itself and private networks too, for receivers that are there.",
    },
    Knob {
        name: "log_filter",
        kind: Kind::Text,
        unit: "filter",
        default: "info",
        reason: "Which log lines go to stderr, in the syntax of tracing's EnvFilter, e.g. `info,stepwell_engine=debug`.",
    },
    Knob {
        name: "log_format",
        kind: Kind::Word(&["text", "json"]),
        unit: "word",
        default: "text",
        reason: "`json` writes one object a line for log collectors.",
    },
];

impl Knob {
    /// What it is if nobody sets it; `None` if somebody must.
    pub(super) fn default(&self) -> Option<&'static str> {
        Some(self.default).filter(|default| !default.is_empty() || self.kind == Kind::Text)
    }

    /// The knob of that name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KNOBS.iter().find(|knob| knob.name == name)
    }

    /// `data-dir` for `data_dir`.
    pub(super) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// `STEPWELL_DATA_DIR` for `data_dir`.
    pub(super) fn variable(&self) -> String {
        format!("STEPWELL_{}", self.name.to_uppercase())
    }

    /// What values it takes, for the reference and for messages.
    pub(super) fn range(&self) -> String {
        match self.kind {
            Kind::Path => "a directory; made if absent".to_owned(),
            Kind::Address => "IP address and port".to_owned(),
            Kind::Switch => "true or false".to_owned(),
            Kind::Integer { min, max } => format!("{min} to {max}"),
            Kind::Bytes { min, max } => format!("{min} to {max}, or {AUTO}"),
            Kind::Word(words) => words.join(" or "),
            Kind::Text => "text".to_owned(),
        }
    }

    /// Checks `text` against the kind.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        let good = match self.kind {
            Kind::Path => !text.is_empty(),
            Kind::Address => text.parse::<std::net::SocketAddr>().is_ok(),
            Kind::Switch => text.parse::<bool>().is_ok(),
            Kind::Bytes { .. } if text == AUTO => true,
            Kind::Integer { min, max } | Kind::Bytes { min, max } => {
                text.parse::<u64>().is_ok_and(|value| (min..=max).contains(&value))
            }
            Kind::Word(words) => words.contains(&text),
            Kind::Text => true,
        };
        if good {
            Ok(())
        } else {
            Err(format!("`{}` is {text:?}; it takes {} ({})", self.name, self.range(), self.unit))
        }
    }
}

/// The reference, `schemas/config.md`.
#[cfg(test)]
pub(super) fn reference() -> String {
    let mut text = String::from(
        "# Configuration of `stepwell serve`\n\n\
         Generated from `crates/stepwell/src/config/knobs.rs` by `cargo xtask schemas`; a test compares.\n\n\
         Each key can be given as a flag (`--data-dir`), as an environment variable (`STEPWELL_DATA_DIR`) or in the TOML file\n\
         that `--config FILE` or `STEPWELL_CONFIG` names (`data_dir = \"…\"`). A flag wins over the environment, the\n\
         environment over the file, the file over the default. An unknown key in the file, and an unknown variable whose\n\
         name starts with `STEPWELL_`, are errors.\n\n\
         | key | unit | default | range | what it does, and why one would change it |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for knob in KNOBS {
        let default = match knob.default() {
            None => "none: must be set".to_owned(),
            Some("") => "none".to_owned(),
            Some(default) => format!("`{default}`"),
        };
        text += &format!("| `{}` | {} | {default} | {} | {} |\n", knob.name, knob.unit, knob.range(), knob.reason);
    }
    text
}
