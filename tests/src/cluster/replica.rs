//! One replica: its configuration, its directory, its process.

use super::binaries::cotterd;
use super::injection::Injection;
use super::process::Process;
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a replica's log says about mastership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It became master with this epoch.
    BecameMaster(u64),
    /// It is master of this epoch no more.
    MasterNoMore(u64),
}

/// A replica of a cell of processes.
#[derive(Debug)]
pub struct Replica {
    /// Its number in the cell.
    pub id: u64,
    /// Where clients reach it.
    pub client_address: String,
    /// Where the other replicas reach it.
    pub peer_address: String,
    directory: PathBuf,
    data: PathBuf,
    process: Option<Process>,
}

impl Replica {
    /// Describes replica `id`, which keeps its things under `directory`.
    #[must_use]
    pub fn new(directory: &Path, id: u64, client_port: u16, peer_port: u16) -> Self {
        Self {
            id,
            client_address: format!("127.0.0.1:{client_port}"),
            peer_address: format!("127.0.0.1:{peer_port}"),
            directory: directory.to_owned(),
            data: directory.join(format!("data-{id}")),
            process: None,
        }
    }

    /// Returns the path of its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join(format!("replica-{}.toml", self.id))
    }

    /// Returns the path of its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Lets it keep its data in a new directory under `disk`.
    pub fn keep_data_on(&mut self, disk: &Path) {
        // A birth that is tried again with other ports gets another directory.
        let port = self.peer_address.rsplit(':').next().unwrap_or_default();
        self.data = disk.join(format!("data-{port}"));
    }

    /// Returns the path of its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.directory.join(format!("replica-{}.log", self.id))
    }

    /// Returns `cotterd VERB` with its configuration.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(cotterd());
        command.arg(verb).arg("--config").arg(self.config());
        command
    }

    /// Starts `cotterd VERB`, adding to the replica's log.
    #[must_use]
    pub fn start_verb(&self, verb: &str) -> Process {
        let name = format!("cotterd {verb} of replica {}", self.id);
        Process::start(&name, &mut self.command(verb), &self.log_path())
    }

    /// Starts `cotterd restore` with a backup, adding to the replica's log.
    #[must_use]
    pub fn start_restore(&self, backup: &Path) -> Process {
        let name = format!("cotterd restore of replica {}", self.id);
        let mut command = self.command("restore");
        Process::start(&name, command.arg(backup), &self.log_path())
    }

    /// Starts the replica.
    pub fn start(&mut self) {
        self.process = Some(self.start_verb("run"));
    }

    /// Starts the replica with a fault at its system calls; what was injected goes to
    /// [`Self::trace_path`].
    pub fn start_with(&mut self, injection: &Injection) {
        let plain = self.command("run");
        let words = injection.words(&self.trace_path());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(plain.get_program())
            .args(plain.get_args());
        let name = format!("cotterd run of replica {} under strace", self.id);
        self.process = Some(Process::start(&name, &mut command, &self.log_path()));
    }

    /// Returns where the system calls of [`Self::start_with`] are written down.
    #[must_use]
    pub fn trace_path(&self) -> PathBuf {
        self.directory.join(format!("replica-{}.trace", self.id))
    }

    /// Returns its process.
    ///
    /// # Panics
    /// If it was not started.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the replica was started")
    }

    /// Tells whether its process was started and has not ended.
    pub fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Freezes it with SIGSTOP.
    pub fn pause(&mut self) {
        self.process().signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        self.process().signal(Signal::SIGCONT);
    }

    /// Returns what its log says about mastership, oldest first, over all its starts.
    #[must_use]
    pub fn mastership(&self) -> Vec<Happened> {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&log)
            .lines()
            .filter_map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                let epoch = line["epoch"].as_u64()?;
                match line["message"].as_str()? {
                    "became master" => Some(Happened::BecameMaster(epoch)),
                    "master no more" => Some(Happened::MasterNoMore(epoch)),
                    _ => None,
                }
            })
            .collect()
    }
}
