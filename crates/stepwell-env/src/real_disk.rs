//! The machine's file system.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use crate::{DirEntry, Disk, DiskSpace, MappedFile, ReadFile, WriteFile, open_files::AtPath};

/// Files of the machine. Errors carry the path.
pub struct RealDisk;

struct RealFile {
    file: File,
    /// Bytes appended.
    end: u64,
}

/// Zeros that are written in one call.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl WriteFile for RealFile {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, self.end)?;
        self.end += data.len() as u64;
        Ok(())
    }

    fn write_zeros_ahead(&mut self, bytes: u64) -> io::Result<()> {
        // Truly written: of what is only allocated, each sync would have to record that it now holds bytes.
        for start in (0..bytes).step_by(ZEROS.len()) {
            let piece = (bytes - start).min(ZEROS.len() as u64) as usize;
            self.file.write_all_at(&ZEROS[..piece], self.end + start)?;
        }
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.end = bytes;
        self.file.sync_all()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

struct OpenFile {
    file: File,
    path: PathBuf,
}

impl ReadFile for OpenFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(at(&self.path, "stat", self.file.metadata())?.len())
    }

    fn read_at(&self, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match self.file.read_at(&mut read[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return at(&self.path, "read", Err(error)),
            }
        }
        read.truncate(filled);
        Ok(read)
    }
}

fn at<T>(path: &Path, what: &'static str, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|source| io::Error::new(source.kind(), AtPath { what, path: path.to_owned(), source }))
}

