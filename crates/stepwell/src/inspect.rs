//! `stepwell inspect`: what a data directory, a segment, a log file or a manifest holds, without changing anything.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use stepwell_env::{Disk, RealDisk};
use stepwell_manifest::{FILE_NAME, Manifest, ManifestStore};
use stepwell_segment::{FooterCache, Segment};
use stepwell_types::{SegmentMeta, Tombstone, format_utc_us};

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A data directory, a segment (*.parquet), a log file (*.wal) or a MANIFEST
    path: PathBuf,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
    /// Reads every byte of every segment and compares its checksum
    #[arg(long)]
    verify: bool,
}

/// Describes what lies at the path.
pub(crate) fn run(args: &InspectArgs) -> Result<()> {
    let description = describe(&args.path, args.verify)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&description)?);
    } else {
        print!("{}", words(&description, 0));
    }
    Ok(())
}

fn describe(path: &Path, verify: bool) -> Result<Value> {
    let disk = RealDisk;
    if path.is_dir() {
        return directory(&disk, path, verify);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with(FILE_NAME) {
        return manifest_file(&disk, path);
    }
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("parquet") => segment_file(&disk, path, verify),
        Some("wal" | "damaged") => log_file(&disk, path),
        _ if !path.exists() => bail!("{} does not exist", path.display()),
        _ => bail!("{} is neither a data directory, a *.parquet, a *.wal nor a MANIFEST", path.display()),
    }
}

fn directory(disk: &RealDisk, path: &Path, verify: bool) -> Result<Value> {
    if !path.join(FILE_NAME).exists() && !path.join("wal").exists() {
        bail!("{} is not a data directory: it has neither MANIFEST nor wal/", path.display());
    }
    let file = path.join(FILE_NAME);
    // A data directory without one has never flushed: all of it is in the log.
    let manifest = if file.exists() { ManifestStore::read(disk, &file)? } else { Manifest::default() };
    let segments: Vec<Value> = manifest.segments.iter().map(|meta| live_segment(path, meta, verify)).collect();
    let mut logs = Vec::new();
    let wal = path.join("wal");
    if wal.exists() {
        for entry in disk.list(&wal)?.iter().filter(|entry| entry.name.ends_with(".wal")) {
            let file = wal.join(&entry.name);
            logs.push(
                log_file(disk, &file).unwrap_or_else(|error| json!({"file": file, "damage": format!("{error:#}")})),
            );
        }
    }
    let points: u64 = manifest.segments.iter().map(|meta| meta.rows).sum();
    let bytes: u64 = manifest.segments.iter().map(|meta| meta.bytes()).sum();
    Ok(json!({
        "data_directory": path,
        "manifest": manifest_json(&manifest),
        "points_in_segments": points,
        "bytes_in_segments": bytes,
        "segments": segments,
        "wal": logs,
        "artifacts": artifacts(disk, path)?,
    }))
}

/// Files of blobs, by their directories.
fn artifacts(disk: &RealDisk, data_dir: &Path) -> Result<Value> {
    let root = data_dir.join("artifacts");
    let dirs = if root.exists() { disk.list(&root)? } else { Vec::new() };
    let (mut blobs, mut bytes, mut incoming) = (0, 0, 0);
    for dir in dirs.iter().filter(|dir| dir.is_dir) {
        let files = disk.list(&root.join(&dir.name))?;
        match dir.name.as_str() {
            "incoming" => incoming += files.len(),
            _ => {
                blobs += files.len();
                bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            }
        }
    }
    Ok(json!({"blobs": blobs, "bytes": bytes, "incoming": incoming}))
}

fn manifest_file(disk: &RealDisk, path: &Path) -> Result<Value> {
    let manifest = ManifestStore::read(disk, path)?;
    let segments: Vec<Value> = manifest.segments.iter().map(segment_json).collect();
    Ok(json!({"manifest": manifest_json(&manifest), "segments": segments}))
}

fn manifest_json(manifest: &Manifest) -> Value {
    json!({
        "version": manifest.version,
        "wal_floor": manifest.wal_floor.0,
        "next_segment": manifest.next_segment,
        "live_segments": manifest.segments.len(),
        "producers": manifest.producers.len(),
        "tombstones": manifest.tombstones.iter().map(tombstone_json).collect::<Vec<_>>(),
    })
}

/// What is deleted and may still be in segments or the log.
fn tombstone_json(tombstone: &Tombstone) -> Value {
    json!({
        "project_id": *tombstone.project_id,
        "metric": tombstone.metric.as_deref(),
        "run_id": tombstone.run_id.as_deref(),
        "before": tombstone.before_us.map(format_utc_us),
        "lsn_below": tombstone.lsn_below.0,
    })
}

