//! Damage to the files of a segment, before they are opened and after (I11).

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::PathBuf};

use super::*;

/// Three series, the first long enough for rollups.
fn series() -> Vec<(SeriesKey, SeriesColumns)> {
    let points = |range: std::ops::Range<i64>, first_lsn: u64| {
        let mut columns = SeriesColumns::default();
        for (lsn, step) in (first_lsn..).zip(range) {
            columns.push(step, 1_000 + step * 7, (step % 10) as f64, lsn);
        }
        columns
    };
    vec![
        (SeriesKey::new("1", "acc", "a"), points(0..4_100, 1)),
        (SeriesKey::new("1", "loss", "a"), points(0..20, 5_000)),
        (SeriesKey::new("1", "loss", "b"), points(0..20, 6_000)),
    ]
}

fn written(dir: &Path) -> SegmentMeta {
    let options = SegmentOptions { row_group_rows: 2_048, page_rows: 256, zstd_level: 1 };
    SEGMENT_DIRS.iter().for_each(|name| std::fs::create_dir_all(dir.join(name)).unwrap());
    let mut writer = SegmentWriter::create(Arc::new(RealDisk), dir, "1.parquet", &options).unwrap();
    series().iter().for_each(|(key, points)| writer.write(key, points).unwrap());
    writer.finish().unwrap()
}

fn paths(dir: &Path) -> [PathBuf; 3] {
    SEGMENT_DIRS.map(|name| dir.join(name).join("1.parquet"))
}

/// All that a segment can be asked; each part right or an error.
struct Answers {
    scan: Result<Vec<Row>, SegmentError>,
    summaries: Result<Option<String>, SegmentError>,
    extents: Result<Option<String>, SegmentError>,
    list: Result<String, SegmentError>,
    rollups: Result<String, SegmentError>,
}

fn ask(segment: &Segment) -> Answers {
    let all = PointFilter::default();
    let list = || segment.series_list().and_then(|list| list.collect::<Result<Vec<_>, _>>());
    Answers {
        scan: scan(segment, &all),
        summaries: segment.summaries(&all).map(|answer| answer.map(|summaries| format!("{summaries:?}"))),
        extents: segment.extents(&all).map(|answer| answer.map(|extents| format!("{extents:?}"))),
        // Where summaries turn out to be damaged, the second time it is of points.
        list: list().or_else(|_| list()).map(|list| format!("{list:?}")),
        rollups: segment.rollups(&all, 7, (i64::MIN, i64::MAX)).map(|rollups| format!("{rollups:?}")),
    }
}

/// Which file of a segment is damaged: its place in [`paths`].
const POINTS: usize = 0;
const SUMMARIES: usize = 1;
const ROLLUPS: usize = 2;

/// Right, or an error that names the damaged file and a place at or before the byte, of those alone who have nothing else to ask.
/// Returns how many were refused.
#[track_caller]
fn judge(what: &str, answers: &Answers, whole: &Answers, (damaged, path): (usize, &Path), byte: usize) -> u32 {
    let mut refused = 0;
    let mut may_fail = |what: &str, error: &SegmentError, needed: usize| {
        let SegmentError::Damaged { path: named, offset, .. } = error else { panic!("{what}: {error}") };
        assert_eq!((needed, named.as_path(), *offset <= byte as u64), (damaged, path, true), "{what}: {error}");
        refused += 1;
    };
    match &answers.scan {
        Ok(rows) => assert!(rows == whole.scan.as_ref().unwrap(), "{what}: scan"),
        Err(error) => may_fail(&format!("{what}: scan"), error, POINTS),
    }
    match &answers.rollups {
        Ok(rollups) => assert_eq!(rollups, whole.rollups.as_ref().unwrap(), "{what}: rollups"),
        Err(error) => may_fail(&format!("{what}: rollups"), error, ROLLUPS),
    }
    // Points stand in for summaries: here they say so, and the list of series is made of them.
    assert_eq!(answers.list.as_ref().unwrap(), whole.list.as_ref().unwrap(), "{what}: list");
    for (answer, whole) in [(&answers.summaries, &whole.summaries), (&answers.extents, &whole.extents)] {
        match answer.as_ref().unwrap() {
            None => assert_eq!(damaged, SUMMARIES, "{what}"),
            // Extents say, too, which rollups there are.
            Some(answer) if damaged == ROLLUPS && whole.as_ref().unwrap().as_ref() != Some(answer) => {
                assert!(answer.contains("rollup_levels: None"), "{what}: {answer}");
            }
            answer => assert_eq!(answer, whole.as_ref().unwrap(), "{what}"),
        }
    }
    refused
}

