//! A disk that forgets what was not synced when the power goes: one file over FUSE, to be put below a loop device, so that a
//! real file system stands on it.
//!
//! Writes since the last sync are kept apart. A cut keeps what was synced and of the rest any sectors, in any combination; from
//! then on the disk fails every write and sync, so that nothing is acknowledged on the strength of what is already lost.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read, Write},
    ops::Range,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use stepwell_env::{JoinHandle, Random};

/// What a disk writes whole or not at all, bytes.
const SECTOR_BYTES: usize = 512;
/// Largest write that the kernel sends, bytes.
const WRITE_BYTES_MAX: u32 = 128 << 10;
/// Nodes of the file system: its root and its one file.
const ROOT: u64 = 1;
const DISK: u64 = 2;

/// The disk. Its file is there until it is dropped; unmount what stands on it before.
pub struct Disk {
    image: Arc<Mutex<Image>>,
    mount: tempfile::TempDir,
    serving: Option<JoinHandle<()>>,
}

struct Image {
    /// What reads see.
    now: Vec<u8>,
    /// What the last sync made durable.
    durable: Vec<u8>,
    /// Writes since: where, and what.
    pending: Vec<(usize, Vec<u8>)>,
    is_off: bool,
    /// Whether syncs are answered and not done.
    lies: bool,
    /// What it cannot read.
    refused: Option<Range<usize>>,
}

impl Disk {
    /// An empty one. One that `lies` shows what happens to data below which syncs do nothing.
    pub fn new(bytes: usize, lies: bool) -> Result<Self> {
        let image = Image {
            now: vec![0; bytes],
            durable: vec![0; bytes],
            pending: Vec::new(),
            is_off: false,
            lies,
            refused: None,
        };
        let image = Arc::new(Mutex::new(image));
        let mount = tempfile::tempdir()?;
        let fuse = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
        mount_fuse(mount.path(), &options)?;
        let served = image.clone();
        let serving = stepwell_env::spawn("forgetful", move || serve(fuse, &served))?;
        Ok(Self { image, mount, serving: Some(serving) })
    }

    /// The file to put a loop device on.
    pub fn path(&self) -> PathBuf {
        self.mount.path().join("disk")
    }

    /// Makes all that was written durable: for what stands before the test.
    pub fn settle(&self) {
        lock(&self.image).sync();
    }

    /// The power goes. Of what was not synced, each sector stays with a chance of `percent`; returns how many did and how many
    /// there were.
    pub fn cut(&self, random: &dyn Random, percent: u64) -> (u64, u64) {
        lock(&self.image).cut(random, percent)
    }

    /// The power is back, and with it what the disk has.
    pub fn power_on(&self) {
        lock(&self.image).is_off = false;
    }

    /// All that it has.
    pub fn content(&self) -> Vec<u8> {
        lock(&self.image).now.clone()
    }

    /// It has this, durably. Nothing may stand on it.
    pub fn put_back(&self, content: Vec<u8>) {
        let mut image = lock(&self.image);
        image.pending.clear();
        image.durable.copy_from_slice(&content);
        image.now = content;
    }

    /// From now on it cannot read these bytes, and all others.
    pub fn refuse(&self, range: Option<Range<usize>>) {
        lock(&self.image).refused = range;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = super::place::run("umount", &[&self.mount.path().display().to_string()]);
        // Where somebody still holds it, the thread that serves it must not be waited for.
        if let (Ok(_), Some(serving)) = (unmounted, self.serving.take()) {
            let _ = serving.join();
        }
    }
}

