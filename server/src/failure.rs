//! Why a process of `cotterd` ends other than as asked: one clear line, and an exit status.
//!
//! The statuses are those of `sysexits.h`, so that a service manager can tell "try again later" from
//! "somebody must change something". Nothing in here prints: `main` does, once.

use std::fmt;
use std::process::ExitCode;

/// What kind of failure it is, as the caller of the process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command line cannot be understood.
    Usage,
    /// What is on the disk is damaged.
    Damaged,
    /// Something that must be there is not, or not yet: a port is taken, a member does not answer.
    Unavailable,
    /// The replica found itself broken and stopped.
    Software,
    /// A file could not be written.
    InputOutput,
    /// The configuration or the data directory does not allow what was asked.
    Config,
}

impl Exit {
    /// Returns the status that the process ends with.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Damaged => 65,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::InputOutput => 74,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

/// A failure that ends the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub exit: Exit,
    /// One line that names the thing and says what to do.
    pub message: String,
}

impl Failure {
    /// Builds a failure for a configuration that does not hold.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Config,
            message: message.into(),
        }
    }

    /// Builds a failure for something on the disk that is damaged.
    #[must_use]
    pub fn damaged(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Damaged,
            message: message.into(),
        }
    }

    /// Builds a failure for something that is not available.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unavailable,
            message: message.into(),
        }
    }

    /// Builds a failure for a file that could not be written.
    #[must_use]
    pub fn input_output(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::InputOutput,
            message: message.into(),
        }
    }

    /// Builds a failure for a broken replica.
    #[must_use]
    pub fn software(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Software,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Causes from below may bring line breaks; what a person greps for is one line.
        for (index, line) in self.message.lines().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(line.trim())?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Returns an error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Exit, Failure};

    #[test]
    fn a_failure_is_always_one_line() {
        let failure = Failure::config("first\n  second\n");
        assert_eq!(failure.to_string(), "first; second");
    }

    #[test]
    fn statuses_are_those_of_sysexits() {
        assert_eq!(Exit::Usage.status(), 64);
        assert_eq!(Exit::Damaged.status(), 65);
        assert_eq!(Exit::Unavailable.status(), 69);
        assert_eq!(Exit::Software.status(), 70);
        assert_eq!(Exit::InputOutput.status(), 74);
        assert_eq!(Exit::Config.status(), 78);
    }
}
