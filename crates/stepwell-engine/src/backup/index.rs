//! The index of one backup: bytes; no I/O.

use serde::{Deserialize, Serialize};
use stepwell_segment::SEGMENT_DIRS;
use stepwell_types::Lsn;

/// First bytes of an index.
const MAGIC: &[u8; 8] = b"SWBACKUP";
/// The version of indexes that is written; the newest that is read.
pub const INDEX_VERSION: u32 = 2;
const HEADER_BYTES: usize = 24;

/// Names of what lies in a data directory besides the directories of segments.
pub(crate) const MANIFEST: &str = stepwell_manifest::FILE_NAME;
/// Name of the metadata in a data directory.
pub const METADATA: &str = "metadata.sqlite";
pub(crate) const WAL_DIR: &str = "wal";
/// Directory of blobs in a data directory: what lies there lies in directories of its own.
pub const ARTIFACTS: &str = "artifacts";
/// Digits of a blob's name, the first two of which name its directory.
const BLOB_DIGITS: usize = 64;

/// One file of a data directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Below the data directory, with `/` between its parts.
    pub path: String,
    pub bytes: u64,
    /// CRC-32C of the whole file.
    pub crc32c: u32,
}

impl BackupFile {
    /// The file of that content.
    pub fn of(path: impl Into<String>, content: &[u8]) -> Self {
        Self { path: path.into(), bytes: content.len() as u64, crc32c: crc32c::crc32c(content) }
    }

    /// Directory and name below it; the directory of files at the top is empty.
    pub(crate) fn parts(&self) -> (&str, &str) {
        self.path.split_once('/').unwrap_or(("", &self.path))
    }

    /// Where its content lies in a destination, below `files/`: files that differ have different names, and the next backup
    /// finds what is there already.
    pub(crate) fn stored_path(&self) -> String {
        format!("{}.{}-{:08x}", self.path, self.bytes, self.crc32c)
    }

    /// Whether the path is one that a data directory has. An index says where a restore writes: nowhere else.
    fn is_ours(&self) -> bool {
        let (dir, name) = self.parts();
        let is_plain = |name: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
            name.bytes().all(is_allowed) && name.starts_with(|first: char| first.is_ascii_digit())
        };
        match dir {
            "" => [MANIFEST, METADATA].contains(&name),
            WAL_DIR => is_plain(name),
            ARTIFACTS => is_blob(name),
            dir => SEGMENT_DIRS.contains(&dir) && is_plain(name),
        }
    }
}

/// Whether this is where a blob lies below [`ARTIFACTS`].
fn is_blob(path: &str) -> bool {
    let Some((shard, name)) = path.split_once('/') else { return false };
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    shard.len() == 2 && name.starts_with(shard) && name.len() == BLOB_DIGITS && name.bytes().all(is_digit)
}

/// What one backup is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupIndex {
    /// Rises with each backup of a destination.
    pub number: u64,
    /// When its moment was fixed, microseconds since the Unix epoch, UTC.
    pub taken_at_us: i64,
    /// The last LSN in it; 0 where there is no point. All that was acknowledged up to it is in it, and nothing later.
    pub lsn: u64,
    /// The first LSN of the log in it; a restore can go back to the LSN before it. One past `lsn` where there is no log.
    pub log_from: u64,
    /// Bytes that were not in the destination before.
    pub new_bytes: u64,
    pub files: Vec<BackupFile>,
}

impl BackupIndex {
    /// Bytes of all of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The smallest LSN that a restore can go back to.
    pub fn reach(&self) -> Lsn {
        Lsn(self.log_from.saturating_sub(1))
    }

    /// The file of that path.
    pub(crate) fn file(&self, path: &str) -> Option<&BackupFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The blobs of artifacts.
    pub fn artifacts(&self) -> impl Iterator<Item = &BackupFile> {
        self.files.iter().filter(|file| file.parts().0 == ARTIFACTS)
    }

    /// The files of the log, in LSN order.
    pub(crate) fn log(&self) -> impl Iterator<Item = &BackupFile> {
        self.files.iter().filter(|file| file.parts().0 == WAL_DIR)
    }
}

/// Where and why bytes are not an index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    Damaged { offset: u64, detail: String },
    UnknownVersion(u32),
}