fn lock(image: &Mutex<Image>) -> MutexGuard<'_, Image> {
    image.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Image {
    fn read(&self, offset: usize, bytes: usize) -> Result<&[u8], i32> {
        let end = (offset + bytes).min(self.now.len());
        if self.refused.as_ref().is_some_and(|range| range.start < end && offset < range.end) {
            return Err(libc::EIO);
        }
        Ok(&self.now[offset.min(end)..end])
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), i32> {
        if self.is_off || offset + data.len() > self.now.len() {
            return Err(libc::EIO);
        }
        self.now[offset..offset + data.len()].copy_from_slice(data);
        self.pending.push((offset, data.to_vec()));
        Ok(())
    }

    fn sync(&mut self) {
        for (offset, data) in self.pending.drain(..) {
            self.durable[offset..offset + data.len()].copy_from_slice(&data);
        }
    }

    fn synced(&mut self) -> Result<(), i32> {
        if self.is_off {
            return Err(libc::EIO);
        }
        if !self.lies {
            self.sync();
        }
        Ok(())
    }

    fn cut(&mut self, random: &dyn Random, percent: u64) -> (u64, u64) {
        let (mut kept, mut all) = (0, 0);
        for (offset, data) in std::mem::take(&mut self.pending) {
            for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                let at = offset + index * SECTOR_BYTES;
                all += 1;
                if random.next_u64() % 100 < percent {
                    self.durable[at..at + sector.len()].copy_from_slice(sector);
                    kept += 1;
                }
            }
        }
        self.now.copy_from_slice(&self.durable);
        self.is_off = true;
        (kept, all)
    }
}

fn mount_fuse(path: &Path, options: &str) -> Result<()> {
    let (path, kind) = (CString::new(path.as_os_str().as_bytes())?, CString::new("fuse")?);
    let options = CString::new(options)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all four addresses are those of live strings that end in NUL; the system reads them during the call only.
    let mounted = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    ensure!(mounted == 0, "mount of FUSE: {}", io::Error::last_os_error());
    Ok(())
}

/// One request of the kernel (`struct fuse_in_header`, then what the operation takes).
struct Request<'a> {
    operation: u32,
    unique: u64,
    node: u64,
    body: &'a [u8],
}

/// Little pieces of the kernel's structures; on the machines that this runs on they are little-endian.
struct Words(Vec<u8>);

impl Words {
    fn u16(mut self, values: &[u16]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn u32(mut self, values: &[u32]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }

    fn u64(mut self, values: &[u64]) -> Self {
        values.iter().for_each(|value| self.0.extend(value.to_ne_bytes()));
        self
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

/// Answers until the file system is unmounted.
fn serve(mut fuse: File, image: &Mutex<Image>) {
    let mut buffer = vec![0; WRITE_BYTES_MAX as usize + (64 << 10)];
    loop {
        let bytes = match fuse.read(&mut buffer) {
            Ok(bytes) if bytes >= 40 => bytes,
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::ENOENT)) => continue,
            // Unmounted.
            _ => return,
        };
        let body = &buffer[40..bytes];
        let request =
            Request { operation: u32_at(&buffer, 4), unique: u64_at(&buffer, 8), node: u64_at(&buffer, 16), body };
        let Some(answer) = answer(&request, image) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(code) => (-code, Vec::new()),
        };
        let length = 16 + body.len() as u32;
        let header = Words(Vec::new()).u32(&[length, error.cast_unsigned()]).u64(&[request.unique]);
        // An answer to what was interrupted is nobody's.
        let _ = fuse.write(&[header.0, body].concat());
    }
}

