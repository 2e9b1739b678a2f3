//! The file that a killed client leaves.

use stepwell_client::{Points, SpoolReader};

use crate::Target;

/// Its bytes.
pub(super) const FILE: Target = Target {
    name: "spool",
    run: file,
    seeds: || vec![spool(&[("r", "loss", -1.5), ("ü", "", f64::NAN)]), spool(&[])],
    words: &["SWSPOOL1"],
    memory_bytes: (64 << 10, 64),
    replayed: 3_000,
};

/// A file by the format's description.
fn spool(points: &[(&str, &str, f64)]) -> Vec<u8> {
    let mut file = b"SWSPOOL1\x01\0\0\0".to_vec();
    for (run, metric, value) in points {
        [run, metric].iter().for_each(|name| file.extend((name.len() as u32).to_le_bytes()));
        file.extend(i64::MIN.to_le_bytes());
        file.extend(7i64.to_le_bytes());
        file.extend(value.to_le_bytes());
        file.extend(run.bytes().chain(metric.bytes()));
    }
    file
}

/// Every whole point comes out, and then the end or an error.
fn file(bytes: &[u8]) {
    const POINT_BYTES_MIN: usize = 32;
    let Ok(mut reader) = SpoolReader::new(bytes) else { return };
    let mut points = Points::default();
    while let Ok(true) = reader.read_into(&mut points) {
        assert!(12 + points.len() * POINT_BYTES_MIN <= bytes.len(), "{} points in {} bytes", points.len(), bytes.len());
    }
    assert!(points.encode().is_ok(), "what is read can be sent");
}
