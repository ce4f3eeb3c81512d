//! [`Files`] on the operating system's own file system.
//!
//! Positioned reads and writes, `fallocate`, `fdatasync`, and `flock` on a file named `lock`. A
//! file system that cannot reserve space (`EOPNOTSUPP`) gets zeros written instead, which has the
//! same effect and costs more.

use super::Files;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, PosixFadviseAdvice, fallocate, posix_fadvise};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Name of the file that is locked while the directory is in use.
pub(super) const LOCK_NAME: &str = "lock";
/// Who may read and write the files: only their owner, since they hold everybody's contents.
const FILE_MODE: u32 = 0o600;
/// Bytes of zeros written at a time where space cannot be reserved.
const ZEROS_BYTES: usize = 256 * 1_024;

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct OsFiles {
    path: PathBuf,
}

impl OsFiles {
    /// Names a directory, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Creates the directory with all that lead to it, durably, unless it is there already.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_all(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut missing = Vec::new();
        let mut at: &Path = &path;
        while !at.as_os_str().is_empty() && !at.exists() {
            missing.push(at.to_path_buf());
            at = at.parent().unwrap_or(Path::new(""));
        }
        for directory in missing.iter().rev() {
            create_one(directory)?;
        }
        Ok(Self { path })
    }

    /// Returns the directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn write_zeros(file: &File, length: u64) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = file.metadata()?.len();
        while at < length {
            let step = usize::try_from(length - at).map_or(ZEROS_BYTES, |l| l.min(ZEROS_BYTES));
            file.write_all_at(&zeros[..step], at)?;
            at += step as u64;
        }
        Ok(())
    }
}

impl Files for OsFiles {
    type File = File;
    type Lock = Flock<File>;

    fn create(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE);
        options.open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))
    }

    fn write_at(&self, file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn read_exact_at(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn allocate(&self, file: &File, length: u64) -> io::Result<()> {
        let bytes = i64::try_from(length).map_err(|_| io::ErrorKind::InvalidInput)?;
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Self::write_zeros(file, length),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn forget_cached(&self, file: &File) -> io::Result<()> {
        match posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
            // Not every file system knows advice.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.path.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn directory(&self, name: &str) -> Self {
        Self {
            path: self.path.join(name),
        }
    }

    fn create_directory(&self, name: &str) -> io::Result<Self> {
        let path = self.path.join(name);
        if !path.is_dir() {
            create_one(&path)?;
        } else {
            self.sync_directory()?;
        }
        Ok(Self { path })
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE);
        let file = options.open(self.path.join(LOCK_NAME))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}

/// Creates one directory and makes its name durable in its parent.
fn create_one(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}
