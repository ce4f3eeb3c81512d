//! What `docs/FENCING.md` shows is what the library does, and works.

use cotter_client::fencing::sqlite::rusqlite::Connection;
use cotter_client::fencing::{postgres, sqlite};
use cotter_tests::cluster::{DevCell, finish};
use std::io::Write;
use std::path::Path;
use std::process::Command;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FENCING.md");
    std::fs::read_to_string(path).expect("the document")
}

/// Returns the blocks of code in `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    text.split(&opening)
        .skip(1)
        .filter_map(|rest| rest.split("\n```").next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn documented_statements_are_those_of_the_library() {
    let shown = blocks(&document(), "sql");
    for statement in [
        sqlite::CREATE,
        sqlite::CHECK,
        postgres::CREATE,
        postgres::CHECK,
        postgres::REQUIRE_FENCE,
    ] {
        assert!(shown.iter().any(|block| block == statement), "{statement}");
    }
}

#[test]
fn python_program_of_the_document_is_fenced() {
    if Command::new("python3").arg("--version").output().is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED python_program_of_the_document_is_fenced: no python3; apt-get install python3"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let programs = blocks(&document(), "python");
    assert_eq!(programs.len(), 1);
    std::fs::write(directory.path().join("add.py"), &programs[0]).unwrap();
    let ledger = Connection::open(directory.path().join("ledger.db")).unwrap();
    let create = "CREATE TABLE ledger (total INTEGER); INSERT INTO ledger VALUES (0)";
    ledger.execute_batch(create).unwrap();
    sqlite::FenceTable::create(&ledger).unwrap();
    let total = || -> i64 {
        let read = ledger.query_row("SELECT total FROM ledger", [], |row| row.get(0));
        read.unwrap()
    };

    let cell = DevCell::start();
    let lock = ["lock", "/ls/local/jobs/ledger", "--"];
    let under_lock = |command: &[&str]| {
        let arguments = [&lock, command].concat();
        finish(cell.cotter(&arguments).current_dir(directory.path()))
    };
    let first = under_lock(&["sh", "-c", "echo $COTTER_SEQUENCER && python3 add.py"]).ok();
    let _ = under_lock(&["python3", "add.py"]).ok();
    assert_eq!(total(), 2);
    // The first one again, as if it had been stopped meanwhile.
    let mut late = Command::new("python3");
    late.arg("add.py")
        .env("COTTER_SEQUENCER", first.trim())
        .current_dir(directory.path());
    let late = finish(&mut late);
    assert_eq!(late.code, 1, "{}", late.errors);
    assert!(late.errors.contains("is of the past"), "{}", late.errors);
    assert_eq!(total(), 2);
}
