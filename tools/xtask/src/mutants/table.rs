//! What is broken, and which packages' tests must notice.

/// One change.
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// What the broken build does.
    pub(super) why: &'static str,
    pub(super) file: &'static str,
    /// Text that stands in the file once, and what it becomes.
    pub(super) edits: &'static [(&'static str, &'static str)],
    pub(super) packages: &'static [&'static str],
}

const WAL: &[&str] = &["stepwell-wal"];
const ENGINE: &[&str] = &["stepwell-engine"];
const SEGMENT: &[&str] = &["stepwell-segment"];
const MANIFEST: &[&str] = &["stepwell-manifest"];
const STORAGE: &[&str] = &["stepwell-engine", "stepwell-manifest", "stepwell-segment", "stepwell-wal"];
const SERVER: &[&str] = &["stepwell-server"];

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "acknowledge-before-sync",
        why: "batches are acknowledged, and synced then (I1)",
        file: "crates/stepwell-engine/src/writer.rs",
        edits: &[
            ("            None => self.sync(),\n", "            None => Ok(()),\n"),
            (
                "        self.known.applied(&self.shared);\n",
                "        drop(self.sync());\n        self.known.applied(&self.shared);\n",
            ),
        ],
        packages: ENGINE,
    },
    Mutant {
        name: "failed-sync-acknowledged",
        why: "what the sync says is not looked at (I1, I8)",
        file: "crates/stepwell-engine/src/writer.rs",
        edits: &[("            None => self.sync(),\n", "            None => self.sync().or(Ok(())),\n")],
        packages: ENGINE,
    },
    Mutant {
        name: "no-sync",
        why: "groups are written and never synced (I1)",
        file: "crates/stepwell-wal/src/writer.rs",
        edits: &[("if let Err(source) = self.current.file.sync() {", "if let Err(source) = Ok::<(), io::Error>(()) {")],
        packages: WAL,
    },
    Mutant {
        name: "no-directory-sync-of-log",
        why: "a new log file's name may be lost (I1)",
        file: "crates/stepwell-wal/src/writer.rs",
        edits: &[("        disk.sync_dir(dir).map_err(failed(\"sync the directory of\"))?;\n", "")],
        packages: WAL,
    },
    Mutant {
        name: "no-directory-sync-of-segment",
        why: "a segment's name may be lost after the manifest names it (I7)",
        file: "crates/stepwell-segment/src/file.rs",
        edits: &[("        self.disk.sync_dir(dir).map_err(io(\"sync directory\", dir))?;\n", "")],
        packages: STORAGE,
    },
    Mutant {
        name: "no-directory-sync-of-manifest",
        why: "a commit may be lost after files were removed by it (I7)",
        file: "crates/stepwell-env/src/disk.rs",
        edits: &[("    disk.sync_dir(path.parent().unwrap_or(Path::new(\".\")))\n", "    Ok(())\n")],
        packages: STORAGE,
    },
    Mutant {
        name: "rename-without-sync-of-segment",
        why: "a segment gets its name before its bytes are durable (I7)",
        file: "crates/stepwell-segment/src/file.rs",
        edits: &[("        self.file.sync().map_err(io(\"sync\", &from))?;\n", "")],
        packages: STORAGE,
    },
    Mutant {
        name: "rename-without-sync-of-manifest",
        why: "a manifest gets its name before its bytes are durable (I7)",
        file: "crates/stepwell-env/src/disk.rs",
        edits: &[("    file.sync()?;\n    drop(file);\n", "    drop(file);\n")],
        packages: STORAGE,
    },
    Mutant {
        name: "start-by-a-manifest-not-durable",
        why: "a start removes files by a manifest that a loss of power may still take back (I7)",
        file: "crates/stepwell-engine/src/recovery.rs",
        edits: &[("            store.settle()?;\n", "")],
        packages: ENGINE,
    },
    Mutant {
        name: "release-before-commit",
        why: "log files go before the manifest says that their points are in a segment (I7)",
        file: "crates/stepwell-engine/src/flusher.rs",
        edits: &[(
            "        self.catalog.commit_flush(meta, end_lsn,",
            "        self.shared.wal_floor.store(end_lsn.0, Ordering::Release);\n        self.catalog.commit_flush(meta, end_lsn,",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "ignore-frame-checksum",
        why: "payloads of frames are decoded without a look at their checksum (I11)",
        file: "crates/stepwell-wal/src/reader.rs",
        edits: &[("payload.is_some_and(|payload| crc32c::crc32c(payload) == header.payload_crc)", "payload.is_some()")],
        packages: WAL,
    },
    Mutant {
        name: "ignore-frame-header-checksum",
        why: "headers of frames are believed (I11)",
        file: "crates/stepwell-wal/src/format.rs",
        edits: &[("u32_at(header, 12)? != frame_crc(header, offset) || ", "")],
        packages: WAL,
    },
    Mutant {
        name: "frame-valid-anywhere",
        why: "a frame within a payload passes for a record (I11)",
        file: "crates/stepwell-wal/src/format.rs",
        edits: &[(
            "crc32c::crc32c_append(header_crc(header), &offset.to_le_bytes())",
            "{ let _ = offset; header_crc(header) }",
        )],
        packages: WAL,
    },
    Mutant {
        name: "ignore-file-header",
        why: "a log file whose header is bad is not reported (I11)",
        file: "crates/stepwell-wal/src/recover.rs",
        edits: &[("if header == FileHeader::Bad && (", "if false && (")],
        packages: WAL,
    },
    Mutant {
        name: "ignore-page-checksum",
        why: "pages of segments are read whatever their checksum is (I11)",
        file: "crates/stepwell-segment/src/checksums.rs",
        edits: &[
            ("Ok(actual) if actual == expected => return Ok(end)", "Ok(_) => return Ok(end)"),
            (
                "            Ok(actual) => format!(\"the CRC-32C of the page is {actual:08x}, the footer says {expected:08x}\"),\n",
                "",
            ),
        ],
        packages: SEGMENT,
    },
    Mutant {
        name: "touch-without-a-look",
        why: "mapped pages are touched whether or not the file still has them, which ends the process (I11)",
        file: "crates/stepwell-env/src/mapped.rs",
        edits: &[(
            "        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),",
            "        Err(_) => Ok(()),",
        )],
        packages: SEGMENT,
    },
    Mutant {
        name: "ignore-tail-checksum",
        why: "page index and footer of segments are read whatever their checksum is (I11)",
        file: "crates/stepwell-segment/src/table.rs",
        edits: &[("        if actual != expected {\n            let what", "        if false {\n            let what")],
        packages: SEGMENT,
    },
    Mutant {
        name: "copy-of-manifest-behind",
        why: "a start removes files before the copy of the manifest is brought up (I11)",
        file: "crates/stepwell-engine/src/recovery.rs",
        edits: &[("            store.settle()?;\n", "")],
        packages: ENGINE,
    },
    Mutant {
        name: "ignore-manifest-checksum",
        why: "the manifest is read whatever its checksum is (I11)",
        file: "crates/stepwell-manifest/src/format.rs",
        edits: &[("if crc32c::crc32c_append(crc32c::crc32c(covered), &file[16..]) != u32_at(4) {", "if false {")],
        packages: MANIFEST,
    },
    Mutant {
        name: "no-poisoning",
        why: "after a failed sync the log takes the next batch (I8)",
        file: "crates/stepwell-wal/src/writer.rs",
        edits: &[(
            "path: self.current.path.clone(), source };\n        self.poisoned = Some(error.to_string());\n        error\n    }\n}",
            "path: self.current.path.clone(), source };\n        error\n    }\n}",
        )],
        packages: WAL,
    },
    Mutant {
        name: "failed-append-stays",
        why: "what a full disk took of a group is not cut off (I7, I8)",
        file: "crates/stepwell-wal/src/writer.rs",
        edits: &[("if let Err(error) = self.current.cut() {", "if let Err(error) = Ok::<(), io::Error>(()) {")],
        packages: WAL,
    },
    Mutant {
        name: "torn-tail-kept",
        why: "what a crash left of a write stays in the file that is written anew (I7)",
        file: "crates/stepwell-wal/src/recover.rs",
        edits: &[("make_durable(&*disk, path, &file[..end])", "make_durable(&*disk, path, &file)")],
        packages: WAL,
    },
    Mutant {
        name: "replayed-and-not-made-durable",
        why: "what was replayed from the page cache is served without a sync (I1, I3)",
        file: "crates/stepwell-wal/src/recover.rs",
        edits: &[("let is_rewritten = self.may_write && ", "let is_rewritten = false && ")],
        packages: WAL,
    },
    Mutant {
        name: "replayed-and-only-synced",
        why: "on a full disk what a failed sync left is served after one more sync, which writes nothing (I1)",
        file: "crates/stepwell-wal/src/recover.rs",
        edits: &[("disk.overwrite(path, whole).map_err", "disk.truncate(path, whole.len() as u64).map_err")],
        packages: WAL,
    },
    Mutant {
        name: "duplicates-applied",
        why: "a batch that is sent again is applied again (I3)",
        file: "crates/stepwell-engine/src/writer.rs",
        edits: &[(
            "let wanted = ingest.producer.as_ref()?;",
            "let wanted = ingest.producer.as_ref().filter(|_| false)?;",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "sequences-not-from-manifest",
        why: "after a restart a batch that is in a segment is applied again (I3)",
        file: "crates/stepwell-engine/src/recovery.rs",
        edits: &[("Producers::from_states(&manifest.producers)", "Producers::from_states(&[])")],
        packages: ENGINE,
    },
    Mutant {
        name: "sequences-not-from-log",
        why: "after a restart a batch that is in the log is applied again (I3)",
        file: "crates/stepwell-engine/src/recovery.rs",
        edits: &[(
            "if let Some(producer) = &record.producer {",
            "if let Some(producer) = record.producer.as_ref().filter(|_| false) {",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "snapshot-without-frozen",
        why: "points are gone while their flush is on its way (I2, I10)",
        file: "crates/stepwell-engine/src/snapshot.rs",
        edits: &[(
            "storage.frozen.iter().chain([&storage.active])",
            "storage.frozen.iter().take(0).chain([&storage.active])",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "merge-drops-repeated-steps",
        why: "a merge keeps one of two points at a step (I6)",
        file: "crates/stepwell-engine/src/compaction/merge.rs",
        edits: &[(
            "        writer.append(&self.rows)?;\n",
            "        let mut kept = SeriesColumns::default();\n        for i in 0..self.rows.len() {\n            \
             let rows = &self.rows;\n            if kept.step.last() != Some(&rows.step[i]) {\n                \
             kept.push(rows.step[i], rows.timestamp_us[i], rows.value[i], rows.lsn[i]);\n            }\n        }\n        \
             writer.append(&kept)?;\n",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "tombstone-forgotten-by-flush",
        why: "a flush writes points that are deleted, which come back once the tombstone goes (I10)",
        file: "crates/stepwell-engine/src/flusher.rs",
        edits: &[("        exclusions.apply(series.key(), &mut columns);\n", "")],
        packages: ENGINE,
    },
    Mutant {
        name: "tombstones-forgotten-by-restart",
        why: "what is deleted is back after a restart (I7)",
        file: "crates/stepwell-engine/src/recovery.rs",
        edits: &[(
            "Exclusions::new(manifest.tombstones.clone(), Vec::new())",
            "Exclusions::new(Vec::new(), Vec::new())",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "negative-zero-normalised",
        why: "-0.0 becomes 0.0 in the log (I5)",
        file: "crates/stepwell-wal/src/columns.rs",
        edits: &[("&(*value as f32).to_le_bytes()", "&(*value as f32 + 0.0).to_le_bytes()")],
        packages: WAL,
    },
    Mutant {
        name: "nan-payload-lost",
        why: "every NaN becomes the same one in the log (I5)",
        file: "crates/stepwell-wal/src/columns.rs",
        edits: &[("&value.to_bits().to_le_bytes()", "&(if value.is_nan() { f64::NAN } else { *value }).to_le_bytes()")],
        packages: WAL,
    },
    Mutant {
        name: "flushes-freeze-without-bound",
        why: "each flush that is asked for freezes a generation, though none can be written (I9)",
        file: "crates/stepwell-engine/src/writer.rs",
        edits: &[(
            "if has_room { self.rotate().map(|()| true) }",
            "if has_room || true { self.rotate().map(|()| true) }",
        )],
        packages: ENGINE,
    },
    Mutant {
        name: "readers-without-budget",
        why: "charts take memory without bound (I9)",
        file: "crates/stepwell-engine/src/read_memory.rs",
        edits: &[(".filter(|sum| *sum <= self.limit_bytes)", "")],
        packages: ENGINE,
    },
    Mutant {
        name: "queue-without-budget",
        why: "batches wait without bound (I9)",
        file: "crates/stepwell-engine/src/engine.rs",
        edits: &[("if before > 0 && before + bytes > self.shared.config.queue_bytes {", "if false {")],
        packages: ENGINE,
    },
    Mutant {
        name: "bodies-without-budget",
        why: "a small body may decode to any size (I9)",
        file: "crates/stepwell-server/src/decode/budget.rs",
        edits: &[("if bytes > self.decoded_left_bytes() {", "if false {")],
        packages: SERVER,
    },
];
