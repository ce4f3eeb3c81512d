//! A whole cell: of separate replicas, or of `cotterd dev`.

use super::binaries::{cotter, cotterd};
use super::ports::free_ports;
use super::process::{Finished, Process, finish};
use super::replica::{Happened, Replica};
use super::waiting::{eventually, eventually_some};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How often a cell is tried with other ports, when somebody else has taken one of them.
const PORT_ATTEMPTS_MAX: usize = 5;
/// Exit status of the daemon when a port is taken.
const UNAVAILABLE: i32 = 69;

/// A cell of separate processes.
#[derive(Debug)]
pub struct Cell {
    // Before the directory, so that the processes have ended when it is removed.
    replicas: Vec<Replica>,
    directory: TempDir,
}

impl Cell {
    /// Gives birth to a cell of `count` replicas, starts it and waits for a master.
    ///
    /// # Panics
    /// If that does not succeed.
    #[must_use]
    pub fn start(count: usize) -> Self {
        let mut cell = Self::born(count);
        cell.start_all();
        cell.master();
        cell
    }

    /// Gives birth to a cell of `count` replicas, which do not run yet.
    ///
    /// # Panics
    /// If that does not succeed.
    #[must_use]
    pub fn born(count: usize) -> Self {
        Self::born_with(count, |_| {})
    }

    /// Does as [`Self::born`], and lets `prepare` place each replica before its birth.
    ///
    /// # Panics
    /// If that does not succeed.
    #[must_use]
    pub fn born_with(count: usize, prepare: impl FnMut(&mut Replica)) -> Self {
        Self::founded(count, prepare, |replica| replica.start_verb("init"))
    }

    /// Restores a cell of `count` replicas from a backup; they do not run yet.
    ///
    /// # Panics
    /// If that does not succeed.
    #[must_use]
    pub fn restored(count: usize, backup: &Path) -> Self {
        Self::founded(count, |_| {}, |replica| replica.start_restore(backup))
    }

    fn founded(
        count: usize,
        mut prepare: impl FnMut(&mut Replica),
        begin: impl Fn(&Replica) -> Process,
    ) -> Self {
        for _ in 0..PORT_ATTEMPTS_MAX {
            let cell = Self::configured_with(count, &mut prepare);
            let mut births: Vec<Process> = cell.replicas.iter().map(&begin).collect();
            let codes: Vec<Option<i32>> =
                births.iter_mut().map(|birth| birth.wait().code()).collect();
            if codes.iter().all(|code| *code == Some(0)) {
                return cell;
            }
            let taken = births.iter().any(|birth| birth.log().contains("in use"));
            assert!(
                taken && codes.contains(&Some(UNAVAILABLE)),
                "the birth ended with {codes:?}"
            );
        }
        panic!("no free ports in {PORT_ATTEMPTS_MAX} attempts");
    }

    /// Writes the configuration of a cell of `count` replicas, and nothing else.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn configured(count: usize) -> Self {
        Self::configured_with(count, |_| {})
    }

    fn configured_with(count: usize, prepare: impl FnMut(&mut Replica)) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the cell");
        let ports = free_ports(2 * count);
        let mut replicas: Vec<Replica> = (1..)
            .zip(ports.chunks_exact(2))
            .map(|(id, ports)| Replica::new(directory.path(), id, ports[0], ports[1]))
            .collect();
        replicas.iter_mut().for_each(prepare);
        for replica in &replicas {
            let text = configuration(replica, &replicas);
            std::fs::write(replica.config(), text).expect("the configuration can be written");
        }
        Self {
            replicas,
            directory,
        }
    }

    /// Adds sections to the configuration of every replica, for its next start.
    ///
    /// # Panics
    /// If a configuration cannot be changed.
    pub fn configure(&self, sections: &str) {
        for replica in &self.replicas {
            let file = replica.config();
            let mut text = std::fs::read_to_string(&file).expect("the configuration can be read");
            text.push_str(sections);
            std::fs::write(file, text).expect("the configuration can be written");
        }
    }

    /// Configures one more replica, which the others do not know and which has no directory. Returns
    /// its index.
    ///
    /// # Panics
    /// If there is no room for its configuration.
    pub fn grow(&mut self) -> usize {
        let ports = free_ports(2);
        let id = self.replicas.len() as u64 + 1;
        let replica = Replica::new(self.directory.path(), id, ports[0], ports[1]);
        self.replicas.push(replica);
        let replica = &self.replicas[self.replicas.len() - 1];
        let text = configuration(replica, &self.replicas);
        std::fs::write(replica.config(), text).expect("the configuration can be written");
        self.replicas.len() - 1
    }

    /// Returns a directory that lives as long as the cell.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the replica at `index`, counted from 0.
    pub fn replica(&mut self, index: usize) -> &mut Replica {
        &mut self.replicas[index]
    }

    /// Returns all replicas.
    pub fn replicas(&mut self) -> &mut [Replica] {
        &mut self.replicas
    }

    /// Starts all replicas that do not run.
    pub fn start_all(&mut self) {
        for replica in &mut self.replicas {
            if !replica.runs() {
                replica.start();
            }
        }
    }

    /// Returns the index of the newest master among the replicas that run, and waits until there
    /// is one.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn master(&mut self) -> usize {
        self.master_after(0)
    }

    /// Returns the index of the newest master, whose epoch is above `epoch`.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn master_after(&mut self, epoch: u64) -> usize {
        eventually_some("the cell has a master", || {
            let (index, newest) = self.newest_reign()?;
            (newest > epoch && self.replicas[index].runs()).then_some(index)
        })
    }

    /// Returns the epoch of the newest master that the logs tell of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.newest_reign().map_or(0, |(_, epoch)| epoch)
    }

    /// Finds the last word about mastership: the replica with the highest epoch, unless it says
    /// that it is master no more.
    fn newest_reign(&self) -> Option<(usize, u64)> {
        let mut newest: Option<(usize, u64)> = None;
        for (index, replica) in self.replicas.iter().enumerate() {
            for happened in replica.mastership() {
                match happened {
                    Happened::BecameMaster(epoch) => {
                        if newest.is_none_or(|(_, known)| epoch > known) {
                            newest = Some((index, epoch));
                        }
                    }
                    Happened::MasterNoMore(epoch) => {
                        if newest == Some((index, epoch)) {
                            newest = None;
                        }
                    }
                }
            }
        }
        newest
    }

    /// Returns the addresses of all replicas, as `COTTER_ENDPOINTS` wants them.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let all: Vec<&str> = self
            .replicas
            .iter()
            .map(|replica| replica.client_address.as_str())
            .collect();
        all.join(",")
    }

    /// Returns `cotter` with this cell's endpoints and `arguments`.
    #[must_use]
    pub fn cotter(&self, arguments: &[&str]) -> Command {
        cotter_at(&self.endpoints(), arguments)
    }

    /// Runs `cotter` with this cell's endpoints and `arguments` to its end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.cotter(arguments))
    }

    /// Writes the contents of a node, and tries again until a master has taken them.
    ///
    /// # Panics
    /// If none does.
    #[track_caller]
    pub fn put(&self, path: &str, contents: impl AsRef<[u8]>) {
        let file = self.directory().join("contents");
        std::fs::write(&file, contents).expect("the contents can be written");
        let file = file.to_str().expect("a temporary path is text");
        eventually(&format!("{path} is written"), || {
            self.run(&["put", path, file]).code == 0
        });
    }
}

