//! The disk behind [`super::SimFiles`]: what the page cache shows, and what a crash leaves of it.
//!
//! Each file and each directory has a *seen* state, which is what programs read, and a *durable*
//! one with the list of changes made since. A sync makes the changes durable. A crash keeps of the
//! changes what chance picks: of each 512-byte sector of each write all, nothing or a part cut at
//! any byte, in any order; of each change of a directory all or nothing, in any order. This is
//! harsher than any journaling file system, and allowed by POSIX.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes that a disk writes independently of their neighbours.
const SECTOR_BYTES: usize = 512;

/// Names a file or directory of the simulated disk.
pub(super) type NodeId = usize;

#[derive(Clone, Debug)]
enum FileChange {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Add {
        name: String,
        node: NodeId,
    },
    Rename {
        from: String,
        to: String,
        node: NodeId,
    },
    Remove {
        name: String,
    },
}

/// A file or a directory.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

/// A file's contents.
#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    pub(super) seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<FileChange>,
}

impl FileNode {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.resize(end);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.changes.push(FileChange::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn resize(&mut self, length: usize) {
        self.seen.resize(length, 0);
        self.changes.push(FileChange::Length(length));
    }

    pub(super) fn sync(&mut self) {
        // Only what changed is copied, so that a large simulation does not pay for whole files.
        for change in std::mem::take(&mut self.changes) {
            match change {
                FileChange::Length(length) => self.durable.resize(length, 0),
                FileChange::Write { offset, bytes } => {
                    self.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
        }
    }

    /// Forgets what was not synced, as a kernel does after a failed sync: it is still seen, and no
    /// later sync writes it.
    pub(super) fn fail_sync(&mut self) {
        self.changes.clear();
        let length = self.seen.len();
        self.durable.resize(length, 0);
    }

    pub(super) fn flip_bit(&mut self, bit: usize) {
        let mask = 1 << (bit % 8);
        self.seen[bit / 8] ^= mask;
        if let Some(byte) = self.durable.get_mut(bit / 8) {
            *byte ^= mask;
        }
    }

    fn crash(&mut self, chance: &mut Chance) {
        let changes = std::mem::take(&mut self.changes);
        let lengths =
            std::iter::once(self.durable.len()).chain(changes.iter().filter_map(|change| {
                match change {
                    FileChange::Length(length) => Some(*length),
                    FileChange::Write { .. } => None,
                }
            }));
        let lengths: Vec<usize> = lengths.collect();
        let length = lengths[chance.below(lengths.len())];
        let mut image = std::mem::take(&mut self.durable);
        let longest = lengths.iter().copied().max().unwrap_or(0).max(image.len());
        image.resize(longest, 0);
        let mood = chance.below(4);
        for change in &changes {
            if let FileChange::Write { offset, bytes } = change {
                keep_some(&mut image, *offset, bytes, mood, chance);
            }
        }
        image.resize(length, 0);
        self.seen.clone_from(&image);
        self.durable = image;
    }
}

/// Writes of `bytes` what reached the disk. Moods: nothing, everything, whole sectors, torn ones.
fn keep_some(image: &mut [u8], offset: usize, bytes: &[u8], mood: usize, chance: &mut Chance) {
    let mut at = 0;
    while at < bytes.len() {
        let sector_end = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
        let end = sector_end.min(bytes.len());
        let kept = match mood {
            0 => at..at,
            1 => at..end,
            2 if chance.below(2) == 0 => at..at,
            2 => at..end,
            _ => match chance.below(4) {
                0 => at..at,
                1 => at..end,
                2 => at..at + chance.below(end - at + 1),
                _ => at + chance.below(end - at + 1)..end,
            },
        };
        image[offset + kept.start..offset + kept.end].copy_from_slice(&bytes[kept]);
        at = end;
    }
}

/// A directory's names.
#[derive(Clone, Debug, Default)]
pub(super) struct DirectoryNode {
    pub(super) seen: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    changes: Vec<NameChange>,
}

impl DirectoryNode {
    pub(super) fn add(&mut self, name: &str, node: NodeId) {
        self.change(NameChange::Add {
            name: name.to_owned(),
            node,
        });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, node: NodeId) {
        self.change(NameChange::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            node,
        });
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.change(NameChange::Remove {
            name: name.to_owned(),
        });
    }

    fn change(&mut self, change: NameChange) {
        apply_name(&mut self.seen, &change);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.changes.clear();
        self.durable.clone_from(&self.seen);
    }

    fn crash(&mut self, chance: &mut Chance) {
        let mood = chance.below(3);
        for change in std::mem::take(&mut self.changes) {
            let kept = match mood {
                0 => false,
                1 => true,
                _ => chance.below(2) == 0,
            };
            if kept {
                apply_name(&mut self.durable, &change);
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

fn apply_name(names: &mut BTreeMap<String, NodeId>, change: &NameChange) {
    match change {
        NameChange::Add { name, node } => {
            names.insert(name.clone(), *node);
        }
        NameChange::Rename { from, to, node } => {
            // The old name may meanwhile belong to another file.
            if names.get(from) == Some(node) {
                names.remove(from);
            }
            names.insert(to.clone(), *node);
        }
        NameChange::Remove { name } => {
            names.remove(name);
        }
    }
}

/// All files and directories, and what goes wrong next.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) nodes: Vec<Node>,
    /// Raised by a crash: handles and locks from before it are void.
    pub(super) generation: u64,
    /// Directories locked in this generation.
    pub(super) locked: Vec<NodeId>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) syncs_until_failure: Option<u64>,
    pub(super) changes_until_power_cut: Option<u64>,
    /// Changes and syncs so far.
    pub(super) operations: u64,
}

/// The root directory.
pub(super) const ROOT: NodeId = 0;

impl Disk {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::Directory(DirectoryNode::default())],
            generation: 0,
            locked: Vec::new(),
            capacity_bytes: None,
            syncs_until_failure: None,
            changes_until_power_cut: None,
            operations: 0,
        }
    }

    pub(super) fn crash(&mut self, seed: u64) {
        let mut chance = Chance::new(seed);
        for node in &mut self.nodes {
            match node {
                Node::File(file) => file.crash(&mut chance),
                Node::Directory(directory) => directory.crash(&mut chance),
            }
        }
        self.forget_unnamed();
        self.generation += 1;
        self.locked.clear();
        self.syncs_until_failure = None;
        self.changes_until_power_cut = None;
    }

    /// Frees the contents of files that lost their names; no handle outlives a crash.
    fn forget_unnamed(&mut self) {
        let mut named = BTreeSet::new();
        for node in &self.nodes {
            if let Node::Directory(directory) = node {
                named.extend(directory.seen.values().copied());
            }
        }
        for (id, node) in self.nodes.iter_mut().enumerate() {
            match node {
                Node::File(file) if !named.contains(&id) => *file = FileNode::default(),
                Node::File(_) | Node::Directory(_) => {}
            }
        }
    }

    /// Bytes taken by files that still have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let named = self.nodes.iter().filter_map(|node| match node {
            Node::Directory(directory) => Some(directory.seen.values()),
            Node::File(_) => None,
        });
        named
            .flatten()
            .map(|id| match &self.nodes[*id] {
                Node::File(file) => file.seen.len() as u64,
                Node::Directory(_) => 0,
            })
            .sum()
    }
}

/// A small deterministic generator (splitmix64): quality enough to pick what a crash keeps.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Picks a number below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
