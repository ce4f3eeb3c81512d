//! What happened, told by real processes: in order, after a restart, and honestly after a loss.

use cotter_tests::cluster::{DevCell, PATIENCE, eventually_some};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Instant;

/// The nodes that change hands.
const LOCK: &str = "/ls/local/jobs/crawl";

/// Asks the cell what happened to the lock.
fn told(cell: &DevCell) -> Value {
    cell.run(&["--output", "json", "history", LOCK]).json()
}

/// Takes the lock under a name, and lets it go.
fn hold(cell: &DevCell, name: &str) {
    cell.run(&["lock", "--name", name, LOCK, "--", "true"]).ok();
}

/// Returns what happened, in words: what and who.
fn words(history: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = history["events"].as_array().expect("events");
    let hands = events.iter().filter(|event| event["token"].is_u64());
    hands
        .map(|event| (text(&event["what"]), text(&event["name"])))
        .collect()
}

/// Ends the cell's process as a service manager would, and starts it again after `between`.
fn restart(cell: DevCell, directory: &std::path::Path, between: impl FnOnce()) -> DevCell {
    let mut cell = cell;
    cell.process().signal(Signal::SIGTERM);
    cell.process().wait();
    between();
    drop(cell);
    DevCell::start_in(directory)
}

#[test]
fn history_tells_changes_of_hands_in_order_after_a_restart_too_and_what_it_covers() {
    let directory = tempfile::tempdir().expect("a directory for the cell");
    let cell = DevCell::start_in(directory.path());
    for name in ["anna", "bert", "carl"] {
        hold(&cell, name);
    }
    let pair =
        |name: &str| ["lock_granted", "lock_ended"].map(|what| (what.to_owned(), name.to_owned()));
    let expected = ["anna", "bert", "carl"].map(pair).concat();
    let history = told(&cell);
    assert_eq!(words(&history), expected);
    let tokens: Vec<u64> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["what"] == "lock_granted")
        .filter_map(|event| event["token"].as_u64())
        .collect();
    assert!(tokens.is_sorted_by(|one, next| one < next), "{tokens:?}");
    assert_eq!(history["coverage"][0]["first_revision"], 1, "{history}");

    let table = cell.run(&["history", LOCK, "--since", "1h"]).ok();
    assert!(table.contains("released, exclusive"), "{table}");
    assert!(table.trim_end().ends_with("without a gap"), "{table}");

    let cell = restart(cell, directory.path(), || {});
    assert_eq!(words(&told(&cell)), expected);
    hold(&cell, "dora");
    let expected = [expected, pair("dora").to_vec()].concat();
    assert_eq!(words(&told(&cell)), expected);

    // Without the log and the checkpoints it would know nothing: what the log still tells is there.
    let data = cell.data.clone();
    let cell = restart(cell, directory.path(), || {
        for replica in ["replica-1", "replica-2", "replica-3"] {
            let history = data.join(replica).join("history");
            std::fs::remove_dir_all(history).expect("a history to be deleted");
        }
    });
    let begin = Instant::now();
    let history = eventually_some("the log is told again", || {
        let history = told(&cell);
        let covers = !history["coverage"].as_array().expect("spans").is_empty();
        assert!(begin.elapsed() < PATIENCE, "{history}");
        covers.then_some(history)
    });
    assert_eq!(words(&history), expected);
    assert_eq!(history["coverage"].as_array().map(Vec::len), Some(1));
}
