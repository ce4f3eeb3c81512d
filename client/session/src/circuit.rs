//! Whether the cell can be reached at all, and what to say when it cannot.
//!
//! A circuit breaker: when no replica could be used for a bound, it opens, and calls that would only
//! wait fail at once. Trying goes on behind it, as often as before; the first success closes it.
//!
//! It decides nothing about the lease: a cell can be unreachable while the lease still stands, and a
//! session in jeopardy can be in touch with its master. A pause of the client itself does not count:
//! it is not the cell that was silent then.

use cotter_types::Moment;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Most endpoints whose troubles are remembered.
const TROUBLES_MAX: usize = 32;
/// Longest text of a trouble, in bytes; what replicas write is cut to it.
const TROUBLE_BYTES_MAX: usize = 256;

/// What went wrong last at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The endpoint, `host:port`.
    pub endpoint: String,
    /// What went wrong, for people to read.
    pub problem: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.problem)
    }
}

/// The cell is unreachable: no replica could be used for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreachable {
    /// Since when, by the client's clock.
    pub since: Moment,
    /// How long that has lasted.
    pub lasted: Duration,
    /// What went wrong at each endpoint that was tried since then, in the order of their names.
    pub troubles: Vec<Trouble>,
    /// In how long the next endpoint is tried; zero if one is being tried.
    pub next_try_in: Duration,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lasted = self.lasted.as_secs_f64();
        write!(f, "the cell has been unreachable for {lasted:.1} s")?;
        for (index, trouble) in self.troubles.iter().enumerate() {
            let before = if index == 0 { " (" } else { "; " };
            write!(f, "{before}{trouble}")?;
        }
        if !self.troubles.is_empty() {
            f.write_str(")")?;
        }
        if self.next_try_in.is_zero() {
            f.write_str("; it is being tried again")
        } else {
            let next = self.next_try_in.as_secs_f64();
            write!(f, "; it is tried again in {next:.1} s")
        }
    }
}

impl std::error::Error for Unreachable {}

/// Opens when no replica could be used for a bound.
#[derive(Clone, Debug)]
pub struct Circuit {
    bound: Duration,
    /// Since when no replica can be used; nothing while one can.
    since: Option<Moment>,
    /// When it opens, if nothing comes in between.
    due: Moment,
    open: bool,
    troubles: BTreeMap<String, (Moment, String)>,
}

impl Circuit {
    /// Returns a closed circuit that opens after `bound`.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            since: None,
            due: Moment::NEVER,
            open: false,
            troubles: BTreeMap::new(),
        }
    }

    /// From now on no replica can be used, or this was known before.
    pub fn lost(&mut self, now: Moment) {
        if self.since.is_none() {
            self.since = Some(now);
            self.due = now.after(self.bound);
        }
    }

    /// A replica can be used. Returns whether the circuit was open.
    pub fn answered(&mut self) -> bool {
        self.since = None;
        self.due = Moment::NEVER;
        self.troubles.clear();
        std::mem::replace(&mut self.open, false)
    }

    /// Takes note of what went wrong at an endpoint.
    pub fn trouble(&mut self, now: Moment, endpoint: &str, problem: &str) {
        if self.troubles.len() >= TROUBLES_MAX && !self.troubles.contains_key(endpoint) {
            let times = self
                .troubles
                .iter()
                .map(|(endpoint, (at, _))| (*at, endpoint));
            if let Some(oldest) = times.min().map(|(_, endpoint)| endpoint.clone()) {
                self.troubles.remove(&oldest);
            }
        }
        let mut end = problem.len().min(TROUBLE_BYTES_MAX);
        while !problem.is_char_boundary(end) {
            end -= 1;
        }
        let noted = (now, problem[..end].to_owned());
        self.troubles.insert(endpoint.to_owned(), noted);
    }

    /// Returns what went wrong since a replica could last be used.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let trouble = |(endpoint, (_, problem)): (&String, &(Moment, String))| Trouble {
            endpoint: endpoint.clone(),
            problem: problem.clone(),
        };
        self.troubles.iter().map(trouble).collect()
    }

    /// The client itself stood still for so long, which says nothing about the cell.
    pub fn forgive(&mut self, pause: Duration) {
        self.due = self.due.after(pause);
    }

    /// Tells whether a replica can be used, as far as is known.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.since.is_none()
    }

    /// Tells whether the cell counts as unreachable.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns when it opens, if nothing comes in between.
    #[must_use]
    pub fn opens_at(&self) -> Moment {
        if self.open { Moment::NEVER } else { self.due }
    }

    /// Opens if it is time. Returns whether it opened now.
    pub fn open_if_due(&mut self, now: Moment) -> bool {
        let opens = !self.open && self.since.is_some() && now >= self.due;
        self.open |= opens;
        opens
    }

    /// Says how things are, the next try being at `next_try`.
    #[must_use]
    pub fn report(&self, now: Moment, next_try: Moment) -> Unreachable {
        let since = self.since.unwrap_or(now);
        Unreachable {
            since,
            lasted: now.since(since),
            troubles: self.troubles(),
            next_try_in: next_try.since(now),
        }
    }
}
