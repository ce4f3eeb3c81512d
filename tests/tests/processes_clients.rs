//! Clients that nobody here wrote: Python's gRPC drives a cell whose master is killed meanwhile, with
//! stubs generated from the `.proto` files alone, and with nothing but reflection.
//!
//! Needs Python 3 with the packages of `examples/python/requirements.txt`. Without them the tests say
//! that they are skipped, unless `COTTER_PYTHON` names the interpreter: then they must be there.

use cotter_tests::cluster::{Cell, Process, eventually, eventually_some};
use nix::sys::signal::Signal;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

/// Names the interpreter that has the packages.
const PYTHON: &str = "COTTER_PYTHON";
/// The packages, as Python knows them.
const IMPORTS: &str = "import grpc, grpc_tools, grpc_reflection, grpc_status";

/// Returns the interpreter; nothing, and says so, if there is none that has the packages.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os(PYTHON);
    let python = PathBuf::from(named.clone().unwrap_or_else(|| "python3".into()));
    let tried = Command::new(&python).args(["-c", IMPORTS]).output();
    let why = match tried {
        Ok(output) if output.status.success() => return Some(python),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    assert!(named.is_none(), "{PYTHON}={}: {why}", python.display());
    let why = why.lines().last().unwrap_or_default();
    // Not by a macro: what those print is shown only when a test fails.
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {} has not the packages of examples/python/requirements.txt ({why}); set {PYTHON}",
        python.display()
    );
    None
}

/// Starts a program of `examples/python`.
fn start(python: &PathBuf, cell: &Cell, program: &str, options: &[&str], name: &str) -> Process {
    let programs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/python");
    let log = cell.directory().join(name);
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(programs.join(program))
        .args(options)
        .arg(cell.endpoints())
        .env("no_proxy", "127.0.0.1");
    Process::start(name, &mut command, &log)
}

/// Returns the rest of each line that begins with `words`.
fn all(process: &Process, words: &str) -> Vec<String> {
    let log = process.log();
    let rest = log.lines().filter_map(|line| line.strip_prefix(words));
    rest.map(str::to_owned).collect()
}

/// Waits until there is a line that begins with `words` and returns the rest of the last one.
#[track_caller]
fn says(process: &mut Process, words: &str) -> String {
    eventually(words, || {
        !all(process, words).is_empty() || process.ended().is_some()
    });
    let last = all(process, words).pop();
    last.unwrap_or_else(|| panic!("{words:?} is not in {}", process.log()))
}

/// Interrupts a program, which goes on to its end then.
#[track_caller]
fn finish(process: &mut Process) {
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
}

fn number(text: &str) -> u64 {
    text.parse()
        .unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn lock_lives_through_the_death_of_the_master(options: &[&str]) {
    let Some(python) = python() else { return };
    let mut cell = Cell::start(3);
    let mut client = start(&python, &cell, "life_of_a_lock.py", options, "life");
    let token = number(&says(&mut client, "acquired, token "));
    says(&mut client, "wrote 5");

    let (master, epoch) = (cell.master(), cell.epoch());
    cell.replica(master).kill();
    cell.master_after(epoch);
    let before = all(&client, "wrote ").len();
    eventually("the client writes on", || {
        all(&client, "wrote ").len() >= before + 5 || client.ended().is_some()
    });

    // It checks by itself that each write was made once, under one grant.
    finish(&mut client);
    assert_eq!(number(&says(&mut client, "held by token ")), token);
    assert!(says(&mut client, "late write refused:").contains("stale"));
    assert!(number(&says(&mut client, "next token ")) > token);
}

#[test]
fn lock_of_a_generated_client_lives_through_the_death_of_the_master() {
    lock_lives_through_the_death_of_the_master(&[]);
}

#[test]
fn lock_of_a_reflecting_client_lives_through_the_death_of_the_master() {
    lock_lives_through_the_death_of_the_master(&["--reflection"]);
}

#[test]
fn waiting_clients_keep_their_places_through_the_death_of_the_master() {
    let Some(python) = python() else { return };
    let mut cell = Cell::start(3);
    let wait = |name: &str| start(&python, &cell, "wait_in_line.py", &[], name);
    let mut first = wait("first");
    let first_token = number(&says(&mut first, "acquired, token "));
    let mut second = wait("second");
    assert_eq!(says(&mut second, "queued, place "), "1");
    let mut third = wait("third");
    assert_eq!(says(&mut third, "queued, place "), "2");

    let (master, epoch) = (cell.master(), cell.epoch());
    cell.replica(master).kill();
    cell.master_after(epoch);
    // Each is told again by the new master.
    for process in [&mut second, &mut third] {
        let before = all(process, "queued, place ").len();
        eventually_some("a waiting client is told its place", || {
            (all(process, "queued, place ").len() > before + 1).then_some(())
        });
    }
    assert!(all(&second, "queued, place ").iter().all(|it| it == "1"));
    assert!(all(&third, "queued, place ").iter().all(|it| it == "2"));
    assert!(all(&second, "acquired").is_empty() && all(&third, "acquired").is_empty());

    finish(&mut first);
    let second_token = number(&says(&mut second, "acquired, token "));
    assert!(all(&third, "acquired").is_empty());
    finish(&mut second);
    let third_token = number(&says(&mut third, "acquired, token "));
    finish(&mut third);
    assert!(first_token < second_token && second_token < third_token);
}
