//! File systems for tests, and what this machine allows.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Whether this process may mount and limit.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether a program is installed.
pub fn has_program(name: &str) -> bool {
    Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Says, so that nobody overlooks it, that a test did nothing here.
pub fn skip(test: &str, why: &str) {
    eprintln!("\n######## SKIPPED: {test}: {why} ########\n");
}

/// Runs a command to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{program} {}: {} {said}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A mounted file system of its own, gone when dropped.
pub struct Mount {
    path: PathBuf,
    /// The loop device below it.
    device: Option<String>,
    _parent: tempfile::TempDir,
}

impl Mount {
    /// Memory of a limited size.
    pub fn tmpfs(mib: u64) -> Result<Self> {
        let parent = tempfile::tempdir()?;
        let path = parent.path().join("mount");
        std::fs::create_dir(&path)?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", &path.display().to_string()])?;
        Ok(Self { path, device: None, _parent: parent })
    }

    /// An ext4 in an image file, with so many inodes (0: as many as usual).
    pub fn ext4(mib: u64, inodes: u64) -> Result<Self> {
        let parent = tempfile::tempdir()?;
        let (path, image) = (parent.path().join("mount"), parent.path().join("image"));
        std::fs::create_dir(&path)?;
        std::fs::File::create(&image)?.set_len(mib << 20)?;
        let image = image.display().to_string();
        let number = inodes.to_string();
        let mut arguments = vec!["-q", "-F", "-E", "nodiscard,lazy_itable_init=0"];
        if inodes > 0 {
            arguments.extend(["-N", &number]);
        }
        arguments.push(&image);
        run("mkfs.ext4", &arguments)?;
        let device = run("losetup", &["-f", "--show", &image])?;
        let mounted = run("mount", &["-t", "ext4", &device, &path.display().to_string()]);
        let mount = Self { path, device: Some(device), _parent: parent };
        mounted.map(|_| mount)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory on it for a server.
    pub fn data_dir(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Takes all space that is left, but for `bytes`; removing the file gives it back.
    pub fn fill(&self, bytes_left: u64) -> Result<PathBuf> {
        let ballast = self.path.join("ballast");
        let file = std::fs::File::create(&ballast)?;
        let free = run("stat", &["-f", "-c", "%a %S", &self.path.display().to_string()])?;
        let mut numbers = free.split(' ').map(str::parse::<u64>);
        let (Some(Ok(blocks)), Some(Ok(block_bytes))) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("free space is {free}")
        };
        let bytes = (blocks * block_bytes).saturating_sub(bytes_left);
        if bytes > 0 {
            let zeros = vec![0; 1 << 16];
            let mut left = bytes;
            while left > 0 {
                let piece = left.min(zeros.len() as u64) as usize;
                // The last blocks go to the file system's own needs.
                if std::io::Write::write_all(&mut &file, &zeros[..piece]).is_err() {
                    break;
                }
                left -= piece as u64;
            }
        }
        // The last few bytes too, where nothing is to be left.
        while bytes_left == 0 && std::io::Write::write_all(&mut &file, &[0; 512]).is_ok() {}
        Ok(ballast)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that failed may have left somebody in it.
        let path = self.path.display().to_string();
        if run("umount", &[&path]).is_err() {
            let _ = run("umount", &["-l", &path]);
        }
        if let Some(device) = &self.device {
            let _ = run("losetup", &["-d", device]);
        }
    }
}