/// A look at an entry of a listing. One that was removed in between is none; one that cannot be looked at is an error, for who lists
/// would take it for gone.
fn unless_removed<T>(look: io::Result<T>) -> io::Result<Option<T>> {
    match look {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let absent = path.ancestors().take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists());
        let made = absent.count();
        at(path, "create directory", fs::create_dir_all(path))?;
        // The entry of `path` is synced even if it was there: an earlier process may have ended between making and syncing it.
        for ancestor in path.ancestors().skip(1).take(made.max(1)) {
            self.sync_dir(if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor })?;
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = at(path, "create", OpenOptions::new().write(true).create_new(true).open(path))?;
        Ok(Box::new(RealFile { file, end: 0 }))
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        let file = at(path, "open", File::open(path))?;
        if at(path, "stat", file.metadata())?.len() == 0 {
            return Ok(Vec::new().into());
        }
        // SAFETY: the map is read-only and private. It would be undefined behaviour for the file to change or shrink under
        // it: callers map only files that are complete and, by the design, never written again (segments, closed log
        // files); removal leaves the mapping valid. Another process that edits the data directory breaks this, which the
        // data directory's lock and documentation forbid.
        let map = at(path, "map", unsafe { memmap2::Mmap::map(&file) })?;
        Ok(MappedFile::new(map))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        at(path, "read", fs::read(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadFile>> {
        Ok(Box::new(OpenFile { file: at(path, "open", File::open(path))?, path: path.to_owned() }))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in at(path, "list", fs::read_dir(path))? {
            let entry = at(path, "list", entry)?;
            let Some(metadata) = at(&entry.path(), "stat", unless_removed(entry.metadata()))? else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(DirEntry { name, bytes: metadata.len(), is_dir: metadata.is_dir() });
        }
        entries.sort();
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        at(from, "rename", fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        at(path, "remove", fs::remove_file(path))
    }

    fn overwrite(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let file = at(path, "open", OpenOptions::new().write(true).open(path))?;
        at(path, "write", file.write_all_at(data, 0))?;
        at(path, "truncate", file.set_len(data.len() as u64))?;
        at(path, "sync", file.sync_all())
    }

    fn truncate(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = at(path, "open", OpenOptions::new().write(true).open(path))?;
        at(path, "truncate", file.set_len(bytes))?;
        at(path, "sync", file.sync_all())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let directory = at(path, "open", File::open(path))?;
        at(path, "sync directory", directory.sync_all())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn try_exists(&self, path: &Path) -> io::Result<bool> {
        at(path, "stat", path.try_exists())
    }

    /// Its inode, and when that was made: numbers of inodes are given again, and the roots of two file systems have the same.
    fn identity(&self, path: &Path) -> io::Result<Option<String>> {
        let found = at(path, "stat", fs::metadata(path))?;
        let Ok(made) = found.created() else { return Ok(None) };
        let made_ns = made.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok((made_ns > 0).then(|| format!("{:x}-{made_ns:x}", found.ino())))
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `name` ends with a zero byte and outlives the call, and `found` has room for what is written there.
        if unsafe { libc::statvfs(name.as_ptr(), found.as_mut_ptr()) } != 0 {
            return at(path, "look for space on", Err(io::Error::last_os_error()));
        }
        // SAFETY: the call succeeded, so that it has filled the structure.
        let found = unsafe { found.assume_init() };
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(DiskSpace { free_bytes: bytes(found.f_bavail), total_bytes: bytes(found.f_blocks) })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::write_atomically;

    #[test]
    fn atomic_writes_replace_and_maps_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&RealDisk, &path, b"one").unwrap();
        let old = RealDisk.map(&path).unwrap();
        old.release();
        old.release_range(1..2);
        old.release_range(3..100);
        write_atomically(&RealDisk, &path, b"second").unwrap();
        assert_eq!((&old.bytes()[..], &RealDisk.read(&path).unwrap()[..]), (&b"one"[..], &b"second"[..]));
        assert_eq!(RealDisk.list(dir.path()).unwrap(), [DirEntry { name: "f".into(), bytes: 6, is_dir: false }]);
        assert!(RealDisk.create(&path).is_err(), "an existing file is not overwritten");
        RealDisk.overwrite(&path, b"3rd").unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"3rd");
        assert!(RealDisk.overwrite(&dir.path().join("absent"), b"x").is_err());
    }

    #[test]
    fn a_file_is_read_piece_by_piece_also_after_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomically(&RealDisk, &path, b"0123456789").unwrap();
        let (open, map) = (RealDisk.open(&path).unwrap(), RealDisk.map(&path).unwrap());
        RealDisk.remove(&path).unwrap();
        for file in [&*open, &map as &dyn ReadFile] {
            assert_eq!(file.bytes().unwrap(), 10);
            assert_eq!(file.read_at(2, 3).unwrap(), b"234");
            assert_eq!(file.read_at(8, 5).unwrap(), b"89");
            assert_eq!(file.read_at(10, 5).unwrap(), b"");
            assert_eq!(file.read_at(1 << 40, 5).unwrap(), b"");
        }
        assert!(RealDisk.open(&path).is_err());
    }

    /// A log file that could not be looked at was missing from the list, so that a start took it for gone.
    #[test]
    fn i1_only_what_is_gone_is_left_out_of_a_list() {
        let removed = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(unless_removed::<u64>(Err(removed)).unwrap(), None);
        assert_eq!(unless_removed(Ok(7)).unwrap(), Some(7));
        for code in [libc::EIO, libc::ENOMEM, libc::ESTALE, libc::EACCES] {
            let error = unless_removed::<u64>(Err(io::Error::from_raw_os_error(code))).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code));
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_neither_there_nor_absent() {
        let dir = tempfile::tempdir().unwrap();
        let (file, circle) = (dir.path().join("f"), dir.path().join("circle"));
        write_atomically(&RealDisk, &file, b"").unwrap();
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert!(RealDisk.try_exists(&file).unwrap() && !RealDisk.try_exists(&dir.path().join("absent")).unwrap());
        let error = RealDisk.try_exists(&circle).unwrap_err();
        assert!(error.to_string().contains("circle"), "{error}");
        assert!(!RealDisk.exists(&circle));
    }

    #[test]
    fn space_is_told_and_that_of_nowhere_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let space = RealDisk.space(dir.path()).unwrap();
        assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
        assert!(RealDisk.space(&dir.path().join("nowhere")).unwrap_err().to_string().contains("nowhere"));
    }

    /// As someone copies or moves a data directory by hand.
    #[test]
    fn a_directory_is_told_from_its_copy_and_not_from_itself_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        fs::create_dir(&here).unwrap();
        let of = |path| RealDisk.identity(path).unwrap();
        let Some(before) = of(&here) else { return };
        fs::write(here.join("f"), "more").unwrap();
        assert_eq!(of(&here).as_ref(), Some(&before));
        let copied = Command::new("cp").arg("-a").args([&here, &there]).status().unwrap();
        assert!(copied.success() && of(&there).is_some_and(|copy| copy != before));
        fs::rename(&here, dir.path().join("elsewhere")).unwrap();
        assert_eq!(of(&dir.path().join("elsewhere")), Some(before));
        assert!(RealDisk.identity(&here).unwrap_err().to_string().contains("here"));
    }

    #[test]
    fn appends_write_over_the_zeros_ahead_and_a_cut_takes_them_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut file = RealDisk.create(&path).unwrap();
        file.append(b"ab").unwrap();
        file.write_zeros_ahead(100_000).unwrap();
        file.append(b"cd").unwrap();
        file.sync().unwrap();
        let bytes = RealDisk.read(&path).unwrap();
        assert_eq!((bytes.len(), &bytes[..5]), (100_002, &b"abcd\0"[..]));
        file.truncate(3).unwrap();
        file.append(b"e").unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"abce");
    }
}
