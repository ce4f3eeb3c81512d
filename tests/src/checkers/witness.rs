//! What the clients of a run did and were told, collected for the search in `linearizability`.
//!
//! Operations are taken as clients saw them: from the call to its outcome, in true time, with what
//! the session core (or the answer to a call of the simple interface) said. Only where no client can
//! say what happened is the committed log asked:
//!
//! - A mutation whose outcome no client heard happened at its place in the log, or never. It took
//!   effect after its entry was first applied anywhere, and before any client heard of an outcome of
//!   that entry or a later one. Without this, every lost answer would double the search.
//! - What nobody asked for at a path changes it too: the end of a session or of a time to live, a
//!   deletion of what is above, a creation of what is below. That is taken from the states before and
//!   after the entry, but only where the entry contains such a cause; a change without a cause is left
//!   out, so that whoever reads it finds it.
//! - A transaction is checked path by path as the change that the log says it made, in the interval
//!   of its call. Where one entry mixes direct and indirect changes of one path, they are taken
//!   together, and what clients heard of them one by one is set aside (and counted).

use super::deeds::{Deed, deed_of, is_related, local, node_at, refused_by, seen_by};
use super::linearizability::{
    Hold, Linearizability, LockOperation, LockState, Node, NodeOperation, NodeState, Operation,
    Sequential, search,
};
use super::{History, Step, Verdict, Violation};
use cotter_cell::{Cacheable, Cell, Command, Effect, Entry};
use cotter_types::{
    Mutation, Path, Query, QueryResponse, Refusal, RequestNumber, Response, Sequencer, SessionId,
};
use std::collections::{BTreeMap, BTreeSet};

type Key = (SessionId, RequestNumber);

/// Steps of the model for one path of one run. A path of a run has some hundred operations, so a
/// search that does its work takes a few hundred.
const STEPS_MAX: u64 = 100_000;

/// When something took effect: not before the first moment, not after the second.
pub type Interval = (u64, u64);

/// What clients did and heard, and what the log says of the rest.
#[derive(Debug, Default)]
pub struct Witness {
    /// What was done for clients, as they heard it.
    told: BTreeMap<Key, (Interval, Option<(Path, Deed)>)>,
    /// What clients saw without doing anything.
    seen: Vec<(Interval, Path, Deed)>,
    /// What clients were refused.
    refused: Vec<(Interval, SessionId, Path, Refusal)>,
    log: Log,
    /// Outcomes heard: the place of the entry and when, both rising.
    heard: Vec<(usize, u64)>,
}

/// What the committed log says.
#[derive(Debug, Default)]
struct Log {
    /// When each entry was first applied anywhere.
    applied_at: Vec<u64>,
    /// Requests that are decided, so that a repetition is none.
    decided: BTreeSet<Key>,
    /// What was done for whom, and by which entry.
    done: Vec<(usize, Key, Path, Deed)>,
    holds: BTreeMap<Hold, Path>,
    /// Changes of nodes that were not asked for at their path, with the transaction that made them.
    changes: Vec<(usize, Option<Key>, Path, NodeOperation)>,
    /// What was told one by one and is part of a change.
    aside: BTreeSet<Key>,
    /// Refusals that saw a state within an entry.
    uncertain: Vec<(SessionId, Refusal)>,
}

/// What the search over a whole run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Paths whose history is linearizable.
    pub passed: u64,
    /// Paths for which the steps did not suffice.
    pub unknown: u64,
    /// Operations looked at.
    pub operations: u64,
    /// Operations set aside because one entry changed their path in several ways.
    pub aside: u64,
}

impl Witness {
    /// Takes note that a client was told that its mutation was done.
    pub fn told(
        &mut self,
        history: &History,
        key: Key,
        mutation: &Mutation,
        response: &Response,
        interval: Interval,
    ) {
        let deed = deed_of(key, mutation, response);
        self.hear(history, key, deed, interval);
    }

