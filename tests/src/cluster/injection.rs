//! Faults at a process's system calls, injected by `strace`.
//!
//! strace runs as a grandchild (`-D`), so the process that a test started is the traced one, with
//! its own exit status. It counts the calls of each thread by itself: the k-th `fdatasync` is the
//! k-th of the owner thread, the only one that writes.

use std::path::Path;

/// Programs that an [`Injection`] needs, with their packages.
pub const INJECTION_NEEDS: [(&str, &str); 1] = [("strace", "strace")];

/// A fault at one kind of system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    call: &'static str,
    effect: String,
    kills: bool,
}

impl Injection {
    /// Kills the process with SIGKILL where a thread enters its `nth` `call`.
    #[must_use]
    pub fn kill(call: &'static str, nth: usize) -> Self {
        Self {
            call,
            effect: format!("signal=SIGKILL:when={nth}"),
            kills: true,
        }
    }

    /// Lets the `nth` `call` of a thread fail with `error`, such as `EIO`, undone.
    #[must_use]
    pub fn fail(call: &'static str, error: &str, nth: usize) -> Self {
        Self {
            call,
            effect: format!("error={error}:when={nth}"),
            kills: false,
        }
    }

    /// Makes each `call` of a thread from the `nth` on, every `step`, wait for `micros` first.
    #[must_use]
    pub fn delay(call: &'static str, micros: u64, nth: usize, step: usize) -> Self {
        Self {
            call,
            effect: format!("delay_enter={micros}:when={nth}+{step}"),
            kills: false,
        }
    }

    /// Returns the words to put before a command, so that it meets the fault. What strace sees goes
    /// to `trace`: a line for each call of that kind, `INJECTED` or `DELAYED` where it was.
    #[must_use]
    pub fn words(&self, trace: &Path) -> Vec<String> {
        let mut words: Vec<String> = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o"]
            .map(str::to_owned)
            .to_vec();
        words.push(trace.display().to_string());
        if !self.kills {
            // Stops at no other call. Signals are not injected with it.
            words.push("--seccomp-bpf".to_owned());
        }
        for words_of in [
            format!("trace={}", self.call),
            format!("inject={}:{}", self.call, self.effect),
        ] {
            words.extend(["-e".to_owned(), words_of]);
        }
        words
    }
}
