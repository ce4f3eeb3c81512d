//! [`Files`] in memory, for simulations: deterministic, and able to fail in every way a disk does.
//!
//! Clones share one disk. The simulator keeps a clone, gives others to the replica, and takes the
//! power away with [`SimFiles::crash`]; after that, handles and locks from before answer with
//! errors, and a new log is opened on what is left. Not for several threads.

use super::Files;
use super::sim_disk::{DirectoryNode, Disk, FileNode, Node, NodeId, ROOT};
use std::cell::RefCell;
use std::io;
use std::rc::Rc;

/// A directory of a simulated disk.
#[derive(Clone, Debug)]
pub struct SimFiles {
    disk: Rc<RefCell<Disk>>,
    /// Names from the root down.
    path: Vec<String>,
}

/// An open file of a simulated disk.
#[derive(Debug)]
pub struct SimFile {
    node: NodeId,
    generation: u64,
}

/// A lock on a directory of a simulated disk.
#[derive(Debug)]
pub struct SimLock {
    disk: Rc<RefCell<Disk>>,
    node: NodeId,
    generation: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.disk.borrow_mut();
        if disk.generation == self.generation {
            disk.locked.retain(|node| *node != self.node);
        }
    }
}

impl Default for SimFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl SimFiles {
    /// Creates an empty disk and returns its root directory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            disk: Rc::new(RefCell::new(Disk::new())),
            path: Vec::new(),
        }
    }

    /// Copies the whole disk as it is, so that the copy can be spoilt.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let mut disk = self.disk.borrow().clone();
        disk.locked.clear();
        Self {
            disk: Rc::new(RefCell::new(disk)),
            path: self.path.clone(),
        }
    }

    /// Takes the power away and gives it back: of what was not synced, chance keeps some.
    /// The same seed keeps the same.
    pub fn crash(&self, seed: u64) {
        self.disk.borrow_mut().crash(seed);
    }

    /// Ends the process without a power cut: everything written stays, handles and locks do not.
    pub fn kill(&self) {
        let mut disk = self.disk.borrow_mut();
        disk.generation += 1;
        disk.locked.clear();
    }

    /// Lets `operations` more changes and syncs through; all later ones fail, until a crash.
    pub fn cut_power_after(&self, operations: u64) {
        self.disk.borrow_mut().changes_until_power_cut = Some(operations);
    }

    /// Makes the next sync of a file fail with `EIO` and lose what it should have kept.
    pub fn fail_next_sync(&self) {
        self.fail_sync_after(0);
    }

    /// Lets `syncs` more syncs of files through and makes the one after them fail likewise.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.disk.borrow_mut().syncs_until_failure = Some(syncs);
    }

    /// Bounds the bytes of all files together; `None` takes the bound away.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.borrow_mut().capacity_bytes = bytes;
    }

    /// Returns the bytes that all files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.disk.borrow().used_bytes()
    }

    /// Returns how many changes and syncs there were so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.borrow().operations
    }

    /// Flips one bit of a file, on the disk and in memory.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when the file is shorter.
    pub fn flip_bit(&self, name: &str, bit: usize) -> io::Result<()> {
        self.with_file(&self.open(name)?, |file| {
            if bit / 8 >= file.seen.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.flip_bit(bit);
            Ok(())
        })
    }

    /// Returns a file's whole contents.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn contents(&self, name: &str) -> io::Result<Vec<u8>> {
        self.with_file(&self.open(name)?, |file| Ok(file.seen.clone()))
    }

    /// Overwrites a part of a file durably, behind the back of whoever has it open.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.with_file(&self.open(name)?, |file| {
            file.write(offset, bytes);
            file.sync();
            Ok(())
        })
    }

    fn with_file<R>(
        &self,
        file: &SimFile,
        act: impl FnOnce(&mut FileNode) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut disk = self.disk.borrow_mut();
        if disk.generation != file.generation {
            return Err(io::Error::other("the file was opened before a crash"));
        }
        match &mut disk.nodes[file.node] {
            Node::File(node) => act(node),
            Node::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn node(&self) -> io::Result<NodeId> {
        let disk = self.disk.borrow();
        let mut at = ROOT;
        for name in &self.path {
            let Node::Directory(directory) = &disk.nodes[at] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *directory.seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn with_directory<R>(
        &self,
        act: impl FnOnce(&mut DirectoryNode) -> io::Result<R>,
    ) -> io::Result<R> {
        let node = self.node()?;
        match &mut self.disk.borrow_mut().nodes[node] {
            Node::Directory(directory) => act(directory),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn lookup(&self, name: &str) -> io::Result<NodeId> {
        self.with_directory(|directory| {
            directory
                .seen
                .get(name)
                .copied()
                .ok_or(io::ErrorKind::NotFound.into())
        })
    }

    /// Counts a change or sync, and refuses it when the power is off.
    fn count(&self) -> io::Result<()> {
        let mut disk = self.disk.borrow_mut();
        match &mut disk.changes_until_power_cut {
            Some(0) => return Err(io::Error::other("the power is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        disk.operations += 1;
        Ok(())
    }

    /// Refuses to let a file grow to `end` when the disk has no room for it.
    fn admit(&self, file: &SimFile, end: u64) -> io::Result<()> {
        let length = self.length(file)?;
        let disk = self.disk.borrow();
        match disk.capacity_bytes {
            Some(capacity) if end > length && disk.used_bytes() + (end - length) > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn add(&self, name: &str, node: Node) -> io::Result<NodeId> {
        let parent = self.node()?;
        let mut disk = self.disk.borrow_mut();
        let added = disk.nodes.len();
        match &mut disk.nodes[parent] {
            Node::Directory(directory) if directory.seen.contains_key(name) => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Node::Directory(directory) => directory.add(name, added),
            Node::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        disk.nodes.push(node);
        Ok(added)
    }

    fn handle(&self, node: NodeId) -> SimFile {
        SimFile {
            node,
            generation: self.disk.borrow().generation,
        }
    }
}

impl Files for SimFiles {
    type File = SimFile;
    type Lock = SimLock;

    fn create(&self, name: &str) -> io::Result<SimFile> {
        self.count()?;
        let node = self.add(name, Node::File(FileNode::default()))?;
        Ok(self.handle(node))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        Ok(self.handle(self.lookup(name)?))
    }

    fn write_at(&self, file: &SimFile, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.count()?;
        self.admit(file, offset + bytes.len() as u64)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with_file(file, |node| {
            node.write(offset, bytes);
            Ok(())
        })
    }

    fn read_exact_at(&self, file: &SimFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with_file(file, |node| {
            let end = offset.saturating_add(buffer.len());
            buffer.copy_from_slice(
                node.seen
                    .get(offset..end)
                    .ok_or(io::ErrorKind::UnexpectedEof)?,
            );
            Ok(())
        })
    }

    fn length(&self, file: &SimFile) -> io::Result<u64> {
        self.with_file(file, |node| Ok(node.seen.len() as u64))
    }

    fn allocate(&self, file: &SimFile, length: u64) -> io::Result<()> {
        self.count()?;
        self.admit(file, length)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.with_file(file, |node| {
            if length > node.seen.len() {
                node.resize(length);
            }
            Ok(())
        })
    }

    fn sync_data(&self, file: &SimFile) -> io::Result<()> {
        self.count()?;
        let fails = {
            let mut disk = self.disk.borrow_mut();
            let fails = disk.syncs_until_failure == Some(0);
            disk.syncs_until_failure = match disk.syncs_until_failure {
                Some(0) | None => None,
                Some(left) => Some(left - 1),
            };
            fails
        };
        self.with_file(file, |node| {
            if fails {
                node.fail_sync();
                return Err(io::Error::other("input/output error"));
            }
            node.sync();
            Ok(())
        })
    }

    fn forget_cached(&self, _file: &SimFile) -> io::Result<()> {
        // Its files are read as they were written; what a disk spoils is spoilt by the test.
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.count()?;
        self.with_directory(|directory| {
            directory.sync();
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.count()?;
        let node = self.lookup(from)?;
        self.with_directory(|directory| {
            directory.rename(from, to, node);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.count()?;
        self.lookup(name)?;
        self.with_directory(|directory| {
            directory.remove(name);
            Ok(())
        })
    }

    fn remove_directory(&self, name: &str) -> io::Result<()> {
        self.count()?;
        if !self.directory(name).list()?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.with_directory(|directory| {
            directory.remove(name);
            Ok(())
        })
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.with_directory(|directory| Ok(directory.seen.keys().cloned().collect()))
    }

    fn directory(&self, name: &str) -> Self {
        let mut path = self.path.clone();
        path.push(name.to_owned());
        Self {
            disk: Rc::clone(&self.disk),
            path,
        }
    }

    fn create_directory(&self, name: &str) -> io::Result<Self> {
        self.count()?;
        match self.add(name, Node::Directory(DirectoryNode::default())) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_directory()?;
        Ok(self.directory(name))
    }

    fn lock(&self) -> io::Result<SimLock> {
        let node = self.node()?;
        let mut disk = self.disk.borrow_mut();
        if disk.locked.contains(&node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked.push(node);
        let generation = disk.generation;
        Ok(SimLock {
            disk: Rc::clone(&self.disk),
            node,
            generation,
        })
    }

    fn location(&self) -> String {
        format!("/{}", self.path.join("/"))
    }
}