    /// Takes note that a program of the simple interface was told that it holds a lock.
    pub fn called(
        &mut self,
        history: &History,
        key: Key,
        path: &Path,
        sequencer: &Sequencer,
        interval: Interval,
    ) {
        let operation = LockOperation::Acquired {
            hold: key,
            mode: sequencer.mode,
            token: sequencer.token,
        };
        let deed = Some((path.clone(), Deed::Lock(operation)));
        self.hear(history, key, deed, interval);
    }

    fn hear(
        &mut self,
        history: &History,
        key: Key,
        deed: Option<(Path, Deed)>,
        interval: Interval,
    ) {
        self.told.entry(key).or_insert((interval, deed));
        if let Some(recorded) = history.outcome(key.0, key.1)
            && self.heard.last().is_none_or(|it| it.0 < recorded.index)
        {
            self.heard.push((recorded.index, interval.1));
        }
    }

    /// Takes note that a client was refused something about `path`.
    pub fn refused(
        &mut self,
        session: SessionId,
        path: &Path,
        refusal: &Refusal,
        interval: Interval,
    ) {
        let refusal = (interval, session, path.clone(), refusal.clone());
        self.refused.push(refusal);
    }

    /// Takes note of what a query found.
    pub fn found(&mut self, query: &Query, response: &QueryResponse, interval: Interval) {
        if let Some((path, deed)) = seen_by(query, response) {
            self.seen.push((interval, path, deed));
        }
    }

    /// Looks at an entry that `history` has just applied, at the true time `now`.
    pub fn observe(&mut self, step: &Step, history: &History, now: u64) {
        self.log.applied_at.push(now);
        let states = (history.state(step.index), history.state(step.index + 1));
        if let (true, (Some((before, _)), Some((after, _)))) = (step.applied.accepted, states) {
            self.log.observe(step, before, after);
        }
    }

    /// Searches the histories of all paths, at the true time `now`.
    ///
    /// # Errors
    /// One of them has no order.
    pub fn check(&self, now: u64) -> Result<Searched, Violation> {
        let (nodes, locks, aside) = self.histories(now);
        let mut searched = Searched {
            aside,
            ..Searched::default()
        };
        for (path, history) in &nodes {
            let start = NodeState::default();
            searched.count(path, history.len(), search(start, history, STEPS_MAX).0)?;
        }
        for (path, history) in &locks {
            let start = LockState::default();
            searched.count(path, history.len(), search(start, history, STEPS_MAX).0)?;
        }
        Ok(searched)
    }

    /// When an entry took effect.
    fn interval_of(&self, index: usize, now: u64) -> Interval {
        let later = self.heard.partition_point(|(place, _)| *place < index);
        let until = self.heard.get(later).map_or(now, |(_, at)| *at);
        let from = self.log.applied_at.get(index).map_or(0, |at| *at);
        (from.min(until), until)
    }

    #[expect(clippy::type_complexity, reason = "it has one reader, next to it")]
    fn histories(
        &self,
        now: u64,
    ) -> (
        BTreeMap<Path, Vec<Operation<NodeOperation>>>,
        BTreeMap<Path, Vec<Operation<LockOperation>>>,
        u64,
    ) {
        let mut nodes: BTreeMap<Path, Vec<Operation<NodeOperation>>> = BTreeMap::new();
        let mut locks: BTreeMap<Path, Vec<Operation<LockOperation>>> = BTreeMap::new();
        let mut add = |path: &Path, (invoked, returned): Interval, deed: &Deed| {
            let path = path.clone();
            let returned = Some(returned);
            match deed.clone() {
                _ if path.is_root() => {}
                Deed::Node(what) => nodes.entry(path).or_default().push(Operation {
                    invoked,
                    returned,
                    what,
                }),
                Deed::Lock(what) => locks.entry(path).or_default().push(Operation {
                    invoked,
                    returned,
                    what,
                }),
            }
        };
        let mut aside = 0;
        for (key, (interval, deed)) in &self.told {
            match deed {
                Some(_) if self.log.aside.contains(key) => aside += 1,
                Some((path, deed)) => add(path, *interval, deed),
                None => {}
            }
        }
        for (index, key, path, deed) in &self.log.done {
            if !self.told.contains_key(key) && !self.log.aside.contains(key) {
                add(path, self.interval_of(*index, now), deed);
            }
        }
        for (index, transaction, path, change) in &self.log.changes {
            let told = transaction.and_then(|key| self.told.get(&key));
            let interval = told.map_or_else(|| self.interval_of(*index, now), |told| told.0);
            add(path, interval, &Deed::Node(change.clone()));
        }
        for (interval, path, deed) in &self.seen {
            add(path, *interval, deed);
        }
        for (interval, session, path, refusal) in &self.refused {
            let same = |it: &&(SessionId, Refusal)| it.0 == *session && it.1 == *refusal;
            if self.log.uncertain.iter().find(same).is_some() {
                aside += 1;
                continue;
            }
            for deed in refused_by(path, refusal) {
                add(path, *interval, &deed);
            }
        }
        (nodes, locks, aside)
    }
}

