//! Blobs in a store in memory: the same rules as for files. A real protocol is spoken in `tests/tests/artifacts_s3.rs`.

use std::{path::Path, sync::Arc};

use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path as ObjectPath};
use stepwell_env::{Disk, SimDisk};
use stepwell_types::ErrorKind;
use tokio::runtime::Runtime;

use super::{AHEAD_BYTES_MAX, Objects, PART_BYTES};
use crate::{Blob, BlobError, BlobStore, CHUNK_BYTES, SHARDS, StagedBlob};

const DATA: &str = "/data";

struct World {
    disk: SimDisk,
    memory: Arc<InMemory>,
    store: BlobStore,
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (disk, memory) = (SimDisk::new(), Arc::new(InMemory::new()));
        let below = ObjectPath::from("team/artifacts");
        let objects = Objects::over(memory.clone(), below, "s3://bucket/team/artifacts/", runtime.handle().clone());
        let store = BlobStore::with(Arc::new(disk.clone()), Path::new(DATA), Some(objects));
        store.prepare().unwrap();
        Self { disk, memory, store, runtime }
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

    fn object(blob: &Blob) -> ObjectPath {
        let name = blob.id.to_string();
        ObjectPath::from(format!("team/artifacts/{}/{name}", &name[..2]))
    }

    fn has(&self, blob: &Blob) -> bool {
        self.runtime.block_on(self.memory.head(&Self::object(blob))).is_ok()
    }

    fn objects(&self) -> usize {
        use futures::StreamExt;
        self.runtime.block_on(self.memory.list(None).count())
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
    for bytes in [0, 1, CHUNK_BYTES, 3 * AHEAD_BYTES_MAX as usize + 5, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 7] {
        let content = noise(bytes);
        let blob = world.write(&content);
        assert!(world.has(&blob));
        assert!(read(&world.store, &blob).unwrap() == content, "{bytes} bytes");
        let reader = world.store.open(blob.clone()).unwrap();
        for chunk in (0..blob.chunks()).rev() {
            let from = chunk as usize * CHUNK_BYTES;
            let expected = &content[from..bytes.min(from + CHUNK_BYTES)];
            assert!(reader.chunk(chunk).unwrap() == expected, "{bytes} bytes, backwards");
        }
        assert!(reader.chunk(blob.chunks()).unwrap().is_empty());
    }
    assert!(world.disk.files().is_empty(), "{:?}", world.disk.files());
}

#[test]
fn i11_a_changed_or_missing_object_is_named_and_not_served() {
    let world = World::new();
    let content = noise(3 * CHUNK_BYTES);
    let blob = world.write(&content);
    let at = World::object(&blob);
    let mut damaged = content.clone();
    damaged[2 * CHUNK_BYTES + 9] ^= 1;
    world.runtime.block_on(world.memory.put(&at, damaged.into())).unwrap();
    let error = world.store.open(blob.clone()).unwrap().chunk(2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataDamaged);
    assert!(error.to_string().starts_with("s3://bucket/team/artifacts/"), "{error}");
    // Kept for whoever wants to look at it, and written anew by the next upload of the same.
    let kept = world.store.set_aside(blob.id, Path::new("/data/quarantine")).unwrap().unwrap();
    assert_eq!(world.disk.read(&kept).unwrap().len(), content.len());
    assert!(read(&world.store, &world.write(&content)).unwrap() == content);

    world.runtime.block_on(world.memory.put(&at, content[1..].to_vec().into())).unwrap();
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
    assert_eq!(world.objects(), 1);
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
    world.runtime.block_on(world.memory.put(&ObjectPath::from("team/artifacts/ba/notes.txt"), vec![1].into())).unwrap();
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
    assert_eq!(world.objects(), 1, "what is not ours stays");
}

#[test]
fn urls_that_are_no_place_say_why_and_no_secret() {
    let runtime = Runtime::new().unwrap();
    let refusal = |url: &str| match Objects::at(url, runtime.handle().clone()) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{url} is taken"),
    };
    assert!(refusal("s3://key:secret@bucket/x").contains("come from the environment"));
    for url in ["s3://key:secret@bucket/x", "s3://bucket/x?token=secret"] {
        assert!(!refusal(url).contains("secret"), "{}", refusal(url));
    }
    assert!(refusal("file:///tmp/x").contains("data directory"));
    assert!(refusal("here").contains("here is no place"));
    assert!(refusal("ftp://host/x").contains("no place"));
}
