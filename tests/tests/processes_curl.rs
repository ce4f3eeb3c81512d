//! curl drives a cell whose master is killed meanwhile: `tests/clients/curl.sh`, which reads as the
//! documentation of how to do it.
//!
//! Without curl the test says that it is skipped.

use cotter_tests::cluster::{Cell, Process, eventually};
use std::io::Write;
use std::path::Path;
use std::process::Command;

fn has_curl() -> bool {
    let found = Command::new("curl").arg("--version").output().is_ok();
    if !found {
        // Not by a macro: what those print is shown only when a test fails.
        let _ = writeln!(std::io::stderr(), "skipped: there is no curl");
    }
    found
}

/// Returns the rest of each line that begins with `words`.
fn all(process: &Process, words: &str) -> Vec<String> {
    let log = process.log();
    let rest = log.lines().filter_map(|line| line.strip_prefix(words));
    rest.map(str::to_owned).collect()
}

#[track_caller]
fn number(process: &Process, words: &str) -> u64 {
    let found = all(process, words).pop();
    let found = found.unwrap_or_else(|| panic!("{words:?} is not in {}", process.log()));
    found.parse().expect("a number")
}

#[test]
fn lock_of_curl_lives_through_the_death_of_the_master() {
    if !has_curl() {
        return;
    }
    let mut cell = Cell::start(3);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/curl.sh");
    let stop = cell.directory().join("stop");
    let mut command = Command::new("sh");
    command
        .arg(script)
        .args(cell.endpoints().split(','))
        .env("COTTER_STOP", &stop)
        .env("no_proxy", "127.0.0.1");
    let mut client = Process::start("curl.sh", &mut command, &cell.directory().join("curl.log"));
    let writes = |client: &Process| all(client, "wrote ").len();
    eventually("curl writes under its lock", || {
        writes(&client) >= 5 || client.ended().is_some()
    });
    let token = number(&client, "acquired, token ");

    let (master, epoch) = (cell.master(), cell.epoch());
    cell.replica(master).kill();
    cell.master_after(epoch);
    let before = writes(&client);
    eventually("curl writes on", || {
        writes(&client) >= before + 5 || client.ended().is_some()
    });
    std::fs::write(&stop, "").unwrap();
    assert_eq!(client.wait().code(), Some(0), "{}", client.log());

    // Each write was made once: the first raised the generation to 2.
    let generation = all(&client, "generation ").pop().unwrap();
    let (generation, count) = generation.split_once(" after ").unwrap();
    let (generation, count): (u64, u64) = (generation.parse().unwrap(), count.parse().unwrap());
    assert_eq!(generation, count + 2, "{}", client.log());
    // One grant, however often it was asked for; and nothing after it was lost.
    assert_eq!(number(&client, "held, status 200, token "), token);
    assert_eq!(all(&client, "released, status "), ["200"]);
    assert_eq!(all(&client, "checked, status "), ["412"]);
    assert_eq!(
        all(&client, "late write, status "),
        ["412, kind stale_sequencer"]
    );
    assert!(number(&client, "next token ") > token);
}
