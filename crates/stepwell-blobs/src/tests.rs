//! Blobs against a disk that fails, forgets and rots.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use stepwell_env::{Disk, DiskOperation, SimDisk, SimFault};
use stepwell_types::ErrorKind;

use crate::{Blob, BlobError, BlobId, BlobStore, CHUNK_BYTES, SHARDS};

const DATA: &str = "/data";
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn store(disk: &SimDisk) -> BlobStore {
    BlobStore::new(Arc::new(disk.clone()), Path::new(DATA))
}

fn write(store: &BlobStore, bytes: &[u8]) -> Result<Blob, BlobError> {
    let mut writer = store.create()?;
    bytes.chunks(100_000).try_for_each(|piece| writer.write(piece))?;
    writer.finish()?.publish()
}

fn read(store: &BlobStore, blob: &Blob) -> Result<Vec<u8>, BlobError> {
    let reader = store.open(blob.clone())?;
    reader.verify()?;
    let chunks = (0..blob.chunks()).map(|chunk| reader.chunk(chunk)).collect::<Result<Vec<_>, _>>()?;
    assert!(reader.chunk(blob.chunks())?.is_empty());
    Ok(chunks.concat())
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

/// Names of all files below a part of the data directory.
fn files(disk: &SimDisk, part: &str) -> Vec<String> {
    let below = Path::new(DATA).join("artifacts").join(part);
    let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(&below));
    files.map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_blob_lies_under_its_hash_and_equal_bytes_lie_there_once() {
    let disk = SimDisk::new();
    let store = store(&disk);
    store.prepare().unwrap();
    let blob = write(&store, b"abc").unwrap();
    assert_eq!((blob.id.to_string().as_str(), blob.bytes, blob.crc32c()), (ABC, 3, crc32c::crc32c(b"abc")));
    assert_eq!(write(&store, b"abc").unwrap(), blob);
    assert_eq!(disk.read(&Path::new(DATA).join(crate::relative_path(blob.id))).unwrap(), b"abc");
    assert_eq!((files(&disk, "ba"), files(&disk, "incoming")), (vec![ABC.to_owned()], vec![]));
    let empty = write(&store, b"").unwrap();
    assert_eq!((read(&store, &empty).unwrap(), empty.chunks(), empty.crc32c()), (vec![], 0, 0));
    let open = store.open(blob.clone()).unwrap();
    store.remove(blob.id).unwrap();
    store.remove(blob.id).unwrap();
    assert_eq!(open.chunk(0).unwrap(), b"abc", "who reads it reads on");
    assert!(matches!(store.open(blob), Err(BlobError::Missing { .. })));
}

#[test]
fn what_is_dropped_leaves_nothing() {
    let disk = SimDisk::new();
    let store = store(&disk);
    store.prepare().unwrap();
    let mut writer = store.create().unwrap();
    writer.write(&noise(70_000)).unwrap();
    drop(writer);
    let mut writer = store.create().unwrap();
    writer.write(b"x").unwrap();
    let staged = writer.finish().unwrap();
    assert_eq!(staged.reader().unwrap().chunk(0).unwrap(), b"x");
    drop(staged);
    assert_eq!(disk.files(), []);
}

#[test]
fn i11_every_damage_is_noticed_and_placed() {
    let disk = SimDisk::new();
    let store = store(&disk);
    store.prepare().unwrap();
    let bytes = noise(2 * CHUNK_BYTES + 1_000);
    let blob = write(&store, &bytes).unwrap();
    let path = store.path_of(blob.id);
    for at in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES, bytes.len() - 1] {
        disk.flip_bit(&path, at, 3).unwrap();
        let error = read(&store, &blob).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataDamaged);
        let whole = at / CHUNK_BYTES;
        assert!(
            matches!(error, BlobError::Damaged { offset, .. } if offset == (whole * CHUNK_BYTES) as u64),
            "{error}"
        );
        let reader = store.open(blob.clone()).unwrap();
        for chunk in 0..blob.chunks() {
            assert_eq!(reader.chunk(chunk).is_err(), chunk == whole as u64, "only what is damaged is refused");
        }
        disk.flip_bit(&path, at, 3).unwrap();
    }
    // An upload of the same bytes mends it.
    disk.flip_bit(&path, 5, 0).unwrap();
    write(&store, &bytes).unwrap();
    assert_eq!(read(&store, &blob).unwrap(), bytes);
    disk.truncate(&path, 10).unwrap();
    assert!(matches!(store.open(blob), Err(BlobError::Damaged { offset: 10, .. })));
    let other = Blob::of_parts(BlobId::parse(ABC).unwrap(), 10, &crc32c::crc32c(&bytes[..10]).to_le_bytes()).unwrap();
    disk.rename(&path, &store.path_of(other.id)).unwrap();
    assert!(store.open(other).unwrap().verify().is_err(), "it is not what its name says");
}

