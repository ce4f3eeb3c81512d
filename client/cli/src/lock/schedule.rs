//! When a running command must be told to end, and when it must be dead.
//!
//! Both the keeper and the command line follow this arithmetic, each by its own reading of the
//! clock, so that freezing one of them changes nothing about the end. It decides and does nothing:
//! no clock, no signal.

use cotter_types::Moment;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;

/// What happens to the command when the lock is about to be lost (`--on-lost`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLost {
    /// TERM first, KILL when the grace is over.
    Term,
    /// KILL, as late as is safe.
    Kill,
    /// A signal of the user's choice first, KILL when the grace is over.
    Signal(Signal),
    /// Nothing: the command runs on without the lock. Only the fencing token protects then.
    Ignore,
}

impl OnLost {
    /// Returns the signal that announces the end, if there is one.
    #[must_use]
    pub fn warning(self) -> Option<Signal> {
        match self {
            Self::Term => Some(Signal::SIGTERM),
            Self::Signal(signal) => Some(signal),
            Self::Kill | Self::Ignore => None,
        }
    }
}

impl fmt::Display for OnLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Term => f.write_str("term"),
            Self::Kill => f.write_str("kill"),
            Self::Ignore => f.write_str("ignore"),
            Self::Signal(signal) => write!(f, "signal:{}", signal.as_str()),
        }
    }
}

impl FromStr for OnLost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "term" => return Ok(Self::Term),
            "kill" => return Ok(Self::Kill),
            "ignore" => return Ok(Self::Ignore),
            _ => {}
        }
        let name = text.strip_prefix("signal:").ok_or_else(|| {
            format!("{text:?} is none of term, kill, ignore and signal:NAME (such as signal:USR1)")
        })?;
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") {
            upper
        } else {
            format!("SIG{upper}")
        };
        match Signal::from_str(&full) {
            Ok(Signal::SIGKILL) => Ok(Self::Kill),
            Ok(signal) => Ok(Self::Signal(signal)),
            Err(_) => Err(format!(
                "there is no signal {name:?}; use a name such as USR1"
            )),
        }
    }
}

/// Turns the end of a belief into the moments at which something must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What to do.
    pub on_lost: OnLost,
    /// Time between the warning and KILL.
    pub grace: Duration,
    /// Time between KILL and the end of the belief: what dying may take.
    pub margin: Duration,
}

/// Two moments: when to warn and when to kill. [`Moment::NEVER`] for what shall not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When to send the warning.
    pub warn: Moment,
    /// When to send KILL.
    pub kill: Moment,
}

impl Schedule {
    /// Shortest time between KILL and the end of the belief.
    pub const MARGIN_MIN: Duration = Duration::from_millis(200);

    /// Makes the schedule that fits a lease; without `grace`, the grace is a quarter of the lease.
    ///
    /// Keepalives renew a lease when about a third of it has passed, so a healthy session always has
    /// about half of it left: warning and margin together must fit into that half, or a command
    /// would be warned although nothing is wrong.
    ///
    /// # Errors
    /// Says what is the longest grace, if `grace` does not fit.
    pub fn for_lease(
        lease: Duration,
        grace: Option<Duration>,
        on_lost: OnLost,
    ) -> Result<Self, String> {
        let margin = (lease / 20).max(Self::MARGIN_MIN);
        let longest = (lease / 2).saturating_sub(margin);
        let grace = grace.unwrap_or(lease / 4);
        if on_lost.warning().is_some() && grace > longest {
            return Err(format!(
                "a grace of {} s does not fit into a lease of {} s; use --grace {} at most, or a \
                 longer --lease",
                grace.as_secs_f64(),
                lease.as_secs_f64(),
                longest.as_secs_f64()
            ));
        }
        Ok(Self {
            on_lost,
            grace,
            margin,
        })
    }

    /// Returns what is due while the lock is held, for a belief that ends at `deadline`.
    #[must_use]
    pub fn while_held(&self, deadline: Moment) -> Due {
        let kill = deadline.before(self.margin);
        match self.on_lost {
            OnLost::Ignore => Due {
                warn: Moment::NEVER,
                kill: Moment::NEVER,
            },
            OnLost::Kill => Due {
                warn: Moment::NEVER,
                kill,
            },
            OnLost::Term | OnLost::Signal(_) => Due {
                warn: kill.before(self.grace),
                kill,
            },
        }
    }

    /// Returns what is due when at `since` it became certain that nobody extends the belief any
    /// more: warn at once, kill when the grace is over, never later than while it was held.
    #[must_use]
    pub fn after_giving_up(&self, since: Moment, deadline: Moment) -> Due {
        let held = self.while_held(deadline);
        match self.on_lost {
            OnLost::Ignore => held,
            OnLost::Kill => Due {
                warn: Moment::NEVER,
                kill: since,
            },
            OnLost::Term | OnLost::Signal(_) => Due {
                warn: since,
                kill: held.kill.min(since.after(self.grace)),
            },
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