/// Flips a bit of every so-manieth byte of every file. Returns how many answers were refused, by file.
fn flip_all(dir: &Path, meta: &SegmentMeta, every: [usize; 3]) -> [u32; 3] {
    let open = || Segment::open(&disk(), dir, meta, &FooterCache::new(1 << 20)).unwrap();
    let whole = ask(&open());
    let mut refused = [0; 3];
    for (kind, path) in paths(dir).iter().enumerate().filter(|(_, path)| path.exists()) {
        let file = std::fs::read(path).unwrap();
        for byte in (0..file.len()).step_by(every[kind]) {
            let what = format!("{} byte {byte}", path.display());
            let mut damaged = file.clone();
            damaged[byte] ^= 1 << (byte % 8);
            std::fs::write(path, &damaged).unwrap();
            let segment = open();
            refused[kind] += judge(&what, &ask(&segment), &whole, (kind, path), byte);
            let SegmentDamages { points, derived } = segment.damages().unwrap();
            let found = if kind == POINTS { &points } else { &derived };
            assert_eq!((found.len(), points.len() + derived.len()), (1, 1), "{what}: {points:?} {derived:?}");
            let place = found[0].offset..found[0].offset + found[0].bytes;
            assert!(found[0].path == *path && place.contains(&(byte as u64)), "{what}: {found:?}");
        }
        std::fs::write(path, &file).unwrap();
    }
    assert_eq!(open().damages().unwrap(), SegmentDamages::default());
    refused
}

#[test]
fn i11_every_flipped_byte_is_refused_where_it_is_needed_and_none_panics() {
    let dir = tempfile::tempdir().unwrap();
    let meta = small(dir.path());
    let bytes = paths(dir.path()).map(|path| path.metadata().map_or(0, |file| file.len() as u32));
    let refused = flip_all(dir.path(), &meta, [1, 5, 5]);
    // All but the magic number at the beginning, and names of which the index says that they are all alike.
    assert!(refused[POINTS] * 10 > bytes[POINTS] * 7, "{refused:?} of {bytes:?}");
}

#[test]
fn i11_a_flipped_byte_of_a_large_file_is_found_in_a_small_place() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let open = || Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(1 << 20)).unwrap();
    assert!(ask(&open()).rollups.unwrap().len() > 100, "there are rollups");
    let refused = flip_all(dir.path(), &meta, [911, 151, 151]);
    assert!(refused[POINTS] > 10 && refused[SUMMARIES] == 0 && refused[ROLLUPS] > 2, "{refused:?}");
    let path = &paths(dir.path())[POINTS];
    let file = std::fs::read(path).unwrap();
    let tail = meta.file.tail.unwrap().bytes as usize;
    for byte in (4..file.len() - tail).step_by(1_009) {
        let mut damaged = file.clone();
        damaged[byte] ^= 1;
        std::fs::write(path, &damaged).unwrap();
        let found = open().damages().unwrap().points.swap_remove(0);
        assert!(found.bytes < 2_048 && !found.rows.is_empty() && found.rows.end <= meta.rows, "{found:?}");
    }
}

/// The checks of a file's first use are no help against what happens to it later: a server runs for months.
#[test]
fn i11_what_is_damaged_after_it_was_read_is_not_served_either() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    // Without room for footers each use reads the tail again.
    for footer_bytes in [0, 1 << 20] {
        let segment = || Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(footer_bytes)).unwrap();
        let whole = ask(&segment());
        for (kind, path) in paths(dir.path()).iter().enumerate() {
            let length = std::fs::metadata(path).unwrap().len() as usize;
            let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
            let read = segment();
            ask(&read);
            let mut refused = 0;
            for byte in (0..length).step_by(if kind == POINTS { 1_201 } else { 151 }) {
                let mut old = [0];
                file.read_exact_at(&mut old, byte as u64).unwrap();
                // In place: what is mapped changes under the segment's feet.
                file.write_all_at(&[old[0] ^ 0x10], byte as u64).unwrap();
                refused += judge(&format!("{} byte {byte}", path.display()), &ask(&read), &whole, (kind, path), byte);
                file.write_all_at(&old, byte as u64).unwrap();
            }
            assert_eq!(refused > 0, kind != SUMMARIES, "{}: {refused}", path.display());
            assert_eq!(read.damaged_files(), 1, "it was noticed");
        }
    }
}