impl Searched {
    fn count(&mut self, path: &Path, operations: usize, verdict: Linearizability) -> Verdict {
        self.operations += operations as u64;
        match verdict {
            Linearizability::Linearizable => self.passed += 1,
            Linearizability::Unknown => self.unknown += 1,
            Linearizability::Impossible(what) => {
                return Err(Violation::new("linearizability", format!("{path}: {what}")));
            }
        }
        Ok(())
    }
}

/// What one entry says of nodes, while it is looked at.
struct Contents<'a> {
    /// Mutations that it decides for the first time and with success.
    done: Vec<(Key, &'a Mutation, &'a Response)>,
    refused: Vec<(SessionId, Refusal)>,
    /// Locks that are asked for, and perhaps created.
    acquires: Vec<&'a Path>,
    /// Whether a session ended or an acquire was given up.
    ends: bool,
}

impl Log {
    fn observe(&mut self, step: &Step, before: &Cell, after: &Cell) {
        let contents = self.decided(step);
        for (key, mutation, response) in &contents.done {
            // What becomes of a lock is kept with the holds.
            if let Some((path, deed @ Deed::Node(_))) = deed_of(*key, mutation, response) {
                self.done.push((step.index, *key, path, deed));
            }
        }
        let paths: BTreeSet<&Path> = step
            .applied
            .touched
            .iter()
            .filter_map(|item| match item {
                Cacheable::Contents(path) | Cacheable::Absence(path) => Some(path),
                _ => None,
            })
            .collect();
        for path in paths {
            self.changed(step.index, path, before, after, &contents);
        }
    }

