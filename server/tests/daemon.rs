//! `cotterd` as a user meets it: real processes, real directories, exit statuses.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests; clippy only knows the test functions themselves"
)]

use cotter_cell::{Cell, Genesis, Voter};
use cotter_server::storage::checkpoint::{self, CheckpointMeta};
use cotter_server::storage::{
    CellState, Certificate, CertifiedBase, CertifiedMember, DataDirectory, Identity, LogSettings,
};
use cotter_types::{CellId, FencingToken, ReplicaId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for anything. A healthy machine needs a small part of it.
const WAIT: Duration = Duration::from_secs(60);

/// A running `cotterd`, which is killed when the test ends in whatever way.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let mut child = cotterd(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Returns the next line on standard output; none at its end.
    fn line(&self) -> Option<String> {
        match self.lines.recv_timeout(WAIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line in time"),
        }
    }

    /// Reads lines until one is `wanted`, and returns those before it.
    fn lines_until(&self, wanted: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self
                .line()
                .unwrap_or_else(|| panic!("it ended after {before:?}"));
            if line == wanted {
                return before;
            }
            before.push(line);
        }
    }

    fn stop(mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
        while self.line().is_some() {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn cotterd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cotterd"));
    command.args(arguments).env_clear();
    command
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Runs `cotterd` to its end, which must come by itself.
fn run_to_end(arguments: &[&str]) -> Output {
    let mut child = cotterd(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let complaint = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let lines = lines_of(child.stdout.take().unwrap());
    let deadline = Instant::now() + WAIT;
    let mut stdout = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => stdout.extend(line.into_bytes()),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it did not end by itself");
            }
        }
    }
    Output {
        status: child.wait().unwrap(),
        stdout,
        stderr: complaint.join().unwrap().unwrap(),
    }
}

/// Returns the exit status and the complaint, of which there must be one line.
fn complaint(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run_to_end(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    let own: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("cotterd: "))
        .collect();
    assert_eq!(own.len(), 1, "{text}");
    (output.status.code(), own[0].to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Lets the system choose ports that are free now.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    held.iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect()
}

#[test]
fn a_development_cell_serves_stops_and_starts_again_on_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("cell");
    let arguments = ["dev", "--data", text(&data), "--listen", "127.0.0.1:0"];
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGTERM] {
        let cell = Daemon::start(&arguments);
        let before = cell.lines_until("ready");
        assert_eq!(before.len(), 3, "{before:?}");
        for (line, id) in before.iter().zip(1..) {
            let start = format!("replica {id} listening client=127.0.0.1:");
            assert!(line.starts_with(&start), "{line}");
        }
        assert_eq!(cell.stop(signal), Some(0));
    }
}