/// I7: power may go at any sync, and any operation may fail; what was published is whole, and nothing but whole blobs is left.
#[test]
fn i7_a_crash_anywhere_leaves_whole_blobs_only() {
    let bytes = noise(3_000);
    let mut outcomes = [0, 0];
    let faults = (0..8)
        .map(SimFault::PowerLossAtSync)
        .chain((0..8).map(SimFault::SyncError))
        .chain(DiskOperation::ALL.into_iter().flat_map(|operation| (0..6).map(move |n| SimFault::Error(operation, n))));
    for fault in faults {
        for seed in 0..4 {
            let disk = SimDisk::seeded(seed);
            let before = store(&disk);
            before.prepare().unwrap();
            let kept = write(&before, b"kept").unwrap();
            disk.inject(fault);
            let published = write(&before, &bytes);
            outcomes[usize::from(published.is_ok())] += 1;
            let after_power_loss = disk.crash(seed);
            for disk in [disk.copy(seed), after_power_loss] {
                // A disk whose power went says nothing any more; it is looked at as the machine finds it.
                let store = store(&disk);
                store.prepare().unwrap();
                assert_eq!(files(&disk, "incoming"), Vec::<String>::new());
                assert_eq!(read(&store, &kept).unwrap(), b"kept");
                if let Ok(blob) = &published {
                    assert_eq!(read(&store, blob).unwrap(), bytes, "{fault:?}");
                }
                for shard in 0..SHARDS {
                    for found in store.shard(shard as u8).unwrap() {
                        assert!([4, bytes.len() as u64].contains(&found.bytes), "{fault:?}: {found:?}");
                        assert!(found.id.is_some());
                    }
                }
            }
        }
    }
    assert!(outcomes[0] > 20 && outcomes[1] > 20, "failures and successes: {outcomes:?}");
}

#[test]
fn a_full_disk_is_told_from_a_broken_one_and_works_again() {
    let disk = SimDisk::new();
    let store = store(&disk);
    store.prepare().unwrap();
    disk.inject(SimFault::Space(1_000));
    let error = write(&store, &noise(5_000)).unwrap_err();
    assert!(error.is_disk_full() && error.kind() == ErrorKind::Unavailable, "{error}");
    assert_eq!(disk.files(), [], "what was written of it is gone");
    disk.inject(SimFault::NoLimit);
    disk.inject(SimFault::AppendError(0));
    assert_eq!(write(&store, b"abc").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(write(&store, b"abc").unwrap().id.to_string(), ABC);
}

#[test]
fn only_what_is_called_like_a_blob_is_one() {
    assert_eq!(BlobId::parse(ABC).unwrap().to_string(), ABC);
    for bad in ["", "ba", &ABC.to_uppercase(), &format!("{ABC}0"), &ABC.replace('b', "g"), &"ä".repeat(32)] {
        assert_eq!(BlobId::parse(bad), None, "{bad}");
    }
    assert!(Blob::of_parts(BlobId::parse(ABC).unwrap(), 3, &[0; 8]).is_none(), "a checksum too many");
    assert!(Blob::of_parts(BlobId::parse(ABC).unwrap(), u64::MAX, &[]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// However the bytes come in pieces, they come out as they were, and so do the parts that are kept of a blob.
    #[test]
    fn pieces_of_any_size_make_the_same_blob(
        sizes in prop::collection::vec(prop_oneof![0..5_usize, 1_000..9_000_usize, CHUNK_BYTES - 2..CHUNK_BYTES + 2], 0..6),
    ) {
        let disk = SimDisk::new();
        let store = store(&disk);
        store.prepare().unwrap();
        let bytes = noise(sizes.iter().sum());
        let (mut writer, mut at) = (store.create().unwrap(), 0);
        for size in sizes {
            writer.write(&bytes[at..at + size]).unwrap();
            at += size;
        }
        let blob = writer.finish().unwrap().publish().unwrap();
        prop_assert_eq!(&blob, &write(&store, &bytes).unwrap());
        let again = Blob::of_parts(blob.id, blob.bytes, &blob.checksums());
        prop_assert_eq!(again.as_ref(), Some(&blob));
        prop_assert_eq!(blob.crc32c(), crc32c::crc32c(&bytes));
        prop_assert_eq!(read(&store, &blob).unwrap(), bytes);
    }
}