    /// Reads what an entry decides, and keeps the holds.
    fn decided<'a>(&mut self, step: &'a Step) -> Contents<'a> {
        let (asked, acquires) = asked(step);
        let mut contents = Contents {
            done: Vec::new(),
            refused: Vec::new(),
            acquires,
            ends: false,
        };
        for effect in &step.applied.effects {
            match effect {
                Effect::Answered {
                    session,
                    number,
                    result: Ok(response),
                } if self.decided.insert((*session, *number)) => {
                    let key = (*session, *number);
                    if let Response::Acquired { sequencer, .. } = response {
                        self.granted(step.index, key, sequencer);
                    } else if let Some(mutation) = asked.get(&key) {
                        contents.done.push((key, mutation, response));
                        contents.ends |= matches!(mutation, Mutation::Cancel { .. });
                        if let Mutation::Cancel { number } | Mutation::Release { number, .. } =
                            mutation
                        {
                            self.freed(step.index, key, (*session, *number));
                        }
                    }
                }
                Effect::Answered {
                    session,
                    number,
                    result: Err(refusal),
                } => {
                    self.decided.insert((*session, *number));
                    contents.refused.push((*session, refusal.clone()));
                }
                Effect::SessionEnded { session, .. } => {
                    contents.ends = true;
                    let all = (*session, RequestNumber(0))..=(*session, RequestNumber(u64::MAX));
                    let holds: Vec<Hold> = self.holds.range(all).map(|(hold, _)| *hold).collect();
                    for hold in holds {
                        // Nobody is told of it under a number of its own.
                        self.freed(step.index, (*session, RequestNumber(0)), hold);
                    }
                }
                _ => {}
            }
        }
        contents
    }

    fn granted(&mut self, index: usize, hold: Hold, sequencer: &Sequencer) {
        let Some(path) = local(&sequencer.path) else {
            return;
        };
        let deed = Deed::Lock(LockOperation::Acquired {
            hold,
            mode: sequencer.mode,
            token: sequencer.token,
        });
        self.holds.insert(hold, path.clone());
        self.done.push((index, hold, path, deed));
    }

    /// A hold ends by the request `key`. A release of which its client was told counts as the client
    /// was told; everything else by the log.
    fn freed(&mut self, index: usize, key: Key, hold: Hold) {
        if let Some(path) = self.holds.remove(&hold) {
            let deed = Deed::Lock(LockOperation::Freed(hold));
            self.done.push((index, key, path, deed));
        }
    }

    /// Explains how an entry changed the node at `path`.
    fn changed(
        &mut self,
        index: usize,
        path: &Path,
        before: &Cell,
        after: &Cell,
        contents: &Contents<'_>,
    ) {
        let (old, mortal) = node_at(before, path);
        let (new, _) = node_at(after, path);
        let mut direct: Vec<(Key, NodeOperation)> = Vec::new();
        let mut causes: Vec<Option<Key>> = Vec::new();
        for (key, mutation, response) in &contents.done {
            match deed_of(*key, mutation, response) {
                Some((at, Deed::Node(operation))) if at == *path => direct.push((*key, operation)),
                _ if is_related(path, mutation, response) => {
                    let whole = matches!(mutation, Mutation::Transaction(_));
                    causes.push(whole.then_some(*key));
                }
                _ => {}
            }
        }
        let instance = |node: &Option<Node>| node.as_ref().map(|it| it.instance);
        let went = old.is_some() && instance(&old) != instance(&new);
        // An acquire makes the node that it needs, also where the same entry has deleted it before.
        let created = |at: &&Path| (old.is_none() || went) && at.is_within(path);
        let implicit = (went && mortal) || contents.acquires.iter().any(created);
        let explained = direct
            .iter()
            .try_fold(NodeState::of(&old), |state, (_, operation)| {
                state.after(operation)
            });
        let explained = explained.is_some_and(|state| state.is(&new));
        if causes.is_empty() && !contents.ends && (explained || !implicit) {
            return;
        }
        self.aside.extend(direct.iter().map(|(key, _)| *key));
        self.uncertain.extend(contents.refused.iter().cloned());
        if old != new {
            let alone = causes.len() == 1 && direct.is_empty() && !contents.ends;
            let transaction = causes.first().copied().flatten().filter(|_| alone);
            let change = NodeOperation::Became {
                before: old,
                after: new,
            };
            self.changes
                .push((index, transaction, path.clone(), change));
        }
    }
}

/// The mutations of an entry by their numbers, and the locks that it asks for.
fn asked(step: &Step) -> (BTreeMap<Key, &Mutation>, Vec<&Path>) {
    let mut asked = BTreeMap::new();
    let mut acquires = Vec::new();
    let Entry::Batch(batch) = &step.entry else {
        return (asked, acquires);
    };
    for command in &batch.commands {
        match command {
            Command::Mutate {
                session,
                number,
                mutation,
                ..
            } => {
                asked.insert((*session, *number), mutation);
                if let Mutation::Acquire(acquire) = mutation {
                    acquires.push(&acquire.path);
                }
            }
            Command::CallAcquire { acquire, .. } => acquires.push(&acquire.path),
            _ => {}
        }
    }
    (asked, acquires)
}
