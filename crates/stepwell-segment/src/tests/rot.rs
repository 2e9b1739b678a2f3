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
    let list = segment.series_list().and_then(|list| list.collect::<Result<Vec<_>, _>>());
    Answers {
        scan: scan(segment, &all),
        summaries: segment.summaries(&all).map(|answer| answer.map(|summaries| format!("{summaries:?}"))),
        extents: segment.extents(&all).map(|answer| answer.map(|extents| format!("{extents:?}"))),
        list: list.map(|list| format!("{list:?}")),
        rollups: segment.rollups(&all, 10, (i64::MIN, i64::MAX)).map(|rollups| format!("{rollups:?}")),
    }
}

/// Right, or an error that names the damaged file and a place before the byte; summaries may be absent, which says to ask points.
fn judge(what: &str, answers: &Answers, whole: &Answers, path: &Path, byte: usize) -> u32 {
    let mut refused = 0;
    let mut error = |error: &SegmentError| {
        let SegmentError::Damaged { path: named, offset, .. } = error else { panic!("{what}: {error}") };
        assert_eq!((named.as_path(), *offset <= byte as u64), (path, true), "{what}: {error}");
        refused += 1;
    };
    match &answers.scan {
        Ok(rows) => assert_eq!(rows, whole.scan.as_ref().unwrap(), "{what}"),
        Err(found) => error(found),
    }
    for (answer, whole) in [(&answers.summaries, &whole.summaries), (&answers.extents, &whole.extents)] {
        match answer {
            Ok(None) => {}
            Ok(answer) if path.ends_with("rollups/1.parquet") => assert!(answer.is_some(), "{what}"),
            Ok(answer) => assert_eq!(answer, whole.as_ref().unwrap(), "{what}"),
            Err(found) => error(found),
        }
    }
    for (answer, whole) in [(&answers.list, &whole.list), (&answers.rollups, &whole.rollups)] {
        match answer {
            Ok(answer) => assert_eq!(answer, whole.as_ref().unwrap(), "{what}"),
            Err(found) => error(found),
        }
    }
    refused
}

#[test]
fn i11_a_flipped_byte_is_refused_where_it_is_needed_found_by_a_check_and_serves_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let open = || Segment::open(&RealDisk, dir.path(), &meta, &FooterCache::new(1 << 20)).unwrap();
    let whole = ask(&open());
    assert!(whole.rollups.as_ref().unwrap().len() > 100, "there are rollups");
    let mut refused = 0;
    for (path, is_points) in paths(dir.path()).iter().zip([true, false, false]) {
        let file = std::fs::read(path).unwrap();
        // Every byte would take minutes in a debug build: the tool does that.
        for byte in (0..file.len()).step_by(601) {
            let what = format!("{} byte {byte}", path.display());
            let mut damaged = file.clone();
            damaged[byte] ^= 1 << (byte % 8);
            std::fs::write(path, &damaged).unwrap();
            let segment = open();
            refused += judge(&what, &ask(&segment), &whole, path, byte);
            let SegmentDamages { points, derived } = segment.damages();
            let found = if is_points { &points } else { &derived };
            assert_eq!((found.len(), points.len() + derived.len()), (1, 1), "{what}: {points:?} {derived:?}");
            let place = found[0].offset..found[0].offset + found[0].bytes;
            assert!(found[0].path == *path && place.contains(&(byte as u64)), "{what}: {found:?}");
            assert!(place.end - place.start < file.len() as u64 / 2, "the place is small: {found:?}");
        }
        std::fs::write(path, &file).unwrap();
    }
    assert!(refused > 2, "{refused}");
    assert_eq!(open().damages(), SegmentDamages::default());
}

/// The checks of a file's first use are no help against what happens to it later: a server runs for months.
#[test]
fn i11_what_is_damaged_after_it_was_read_is_not_served_either() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    // Without room for footers each use reads the tail again.
    for footer_bytes in [0, 1 << 20] {
        let segment = Segment::open(&RealDisk, dir.path(), &meta, &FooterCache::new(footer_bytes)).unwrap();
        let whole = ask(&segment);
        let mut refused = 0;
        for path in paths(dir.path()) {
            let length = std::fs::metadata(&path).unwrap().len() as usize;
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            for byte in (0..length).step_by(601) {
                let mut old = [0];
                file.read_exact_at(&mut old, byte as u64).unwrap();
                // In place: what is mapped changes under the segment's feet.
                file.write_all_at(&[old[0] ^ 0x10], byte as u64).unwrap();
                let answers = ask(&segment);
                if answers.scan.is_err() {
                    refused += 1;
                } else {
                    assert_eq!(answers.scan.unwrap(), *whole.scan.as_ref().unwrap(), "{} byte {byte}", path.display());
                }
                for (answer, whole) in [(answers.list, &whole.list), (answers.rollups, &whole.rollups)] {
                    assert!(
                        answer.is_err() || answer.unwrap() == *whole.as_ref().unwrap(),
                        "{} byte {byte}",
                        path.display()
                    );
                }
                file.write_all_at(&old, byte as u64).unwrap();
            }
        }
        assert!(refused > 0, "{refused}");
        assert!(segment.damaged_files() >= 1, "it was noticed");
    }
}

#[test]
fn i11_a_cut_or_missing_file_is_an_error_of_those_who_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let footers = FooterCache::new(1 << 20);
    let open = || Segment::open_damaged(&RealDisk, dir.path(), &meta, &footers);
    let whole = ask(&open());
    for (path, is_points) in paths(dir.path()).iter().zip([true, false, false]) {
        let file = std::fs::read(path).unwrap();
        let lengths = (0..file.len()).step_by(1_501).map(Some).chain([None]);
        for length in lengths {
            match length {
                Some(length) => std::fs::write(path, &file[..length]).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            assert!(
                Segment::open(&RealDisk, dir.path(), &meta, &footers).is_err(),
                "who writes anew wants to know at once"
            );
            let segment = open();
            let answers = ask(&segment);
            judge(&format!("{} cut at {length:?}", path.display()), &answers, &whole, path, file.len());
            assert_eq!((answers.scan.is_err(), segment.is_damaged()), (is_points, is_points));
            assert_eq!((segment.damaged_files(), segment.damages().points.len()), (1, usize::from(is_points)));
        }
        std::fs::write(path, &file).unwrap();
    }
}

#[test]
fn i11_what_is_undamaged_of_a_segment_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let meta = written(dir.path());
    let open = || Segment::open(&RealDisk, dir.path(), &meta, &FooterCache::new(0)).unwrap();
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
