//! Nodes: create, set, delete, numbers in names, and who holds an ephemeral node open.
//!
//! Every check is made before the first change, so that a refused request has changed nothing.

use crate::apply::Application;
use crate::cell::Cell;
use crate::expiry::check_lifetime;
use crate::footprint::Cacheable;
use crate::state::{Lock, Node};
use cotter_types::mutation::{self, Mutation as Bug};
use cotter_types::{
    Contents, Create, CreateSequential, Delete, Instance, Lifetime, NodeStat, PastChange, Path,
    Refusal, Response, SessionId, Set, limits,
};
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Returns the first path that a child of `path` can have. A space is the smallest character that a
/// name may have; nothing if the path is too long or too deep to have children.
pub(crate) fn first_child(path: &Path) -> Option<Path> {
    path.child(" ").ok()
}

/// Refuses a path that was not made local at the door.
pub(crate) fn check_local(cell: &Cell, path: &Path) -> Result<(), Refusal> {
    if path.cell() == "local" {
        return Ok(());
    }
    Err(Refusal::OtherCell {
        path: path.to_string(),
        cell: cell.cell_name().to_owned(),
    })
}

/// Makes the refusal for a path without a node.
pub(crate) fn not_found(path: &Path) -> Refusal {
    Refusal::NotFound {
        path: path.to_string(),
    }
}

/// Makes the refusal for a limit that is reached.
pub(crate) fn limit(what: &str, limit: u64) -> Refusal {
    Refusal::Limit {
        what: what.to_owned(),
        limit,
    }
}

impl Cell {
    /// Returns the missing nodes on the way to `path`, itself included, deepest first, and the
    /// nearest ancestor that exists.
    pub(crate) fn missing(&self, path: &Path) -> (Vec<Path>, Option<Path>) {
        let mut missing = Vec::new();
        let mut next = Some(path.clone());
        while let Some(at) = next {
            if self.nodes.contains(&at) {
                return (missing, Some(at));
            }
            next = at.parent();
            missing.push(at);
        }
        (missing, None)
    }

    /// Returns `path` and everything below it, parents before children; nothing if that is more than
    /// [`limits::DELETE_NODES_MAX`] nodes.
    fn subtree(&self, path: &Path) -> Option<Vec<Path>> {
        let mut found = vec![path.clone()];
        let mut unvisited = VecDeque::from([path.clone()]);
        while let Some(parent) = unvisited.pop_front() {
            let Some(first) = first_child(&parent) else {
                continue;
            };
            for (child, node) in self.children_of(&parent, Bound::Included(first)) {
                found.push(child.clone());
                if found.len() as u64 > limits::DELETE_NODES_MAX {
                    return None;
                }
                if node.children > 0 {
                    unvisited.push_back(child.clone());
                }
            }
        }
        Some(found)
    }

    /// Returns the path that a sequential creation at `path` gets, and its number. A name that
    /// somebody gave by hand is passed over, up to a bound: what it costs must not grow with the
    /// number of children.
    pub(crate) fn next_in_sequence(&self, path: &Path) -> Result<(Path, u64), Refusal> {
        let invalid = |what: String| Refusal::Invalid { what };
        check_local(self, path)?;
        let parent = path.parent().ok_or_else(|| {
            invalid("a sequential name stands below a parent that counts it".to_owned())
        })?;
        let first = self.nodes.get(&parent).map_or(0, |node| node.sequence);
        for number in first..=first + limits::SEQUENCE_SKIPS_MAX {
            if number > limits::SEQUENCE_MAX {
                let most = limits::SEQUENCE_MAX;
                return Err(limit(
                    "the numbers of sequential names below one node",
                    most,
                ));
            }
            let numbered = path
                .numbered(number)
                .map_err(|error| invalid(error.to_string()))?;
            if !self.nodes.contains(&numbered) {
                return Ok((numbered, number));
            }
        }
        let most = limits::SEQUENCE_SKIPS_MAX;
        Err(limit("taken names in a row before a sequential one", most))
    }

    /// Refuses unless the node is still the one that the caller saw.
    fn check_unchanged(
        path: &Path,
        node: &Node,
        generation: Option<u64>,
        instance: Option<Instance>,
    ) -> Result<(), Refusal> {
        let same_generation = generation.is_none_or(|wanted| wanted == node.content_generation);
        let same_instance = instance.is_none_or(|wanted| wanted == node.instance);
        if same_generation && same_instance {
            return Ok(());
        }
        Err(Refusal::Changed {
            path: path.to_string(),
            content_generation: node.content_generation,
            instance: node.instance.0,
        })
    }

