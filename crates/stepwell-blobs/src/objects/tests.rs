//! Blobs in a store in memory: the same rules as for files. A real protocol is spoken in `tests/tests/artifacts_s3.rs`.

use std::{path::Path, sync::Arc};

use stepwell_env::{Disk, SimDisk};
use stepwell_objects::{Objects, SimObjects};
use stepwell_types::ErrorKind;
use tokio::runtime::Runtime;

use super::{OWNER, key};
use crate::{Blob, BlobError, BlobStore, CHUNK_BYTES, SHARDS, StagedBlob};

const DATA: &str = "/data";

struct World {
    disk: SimDisk,
    memory: Arc<SimObjects>,
    objects: Objects,
    store: BlobStore,
    _runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (disk, memory) = (SimDisk::new(), Arc::new(SimObjects::new()));
        let url = "s3://bucket/team/artifacts/";
        let objects = Objects::over(memory.clone(), "team/artifacts", url, runtime.handle().clone());
        let store = BlobStore::over_objects(Arc::new(disk.clone()), Path::new(DATA), objects.clone());
        store.prepare().unwrap();
        store.own("this", None).unwrap();
        Self { disk, memory, objects, store, _runtime: runtime }
    }

    fn staged(&self, bytes: &[u8]) -> StagedBlob {
        let mut writer = self.store.create().unwrap();
        bytes.chunks(100_000).for_each(|piece| writer.write(piece).unwrap());
        writer.finish().unwrap()
    }

    fn write(&self, bytes: &[u8]) -> Blob {
        let staged = self.staged(bytes);
        staged.upload().unwrap();
        staged.publish().unwrap()
    }

    /// Puts something else in a blob's place.
    fn replace(&self, blob: &Blob, bytes: &[u8]) {
        let mut pieces = [Ok::<_, BlobError>(Some(bytes.to_vec()))].into_iter();
        self.objects.put(&key(blob.id), bytes.len() as u64, || pieces.next().unwrap_or(Ok(None))).unwrap();
    }

    fn keys(&self) -> Vec<String> {
        self.objects.list("").unwrap().into_iter().map(|listed| listed.key).filter(|key| key != OWNER).collect()
    }
}

