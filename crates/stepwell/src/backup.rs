//! `stepwell backup` and `stepwell restore`: copies of a data directory elsewhere, and back.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stepwell_app::{
    Backup, BackupIndex, BackupPlace, Elsewhere, Pruned, back_up, list_backups, prune_backups, restore_backup,
    verify_backups,
};
use stepwell_env::Env;
use stepwell_types::format_utc_us;

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    command: Option<BackupCommand>,
    /// The data directory; a server may be running on it
    #[arg(long, required = true)]
    data_dir: Option<PathBuf>,
    /// Where backups are kept: a directory, made if absent, or s3://bucket/prefix (gs://, az://); only what is new is copied there
    #[arg(long, value_parser = place, required = true)]
    to: Option<BackupPlace>,
    /// How many backups to keep there; the oldest others are removed. Without it all are kept
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Lists the backups of a directory
    List {
        /// The directory, or s3://bucket/prefix
        #[arg(value_parser = place)]
        from: BackupPlace,
        /// One JSON array instead of words
        #[arg(long)]
        json: bool,
    },
    /// Reads every byte of backups and proves that they can be restored
    Verify {
        /// The directory, or s3://bucket/prefix
        #[arg(value_parser = place)]
        from: BackupPlace,
        /// The number of one; all if not given
        #[arg(long)]
        backup: Option<u64>,
    },
    /// Removes old backups, and what interrupted ones left, without making one: where the directory is full
    Prune {
        /// The directory, or s3://bucket/prefix
        #[arg(value_parser = place)]
        from: BackupPlace,
        /// How many to keep, the newest
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        keep: u64,
    },
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The directory of the backups, or s3://bucket/prefix
    #[arg(long, value_parser = place)]
    from: BackupPlace,
    /// The number of the backup; the newest if not given
    #[arg(long)]
    backup: Option<u64>,
    /// Leave out what was accepted after this LSN; the last batch that ends at or before it is the last restored
    #[arg(long)]
    lsn: Option<u64>,
    /// The new data directory; absent or empty
    #[arg(long)]
    data_dir: PathBuf,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

/// Makes a backup, or looks at those there are.
pub(crate) fn run(args: &BackupArgs) -> Result<()> {
    let env = Env::real();
    match &args.command {
        Some(BackupCommand::List { from, json }) => {
            let found = list_backups(&env, from)?;
            let rows: Vec<Value> =
                found.iter().map(|index| index.as_ref().map_or_else(damaged_json, index_json)).collect();
            if *json {
                println!("{}", serde_json::to_string_pretty(&rows)?);
            } else {
                found.iter().for_each(|index| println!("{}", index.as_ref().map_or_else(ToString::to_string, words)));
            }
            Ok(())
        }
        Some(BackupCommand::Verify { from, backup }) => {
            for index in verify_backups(&env, from, *backup)? {
                println!("{}: every byte verified", words(&index));
            }
            Ok(())
        }
        Some(BackupCommand::Prune { from, keep }) => {
            println!("{}", removed(&prune_backups(&env, from, usize::try_from(*keep)?)?));
            Ok(())
        }
        None => create(&env, args),
    }
}

fn create(env: &Env, args: &BackupArgs) -> Result<()> {
    let (Some(data_dir), Some(to)) = (&args.data_dir, &args.to) else { bail!("--data-dir and --to must be given") };
    let keep = args.keep.map(usize::try_from).transpose().context("--keep")?;
    let Backup { index, elsewhere, pruned } = back_up(env, data_dir, to, keep)?;
    if args.json {
        let mut object = index_json(&index);
        if let Some(Elsewhere { url, blobs, bytes }) = &elsewhere {
            object["artifacts_not_copied"] = json!({"url": url, "blobs": blobs, "bytes": bytes});
        }
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        println!("{}, {} bytes of them new", words(&index), index.new_bytes);
        if let Some(Elsewhere { url, blobs, bytes }) = &elsewhere {
            println!(
                "not copied: {blobs} artifacts of {bytes} bytes, which are in {url}; that store's own versions or copies must keep them"
            );
        }
    }
    let pruned =
        pruned.context("the backup is whole; older ones, and what is left of interrupted ones, were not removed")?;
    if pruned != Pruned::default() && !args.json {
        println!("{}", removed(&pruned));
    }
    Ok(())
}

