//! What changes of nodes must come to, by rules simpler than the cell's.
//!
//! A transaction is made whole or leaves nothing behind; each operation has the result that belongs
//! to it; what can never be made never is. A number in a name is new below its parent. A node with a
//! time to live is there until its time has come, unless somebody deletes it, and not for ever.
//!
//! It looks at outcomes in the order of the log, and at no read; reads are `order`'s and
//! `linearizability`'s.

use super::{History, Step, Verdict, Violation};
use cotter_cell::{Cell, Effect};
use cotter_types::limits::SEQUENCE_DIGITS;
use cotter_types::{
    CellTime, Condition, Create, CreateSequential, Instance, Lifetime, Mutation, NodeOperation,
    NodeResult, Path, Query, QueryResponse, Refusal, RequestNumber, Response, SessionId, Set,
    Transaction,
};
use std::collections::{BTreeMap, BTreeSet};

type Key = (SessionId, RequestNumber);

/// A node that will expire.
#[derive(Debug)]
struct Mortal {
    instance: Instance,
    ms: u64,
    until: CellTime,
}

/// Remembers the numbers given and the times to live that run.
#[derive(Debug, Default)]
pub struct Nodes {
    seen: BTreeSet<Key>,
    /// The last number given below each parent.
    numbers: BTreeMap<Path, u64>,
    mortals: BTreeMap<Path, Mortal>,
    newest: Instance,
    numbered: u64,
    made: u64,
    refused: u64,
    expired: u64,
}