fn read(store: &BlobStore, blob: &Blob) -> Result<Vec<u8>, BlobError> {
    let reader = store.open(blob.clone())?;
    reader.verify()?;
    let chunks = (0..blob.chunks()).map(|chunk| reader.chunk(chunk)).collect::<Result<Vec<_>, _>>()?;
    Ok(chunks.concat())
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

#[test]
fn blobs_of_any_length_come_back_from_the_object_store_and_leave_nothing_here() {
    let world = World::new();
    world.store.probe().unwrap();
    for bytes in [0, 1, CHUNK_BYTES, 9 << 20] {
        let content = noise(bytes);
        let blob = world.write(&content);
        assert!(world.keys().contains(&key(blob.id)));
        assert!(read(&world.store, &blob).unwrap() == content, "{bytes} bytes");
    }
    assert!(world.disk.files().is_empty(), "{:?}", world.disk.files());
}

#[test]
fn i11_a_changed_or_missing_object_is_named_and_not_served() {
    let world = World::new();
    let content = noise(3 * CHUNK_BYTES);
    let blob = world.write(&content);
    let mut damaged = content.clone();
    damaged[2 * CHUNK_BYTES + 9] ^= 1;
    world.replace(&blob, &damaged);
    let error = world.store.open(blob.clone()).unwrap().chunk(2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataDamaged);
    assert!(error.to_string().starts_with("s3://bucket/team/artifacts/"), "{error}");
    // Kept for whoever wants to look at it, and written anew by the next upload of the same.
    let kept = world.store.set_aside(blob.id, Path::new("/data/quarantine")).unwrap().unwrap();
    assert_eq!(world.disk.read(&kept).unwrap().len(), content.len());
    assert!(read(&world.store, &world.write(&content)).unwrap() == content);

    world.replace(&blob, &content[1..]);
    assert!(matches!(world.store.open(blob.clone()), Err(BlobError::Damaged { .. })), "one byte short");
    world.store.remove(blob.id).unwrap();
    world.store.remove(blob.id).unwrap();
    assert!(matches!(world.store.open(blob.clone()), Err(BlobError::Missing { .. })));
    assert_eq!(world.store.set_aside(blob.id, Path::new("/data/quarantine")).unwrap(), None);
}

#[test]
fn what_is_removed_between_upload_and_publishing_is_sent_again() {
    let world = World::new();
    let staged = world.staged(b"some bytes");
    staged.upload().unwrap();
    world.store.remove(staged.blob().id).unwrap();
    let blob = staged.publish().unwrap();
    assert_eq!(read(&world.store, &blob).unwrap(), b"some bytes");
    drop(world.staged(b"never published"));
    assert_eq!(world.keys(), [key(blob.id)]);
}

#[test]
fn what_is_in_the_directory_stays_readable_and_all_is_found() {
    let world = World::new();
    let here = BlobStore::new(Arc::new(world.disk.clone()), Path::new(DATA));
    let mut writer = here.create().unwrap();
    writer.write(b"from before").unwrap();
    let old = writer.finish().unwrap().publish().unwrap();
    let new = world.write(b"from now on");
    // Not named as we name blobs: none of ours.
    world.objects.put("ba/notes.txt", 0, || Ok::<_, BlobError>(None)).unwrap();
    assert_eq!(read(&world.store, &old).unwrap(), b"from before");
    let shards = (0..SHARDS).flat_map(|shard| world.store.shard(shard as u8).unwrap());
    let mut found: Vec<_> = shards.filter_map(|found| found.id).collect();
    found.sort();
    let mut expected = [old.id, new.id];
    expected.sort();
    assert_eq!(found, expected);
    for blob in [old, new] {
        world.store.remove(blob.id).unwrap();
        assert!(matches!(world.store.open(blob), Err(BlobError::Missing { .. })));
    }
    assert_eq!(world.keys(), ["ba/notes.txt"], "what is not ours stays");
}

/// A lifecycle rule that moves objects to an archive made damage of all of them.
#[test]
fn i11_a_store_that_gives_no_bytes_says_nothing_of_them() {
    let world = World::new();
    let content = noise(3 * CHUNK_BYTES);
    let blob = world.write(&content);
    let quarantine = Path::new("/data/quarantine");
    world.memory.refuse_reads(true);
    let error = world.store.open(blob.clone()).unwrap().verify().unwrap_err();
    assert!(matches!(error, BlobError::Objects(_)) && error.kind() == ErrorKind::Unavailable, "{error}");
    assert!(matches!(world.store.set_aside(blob.id, quarantine), Err(BlobError::Objects(_))));
    world.memory.refuse_reads(false);
    // What that left is in nobody's way.
    for _ in 0..2 {
        let kept = world.store.set_aside(blob.id, quarantine).unwrap().unwrap();
        assert!(world.disk.read(&kept).unwrap() == content);
        assert_eq!(world.disk.files().len(), 1);
    }
    let reader = world.store.open(blob.clone()).unwrap();
    world.store.remove(blob.id).unwrap();
    assert!(matches!(reader.chunk(0), Err(BlobError::Missing { .. })));
}

/// A copy of a data directory removed what it does not know of.
#[test]
fn i1_who_does_not_own_objects_reads_them_and_neither_writes_nor_removes_any() {
    let world = World::new();
    let blob = world.write(b"of the owner");
    let shard = u8::from_str_radix(&blob.id.to_string()[..2], 16).unwrap();
    let copy = BlobStore::over_objects(Arc::new(SimDisk::new()), Path::new(DATA), world.objects.clone());
    for copy in [copy.clone(), copy.with_owner("that".to_owned())] {
        assert!(!copy.owns().unwrap() && copy.shard(shard).unwrap().is_empty());
        copy.remove(blob.id).unwrap();
        assert_eq!(read(&copy, &blob).unwrap(), b"of the owner");
        copy.prepare().unwrap();
        let mut writer = copy.create().unwrap();
        writer.write(b"of the copy").unwrap();
        let staged = writer.finish().unwrap();
        staged.upload().unwrap();
        let own = staged.publish().unwrap();
        assert_eq!((world.keys(), read(&copy, &own).unwrap()), (vec![key(blob.id)], b"of the copy".to_vec()));
        // Who comes second is not the owner.
        copy.own("that", None).unwrap();
        assert!(!copy.owns().unwrap());
    }
    assert!(world.store.owns().unwrap());
    let heir = BlobStore::over_objects(Arc::new(SimDisk::new()), Path::new(DATA), world.objects.clone());
    heir.own("heir", Some("this")).unwrap();
    assert!(heir.owns().unwrap() && !world.store.owns().unwrap());
    heir.remove(blob.id).unwrap();
    assert!(world.keys().is_empty());
}