fn removed(pruned: &Pruned) -> String {
    format!(
        "removed {} older backups, {} files that no other names, {} bytes",
        pruned.backups, pruned.files, pruned.bytes
    )
}

/// Restores, and says how to go on.
pub(crate) fn run_restore(args: &RestoreArgs) -> Result<()> {
    let (index, restored) = restore_backup(&Env::real(), &args.from, args.backup, args.lsn, &args.data_dir)?;
    if args.json {
        let object = json!({
            "backup": index.number,
            "lsn": restored.lsn.0,
            "files": restored.files,
            "bytes": restored.bytes,
        });
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        let (number, lsn, data_dir) = (index.number, restored.lsn, args.data_dir.display());
        println!("backup {number} restored up to LSN {lsn}, {} bytes read back", restored.bytes);
        println!("serve it with: stepwell serve --data-dir {data_dir}");
    }
    Ok(())
}

fn words(index: &BackupIndex) -> String {
    let (number, time, lsn) = (index.number, format_utc_us(index.taken_at_us), index.lsn);
    let reach = if index.reach().0 < lsn { format!(" (back to {})", index.reach()) } else { String::new() };
    format!("backup {number} of {time}: up to LSN {lsn}{reach}, {} files, {} bytes", index.files.len(), index.bytes())
}

fn index_json(index: &BackupIndex) -> Value {
    json!({
        "backup": index.number,
        "taken_at": format_utc_us(index.taken_at_us),
        "lsn": index.lsn,
        "lsn_reach": index.reach().0,
        "files": index.files.len(),
        "bytes": index.bytes(),
        "new_bytes": index.new_bytes,
    })
}

fn damaged_json(error: &stepwell_app::BackupError) -> Value {
    json!({"damaged": error.to_string()})
}

/// A place for backups: a path, a `file:` URL, or the URL of an object store.
fn place(text: &str) -> Result<BackupPlace, String> {
    match text.split_once("://") {
        None => Ok(BackupPlace::Directory(text.into())),
        Some(("file", rest)) if rest.starts_with('/') => decoded(text, rest).map(BackupPlace::Directory),
        Some(("file", _)) => Err("a file:// URL has an absolute path and no host".to_owned()),
        // Whether it can be used is found out when it is opened.
        Some(_) => Ok(BackupPlace::Objects(text.to_owned())),
    }
}

/// The path that a `file:` URL means.
fn decoded(text: &str, rest: &str) -> Result<PathBuf, String> {
    let mut bytes = Vec::new();
    let mut left = rest.as_bytes();
    while let Some((byte, others)) = left.split_first() {
        let digits = others.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *byte == b'%').map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(decoded)) => {
                bytes.push(decoded);
                left = &others[2..];
            }
            Some(Err(_)) => return Err(format!("{text:?} has a % that is not followed by two hexadecimal digits")),
            None => {
                bytes.push(*byte);
                left = others;
            }
        }
    }
    String::from_utf8(bytes).map(PathBuf::from).map_err(|_| format!("{text:?} is not UTF-8 once it is decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_paths_file_urls_and_urls_of_object_stores() {
        let directory = |path: &str| Ok(BackupPlace::Directory(PathBuf::from(path)));
        assert_eq!(place("a/b c"), directory("a/b c"));
        assert_eq!(place("file:///a/b%20c"), directory("/a/b c"));
        assert_eq!(place("s3://bucket/x"), Ok(BackupPlace::Objects("s3://bucket/x".to_owned())));
        for wrong in ["file://host/x", "file:///%zz"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
