//! A cell is lost, and another one is restored from its backup, with real processes.

use cotter_tests::cluster::{Cell, alone, eventually, finish};
use std::path::{Path, PathBuf};

/// Exit status of `cotter lock -n` when somebody else may hold the lock.
const BUSY: i32 = 75;
/// Exit statuses of the daemon.
const DAMAGED: i32 = 65;
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

/// A backup of a cell that has ended, with a node in it and a lock that was held once.
fn backup(directory: &Path) -> PathBuf {
    let mut cell = Cell::start(1);
    cell.put("/ls/local/kept", "what was written");
    let held = cell.run(&["lock", "/ls/local/job", "--", "true"]);
    assert_eq!(held.code, 0, "{held:?}");
    let file = directory.join("backup");
    let name = file.to_str().expect("a temporary path is text");
    cell.run(&["cell", "backup", name]).ok();
    cell.replica(0).kill();
    file
}

#[test]
fn a_restored_cell_has_the_tree_of_the_backup_and_grants_nothing_yet() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = backup(directory.path());
    let mut cell = Cell::restored(3, &file);
    cell.start_all();
    cell.master();
    eventually("the node of the backup is read", || {
        cell.run(&["cat", "/ls/local/kept"]).output == "what was written"
    });
    cell.put("/ls/local/later", "in the new cell");
    // Somebody may still believe that he holds it.
    let refused = cell.run(&["lock", "-n", "/ls/local/job", "--", "true"]);
    assert_eq!(refused.code, BUSY, "{refused:?}");

    // Running it again, or `init` as a script does at each start, changes nothing.
    let master = cell.master();
    let lost = (master + 1) % 3;
    cell.replica(lost).kill();
    finish(cell.replica(lost).command("restore").arg(&file)).ok();
    finish(&mut cell.replica(lost).command("init")).ok();

    // A disk is lost: the replica fetches even the state with which the cell began.
    std::fs::remove_dir_all(cell.replica(lost).data()).unwrap();
    finish(&mut cell.replica(lost).command("join")).ok();
    cell.replica(lost).start();
    let id = cell.replica(lost).id.to_string();
    eventually("the vote is on the new disk", || {
        cell.run(&["cell", "replace", &id]).code == 0
    });
    // With that one, the others need not both be there.
    cell.replica((master + 2) % 3).kill();
    cell.put("/ls/local/last", "with the new disk");
    let kept = cell.run(&["cat", "/ls/local/kept"]);
    assert_eq!(kept.output, "what was written");
}

#[test]
fn a_backup_that_cannot_be_restored_leaves_nothing_behind() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = backup(directory.path());
    let mut cell = Cell::configured(1);
    let refused = |cell: &mut Cell, file: &Path, more: &[&str]| {
        let mut command = cell.replica(0).command("restore");
        let refused = finish(command.arg(file).args(more));
        assert!(!cell.replica(0).data().exists(), "{refused:?}");
        refused
    };
    let low = refused(&mut cell, &file, &["--token-floor", "5"]);
    assert_eq!(low.code, CONFIG, "{low:?}");
    assert!(low.errors.contains("--token-floor 5 is below"), "{low:?}");
    let none = refused(&mut cell, &directory.path().join("none"), &[]);
    assert_eq!(none.code, CONFIG, "{none:?}");

    let spoilt = directory.path().join("spoilt");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&spoilt, bytes).unwrap();
    let damaged = refused(&mut cell, &spoilt, &[]);
    assert_eq!(damaged.code, DAMAGED, "{damaged:?}");

    // The same cell is still free to be restored, and what it began with is shown.
    finish(cell.replica(0).command("restore").arg(&file)).ok();
    let data = cell.replica(0).data();
    let mut inspect = std::process::Command::new(cotter_tests::cluster::cotterd());
    let shown = finish(inspect.arg("inspect").arg(data)).ok();
    assert!(shown.contains("restored from the file"), "{shown}");
}

#[test]
fn a_cell_goes_on_from_its_only_survivor() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("salvaged");
    let mut lost = Cell::start(3);
    lost.put("/ls/local/kept", "what was written");
    let survivor = (lost.master() + 1) % 3;
    let salvage = |lost: &mut Cell| {
        let mut command = std::process::Command::new(cotter_tests::cluster::cotterd());
        let data = lost.replica(survivor).data();
        finish(command.arg("salvage").arg(data).arg(&file))
    };
    let used = salvage(&mut lost);
    assert_eq!(used.code, UNAVAILABLE, "{used:?}");
    // Acknowledged by a majority that the survivor is in, and then no word more.
    lost.replica((survivor + 1) % 3).kill();
    lost.master();
    lost.put("/ls/local/last", "acknowledged");
    for replica in lost.replicas() {
        if replica.runs() {
            replica.kill();
        }
    }
    let said = salvage(&mut lost).ok();
    assert!(said.contains("not known to be decided"), "{said}");
    let again = salvage(&mut lost);
    assert_eq!(again.code, CONFIG, "{again:?}");

    let mut cell = Cell::restored(3, &file);
    cell.start_all();
    cell.master();
    for (path, contents) in [("kept", "what was written"), ("last", "acknowledged")] {
        let path = format!("/ls/local/{path}");
        eventually("what was acknowledged is read", || {
            cell.run(&["cat", &path]).output == contents
        });
    }
}

#[test]
fn members_that_do_not_agree_on_the_file_restore_nothing() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (directory.path().join("one"), directory.path().join("other"));
    for path in [&one, &other] {
        std::fs::create_dir(path).unwrap();
    }
    let files = [backup(&one), backup(&other)];
    let mut cell = Cell::configured(3);
    let mut births = vec![
        cell.replica(0).start_restore(&files[0]),
        cell.replica(1).start_restore(&files[1]),
        cell.replica(2).start_verb("init"),
    ];
    // Whoever heard of another refuses; who asks when that one has gone waits in vain.
    let mut codes = Vec::new();
    for birth in &mut births {
        if codes.contains(&Some(CONFIG)) {
            birth.kill();
            birth.wait();
            continue;
        }
        codes.push(birth.wait().code());
    }
    assert!(codes.contains(&Some(CONFIG)), "{codes:?}");
    assert!(!codes.contains(&Some(UNAVAILABLE)), "{codes:?}");
    for replica in cell.replicas() {
        assert!(!replica.data().exists());
    }
}