fn live_segment(data_dir: &Path, meta: &SegmentMeta, verify: bool) -> Value {
    let mut description = segment_json(meta);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let segment = Segment::open(&disk, data_dir, meta, &FooterCache::new(0));
    let read = segment.and_then(|segment| if verify { segment.verify() } else { Ok(()) });
    description["state"] = match read {
        Ok(()) if verify => json!("every byte verified"),
        Ok(()) => json!("opens"),
        Err(error) => json!(format!("damaged: {}", chain(&error))),
    };
    description
}

/// A segment, by what the manifest of its data directory knows of it.
fn segment_file(disk: &RealDisk, path: &Path, verify: bool) -> Result<Value> {
    let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str()).context("the file name is not Unicode")?;
    let data_dir = path.ancestors().nth(2).context("a segment lies in `segments` of a data directory")?;
    let manifest = ManifestStore::read(disk, &data_dir.join(FILE_NAME))?;
    let Some(meta) = manifest.segments.iter().find(|meta| meta.file_name == name) else {
        bail!("{} is not a live segment: the manifest of {} does not name it", path.display(), data_dir.display());
    };
    Ok(json!({"segment": live_segment(data_dir, meta, verify)}))
}

fn segment_json(meta: &SegmentMeta) -> Value {
    let series = |key: &stepwell_types::SeriesKey| json!({"project_id": *key.project_id, "metric": *key.metric, "run_id": *key.run_id});
    json!({
        "file": meta.file_name,
        "bytes": meta.bytes(),
        "bytes_of_points": meta.file.bytes,
        "bytes_of_summaries": meta.summaries.map_or(0, |file| file.bytes),
        "bytes_of_rollups": meta.rollups.map_or(0, |file| file.bytes),
        "tier": meta.tier,
        "points": meta.rows,
        "bytes_per_point": (meta.bytes() as f64 / meta.rows.max(1) as f64 * 100.0).round() / 100.0,
        "crc32c": format!("{:08x}", meta.file.crc32c),
        "first_series": series(&meta.series.0),
        "last_series": series(&meta.series.1),
        "step": [meta.step.0, meta.step.1],
        "time": [format_utc_us(meta.timestamp_us.0), format_utc_us(meta.timestamp_us.1)],
        "lsn": [meta.lsn.0, meta.lsn.1],
    })
}

fn log_file(disk: &RealDisk, path: &Path) -> Result<Value> {
    let info = stepwell_wal::inspect(disk, path)?;
    let gaps: Vec<Value> = info.gaps.iter().map(|(offset, bytes)| json!({"offset": offset, "bytes": bytes})).collect();
    Ok(json!({
        "file": path,
        "bytes": info.bytes,
        "header": info.first_lsn.map_or_else(|| json!("damaged"), |lsn| json!(format!("good, begins at LSN {lsn}"))),
        "frames": info.frames,
        "points": info.points,
        "lsn": info.lsn.map(|(first, last)| [first, last]),
        "not_whole_frames": gaps,
        "zeros_ahead_bytes": info.zeros,
    }))
}

/// An error with its causes, since the crates below keep them apart.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// The JSON as indented lines.
fn words(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| labelled(&key.replace('_', " "), value, depth)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(at, item)| labelled(&format!("{}.", at + 1), item, depth)).collect()
        }
        scalar => format!("{indent}{}\n", plain(scalar)),
    }
}

fn labelled(label: &str, value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) if items.is_empty() => format!("{indent}{label}: none\n"),
        Value::Array(items) if items.len() == 2 && items.iter().all(|item| !item.is_object()) => {
            format!("{indent}{label}: {} to {}\n", plain(&items[0]), plain(&items[1]))
        }
        Value::Object(_) | Value::Array(_) => format!("{indent}{label}\n{}", words(value, depth + 1)),
        scalar => format!("{indent}{label}: {}\n", plain(scalar)),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_indented_and_ranges_read_as_ranges() {
        let value = json!({"a_b": 1, "step": [1, 2], "none": [], "of": [{"x": "y"}]});
        let text = words(&value, 0);
        for line in ["a b: 1", "step: 1 to 2", "none: none", "    x: y"] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        assert!(describe(dir.path(), false).unwrap_err().to_string().contains("not a data directory"));
        assert!(describe(&dir.path().join("absent"), false).unwrap_err().to_string().contains("does not exist"));
    }
}
