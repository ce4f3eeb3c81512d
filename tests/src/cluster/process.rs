//! One process that a test started: its log, its signals, its end.

use super::waiting::{PATIENCE, eventually_some};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Lines of a log that are shown when a test has failed.
const LINES_SHOWN: usize = 80;

/// Variables that would change what a process does, and must not come from whoever runs the tests.
const FOREIGN_VARIABLES: [&str; 4] = ["RUST_LOG", "COTTER_", "COTTERD_", "NO_COLOR"];

/// A process whose standard error, and standard output unless the command says otherwise, go to a
/// log file. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, adding to the log at `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        clear_environment(command);
        let file = append(log);
        let copy = file.try_clone().expect("a descriptor can be duplicated");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            status: None,
        }
    }

    /// Returns its process id.
    ///
    /// # Panics
    /// Never on a system whose process ids fit into an `i32`, as all do.
    #[must_use]
    pub fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("process ids fit into an i32"))
    }

    /// Sends it a signal, unless it has ended.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill(self.id(), signal).expect("a child can be signalled");
        }
    }

    /// Returns how it ended, if it has.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("a child can be waited for");
        }
        self.status
    }

    /// Waits until it ends by itself, and returns how.
    ///
    /// # Panics
    /// If it does not within [`PATIENCE`].
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually_some(&format!("{name} ends"), || self.ended())
    }

    /// Kills it, frozen or not, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Returns all that it has written so far, with what earlier processes wrote to the same log.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let lived = self.ended().is_none();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LINES_SHOWN);
            eprintln!("== {} (lived: {lived}), end of its log:", self.name);
            for line in &lines[from..] {
                eprintln!("{line}");
            }
        }
    }
}

/// What a command that ran to its end has said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its exit status, or 128 and the signal, as a shell would say.
    pub code: i32,
    /// Its standard output.
    pub output: String,
    /// Its standard error.
    pub errors: String,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Returns the standard output of a command that must have succeeded.
    ///
    /// # Panics
    /// If it has failed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(
            self.code, 0,
            "output: {}\nerrors: {}",
            self.output, self.errors
        );
        self.output
    }

    /// Returns the standard output of a command that must have succeeded, parsed as JSON.
    ///
    /// # Panics
    /// If it has failed or did not print JSON.
    #[track_caller]
    #[must_use]
    pub fn json(self) -> serde_json::Value {
        let output = self.ok();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error} in {output}"))
    }
}

/// Runs `command` to its end.
///
/// # Panics
/// If it does not end within [`PATIENCE`].
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    finish_within(PATIENCE, command)
}

/// Runs `command` to its end.
///
/// # Panics
/// If it does not end within `patience`; it is killed then.
#[track_caller]
pub fn finish_within(patience: Duration, command: &mut Command) -> Finished {
    clear_environment(command);
    let directory = tempfile::tempdir().expect("a directory for output");
    let (output, errors) = (
        directory.path().join("output"),
        directory.path().join("errors"),
    );
    let begin = Instant::now();
    // Files, not pipes: a process that the command leaves behind must not keep anyone waiting.
    let mut child = command
        .stdout(append(&output))
        .stderr(append(&errors))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let read = |path: &Path| {
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    };
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if begin.elapsed() > patience {
            let _ = child.kill();
            let _ = child.wait();
            let (output, errors) = (read(&output), read(&errors));
            panic!("not within {patience:?}: {command:?}\noutput: {output}\nerrors: {errors}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Finished {
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        output: read(&output),
        errors: read(&errors),
        took: begin.elapsed(),
    }
}

/// Takes what the surrounding environment says out of `command`, and leaves what the test says.
fn clear_environment(command: &mut Command) {
    let said: Vec<_> = command
        .get_envs()
        .map(|(name, _)| name.to_owned())
        .collect();
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let foreign = FOREIGN_VARIABLES
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if foreign && !said.contains(&name) {
            command.env_remove(&name);
        }
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
}