/// The bytes of an index.
pub(crate) fn encode(index: &BackupIndex) -> Result<Vec<u8>, serde_json::Error> {
    let body = serde_json::to_vec(index)?;
    let mut checked = (body.len() as u64).to_le_bytes().to_vec();
    checked.extend_from_slice(&body);
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&INDEX_VERSION.to_le_bytes());
    file.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    file.extend_from_slice(&checked);
    Ok(file)
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode(file: &[u8]) -> Result<BackupIndex, DecodeError> {
    let damaged =
        |offset: usize, detail: &str| DecodeError::Damaged { offset: offset as u64, detail: detail.to_owned() };
    let u32_at = |at: usize| file.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    let u64_at = |at: usize| file.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    let (Some(version), Some(crc), Some(length)) = (u32_at(8), u32_at(12), u64_at(16)) else {
        return Err(damaged(file.len(), "the file ends within the header"));
    };
    if !file.starts_with(MAGIC) {
        return Err(damaged(0, "the magic number is wrong"));
    }
    if !(1..=INDEX_VERSION).contains(&version) {
        return Err(DecodeError::UnknownVersion(version));
    }
    if crc32c::crc32c(&file[16..]) != crc {
        return Err(damaged(12, "the checksum does not fit the content"));
    }
    if length != (file.len() - HEADER_BYTES) as u64 {
        return Err(damaged(16, "the length does not fit the file"));
    }
    let index: BackupIndex = serde_json::from_slice(&file[HEADER_BYTES..])
        .map_err(|error| damaged(HEADER_BYTES + error.column(), &error.to_string()))?;
    match index.files.iter().find(|file| !file.is_ours()) {
        Some(file) => Err(damaged(HEADER_BYTES, &format!("{:?} is no file of a data directory", file.path))),
        None => Ok(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BackupIndex {
        let files =
            ["MANIFEST", "metadata.sqlite", "segments/00000000000000000001.parquet", "wal/00000000000000000009.wal"];
        let files = files.iter().map(|path| BackupFile::of(*path, path.as_bytes())).collect();
        BackupIndex { number: 3, taken_at_us: 5, lsn: 12, log_from: 9, new_bytes: 7, files }
    }

    /// The bytes of versions 1 and 2: what was written once stays readable (I12).
    const GOLDEN: &str = concat!(
        r#"{"number":3,"taken_at_us":5,"lsn":12,"log_from":9,"new_bytes":7,"files":["#,
        r#"{"path":"MANIFEST","bytes":8,"crc32c":2454280881},"#,
        r#"{"path":"metadata.sqlite","bytes":15,"crc32c":870801488},"#,
        r#"{"path":"segments/00000000000000000001.parquet","bytes":37,"crc32c":106750155},"#,
        r#"{"path":"wal/00000000000000000009.wal","bytes":28,"crc32c":1334208913}]}"#
    );

    #[test]
    fn i12_every_version_reads_as_it_was_written() {
        let mut file = encode(&sample()).unwrap();
        assert_eq!(&file[..12], b"SWBACKUP\x02\0\0\0");
        assert_eq!(std::str::from_utf8(&file[HEADER_BYTES..]).unwrap(), GOLDEN);
        assert_eq!(decode(&file), Ok(sample()));
        file[8] = 1;
        assert_eq!(decode(&file), Ok(sample()));
        for unknown in [0, 3] {
            file[8] = unknown;
            assert_eq!(decode(&file), Err(DecodeError::UnknownVersion(unknown.into())));
        }
    }

    #[test]
    fn blobs_lie_in_the_directory_of_their_first_digits() {
        let blob = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let decoded = |path: &str| {
            let index = BackupIndex { files: vec![BackupFile::of(path, b"abc")], ..sample() };
            decode(&encode(&index).unwrap()).map(|index| index.artifacts().count())
        };
        assert_eq!(decoded(&format!("artifacts/ba/{blob}")), Ok(1));
        let others = [
            blob.to_owned(),
            format!("bb/{blob}"),
            format!("ba/x/{blob}"),
            format!("ba/{}", &blob[1..]),
            "ba/..".into(),
        ];
        for path in others {
            assert!(decoded(&format!("artifacts/{path}")).is_err(), "{path}");
        }
    }

    #[test]
    fn i11_every_flipped_bit_and_every_cut_is_noticed() {
        let file = encode(&sample()).unwrap();
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode(&damaged).is_err(), "byte {at} bit {bit}");
            }
            assert!(decode(&file[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn an_index_cannot_name_a_file_outside_of_a_data_directory() {
        for path in
            ["../x", "/etc/passwd", "segments/../x", "segments/a/b", "wal/.x", "LOCK", "", "wal/", "x/1", "segments/x"]
        {
            let index = BackupIndex { files: vec![BackupFile::of(path, b"")], ..sample() };
            assert!(decode(&encode(&index).unwrap()).is_err(), "{path}");
        }
    }
}