/// A cell of `cotterd dev`: three replicas in one process.
#[derive(Debug)]
pub struct DevCell {
    process: Process,
    /// Where its first replica listens for clients.
    pub endpoint: String,
    /// Its data directory.
    pub data: PathBuf,
    log: PathBuf,
    // After the process, so that it has ended when the directory is removed.
    _directory: Option<TempDir>,
}

impl DevCell {
    /// Starts a new cell in a directory of its own and waits until it says `ready`.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the cell");
        let mut cell = Self::start_in(directory.path());
        cell._directory = Some(directory);
        cell
    }

    /// Starts the cell that stands in `directory`, or a new one, and waits until it says `ready`.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start_in(directory: &Path) -> Self {
        for _ in 0..PORT_ATTEMPTS_MAX {
            let endpoint = format!("127.0.0.1:{}", free_ports(1)[0]);
            let data = directory.join("cotter-data");
            let log = directory.join("dev.log");
            let _ = std::fs::remove_file(&log);
            let mut command = Command::new(cotterd());
            command
                .args(["dev", "--listen", &endpoint, "--data"])
                .arg(&data);
            let mut process = Process::start("cotterd dev", &mut command, &log);
            eventually("cotterd dev is ready", || {
                process.ended().is_some() || process.log().lines().any(|line| line == "ready")
            });
            match process.ended() {
                None => {
                    return Self {
                        process,
                        endpoint,
                        data,
                        log,
                        _directory: None,
                    };
                }
                Some(status) => {
                    assert_eq!(status.code(), Some(UNAVAILABLE), "{}", process.log());
                }
            }
        }
        panic!("no free ports in {PORT_ATTEMPTS_MAX} attempts");
    }

    /// Returns its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns the path of its log.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Returns `cotter` with this cell's endpoint and `arguments`.
    #[must_use]
    pub fn cotter(&self, arguments: &[&str]) -> Command {
        cotter_at(&self.endpoint, arguments)
    }

    /// Runs `cotter` with this cell's endpoint and `arguments` to its end.
    #[track_caller]
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.cotter(arguments))
    }
}

/// Returns `cotter` with `endpoints` and `arguments`.
#[must_use]
pub fn cotter_at(endpoints: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(cotter());
    command.env("COTTER_ENDPOINTS", endpoints).args(arguments);
    command
}

/// Returns the configuration file of one replica.
fn configuration(own: &Replica, all: &[Replica]) -> String {
    let mut text = format!(
        "cell = \"proof\"\nreplica = {}\ndata = {:?}\nlog_format = \"json\"\n\
         [client]\nlisten = {:?}\n[peer]\nlisten = {:?}\n",
        own.id,
        own.data(),
        own.client_address,
        own.peer_address
    );
    for member in all {
        let _ = write!(
            text,
            "[[members]]\nid = {}\nclient = {:?}\npeer = {:?}\n",
            member.id, member.client_address, member.peer_address
        );
    }
    text
}