/// What an operation gives, or the error's number; `None` where none is awaited. Numbers are those of `linux/fuse.h`.
fn answer(request: &Request<'_>, image: &Mutex<Image>) -> Option<Result<Vec<u8>, i32>> {
    let body = request.body;
    let mut image = lock(image);
    Some(match request.operation {
        // INIT: protocol 7.31, the kernel's read-ahead, FUSE_BIG_WRITES.
        26 => Ok(Words(Vec::new())
            .u32(&[7, 31, u32_at(body, 8), 1 << 5])
            .u16(&[16, 12])
            .u32(&[WRITE_BYTES_MAX, 1])
            .u16(&[0, 0])
            .u32(&[0; 8])
            .0),
        // LOOKUP: the one name. The kernel is to remember neither name nor size: zero seconds.
        1 if request.node == ROOT && body == b"disk\0" => {
            Ok([Words(Vec::new()).u64(&[DISK, 0, 0, 0]).u32(&[0, 0]).0, attributes(DISK, &image)].concat())
        }
        1 => Err(libc::ENOENT),
        // FORGET, INTERRUPT, BATCH_FORGET.
        2 | 36 | 42 => return None,
        // GETATTR, SETATTR: times may be set, and are not kept.
        3 | 4 => Ok([Words(Vec::new()).u64(&[0]).u32(&[0, 0]).0, attributes(request.node, &image)].concat()),
        // OPEN, OPENDIR: without FOPEN_KEEP_CACHE, so that an opening after a cut sees what the disk has.
        14 | 27 => Ok(Words(Vec::new()).u64(&[0]).u32(&[0, 0]).0),
        // READ: offset and size.
        15 => image.read(u64_at(body, 8) as usize, u32_at(body, 16) as usize).map(<[u8]>::to_vec),
        // WRITE: the same, then the bytes.
        16 => {
            let bytes = u32_at(body, 16);
            let data = body.get(40..40 + bytes as usize).unwrap_or_default();
            image.write(u64_at(body, 8) as usize, data).map(|()| Words(Vec::new()).u32(&[bytes, 0]).0)
        }
        // STATFS.
        17 => Ok(Words(Vec::new()).u64(&[1 << 20, 1 << 19, 1 << 19, 10, 5]).u32(&[4_096, 255, 4_096]).u32(&[0; 7]).0),
        // FSYNC.
        20 => image.synced().map(|()| Vec::new()),
        // RELEASE, FLUSH, RELEASEDIR, DESTROY.
        18 | 25 | 29 | 38 => Ok(Vec::new()),
        _ => Err(libc::ENOSYS),
    })
}

/// `struct fuse_attr`.
fn attributes(node: u64, image: &Image) -> Vec<u8> {
    let (mode, bytes) = match node {
        ROOT => (libc::S_IFDIR | 0o755, 0),
        _ => (libc::S_IFREG | 0o600, image.now.len() as u64),
    };
    Words(Vec::new()).u64(&[node, bytes, bytes / 512, 0, 0, 0]).u32(&[0, 0, 0, mode, 1, 0, 0, 0, 4_096, 0]).0
}

#[cfg(test)]
mod tests {
    use stepwell_env::SeededRandom;

    use super::*;

    fn image(lies: bool) -> Image {
        Image { now: vec![0; 2_048], durable: vec![0; 2_048], pending: Vec::new(), is_off: false, lies, refused: None }
    }

    #[test]
    fn a_cut_keeps_what_was_synced_and_fails_what_comes_after() {
        let random = SeededRandom::new(1);
        let mut disk = image(false);
        disk.write(0, &[1; 512]).unwrap();
        disk.synced().unwrap();
        disk.write(512, &[2; 1_024]).unwrap();
        assert_eq!(disk.cut(&random, 0), (0, 2));
        assert_eq!((disk.read(0, 1).unwrap()[0], disk.read(512, 1).unwrap()[0]), (1, 0));
        assert_eq!((disk.write(0, &[3]), disk.synced()), (Err(libc::EIO), Err(libc::EIO)));
        disk.refused = Some(512..1_024);
        assert_eq!((disk.read(0, 512).map(<[u8]>::len), disk.read(1_023, 9)), (Ok(512), Err(libc::EIO)));
        let mut liar = image(true);
        liar.write(0, &[1; 512]).unwrap();
        liar.synced().unwrap();
        assert_eq!(liar.cut(&random, 0), (0, 1));
        assert_eq!(liar.read(0, 1).unwrap()[0], 0);
    }
}
