//! `stepwell repair`: damaged files set aside, everything undamaged kept, and what is lost said.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use stepwell_app::{AppConfig, DirectoryRepair, SegmentRepair, repair_directory};
use stepwell_env::{DirLock, Env};

use crate::check::{damage_json, damage_words, points_json, points_words};

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// A data directory on which no server is running
    data_dir: PathBuf,
    /// Only says what would be done
    #[arg(long)]
    dry_run: bool,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// Repairs, and says what became of what.
pub(crate) fn run(args: &RepairArgs) -> Result<()> {
    if !args.data_dir.is_dir() {
        bail!("{} is not a directory", args.data_dir.display());
    }
    let _lock = DirLock::acquire(&args.data_dir, "stepwell repair")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start threads")?;
    let config = AppConfig::new(&args.data_dir);
    let done = runtime.block_on(repair_directory(&Env::real(), &config, args.dry_run));
    let done = done.context("repair the data directory")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&to_json(&done, args.dry_run))?);
    } else {
        print!("{}", words(&done, args.dry_run));
    }
    let left = done.storage.after.as_ref().map_or(0, |after| after.damages.len());
    if left > 0 {
        bail!("{left} places are still damaged; `stepwell check` lists them");
    }
    Ok(())
}

fn words(done: &DirectoryRepair, dry_run: bool) -> String {
    let mut text: String = done.storage.found.damages.iter().map(damage_words).collect();
    for segment in &done.storage.segments {
        text += &segment_words(segment, dry_run);
    }
    if done.storage.replayed_points > 0 {
        text += &format!("log: its {} undamaged points are in segments now\n", done.storage.replayed_points);
    }
    for line in &done.metadata.lines {
        text += &format!("metadata: {line}\n");
    }
    for line in &done.artifacts.lines {
        text += &format!("artifact: {line}\n");
    }
    for path in done.storage.quarantined.iter().chain(&done.metadata.quarantined).chain(&done.artifacts.quarantined) {
        text += &format!("kept: {}\n", path.display());
    }
    let is_whole = done.storage.found.is_healthy() && done.metadata.lines.is_empty() && done.artifacts.lines.is_empty();
    text += match (is_whole, dry_run) {
        (true, _) => "nothing is damaged, nothing was changed\n",
        (false, true) => "nothing was changed: this was a dry run\n",
        (false, false) => "the data directory is whole again\n",
    };
    text
}

fn segment_words(segment: &SegmentRepair, dry_run: bool) -> String {
    let would = if dry_run { "would be " } else { "" };
    let kept = match (&segment.replaced_by, segment.points_kept) {
        (_, 0) => format!("{would}taken out of the data"),
        (Some(new), kept) => format!("replaced by {new} with {kept} points"),
        (None, kept) => format!("{would}replaced by one with {kept} points"),
    };
    let lost = match &segment.lost {
        None => "no point is lost".to_owned(),
        Some(lost) => format!("lost: {}", points_words(lost)),
    };
    format!("segment {}: {kept}; {lost}\n", segment.file_name)
}

fn to_json(done: &DirectoryRepair, dry_run: bool) -> serde_json::Value {
    let segment = |segment: &SegmentRepair| {
        json!({
            "segment": segment.file_name,
            "replaced_by": segment.replaced_by,
            "points_kept": segment.points_kept,
            "lost": segment.lost.as_ref().map(points_json),
        })
    };
    let quarantined: Vec<&PathBuf> =
        done.storage.quarantined.iter().chain(&done.metadata.quarantined).chain(&done.artifacts.quarantined).collect();
    json!({
        "dry_run": dry_run,
        "damages": done.storage.found.damages.iter().map(damage_json).collect::<Vec<_>>(),
        "segments": done.storage.segments.iter().map(segment).collect::<Vec<_>>(),
        "replayed_points": done.storage.replayed_points,
        "metadata": done.metadata.lines,
        "artifacts": done.artifacts.lines,
        "quarantined": quarantined,
        "healthy": done.storage.after.as_ref().map(stepwell_app::CheckReport::is_healthy),
    })
}
