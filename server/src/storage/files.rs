//! The seam between the storage and the operating system.
//!
//! One value of [`Files`] stands for one directory. The operations are those of a real file system,
//! with its weak promises: what was written is only sure to survive after [`Files::sync_data`],
//! and a new, renamed or removed name only after [`Files::sync_directory`]. There is no operation
//! that reads or replaces a whole file, no buffering and no retry; those belong to the callers,
//! where they can be seen.

use std::fmt::Debug;
use std::io;

/// One directory and the files in it.
pub trait Files: Clone + Debug {
    /// An open file. It stays usable when its name is changed or removed.
    type File: Debug;
    /// Proof that the directory is locked; dropping it unlocks.
    type Lock: Debug;

    /// Creates a file for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, else what the system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none, else what the system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Writes all of `bytes` at `offset`, making the file longer when needed.
    ///
    /// # Errors
    /// What the system says; a part may have been written then.
    fn write_at(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills all of `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter, else what the system says.
    fn read_exact_at(&self, file: &Self::File, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Returns the file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self, file: &Self::File) -> io::Result<u64>;

    /// Reserves disk space for the file's first `length` bytes; what was not there reads as zeros.
    ///
    /// # Errors
    /// `StorageFull` when there is no room, else what the system says.
    fn allocate(&self, file: &Self::File, length: u64) -> io::Result<()>;

    /// Makes the file's contents and length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. What was written before is lost for good then, whatever a later sync
    /// may answer: never call this again on the same file.
    fn sync_data(&self, file: &Self::File) -> io::Result<()>;

    /// Asks the system to forget what it keeps of the file in memory, so that the next read comes
    /// from the disk. A system that does not do it is no fault.
    ///
    /// # Errors
    /// What the system says, if it cannot even be asked.
    fn forget_cached(&self, file: &Self::File) -> io::Result<()>;

    /// Makes the directory's names durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_directory(&self) -> io::Result<()>;

    /// Gives a file another name, replacing what had that name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes the name of an empty directory.
    ///
    /// # Errors
    /// `DirectoryNotEmpty` when it is not empty, else what the system says.
    fn remove_directory(&self, name: &str) -> io::Result<()>;

    /// Lists the names in the directory, directories included, sorted.
    ///
    /// # Errors
    /// `NotFound` when the directory itself is absent, else what the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Returns the directory `name` in this one, which need not exist.
    #[must_use]
    fn directory(&self, name: &str) -> Self;

    /// Creates the directory `name` in this one, durably, unless it is there already.
    ///
    /// # Errors
    /// What the system says.
    fn create_directory(&self, name: &str) -> io::Result<Self>;

    /// Locks the directory against every other process, for as long as the answer lives.
    ///
    /// # Errors
    /// `WouldBlock` when it is locked already, else what the system says.
    fn lock(&self) -> io::Result<Self::Lock>;

    /// Says where the directory is, for messages.
    fn location(&self) -> String;
}
