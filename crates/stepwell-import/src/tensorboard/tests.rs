//! The reader against files of real writers and what they are known to hold.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::{self, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    record::{Item, RecordReader, masked_crc},
    scalars::RunState,
    walk::find_runs,
};

/// Step, microseconds, value.
type Point = (i64, i64, f64);

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tensorboard")
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture().join("expected.json")).unwrap()).unwrap()
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut reader = RecordReader::new(Cursor::new(bytes), bytes.len() as u64);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn read_into(state: &mut RunState, bytes: &[u8], series: &mut BTreeMap<String, Vec<Point>>) -> (u64, Vec<Item>) {
    let (mut records, mut damage) = (0, Vec::new());
    for item in items(bytes) {
        let Item::Record { data, .. } = &item else {
            damage.push(item);
            continue;
        };
        records += 1;
        let each = |s: super::scalars::Scalar<'_>| {
            series.entry(s.metric.to_owned()).or_default().push((s.step, s.timestamp_us, s.value));
        };
        state.read(data, each).unwrap();
    }
    (records, damage)
}

fn number(value: &Value) -> f64 {
    value.as_str().map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
}

#[test]
fn i6_every_scalar_of_the_fixture_is_read_with_its_bits() {
    let expected = expected();
    let found = find_runs(&fixture().join("logdir")).unwrap();
    let runs = expected["runs"].as_array().unwrap();
    assert_eq!(
        found.iter().map(|r| r.path.as_str()).collect::<Vec<_>>(),
        runs.iter().map(|r| r["run"].as_str().unwrap()).collect::<Vec<_>>()
    );
    for (files, run) in found.iter().zip(runs) {
        let (mut state, mut series) = (RunState::default(), BTreeMap::new());
        for ((path, bytes), file) in files.files.iter().zip(run["files"].as_array().unwrap()) {
            assert_eq!(*bytes, file["bytes"].as_u64().unwrap());
            let (records, damage) = read_into(&mut state, &fs::read(path).unwrap(), &mut series);
            assert_eq!((records, damage), (file["records"].as_u64().unwrap(), vec![]));
        }
        let scalars = run["scalars"].as_object().unwrap();
        assert_eq!(series.keys().collect::<Vec<_>>(), scalars.keys().collect::<Vec<_>>());
        for (tag, scalar) in scalars {
            check(tag, series.remove(tag).unwrap(), scalar);
        }
        check_session(&state, run);
    }
}

fn check(tag: &str, raw: Vec<Point>, scalar: &Value) {
    assert_eq!(raw.len() as u64, scalar["raw_count"].as_u64().unwrap(), "{tag}");
    let mut points: Vec<Point> = Vec::new();
    for point in raw {
        points.truncate(points.partition_point(|kept| kept.0 < point.0));
        points.push(point);
    }
    assert_eq!(points.len() as u64, scalar["count"].as_u64().unwrap(), "{tag}");
    for (end, point) in [("first", points[0]), ("last", points[points.len() - 1])] {
        assert_eq!(point.0, scalar[end][0].as_i64().unwrap(), "{tag}");
        assert_eq!(point.1, (scalar[end][1].as_f64().unwrap() * 1e6).round() as i64, "{tag}");
        assert_eq!(point.2.to_bits(), number(&scalar[end][2]).to_bits(), "{tag}");
    }
    let finite: Vec<f64> = points.iter().map(|p| p.2).filter(|v| v.is_finite()).collect();
    assert_eq!((points.len() - finite.len()) as u64, scalar["non_finite"].as_u64().unwrap(), "{tag}");
    assert_eq!(finite.iter().copied().fold(f64::INFINITY, f64::min), number(&scalar["min"]), "{tag}");
    assert_eq!(finite.iter().copied().fold(f64::NEG_INFINITY, f64::max), number(&scalar["max"]), "{tag}");
    let sum: f64 = finite.iter().sum();
    assert!((sum - number(&scalar["sum"])).abs() <= 1e-9 * sum.abs().max(1.0), "{tag}");
}

fn check_session(state: &RunState, run: &Value) {
    let start = run["other"].as_array().into_iter().flatten().find(|other| other["kind"] == "session_start_info");
    let hparams = start.map_or(json!({}), |start| start["hparams"].clone());
    assert_eq!(json!(state.session.params), hparams);
    assert_eq!(state.session.status, start.map(|_| "finished"));
}

