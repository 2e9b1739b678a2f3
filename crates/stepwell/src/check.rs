//! `stepwell check`: every byte of a data directory, and what is damaged.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use stepwell_app::{
    AppConfig, ArtifactDamage, CheckReport, Concern, Damage, DirectoryCheck, MetadataDamage, PointsConcerned,
    check_directory,
};
use stepwell_env::Env;

/// Names of one kind that are spelled out.
const NAMES_SHOWN: usize = 10;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A data directory; a server may be running on it
    data_dir: PathBuf,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// Prints what is damaged; returns whether nothing is.
pub(crate) fn run(args: &CheckArgs) -> Result<bool> {
    if !args.data_dir.is_dir() {
        bail!("{} is not a directory", args.data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start threads")?;
    let config = AppConfig::new(&args.data_dir);
    let found = runtime.block_on(check_directory(&Env::real(), &config)).context("check the data directory")?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&to_json(&found))?);
    } else {
        print!("{}", words(&found));
    }
    Ok(found.is_healthy())
}

fn words(found: &DirectoryCheck) -> String {
    let mut text = String::new();
    for damage in &found.storage.damages {
        text += &damage_words(damage);
    }
    for MetadataDamage { path, offset, detail, .. } in &found.metadata.damages {
        text += &format!("damaged: {} at byte {offset}: {detail}\n", path.display());
    }
    for ArtifactDamage { path, offset, detail, artifacts, .. } in &found.artifacts.damages {
        text +=
            &format!("damaged: {} at byte {offset}: {detail}\n    concerns {}\n", path.display(), artifacts.join(", "));
    }
    for note in found.storage.notes.iter().chain(&found.metadata.notes).chain(&found.artifacts.notes) {
        text += &format!("note: {note}\n");
    }
    let CheckReport { files, bytes, points, .. } = found.storage;
    let files = files + found.metadata.files + found.artifacts.files;
    let bytes = bytes + found.metadata.bytes + found.artifacts.bytes;
    let places = found.storage.damages.len() + found.metadata.damages.len() + found.artifacts.damages.len();
    text += &match places {
        0 => format!("{files} files, {bytes} bytes, {points} points: all whole\n"),
        _ => format!(
            "{files} files, {bytes} bytes, {points} points: {places} damaged places; `stepwell repair` mends them\n"
        ),
    };
    text
}

pub(crate) fn damage_words(damage: &Damage) -> String {
    let size = if damage.bytes > 0 { format!(" ({} bytes)", damage.bytes) } else { String::new() };
    let Damage { path, offset, detail, .. } = damage;
    format!("damaged: {} at byte {offset}{size}: {detail}\n    {}\n", path.display(), concern_words(&damage.concerns))
}

fn concern_words(concern: &Concern) -> String {
    match concern {
        Concern::Nothing(why) => format!("no point is concerned: {why}"),
        Concern::Points(points) => format!("concerns {}", points_words(points)),
        Concern::Log { first_lsn, before_lsn: Some(before) } => {
            format!("concerns up to {} points in the log, LSNs {first_lsn} to {}", before - first_lsn, before - 1)
        }
        Concern::Log { first_lsn, before_lsn: None } => {
            format!("concerns the points in the log from LSN {first_lsn} on; how many there were is not known")
        }
        Concern::Everything => "concerns everything: the directory does not open".to_owned(),
    }
}

/// Whose points they are.
pub(crate) fn points_words(points: &PointsConcerned) -> String {
    let series = points.series.map_or_else(|| "some series".to_owned(), |count| format!("{count} series"));
    let mut text = format!("{} points of {series}", points.points);
    for (what, names) in [("projects", &points.project_ids), ("metrics", &points.metrics), ("runs", &points.run_ids)] {
        if !names.is_empty() {
            text += &format!("; {what} {}", names_words(names));
        }
    }
    let ((from, to), (first, last)) = (points.step, points.lsn);
    text + &format!("; steps {from} to {to}; LSNs within {first} to {last}")
}

fn names_words(names: &BTreeSet<Arc<str>>) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN).map(|name| &**name).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn to_json(found: &DirectoryCheck) -> Value {
    let of_metadata = |damage: &MetadataDamage| {
        json!({"file": damage.path, "offset": damage.offset, "bytes": damage.bytes, "detail": damage.detail,
            "concerns": {"kind": "metadata"}})
    };
    let of_artifacts = |damage: &ArtifactDamage| {
        json!({"file": damage.path, "offset": damage.offset, "bytes": 0, "detail": damage.detail,
            "concerns": {"kind": "artifacts", "artifacts": damage.artifacts}})
    };
    let damages: Vec<Value> = found
        .storage
        .damages
        .iter()
        .map(damage_json)
        .chain(found.metadata.damages.iter().map(of_metadata))
        .chain(found.artifacts.damages.iter().map(of_artifacts))
        .collect();
    let notes: Vec<&String> =
        found.storage.notes.iter().chain(&found.metadata.notes).chain(&found.artifacts.notes).collect();
    json!({
        "healthy": found.is_healthy(),
        "files": found.storage.files + found.metadata.files + found.artifacts.files,
        "bytes": found.storage.bytes + found.metadata.bytes + found.artifacts.bytes,
        "points": found.storage.points,
        "damages": damages,
        "notes": notes,
    })
}

pub(crate) fn damage_json(damage: &Damage) -> Value {
    let concerns = match &damage.concerns {
        Concern::Nothing(why) => json!({"kind": "nothing", "why": why}),
        Concern::Points(points) => points_json(points),
        Concern::Log { first_lsn, before_lsn } => {
            json!({"kind": "log", "first_lsn": first_lsn, "before_lsn": before_lsn})
        }
        Concern::Everything => json!({"kind": "everything"}),
    };
    json!({"file": damage.path, "offset": damage.offset, "bytes": damage.bytes, "detail": damage.detail, "concerns": concerns})
}

pub(crate) fn points_json(points: &PointsConcerned) -> Value {
    let names = |names: &BTreeSet<Arc<str>>| names.iter().map(|name| Value::from(&**name)).collect::<Vec<_>>();
    json!({
        "kind": "points",
        "points": points.points,
        "series": points.series,
        "project_ids": names(&points.project_ids),
        "metrics": names(&points.metrics),
        "run_ids": names(&points.run_ids),
        "step": [points.step.0, points.step.1],
        "lsn": [points.lsn.0, points.lsn.1],
    })
}