#[test]
fn a_development_cell_that_is_killed_starts_again() {
    let root = tempfile::tempdir().unwrap();
    let arguments = [
        "dev",
        "--data",
        text(root.path()),
        "--listen",
        "127.0.0.1:0",
    ];
    for _ in 0..2 {
        let mut cell = Daemon::start(&arguments);
        cell.lines_until("ready");
        cell.child.kill().unwrap();
        cell.child.wait().unwrap();
    }
    let cell = Daemon::start(&arguments);
    cell.lines_until("ready");
    assert_eq!(cell.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn a_development_cell_that_lost_a_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let arguments = [
        "dev",
        "--data",
        text(root.path()),
        "--listen",
        "127.0.0.1:0",
    ];
    let cell = Daemon::start(&arguments);
    cell.lines_until("ready");
    assert_eq!(cell.stop(Signal::SIGTERM), Some(0));
    std::fs::remove_dir_all(root.path().join("replica-2")).unwrap();
    let (status, line) = complaint(&arguments);
    assert_eq!(status, Some(78));
    assert!(line.contains("must not vote"), "{line}");
    assert!(!root.path().join("replica-2").exists());
}

#[test]
fn a_directory_in_use_and_a_port_in_use_are_not_available() {
    let root = tempfile::tempdir().unwrap();
    let arguments = [
        "dev",
        "--data",
        text(root.path()),
        "--listen",
        "127.0.0.1:0",
    ];
    let cell = Daemon::start(&arguments);
    let before = cell.lines_until("ready");
    let (status, line) = complaint(&arguments);
    assert_eq!(status, Some(69), "{line}");
    assert!(line.contains("in use by another process"), "{line}");
    let taken = before[0]
        .split("client=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let other = root.path().join("other");
    let (status, line) = complaint(&["dev", "--data", text(&other), "--listen", taken]);
    assert_eq!(status, Some(69), "{line}");
    assert!(line.contains(taken), "{line}");
    assert!(!other.exists());
    assert_eq!(cell.stop(Signal::SIGTERM), Some(0));
}

#[test]
fn bad_values_are_refused_with_one_line() {
    let (status, line) = complaint(&["dev", "--listen", "nowhere"]);
    assert_eq!(status, Some(78));
    assert!(line.contains("--listen is \"nowhere\""), "{line}");
    let (status, line) = complaint(&["dev", "--log-format", "xml"]);
    assert_eq!(status, Some(78));
    assert!(line.contains("log_format is \"xml\""), "{line}");
    let (status, line) = complaint(&["run", "--config", "/nowhere.toml"]);
    assert_eq!(status, Some(78));
    assert!(line.contains("/nowhere.toml"), "{line}");
    assert_eq!(run_to_end(&["run", "--unknown"]).status.code(), Some(64));
    assert_eq!(run_to_end(&["--version"]).status.code(), Some(0));
}

/// Writes a configuration of a cell whose members have the given (client, peer) ports.
fn write_config(root: &Path, id: usize, ports: &[(u16, u16)]) -> String {
    let (client, peer) = ports[id - 1];
    let mut config = format!(
        "cell = \"test\"\nreplica = {id}\ndata = \"{}\"\n\
         client.listen = \"127.0.0.1:{client}\"\npeer.listen = \"127.0.0.1:{peer}\"\n",
        root.join(format!("data-{id}")).display()
    );
    if ports.len() > 1 {
        for ((client, peer), id) in ports.iter().zip(1..) {
            config.push_str(&format!(
                "[[members]]\nid = {id}\nclient = \"127.0.0.1:{client}\"\n\
                 peer = \"127.0.0.1:{peer}\"\n"
            ));
        }
    }
    let path = root.join(format!("replica-{id}.toml"));
    std::fs::write(&path, config).unwrap();
    text(&path).to_owned()
}

#[test]
fn a_replica_without_a_birth_does_not_run() {
    let root = tempfile::tempdir().unwrap();
    let config = write_config(root.path(), 1, &[(0, 0)]);
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(78));
    assert!(line.contains("cotterd init"), "{line}");
    std::fs::create_dir(root.path().join("data-1")).unwrap();
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(78));
    assert!(line.contains("cotterd init"), "{line}");
}

#[test]
fn a_cell_of_one_is_born_and_runs() {
    let root = tempfile::tempdir().unwrap();
    let config = write_config(root.path(), 1, &[(0, 0)]);
    let born = run_to_end(&["init", "--config", &config]);
    assert_eq!(born.status.code(), Some(0));
    for _ in 0..2 {
        let replica = Daemon::start(&["run", "--config", &config]);
        let line = replica.line().unwrap();
        assert!(line.starts_with("listening client=127.0.0.1:"), "{line}");
        assert!(!line.contains(":0"), "{line}");
        assert_eq!(replica.stop(Signal::SIGTERM), Some(0));
    }
    let renamed = ["run", "--config", &config, "--cell", "other"];
    let (status, line) = complaint(&renamed);
    assert_eq!(status, Some(78));
    assert!(line.contains("belongs to the cell \"test\""), "{line}");
}

#[test]
fn a_replica_whose_log_is_gone_does_not_run() {
    let root = tempfile::tempdir().unwrap();
    let config = write_config(root.path(), 1, &[(0, 0)]);
    assert_eq!(
        run_to_end(&["init", "--config", &config]).status.code(),
        Some(0)
    );
    std::fs::remove_dir_all(root.path().join("data-1/chapter-00000001")).unwrap();
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(78), "{line}");
}