impl Nodes {
    /// Looks at the outcomes of one entry. `sent` tells what a number was sent for; `history` has
    /// just applied the entry.
    ///
    /// # Errors
    /// An outcome breaks a rule.
    pub fn observe<'a>(
        &mut self,
        step: &Step,
        sent: impl Fn(Key) -> Option<&'a Mutation>,
        history: &History,
    ) -> Verdict {
        let Some((cell, _)) = history.state(step.index + 1) else {
            return Ok(());
        };
        for effect in &step.applied.effects {
            let Effect::Answered {
                session,
                number,
                result,
            } = effect
            else {
                continue;
            };
            let key = (*session, *number);
            let Some(mutation) = sent(key).filter(|_| self.seen.insert(key)) else {
                continue;
            };
            self.outcome(mutation, result, cell).map_err(|what| {
                Violation::new(
                    "nodes",
                    format!("{session} number {number}: {what}: {mutation:?} came to {result:?}"),
                )
            })?;
        }
        self.check_mortals(step, cell)
    }

    /// Returns a node that should have expired long ago, if there is one. Only to be asked when no
    /// lock is in use and nobody writes any more.
    #[must_use]
    pub fn overdue(&self) -> Option<&Path> {
        self.mortals.keys().next()
    }

    /// Returns how many sequential names were given, transactions made and refused, and times to
    /// live that came to their end.
    #[must_use]
    pub fn counts(&self) -> [u64; 4] {
        [self.numbered, self.made, self.refused, self.expired]
    }

    fn outcome(
        &mut self,
        mutation: &Mutation,
        result: &Result<Response, Refusal>,
        cell: &Cell,
    ) -> Result<(), String> {
        match (mutation, result) {
            (Mutation::Create(create), Ok(Response::Created { created, stat })) => self.created(
                create,
                *created,
                stat.instance,
                stat.content_generation,
                cell,
            ),
            (Mutation::CreateSequential(create), Ok(Response::CreatedAt { path, stat })) => {
                self.numbered(create, path, stat.instance, stat.content_generation, cell)
            }
            (Mutation::Set(set), Ok(Response::Written { stat })) => {
                self.written(set, stat.instance, stat.content_generation, cell)
            }
            (Mutation::Delete(delete), Ok(Response::Deleted { nodes })) => {
                self.deleted(&delete.path, *nodes)
            }
            (Mutation::Transaction(transaction), Ok(Response::Applied { results })) => {
                self.made += 1;
                self.applied(transaction, results, cell)
            }
            (Mutation::Transaction(transaction), Err(refusal)) => {
                self.refused += 1;
                failed(transaction, refusal, cell)
            }
            (
                Mutation::Create(_)
                | Mutation::CreateSequential(_)
                | Mutation::Set(_)
                | Mutation::Delete(_)
                | Mutation::Transaction(_),
                Ok(_),
            ) => Err("the answer belongs to another question".to_owned()),
            (_, Err(Refusal::TransactionFailed { .. })) => {
                Err("only a transaction fails like one".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn applied(
        &mut self,
        transaction: &Transaction,
        results: &[NodeResult],
        cell: &Cell,
    ) -> Result<(), String> {
        if results.len() != transaction.operations.len() {
            return Err("each operation has a result".to_owned());
        }
        for compare in &transaction.compares {
            // The first operation sees the node as the compares have seen it.
            let first = transaction.operations.first().zip(results.first());
            let first = first.filter(|(operation, _)| *operation.path() == compare.path);
            let holds = match (&compare.condition, first) {
                (Condition::ContentGeneration(0), _) => false,
                (
                    Condition::ContentGeneration(wanted),
                    Some((
                        NodeOperation::Set(_),
                        NodeResult::Written {
                            content_generation, ..
                        },
                    )),
                ) => *content_generation == wanted + 1,
                (
                    Condition::Instance(wanted),
                    Some((NodeOperation::Set(_), NodeResult::Written { instance, .. })),
                ) => instance == wanted,
                (
                    Condition::Absent,
                    Some((NodeOperation::Create(_), NodeResult::Created { created, .. })),
                ) => *created,
                (
                    Condition::Absent,
                    Some((NodeOperation::Set(_) | NodeOperation::Delete(_), _)),
                ) => false,
                (
                    Condition::Exists | Condition::Instance(_) | Condition::ContentGeneration(_),
                    Some((NodeOperation::Create(_), NodeResult::Created { created, .. })),
                ) => !created,
                _ => true,
            };
            if !holds {
                return Err(format!("{compare:?} did not hold"));
            }
        }
        for (operation, result) in transaction.operations.iter().zip(results) {
            match (operation, result) {
                (
                    NodeOperation::Create(create),
                    NodeResult::Created {
                        path,
                        created,
                        instance,
                        content_generation,
                    },
                ) if *path == create.path => {
                    self.created(create, *created, *instance, *content_generation, cell)?;
                }
                (
                    NodeOperation::CreateSequential(create),
                    NodeResult::Created {
                        path,
                        created: true,
                        instance,
                        content_generation,
                    },
                ) => self.numbered(create, path, *instance, *content_generation, cell)?,
                (
                    NodeOperation::Set(set),
                    NodeResult::Written {
                        instance,
                        content_generation,
                    },
                ) => self.written(set, *instance, *content_generation, cell)?,
                (NodeOperation::Delete(delete), NodeResult::Deleted { nodes }) => {
                    self.deleted(&delete.path, *nodes)?;
                }
                _ => return Err(format!("{result:?} is no result of {operation:?}")),
            }
        }
        Ok(())
    }

    fn created(
        &mut self,
        create: &Create,
        created: bool,
        instance: Instance,
        generation: u64,
        cell: &Cell,
    ) -> Result<(), String> {
        if !created {
            return match create.exclusive {
                true => Err("an exclusive creation found a node".to_owned()),
                false => Ok(()),
            };
        }
        if generation != 1 || instance <= self.newest {
            return Err("a new node is a new instance of generation 1".to_owned());
        }
        self.newest = instance;
        self.mortals.remove(&create.path);
        if let Lifetime::Ttl { ms } = create.lifetime {
            let until = cell.time().after_ms(ms);
            let mortal = Mortal {
                instance,
                ms,
                until,
            };
            self.mortals.insert(create.path.clone(), mortal);
        }
        Ok(())
    }

    fn numbered(
        &mut self,
        create: &CreateSequential,
        path: &Path,
        instance: Instance,
        generation: u64,
        cell: &Cell,
    ) -> Result<(), String> {
        let digits = path.as_str().strip_prefix(create.path.as_str());
        let number = digits
            .filter(|digits| digits.len() == SEQUENCE_DIGITS)
            .and_then(|digits| digits.parse::<u64>().ok())
            .ok_or_else(|| format!("{path} is not {} and a number", create.path))?;
        let parent = path.parent().unwrap_or_else(Path::root);
        if let Some(last) = self.numbers.insert(parent, number)
            && number <= last
        {
            return Err(format!("{path} comes after number {last}"));
        }
        self.numbered += 1;
        let ordinary = Create {
            path: path.clone(),
            contents: create.contents.clone(),
            lifetime: create.lifetime,
            parents: create.parents,
            exclusive: true,
        };
        self.created(&ordinary, true, instance, generation, cell)
    }

    fn written(
        &mut self,
        set: &Set,
        instance: Instance,
        generation: u64,
        cell: &Cell,
    ) -> Result<(), String> {
        let expected = set
            .if_content_generation
            .is_none_or(|it| it + 1 == generation);
        if !expected || generation < 2 || set.if_instance.is_some_and(|it| it != instance) {
            return Err("the condition did not hold".to_owned());
        }
        if set.if_content_generation == Some(0) {
            return Err("no node has the content generation 0".to_owned());
        }
        if let Some(mortal) = self.mortals.get_mut(&set.path)
            && mortal.instance == instance
        {
            mortal.until = cell.time().after_ms(mortal.ms);
        }
        Ok(())
    }

    fn deleted(&mut self, path: &Path, nodes: u64) -> Result<(), String> {
        if nodes == 0 {
            return Err("a deletion deletes something".to_owned());
        }
        self.numbers.retain(|parent, _| !parent.is_within(path));
        self.mortals.retain(|mortal, _| !mortal.is_within(path));
        Ok(())
    }

    /// No node goes before its time.
    fn check_mortals(&mut self, step: &Step, cell: &Cell) -> Verdict {
        let mut gone = Vec::new();
        for (path, mortal) in &self.mortals {
            let query = Query::Stat { path: path.clone() };
            let stands = matches!(
                cell.query(&query, cell.time()),
                Ok(QueryResponse::Stat { stat, .. }) if stat.instance == mortal.instance
            );
            if stands {
                continue;
            }
            if cell.time() < mortal.until {
                return Err(Violation::new(
                    "nodes",
                    format!(
                        "entry {}: {path} is gone at {:?}, and had to live: {mortal:?}",
                        step.index,
                        cell.time()
                    ),
                ));
            }
            gone.push(path.clone());
        }
        for path in gone {
            self.mortals.remove(&path);
            self.expired += 1;
        }
        Ok(())
    }
}

/// A transaction that failed says where, and has left nothing of what it wrote; clients never write
/// the same contents twice.
fn failed(transaction: &Transaction, refusal: &Refusal, cell: &Cell) -> Result<(), String> {
    if let Refusal::TransactionFailed { index, compare, .. } = refusal {
        let parts = match compare {
            true => transaction.compares.len(),
            false => transaction.operations.len(),
        };
        if *index as usize >= parts {
            return Err("it has no such part".to_owned());
        }
    }
    for operation in &transaction.operations {
        let query = Query::Get {
            path: operation.path().clone(),
        };
        if let Ok(QueryResponse::Node { contents, .. }) = cell.query(&query, cell.time())
            && operation.contents() == Some(&contents)
        {
            return Err(format!("it has left something at {}", operation.path()));
        }
    }
    Ok(())
}
