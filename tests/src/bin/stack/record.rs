//! What happened in a run: the trace, what the clients believe, and what was acknowledged.
//!
//! The clients' tasks write here and the loop of the run checks it after every step of simulated time.
//! Nothing here asks the code under test whether it is right, but for what a client believes.

use cotter_client::{Client, Guard, SessionState};
use cotter_tests::checkers::{Belief, Exclusion, Verdict, Violation};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::time::Duration;

/// A record that all tasks of the run share: they run on one thread.
pub(crate) type Shared = Rc<RefCell<Record>>;

/// How much was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acquired: u64,
    pub(crate) written: u64,
    pub(crate) read: u64,
    pub(crate) sessions: u64,
    pub(crate) reigns: u64,
    pub(crate) faults: u64,
}

/// What one writer did to the node that it alone writes.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    sent: u64,
    acknowledged: u64,
    generation: u64,
}

/// A client of this moment, with what translates true time into its own.
#[derive(Debug)]
struct Living {
    client: Client,
    /// Its clock at the moment `since`.
    clock: u64,
    since: Duration,
}

/// Everything that is known of a run.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) tally: Tally,
    /// The first thing that must never happen.
    pub(crate) violation: Option<Violation>,
    /// Locks that were granted after everything was healed.
    pub(crate) grantable: usize,
    is_printing: bool,
    lines: u64,
    hasher: DefaultHasher,
    exclusion: Exclusion,
    tokens: BTreeMap<String, u64>,
    living: BTreeMap<usize, Living>,
    nodes: BTreeMap<String, Written>,
}

impl Record {
    /// Begins an empty record, which prints its trace if it is asked to.
    pub(crate) fn new(is_printing: bool) -> Self {
        Self {
            is_printing,
            ..Self::default()
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn line(&mut self, text: &str) {
        // Between two steps, where faults are made, there is no simulated host, and thus no time.
        let at = turmoil::sim_elapsed().unwrap_or_default().as_micros();
        (at, text).hash(&mut self.hasher);
        self.lines += 1;
        if self.is_printing {
            println!("{at:>9} {text}");
        }
    }

    /// Returns the number of lines and the hash of all of them.
    pub(crate) fn trace(&self) -> (u64, u64) {
        (self.lines, self.hasher.finish())
    }

    /// Remembers the first violation.
    pub(crate) fn judge(&mut self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.line(&format!("VIOLATION {violation}"));
            self.violation.get_or_insert(violation);
        }
    }

    /// A client has a session.
    pub(crate) fn opened(&mut self, guest: usize, client: &Client) {
        self.tally.sessions += 1;
        let living = Living {
            client: client.clone(),
            clock: cotter_client::now().0,
            since: turmoil::sim_elapsed().unwrap_or_default(),
        };
        self.living.insert(guest, living);
    }

    /// A client's session is over for it, or it died.
    pub(crate) fn over(&mut self, guest: usize) {
        self.exclusion.session_over(guest);
        self.living.remove(&guest);
    }

    /// A client learns that it holds a lock.
    pub(crate) fn holds(&mut self, guest: usize, guard: &Guard) {
        let Ok(sequencer) = guard.sequencer() else {
            return;
        };
        self.tally.acquired += 1;
        self.line(&format!("guest-{guest} holds {sequencer}"));
        let token = sequencer.token.0;
        let last = self.tokens.insert(guard.path().to_string(), token);
        if last.is_some_and(|last| last >= token) {
            let what = format!("{sequencer} was granted after token {last:?}");
            self.judge(Err(Violation::new("tokens", what)));
        }
        self.exclusion.begins(Belief {
            guest,
            session: guard.session_id(),
            path: guard.path().clone(),
            number: guard.number(),
            sequencer,
        });
    }

    /// A client gives a lock back, or knows that it may have lost it.
    pub(crate) fn gives_back(&mut self, guard: &Guard) {
        self.exclusion.ends(guard.session_id(), guard.number());
    }

    /// Compares what all clients believe at this moment.
    pub(crate) fn check(&mut self, now: Duration) {
        let verdict = self.living.keys().try_for_each(|guest| {
            let stands = |guest| {
                let living: Option<&Living> = self.living.get(&guest);
                living.is_some_and(|living| living.stands(now))
            };
            self.exclusion.check(*guest, micros(now), stands)
        });
        self.judge(verdict);
    }

    /// A write is sent.
    pub(crate) fn sends(&mut self, node: &str) -> u64 {
        let written = self.nodes.entry(node.to_owned()).or_default();
        written.sent += 1;
        written.sent
    }

    /// A write is acknowledged; `generation` is what the node has by it.
    pub(crate) fn acknowledged(&mut self, node: &str, value: u64, generation: u64) {
        self.tally.written += 1;
        self.line(&format!("{node} is {value} at generation {generation}"));
        let written = self.nodes.entry(node.to_owned()).or_default();
        let last = std::mem::replace(&mut written.generation, generation);
        written.acknowledged = value;
        // The node has one writer, which leaves it once an outcome is unknown.
        if last != 0 && generation != last + 1 {
            let what = format!("{node}: write {value} made generation {generation} of {last}");
            self.judge(Err(Violation::new("once", what)));
        }
    }

    /// Returns the last acknowledged value of some node.
    pub(crate) fn some_node(&self, drawn: u64) -> Option<(String, u64)> {
        let count = self.nodes.len() as u64;
        let nth = usize::try_from(drawn.checked_rem(count)?).ok()?;
        let (node, written) = self.nodes.iter().nth(nth)?;
        Some((node.clone(), written.acknowledged))
    }

    /// A read that began when `floor` was acknowledged found `value`.
    pub(crate) fn found(&mut self, guest: usize, node: &str, floor: u64, value: u64) {
        self.tally.read += 1;
        self.line(&format!("guest-{guest} finds {value} in {node}"));
        let sent = self.nodes.get(node).map_or(0, |written| written.sent);
        if value < floor || value > sent {
            let what = format!("{node}: found {value}, but {floor} was acknowledged, {sent} sent");
            self.judge(Err(Violation::new("nodes", what)));
        }
    }
}

impl Living {
    /// Tells whether its lease stands at a moment of true time, as it believes.
    fn stands(&self, now: Duration) -> bool {
        let clock = self.clock + micros(now.saturating_sub(self.since));
        *self.client.state().borrow() == SessionState::Safe && self.client.deadline().0 > clock
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
