//! The list behind the cache; with the feature `loom`, its counts under every interleaving.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{ArrayRef, Int64Array},
    record_batch::RecordBatch,
};
use parquet::arrow::{
    ArrowWriter,
    arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
};

use super::*;

/// The footer of some file.
static FOOTER: LazyLock<Footer> = LazyLock::new(|| {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let parquet = ArrowReaderMetadata::load(&bytes::Bytes::from(file), ArrowReaderOptions::default()).unwrap();
    Footer { version: None, parquet, sums: None }
});

fn footer_bytes() -> usize {
    FOOTER.metadata().memory_size()
}

/// With room to spare nothing was ever taken off the list: a slot stayed for each file that a merge had replaced.
#[cfg(not(feature = "loom"))]
#[test]
fn i9_files_that_are_gone_leave_nothing_behind() {
    let cache = FooterCache::new(usize::MAX);
    let live: Vec<_> = (0..10).map(|_| cache.slot()).collect();
    for slot in &live {
        slot.put(FOOTER.clone());
    }
    for _ in 0..10_000 {
        cache.slot().put(FOOTER.clone());
    }
    assert_eq!(cache.bytes(), 10 * footer_bytes());
    let listed = cache.kept.slots.lock().unwrap().len();
    assert!((10..=64).contains(&listed), "{listed} slots for 10 files");
    assert!(live.iter().all(|slot| slot.get().is_some()));
}

#[cfg(feature = "loom")]
mod loom_tests {
    use loom::thread;

    use super::*;

    fn check(model: impl Fn() + Sync + Send + 'static) {
        // Made here: what is made within a model belongs to one of its executions.
        LazyLock::force(&FOOTER);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn i9_loom_what_is_counted_is_what_is_kept() {
        check(|| {
            let cache = FooterCache::new(footer_bytes());
            let (a, b) = (cache.slot(), cache.slot());
            let other = b.clone();
            let beside = thread::spawn(move || {
                other.put(FOOTER.clone());
                drop(other.get());
            });
            a.put(FOOTER.clone());
            drop(a.get());
            beside.join().unwrap();
            let kept = [&a, &b].into_iter().filter(|slot| slot.is_kept()).count();
            assert_eq!(cache.bytes(), kept * footer_bytes());
            assert!(kept <= 1, "the budget is one footer");
            drop((a, b));
            assert_eq!(cache.bytes(), 0);
        });
    }

    #[test]
    fn i9_loom_two_readers_of_one_file_count_its_footer_once() {
        check(|| {
            let cache = FooterCache::new(10 * footer_bytes());
            let slot = cache.slot();
            let other = slot.clone();
            let beside = thread::spawn(move || other.put(FOOTER.clone()));
            slot.put(FOOTER.clone());
            beside.join().unwrap();
            assert_eq!(cache.bytes(), footer_bytes());
            drop(slot);
            assert_eq!(cache.bytes(), 0);
        });
    }

    #[test]
    fn i9_loom_a_file_that_goes_while_another_looks_for_room() {
        check(|| {
            let cache = FooterCache::new(footer_bytes());
            let (going, coming) = (cache.slot(), cache.slot());
            going.put(FOOTER.clone());
            let beside = thread::spawn(move || drop(going));
            coming.put(FOOTER.clone());
            beside.join().unwrap();
            assert_eq!(cache.bytes(), if coming.is_kept() { footer_bytes() } else { 0 });
        });
    }
}