#[test]
fn a_replica_of_a_restored_cell_does_not_run_without_what_the_cell_began_with() {
    let root = tempfile::tempdir().unwrap();
    let config = write_config(root.path(), 1, &[(0, 0)]);
    let genesis = Genesis {
        cell_id: CellId(7),
        cell: "test".to_owned(),
        token_floor: 1_700_000_000_000_000,
        voters: vec![Voter {
            id: ReplicaId(1),
            incarnation: 77,
        }],
    };
    let cell = Cell::born(&genesis);
    let identity = Identity {
        certificate: Certificate {
            cell_id: genesis.cell_id,
            cell_name: genesis.cell.clone(),
            token_floor: FencingToken(genesis.token_floor),
            members: vec![CertifiedMember {
                id: ReplicaId(1),
                incarnation: 77,
                client_address: "127.0.0.1:0".to_owned(),
                peer_address: "127.0.0.1:0".to_owned(),
            }],
            base: Some(CertifiedBase {
                source: 1,
                state: cell.digest(),
            }),
        },
        replica: ReplicaId(1),
        incarnation: 77,
        state: CellState::Born,
    };
    let data = root.path().join("data-1");
    let directory = DataDirectory::create_at(&data, identity, None).unwrap();
    let log = directory.create_log(1, LogSettings::default()).unwrap();
    log.close().unwrap();
    let checkpoints = directory.checkpoints().unwrap();
    drop(directory);
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(65), "{line}");
    assert!(line.contains("the cell was restored"), "{line}");
    let meta = CheckpointMeta::of(&cell, 1, 0, Vec::new());
    checkpoint::write(&checkpoints, &meta, cell.walk(1_000)).unwrap();
    let replica = Daemon::start(&["run", "--config", &config]);
    let line = replica.line().unwrap();
    assert!(line.starts_with("listening client="), "{line}");
    assert_eq!(replica.stop(Signal::SIGTERM), Some(0));
    let base = data.join("checkpoints/checkpoint-00000001");
    let mut bytes = std::fs::read(&base).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&base, bytes).unwrap();
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(65), "{line}");
    assert!(line.contains("checkpoint-00000001"), "{line}");
    let with_log = data.join("chapter-00000001");
    std::fs::remove_file(&base).unwrap();
    checkpoint::write(&checkpoints, &meta, cell.walk(1_000)).unwrap();
    std::fs::remove_dir_all(with_log).unwrap();
    let (status, line) = complaint(&["run", "--config", &config]);
    assert_eq!(status, Some(78), "{line}");
}

#[test]
fn a_data_directory_is_inspected_while_nobody_uses_it() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("replica-2");
    let arguments = ["--data", text(root.path()), "--listen", "127.0.0.1:0"];
    let cell = Daemon::start(&[&["dev"], &arguments[..]].concat());
    cell.lines_until("ready");
    let (status, line) = complaint(&["inspect", text(&data)]);
    assert_eq!(status, Some(69), "{line}");
    assert!(line.contains("in use"), "{line}");
    assert_eq!(cell.stop(Signal::SIGTERM), Some(0));
    // A majority has the take-over, and one that was stopped this early may not.
    let mut shown = Vec::new();
    for replica in 1..=3 {
        let data = root.path().join(format!("replica-{replica}"));
        let whole = run_to_end(&["inspect", text(&data), "--output", "json", "--entries"]);
        assert_eq!(whole.status.code(), Some(0));
        shown.push(String::from_utf8(whole.stdout).unwrap());
    }
    let sound = |shown: &&String| shown.contains("\"findings\": []");
    let taken_over = |shown: &&String| shown.contains("TakeOver");
    assert!(shown.iter().all(|it| sound(&it)), "{shown:?}");
    assert!(shown.iter().filter(taken_over).count() >= 2, "{shown:?}");
    let identity = data.join("identity");
    let mut bytes = std::fs::read(&identity).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&identity, &bytes).unwrap();
    let (status, line) = complaint(&["inspect", text(&data)]);
    assert_eq!(status, Some(65), "{line}");
    assert!(line.contains("identity: its checksum is wrong"), "{line}");
    let (status, line) = complaint(&["inspect", text(root.path())]);
    assert_eq!(status, Some(78), "{line}");
}

#[test]
fn three_processes_are_born_together_and_run() {
    let root = tempfile::tempdir().unwrap();
    let free = free_ports(6);
    let ports = [(free[0], free[1]), (free[2], free[3]), (free[4], free[5])];
    let configs = [1, 2, 3].map(|id| write_config(root.path(), id, &ports));
    let births: Vec<_> = configs
        .iter()
        .map(|config| Daemon::start(&["init", "--config", config, "--timeout", "30s"]))
        .collect();
    for mut birth in births {
        let line = birth.line().unwrap();
        assert!(line.starts_with("the cell test is born"), "{line}");
        assert_eq!(birth.line(), None);
        assert_eq!(birth.child.wait().unwrap().code(), Some(0));
    }
    let replicas: Vec<_> = configs
        .iter()
        .map(|config| Daemon::start(&["run", "--config", config]))
        .collect();
    for replica in &replicas {
        let line = replica.line().unwrap();
        assert!(line.starts_with("listening "), "{line}");
    }
    for replica in replicas {
        assert_eq!(replica.stop(Signal::SIGTERM), Some(0));
    }
}