/// Touching a mapped page that is no longer in the file would end the process by a signal, and all that it serves with it.
#[test]
fn i11_what_is_cut_after_it_was_opened_is_an_error_and_no_signal() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    for footer_bytes in [0, 1 << 20] {
        let segment = || Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(footer_bytes)).unwrap();
        let whole = ask(&segment());
        for (kind, path) in paths(dir.path()).iter().enumerate() {
            let content = std::fs::read(path).unwrap();
            let file = OpenOptions::new().write(true).open(path).unwrap();
            for length in (0..content.len()).step_by(if kind == POINTS { 4_001 } else { 501 }) {
                let what = format!("{} cut at {length} of {}", path.display(), content.len());
                let read = segment();
                ask(&read);
                file.set_len(length as u64).unwrap();
                judge(&what, &ask(&read), &whole, (kind, path), content.len());
                let SegmentDamages { points, derived } = read.damages().unwrap();
                let found = if kind == POINTS { &points } else { &derived };
                assert!(
                    !found.is_empty() && found.len() == points.len() + derived.len(),
                    "{what}: {points:?} {derived:?}"
                );
                let ends = found.iter().map(|damage| (damage.offset + damage.bytes) as usize).max();
                assert!(ends > Some(length) || found[0].bytes == 0, "{what}: {found:?}");
                file.write_all_at(&content, 0).unwrap();
                assert_eq!(ask(&read).scan.unwrap(), *whole.scan.as_ref().unwrap(), "{what}: it is back");
            }
        }
    }
}

#[test]
fn i11_a_cut_or_missing_file_is_an_error_of_those_who_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let footers = FooterCache::new(1 << 20);
    let open = || Segment::open_damaged(&disk(), dir.path(), &meta, &footers);
    let whole = ask(&open());
    for (kind, path) in paths(dir.path()).iter().enumerate() {
        let is_points = kind == POINTS;
        let file = std::fs::read(path).unwrap();
        let lengths = (0..file.len()).step_by(1_501).map(Some).chain([None]);
        for length in lengths {
            match length {
                Some(length) => std::fs::write(path, &file[..length]).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            assert!(
                Segment::open(&disk(), dir.path(), &meta, &footers).is_err(),
                "who writes anew wants to know at once"
            );
            let segment = open();
            let answers = ask(&segment);
            judge(&format!("{} cut at {length:?}", path.display()), &answers, &whole, (kind, path), file.len());
            assert_eq!((answers.scan.is_err(), segment.is_damaged()), (is_points, is_points));
            assert_eq!((segment.damaged_files(), segment.damages().unwrap().points.len()), (1, usize::from(is_points)));
        }
        std::fs::write(path, &file).unwrap();
    }
}

#[test]
fn i11_what_is_undamaged_of_a_segment_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let open = || Segment::open(&disk(), dir.path(), &meta, &FooterCache::new(0)).unwrap();
    let all = scan(&open(), &PointFilter::default()).unwrap();
    let path = &paths(dir.path())[0];
    let file = std::fs::read(path).unwrap();
    let tail_at = file.len() - meta.file.tail.unwrap().bytes as usize;
    let mut kept_most = 0;
    for byte in (0..file.len()).step_by(397) {
        let mut damaged = file.clone();
        damaged[byte] = !damaged[byte];
        std::fs::write(path, &damaged).unwrap();
        let undamaged = open().scan_undamaged(Some(Names::Views), 1_000);
        if byte >= tail_at {
            assert!(undamaged.is_err());
            continue;
        }
        let (scan, ranges) = undamaged.unwrap();
        let kept: Vec<Row> = scan.flat_map(|batch| rows(&batch.unwrap())).collect();
        assert_eq!(kept.len() as u64, ranges.iter().map(|rows| rows.end - rows.start).sum::<u64>(), "byte {byte}");
        let numbers = open().scan_undamaged(None, 1_000).unwrap().0;
        let numbers: usize = numbers.map(|batch| batch.unwrap().num_rows()).sum();
        assert!(
            numbers >= kept.len() && numbers as u64 >= meta.rows - 256,
            "byte {byte}: damage to names costs no row"
        );
        let mut left = all.iter();
        assert!(
            kept.iter().all(|row| left.any(|other| other == row)),
            "byte {byte}: in order, and none that was not there"
        );
        kept_most = kept_most.max(kept.len());
    }
    assert!(kept_most >= all.len() - 256, "of a damaged page one page is lost");
}