    /// Refuses contents that are too large by themselves or for the cell.
    fn check_contents(&self, new: &Contents, old_bytes: u64) -> Result<(), Refusal> {
        if new.len() > limits::CONTENTS_BYTES_MAX {
            let most = limits::CONTENTS_BYTES_MAX as u64;
            return Err(limit("bytes of contents in one node", most));
        }
        let new_bytes = new.len() as u64;
        let total = self.header.content_bytes - old_bytes + new_bytes;
        if new_bytes > old_bytes && total > limits::CONTENTS_TOTAL_BYTES_MAX {
            let most = limits::CONTENTS_TOTAL_BYTES_MAX;
            return Err(limit("bytes of contents in the cell", most));
        }
        Ok(())
    }
}

impl Application<'_> {
    pub(crate) fn create(
        &mut self,
        session: SessionId,
        create: &Create,
    ) -> Result<Response, Refusal> {
        let (created, stat) = self.create_or_find(session, create)?;
        Ok(Response::Created { created, stat })
    }

    pub(crate) fn create_sequential(
        &mut self,
        session: SessionId,
        create: &CreateSequential,
    ) -> Result<Response, Refusal> {
        let (path, stat) = self.create_numbered(session, create)?;
        let stat = Box::new(stat);
        Ok(Response::CreatedAt { path, stat })
    }

    /// Creates a node with the next number in its name.
    pub(crate) fn create_numbered(
        &mut self,
        session: SessionId,
        create: &CreateSequential,
    ) -> Result<(Path, NodeStat), Refusal> {
        let (path, number) = self.cell.next_in_sequence(&create.path)?;
        let ordinary = Create {
            path: path.clone(),
            contents: create.contents.clone(),
            lifetime: create.lifetime,
            parents: create.parents,
            exclusive: true,
        };
        let (_, stat) = self.create_or_find(session, &ordinary)?;
        // The parent's stat is touched already: it has one more child.
        path.parent()
            .and_then(|parent| {
                let step = u64::from(!mutation::active(Bug::SequenceNotRaised));
                let rise = |node: &mut Node| node.sequence = number + step;
                self.cell.nodes.update(&parent, rise)
            })
            .expect("invariant I-CELL-6: a node has a parent");
        Ok((path, stat))
    }

    /// Creates a node, or finds it if that is allowed; returns whether it created it.
    pub(crate) fn create_or_find(
        &mut self,
        session: SessionId,
        create: &Create,
    ) -> Result<(bool, NodeStat), Refusal> {
        let path = &create.path;
        check_local(self.cell, path)?;
        check_lifetime(create.lifetime)?;
        self.cell.check_contents(&create.contents, 0)?;
        let existing = self.cell.nodes.get(path).map(|node| node.lifetime);
        if existing.is_some() && create.exclusive {
            return Err(Refusal::AlreadyExists {
                path: path.to_string(),
            });
        }
        let wants_open = create.lifetime == Lifetime::Ephemeral;
        if wants_open && existing.is_some_and(|lifetime| lifetime != Lifetime::Ephemeral) {
            return Err(Refusal::NotEphemeral {
                path: path.to_string(),
            });
        }
        let opened = self.cell.opens.contains(&(path.clone(), session));
        let opens = self.cell.ledgers.get(&session).map_or(0, |row| row.opens);
        if wants_open && !opened && opens >= limits::EPHEMERALS_PER_SESSION_MAX {
            let most = limits::EPHEMERALS_PER_SESSION_MAX;
            return Err(limit("ephemeral nodes held open by one session", most));
        }
        let created = existing.is_none();
        if created {
            self.create_nodes(
                session,
                path,
                &create.contents,
                create.lifetime,
                create.parents,
            )?;
        }
        if wants_open && !opened {
            self.cell.opens.insert((path.clone(), session), ());
            self.cell.indexes.opens.insert((session, path.clone()));
            self.cell.nodes.update(path, |node| node.owners += 1);
            self.cell.ledgers.update(&session, |row| row.opens += 1);
        }
        let node = self.cell.nodes.get(path).expect("it was made or found");
        Ok((created, self.cell.stat_of(path, node)))
    }

    /// Creates a node that does not exist, and its parents if that is wanted.
    pub(crate) fn create_nodes(
        &mut self,
        session: SessionId,
        path: &Path,
        contents: &Contents,
        lifetime: Lifetime,
        parents: bool,
    ) -> Result<(), Refusal> {
        let (mut missing, ancestor) = self.cell.missing(path);
        let ancestor = ancestor.expect("invariant I-CELL-6: the root exists");
        if missing.len() > 1 && !parents {
            return Err(not_found(&missing[1]));
        }
        let above = self.cell.nodes.get(&ancestor).map(|node| node.lifetime);
        match above.unwrap_or_default() {
            Lifetime::Permanent => {}
            Lifetime::Ephemeral => {
                return Err(Refusal::EphemeralParent {
                    path: ancestor.to_string(),
                });
            }
            Lifetime::Ttl { .. } => {
                return Err(Refusal::TtlParent {
                    path: ancestor.to_string(),
                });
            }
        }
        if self.cell.nodes.len() + missing.len() as u64 > limits::NODES_MAX {
            return Err(limit("nodes in the cell", limits::NODES_MAX));
        }
        let creator = self.creator.clone().unwrap_or_else(|| {
            let row = self.cell.session(session);
            Arc::from(row.map_or_else(String::new, |row| {
                format!("{}/{}", row.principal, row.metadata.name)
            }))
        });
        while let Some(at) = missing.pop() {
            let last = missing.is_empty();
            let (contents, lifetime) = if last {
                (contents.clone(), lifetime)
            } else {
                (Contents::default(), Lifetime::Permanent)
            };
            let bytes = contents.len() as u64;
            self.add_node(&at, contents, lifetime, Arc::clone(&creator));
            let who = match self.creator {
                Some(_) => self.acting_doer(),
                None => self.doer(session),
            };
            self.note(&at, who, PastChange::NodeCreated { bytes });
        }
        Ok(())
    }

    fn add_node(&mut self, path: &Path, contents: Contents, lifetime: Lifetime, creator: Arc<str>) {
        let header = &mut self.cell.header;
        header.instance = header.instance.next();
        header.content_bytes += contents.len() as u64;
        let node = Node {
            instance: header.instance,
            lifetime,
            content_generation: 1,
            acl_generation: 1,
            child_generation: 0,
            content_bytes: contents.len() as u64,
            content_checksum: xxh3_64(contents.as_bytes()),
            children: 0,
            sequence: 0,
            owners: 0,
            creator,
            contents,
        };
        self.cell.nodes.insert(path.clone(), node);
        if let Lifetime::Ttl { ms } = lifetime {
            self.begin_ttl(path, ms);
        }
        self.touch(Cacheable::Absence(path.clone()));
        self.child_changed(path, |children| children + 1);
    }

    /// Removes a node without children whose lock is free, with all that belongs to it.
    pub(crate) fn remove_node(&mut self, path: &Path) {
        let node = self.cell.nodes.remove(path).expect("a known node");
        assert!(
            node.children == 0 && !path.is_root(),
            "invariant I-CELL-6: {path} has children or is the root"
        );
        self.cell.header.content_bytes -= node.content_bytes;
        self.forget_ttl(path);
        let owners: Vec<SessionId> = self
            .cell
            .opens
            .range((path.clone(), SessionId(0))..=(path.clone(), SessionId(u64::MAX)))
            .map(|((_, owner), ())| *owner)
            .collect();
        for owner in owners {
            self.cell.opens.remove(&(path.clone(), owner));
            self.cell.indexes.opens.remove(&(owner, path.clone()));
            self.cell.ledgers.update(&owner, |row| row.opens -= 1);
        }
        if let Some(lock) = self.cell.locks.remove(path) {
            assert!(
                lock.is_free() && lock.waiters == 0,
                "invariant I-CELL-6: the lock of {path} is in use"
            );
            let oldest = lock
                .hands
                .saturating_sub(limits::CHANGES_OF_HANDS_MAX as u64);
            for nth in oldest..=lock.hands {
                self.cell.hands.remove(&(path.clone(), nth));
            }
        }
        self.touch(Cacheable::Contents(path.clone()));
        self.touch(Cacheable::Stat(path.clone()));
        self.touch(Cacheable::Listing(path.clone()));
        self.touch(Cacheable::LockFree(path.clone()));
        self.child_changed(path, |children| children - 1);
    }

    /// Counts a child that came or went.
    fn child_changed(&mut self, child: &Path, count: impl FnOnce(u64) -> u64) {
        let Some(parent) = child.parent() else {
            return;
        };
        self.cell
            .nodes
            .update(&parent, |node| {
                node.children = count(node.children);
                node.child_generation += 1;
            })
            .expect("invariant I-CELL-6: a node has a parent");
        self.touch(Cacheable::Listing(parent.clone()));
        self.touch_stat(&parent);
    }

    /// Touches a node's stat, which its parent's listing shows too.
    fn touch_stat(&mut self, path: &Path) {
        self.touch(Cacheable::Stat(path.clone()));
        if let Some(parent) = path.parent() {
            self.touch(Cacheable::Listing(parent));
        }
    }

    pub(crate) fn set(&mut self, set: &Set) -> Result<Response, Refusal> {
        let stat = self.write(set)?;
        Ok(Response::Written { stat })
    }

    /// Replaces contents, and begins a time to live anew.
    pub(crate) fn write(&mut self, set: &Set) -> Result<NodeStat, Refusal> {
        let path = &set.path;
        check_local(self.cell, path)?;
        let node = self.cell.nodes.get(path).ok_or_else(|| not_found(path))?;
        Cell::check_unchanged(path, node, set.if_content_generation, set.if_instance)?;
        let (old_bytes, lifetime) = (node.content_bytes, node.lifetime);
        self.cell.check_contents(&set.contents, old_bytes)?;
        let new_bytes = set.contents.len() as u64;
        let header = &mut self.cell.header;
        header.content_bytes = header.content_bytes - old_bytes + new_bytes;
        self.cell.nodes.update(path, |node| {
            node.content_generation += 1;
            node.content_bytes = new_bytes;
            node.content_checksum = xxh3_64(set.contents.as_bytes());
            node.contents = set.contents.clone();
        });
        if let Lifetime::Ttl { ms } = lifetime {
            self.begin_ttl(path, ms);
        }
        self.touch(Cacheable::Contents(path.clone()));
        self.touch_stat(path);
        let node = self.cell.nodes.get(path).expect("it was found");
        let stat = self.cell.stat_of(path, node);
        let written = PastChange::NodeSet {
            content_generation: stat.content_generation,
            bytes: new_bytes,
        };
        self.note(path, self.acting_doer(), written);
        Ok(stat)
    }

    pub(crate) fn delete(&mut self, delete: &Delete) -> Result<Response, Refusal> {
        let nodes = self.remove(delete)?;
        Ok(Response::Deleted { nodes })
    }

    /// Deletes a node, with everything below it if that is wanted; returns how many are gone.
    pub(crate) fn remove(&mut self, delete: &Delete) -> Result<u64, Refusal> {
        let path = &delete.path;
        check_local(self.cell, path)?;
        let node = self.cell.nodes.get(path).ok_or_else(|| not_found(path))?;
        if path.is_root() {
            return Err(Refusal::IsRoot {
                path: path.to_string(),
            });
        }
        Cell::check_unchanged(path, node, delete.if_content_generation, delete.if_instance)?;
        if node.children > 0 && !delete.recursive {
            return Err(Refusal::HasChildren {
                path: path.to_string(),
                children: node.children,
            });
        }
        let doomed = self
            .cell
            .subtree(path)
            .ok_or_else(|| Refusal::TooManyNodes {
                path: path.to_string(),
                limit: limits::DELETE_NODES_MAX,
            })?;
        let in_use = |at: &&Path| !self.cell.locks.get(at).is_none_or(Lock::is_free);
        if let Some(used) = doomed.iter().find(in_use) {
            return Err(Refusal::LockInUse {
                path: used.to_string(),
            });
        }
        for at in doomed.iter().rev() {
            self.remove_node(at);
            self.note(at, self.acting_doer(), PastChange::NodeDeleted);
        }
        Ok(doomed.len() as u64)
    }

    pub(crate) fn unhold(&mut self, session: SessionId, path: &Path) -> Result<Response, Refusal> {
        check_local(self.cell, path)?;
        let node = self.cell.nodes.get(path).ok_or_else(|| not_found(path))?;
        if node.lifetime != Lifetime::Ephemeral {
            return Err(Refusal::NotEphemeral {
                path: path.to_string(),
            });
        }
        self.close_node(session, path);
        Ok(Response::Done)
    }

    /// Stops holding an ephemeral node open; it goes when the step is settled, if nothing else keeps
    /// it. Does nothing for a session that does not hold it open.
    pub(crate) fn close_node(&mut self, session: SessionId, path: &Path) {
        self.disturb(path);
        if self.cell.opens.remove(&(path.clone(), session)).is_some() {
            self.cell.indexes.opens.remove(&(session, path.clone()));
            self.cell.nodes.update(path, |node| node.owners -= 1);
            self.cell.ledgers.update(&session, |row| row.opens -= 1);
        }
    }
}
