//! Files from a source into Stepwell: what is there in its size stays, all are read back.

use std::io::Read;

use super::{
    ImportError, ImportReport,
    entities::File,
    sum::{Sum, Summed},
};

/// The bytes of a file.
type Bytes = Box<dyn Read>;

/// Sends those of `files` that are not `there` in their size; gives each with its checksum.
pub(super) fn copy(
    report: &mut ImportReport,
    files: Vec<File>,
    there: &[File],
    open: impl Fn(&File) -> Result<Bytes, ImportError>,
    send: impl Fn(&File, &mut dyn Read) -> Result<(), ImportError>,
) -> Result<Vec<(File, Sum)>, ImportError> {
    let mut sums = Vec::new();
    for file in files {
        let mut bytes = Summed::new(open(&file)?);
        let is_new = !there.contains(&file);
        if is_new {
            send(&file, &mut bytes)?;
        } else {
            bytes.drain(&file)?;
        }
        report.files.add(1, is_new.into());
        report.file_bytes += bytes.sum.count;
        sums.push((file, bytes.sum));
    }
    Ok(sums)
}

/// Reads them back; `owner` is whose they are.
pub(super) fn compare(
    report: &mut ImportReport,
    owner: &str,
    files: &[(File, Sum)],
    open: impl Fn(&File) -> Result<Bytes, ImportError>,
) -> Result<(), ImportError> {
    for (file, sum) in files {
        let mut bytes = Summed::new(open(file)?);
        bytes.drain(file)?;
        if bytes.sum != *sum {
            let (there, wanted) = (bytes.sum.count, sum.count);
            report
                .mismatches
                .push(format!("{owner}: file {:?}: {there} bytes there, {wanted} in the source", file.path));
        }
    }
    Ok(())
}
