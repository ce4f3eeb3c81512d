//! [`Files`] that only look: for whoever inspects a directory without changing it.
//!
//! Files are opened for reading; everything that would change something is refused, and what would
//! only make durable what is there does nothing, so that the code which reads what a daemon wrote is
//! the daemon's own. A directory is locked through the lock file that the daemon left there, and
//! not at all where there is none.

use super::Files;
use super::os_files::{LOCK_NAME, OsFiles};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of the operating system that is not changed.
#[derive(Clone, Debug)]
pub struct ReadOnlyFiles {
    path: PathBuf,
}

impl ReadOnlyFiles {
    /// Names a directory, which need not exist.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Names the directory of a file that exists, and returns it with the name of the file; nothing if it
    /// is no file.
    #[must_use]
    pub fn beside(file: &Path) -> Option<(Self, String)> {
        let name = file.file_name()?.to_str()?;
        if !file.is_file() {
            return None;
        }
        Some((Self::new(folder_of(file)), name.to_owned()))
    }
}

/// Returns the directory in which a file is.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Files for ReadOnlyFiles {
    type File = File;
    type Lock = Option<Flock<File>>;

    fn create(&self, _name: &str) -> io::Result<File> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<File> {
        File::open(self.path.join(name))
    }

    fn write_at(&self, _file: &File, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        refused()
    }

    fn read_exact_at(&self, file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }

    fn length(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn allocate(&self, _file: &File, _length: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    fn forget_cached(&self, file: &File) -> io::Result<()> {
        OsFiles::new(&self.path).forget_cached(file)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn remove_directory(&self, _name: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        OsFiles::new(&self.path).list()
    }

    fn directory(&self, name: &str) -> Self {
        Self {
            path: self.path.join(name),
        }
    }

    fn create_directory(&self, _name: &str) -> io::Result<Self> {
        refused()
    }

    fn lock(&self) -> io::Result<Option<Flock<File>>> {
        let file = match File::open(self.path.join(LOCK_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        lock.map(Some).map_err(|(_, errno)| errno.into())
    }

    fn location(&self) -> String {
        self.path.display().to_string()
    }
}