#[test]
fn damage_loses_only_the_damaged_records() {
    let expected = expected();
    let mut cases = 0;
    for run in expected["runs"].as_array().unwrap() {
        for file in run["files"].as_array().unwrap() {
            let path = fixture().join("logdir").join(run["run"].as_str().unwrap()).join(file["name"].as_str().unwrap());
            for damage in file["derived"].as_array().into_iter().flatten() {
                let mut bytes = fs::read(&path).unwrap();
                match damage["byte"].as_u64() {
                    Some(byte) => bytes[byte as usize] ^= 0xff,
                    None => bytes.truncate(damage["bytes"].as_u64().unwrap() as usize),
                }
                let (records, found) = read_into(&mut RunState::default(), &bytes, &mut BTreeMap::new());
                assert_eq!(records, damage["records"].as_u64().unwrap(), "{damage}");
                assert_eq!(found.len(), 1, "{damage}: {found:?}");
                cases += 1;
            }
        }
    }
    assert!(cases >= 4);
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

#[test]
fn a_damaged_length_is_passed_by_going_on_at_the_next_valid_record() {
    let (one, two, three) = (record(b"one"), record(b"two"), record(b"three"));
    let mut bytes = [one.clone(), two.clone(), three].concat();
    bytes[one.len()] ^= 1;
    let [Item::Record { .. }, Item::Damage { offset, bytes: lost, .. }, Item::Record { data, .. }] = &items(&bytes)[..]
    else {
        panic!("{:?}", items(&bytes));
    };
    assert_eq!((*offset, *lost, &data[..]), (one.len() as u64, two.len() as u64, &b"three"[..]));
}

#[test]
fn i9_no_flipped_bit_or_cut_loses_more_than_its_record_and_every_byte_is_accounted_for() {
    let whole = [record(b"first"), record(b""), record(b"third"), record(&[7; 40])].concat();
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        for bytes in [&flipped[..], &whole[..position]] {
            let found = items(bytes);
            let mut at = 0;
            for item in &found {
                let (offset, end) = match item {
                    Item::Record { offset, end, .. } => (*offset, *end),
                    Item::Damage { offset, bytes, .. } => (*offset, *offset + *bytes),
                };
                assert_eq!(offset, at);
                at = end;
            }
            assert_eq!(at, bytes.len() as u64);
        }
        assert_eq!(items(&flipped).iter().filter(|item| matches!(item, Item::Record { .. })).count(), 3, "{position}");
    }
}

/// Found by fuzzing with lying lengths: a record as long as the file was read whole whatever its length, and a file of headers that
/// each claim the rest of it was read once for each.
#[test]
fn i9_records_that_claim_the_file_are_passed_over() {
    let header = |length: u64| [&length.to_le_bytes()[..], &masked_crc(&length.to_le_bytes()).to_le_bytes()].concat();
    // A sparse file of a TiB, one record; what follows it is read.
    let length = 1 << 40;
    let mut reader = RecordReader::new(Sparse(0, header(length)), length + 16);
    let Some(Item::Damage { bytes, reason, .. }) = reader.next().unwrap() else { panic!("it is not read") };
    assert_eq!((bytes, reason, reader.offset()), (length + 16, "the record is larger than 64 MiB", length + 16));
    // A damaged header, and then only headers of which each claims most of what is left.
    let mut file = vec![1; 12];
    let total = 12 * 20_000;
    while file.len() + 28 < total {
        file.extend(header((total - file.len() - 28) as u64));
    }
    let read_bytes = Cell::new(0);
    let mut reader = RecordReader::new(Counted(Cursor::new(&file), &read_bytes), file.len() as u64);
    assert!(matches!(reader.next().unwrap(), Some(Item::Damage { offset: 0, .. })));
    assert!(read_bytes.get() < 12 * total, "{} bytes of {total} were read", read_bytes.get());
}

/// Counts what is read.
struct Counted<'a>(Cursor<&'a Vec<u8>>, &'a Cell<usize>);

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.read(out)?;
        self.1.set(self.1.get() + bytes);
        Ok(bytes)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// A file of these bytes, and then zeros without end.
struct Sparse(u64, Vec<u8>);

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let start = self.1.get(self.0 as usize..).unwrap_or_default();
        let known = start.len().min(out.len());
        out[..known].copy_from_slice(&start[..known]);
        out[known..].fill(0);
        self.0 += out.len() as u64;
        Ok(out.len())
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        self.0 = at;
        Ok(at)
    }
}
