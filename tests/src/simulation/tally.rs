//! What happened in a run, counted, so that a run in which nothing happened does not pass for one in
//! which nothing went wrong.

use cotter_replica::Happening;
use std::collections::BTreeMap;
use std::fmt;

/// Fewest acknowledged mutations of a run that counts.
const MUTATIONS_MIN: u64 = 20;
/// Fewest acquisitions of a run that counts.
const GRANTS_MIN: u64 = 5;

/// Counts of one run or of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Virtual time, in microseconds.
    pub simulated_us: u64,
    /// Events handled.
    pub events: u64,
    /// Log entries committed.
    pub entries: u64,
    /// Mutations acknowledged.
    pub mutations: u64,
    /// Queries compared with the reference.
    pub queries: u64,
    /// Acquisitions.
    pub grants: u64,
    /// Transactions made.
    pub transactions: u64,
    /// Transactions refused.
    pub transactions_refused: u64,
    /// Nodes created with a number in their name.
    pub numbered: u64,
    /// Nodes whose time to live came to its end.
    pub expired_nodes: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Sessions expired.
    pub expiries: u64,
    /// Times that a client fell into jeopardy.
    pub jeopardies: u64,
    /// Notices that clients got.
    pub notices: u64,
    /// Calls completed.
    pub completed: u64,
    /// Calls given up.
    pub abandoned: u64,
    /// Calls that came to their deadline.
    pub timed_out: u64,
    /// Calls that failed because the cell was unreachable.
    pub failed_fast: u64,
    /// Times that a client found the cell unreachable.
    pub outages: u64,
    /// Answers that programs of the simple interface got.
    pub calls: u64,
    /// Outcomes among them.
    pub calls_told: u64,
    /// Statements made on the strength of a master's lease.
    pub statements: u64,
    /// Times that a replica became master.
    pub reigns: u64,
    /// Times that a replica began a chapter.
    pub chapters: u64,
    /// Times that a replica fetched the rest of its chapter.
    pub rests: u64,
    /// Times that a replica went on from a fetched state.
    pub states: u64,
    /// Times that a replica whose state differed was rebuilt.
    pub rebuilt: u64,
    /// Paths whose history, as clients saw it, is linearizable.
    pub linearized: u64,
    /// Paths for which the search was given up.
    pub unknown: u64,
    /// Operations searched.
    pub searched: u64,
    /// Operations that the search could not use.
    pub set_aside: u64,
}

impl Tally {
    /// Counts a fault.
    pub(super) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Counts what a replica reports.
    pub(super) fn happened(&mut self, happening: &Happening) {
        match happening {
            Happening::BecameMaster { .. } => self.reigns += 1,
            Happening::ChapterBegan { .. } => self.chapters += 1,
            Happening::RestFetched { .. } => self.rests += 1,
            Happening::StateReplaced { .. } => self.states += 1,
            _ => {}
        }
    }

    /// Tells whether the run was worth anything.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        !self.faults.is_empty() && self.mutations >= MUTATIONS_MIN && self.grants >= GRANTS_MIN
    }

    /// Adds another run.
    pub(super) fn add(&mut self, other: &Self) {
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.simulated_us += other.simulated_us;
        self.events += other.events;
        self.entries += other.entries;
        self.mutations += other.mutations;
        self.queries += other.queries;
        self.grants += other.grants;
        self.transactions += other.transactions;
        self.transactions_refused += other.transactions_refused;
        self.numbered += other.numbered;
        self.expired_nodes += other.expired_nodes;
        self.sessions += other.sessions;
        self.expiries += other.expiries;
        self.jeopardies += other.jeopardies;
        self.notices += other.notices;
        self.completed += other.completed;
        self.abandoned += other.abandoned;
        self.timed_out += other.timed_out;
        self.failed_fast += other.failed_fast;
        self.outages += other.outages;
        self.calls += other.calls;
        self.calls_told += other.calls_told;
        self.statements += other.statements;
        self.reigns += other.reigns;
        self.chapters += other.chapters;
        self.rests += other.rests;
        self.states += other.states;
        self.rebuilt += other.rebuilt;
        self.linearized += other.linearized;
        self.unknown += other.unknown;
        self.searched += other.searched;
        self.set_aside += other.set_aside;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:.2} simulated hours, {} events, {} log entries, {} reigns",
            self.simulated_us as f64 / 3.6e9,
            self.events,
            self.entries,
            self.reigns
        )?;
        writeln!(
            f,
            "{} mutations acknowledged, {} acquisitions, {} queries compared, {} statements of \
             masters",
            self.mutations, self.grants, self.queries, self.statements
        )?;
        writeln!(
            f,
            "{} transactions made, {} refused, {} sequential names, {} times to live ended",
            self.transactions, self.transactions_refused, self.numbered, self.expired_nodes
        )?;
        writeln!(
            f,
            "{} sessions opened, {} expired, {} jeopardies, {} notices, {} calls given up",
            self.sessions, self.expiries, self.jeopardies, self.notices, self.abandoned
        )?;
        writeln!(
            f,
            "{} calls came to their deadline, {} failed fast in {} outages",
            self.timed_out, self.failed_fast, self.outages
        )?;
        writeln!(
            f,
            "{} calls of the simple interface answered, {} with an outcome",
            self.calls, self.calls_told
        )?;
        writeln!(
            f,
            "{} chapters begun, {} ends of one fetched, {} states fetched, {} rebuilt",
            self.chapters, self.rests, self.states, self.rebuilt
        )?;
        writeln!(
            f,
            "{} histories of paths linearizable, {} unknown; {} operations, {} set aside",
            self.linearized, self.unknown, self.searched, self.set_aside
        )?;
        write!(f, "faults:")?;
        for (kind, count) in &self.faults {
            write!(f, " {kind} {count}")?;
        }
        Ok(())
    }
}
