//! File systems of a test's own: a disk whose power can be cut, and one that is small.
//!
//! The power cut is ext4's own: after `EXT4_IOC_SHUTDOWN` without flushing its journal, nothing is
//! written any more, every operation fails, and what was not synced is gone after the next mount.
//! The image is a file on the host, so it takes milliseconds. The ioctl is sent by a line of Python,
//! since it would need `unsafe` here.
//!
//! Whoever uses a disk must have ended before it is unmounted; dropping one unmounts it in any case,
//! lazily, so that a failed test leaves nothing behind.

use super::process::finish;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Programs that [`PowerDisk`] needs, with their packages.
pub const POWER_DISK_NEEDS: [(&str, &str); 4] = [
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("python3", "python3"),
];

/// Bytes of the image: room for a few segments of a log.
const IMAGE_BYTES: u64 = 256 * 1_024 * 1_024;

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// An ext4 file system in a file, mounted.
#[derive(Debug)]
pub struct PowerDisk {
    directory: TempDir,
}

impl PowerDisk {
    /// Makes one and mounts it.
    ///
    /// # Panics
    /// If the machine does not allow it.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory for a disk");
        let disk = Self { directory };
        let image = std::fs::File::create(disk.image()).expect("an image can be created");
        image.set_len(IMAGE_BYTES).expect("an image can be sparse");
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-m", "0"]).arg(disk.image());
        finish(&mut make).ok();
        std::fs::create_dir(disk.path()).expect("a mount point can be made");
        disk.mount();
        disk
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    /// Returns where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    fn mount(&self) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.path());
        finish(&mut mount).ok();
    }

    /// Cuts the power: from now on nothing reaches the disk, and what was not synced never will.
    ///
    /// # Panics
    /// If the file system does not know how.
    pub fn cut_power(&self) {
        finish(
            Command::new("python3")
                .args(["-c", SHUTDOWN])
                .arg(self.path()),
        )
        .ok();
    }

    /// Unmounts the file system that lost its power and mounts it again.
    ///
    /// # Panics
    /// If somebody still uses it, or if it does not come back.
    pub fn restore_power(&self) {
        finish(Command::new("umount").arg(self.path())).ok();
        self.mount();
    }
}

impl Default for PowerDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

/// A small file system in memory.
#[derive(Debug)]
pub struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// Programs that it needs, with their packages.
    pub const NEEDS: [(&str, &str); 1] = [("mount", "mount")];

    /// Makes one of `mib` MiB.
    ///
    /// # Panics
    /// If the machine does not allow it.
    #[must_use]
    pub fn new(mib: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory for a disk");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(directory.path());
        finish(&mut mount).ok();
        Self { directory }
    }

    /// Returns where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Takes `mib` MiB of the room, until [`Self::give_room`].
    ///
    /// # Panics
    /// If there is not so much.
    pub fn take_room(&self, mib: usize) {
        let zeros = vec![0; mib * 1_024 * 1_024];
        std::fs::write(self.path().join("filler"), zeros).expect("there is room to be taken");
    }

    /// Gives back what was taken.
    ///
    /// # Panics
    /// If nothing was.
    pub fn give_room(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("room was taken");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

/// Flips a bit of a file, counted from the lowest bit of its first byte.
///
/// # Panics
/// If the file has no such bit, or cannot be written.
pub fn flip_bit(file: &Path, bit: u64) {
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).open(file);
    let file = file.expect("the file can be written");
    let (mut byte, at) = ([0], bit / 8);
    file.read_exact_at(&mut byte, at)
        .expect("the file is longer");
    byte[0] ^= 1 << (bit % 8);
    file.write_all_at(&byte, at)
        .expect("the file can be written");
    file.sync_all().expect("the file can be synced");
}

/// Unmounts even what is in use; it goes when its last user does.
fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}
