//! Replicas join, are replaced, added and removed, and mastership is transferred, with real processes
//! and the command line that people use.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_client::{Client, Wait};
use cotter_tests::cluster::{Cell, alone, eventually, finish};
use serde_json::Value;

const CONFIG: i32 = 78;
const UNAVAILABLE: i32 = 69;

/// Kills a replica that is not master and takes its directory away. Returns its index, and that of the
/// other follower.
fn lose_a_disk(cell: &mut Cell) -> (usize, usize) {
    let master = cell.master();
    let mut followers = (0..3).filter(|index| *index != master);
    let (lost, other) = (followers.next().unwrap(), followers.next().unwrap());
    cell.replica(lost).kill();
    std::fs::remove_dir_all(cell.replica(lost).data()).unwrap();
    (lost, other)
}

fn members(cell: &Cell) -> Value {
    cell.run(&["cell", "members", "--output", "json"]).json()
}

fn role_of(cell: &Cell, id: u64) -> Vec<String> {
    let members = members(cell);
    let rows = members.as_array().unwrap().iter();
    rows.filter(|row| row["replica"] == id)
        .map(|row| row["role"].as_str().unwrap().to_owned())
        .collect()
}

/// Makes a change that may have to wait until the replica is linked and has caught up.
fn change(cell: &Cell, verb: &str, id: u64) {
    let id = id.to_string();
    eventually(&format!("cotter cell {verb} {id} is done"), || {
        cell.run(&["cell", verb, &id]).code == 0
    });
}

fn cat(cell: &Cell, path: &str) -> String {
    cell.run(&["cat", path]).ok()
}

#[test]
fn a_replica_that_lost_its_disk_is_taken_back_by_one_command_and_counts_again() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    cell.put("/ls/local/before", "kept");
    let (lost, other) = lose_a_disk(&mut cell);
    let id = cell.replica(lost).id;
    // It recognises itself, and says how to come back.
    let refused = finish(&mut cell.replica(lost).command("run"));
    assert_eq!(refused.code, CONFIG, "{refused:?}");
    assert!(refused.errors.contains("cotterd join"), "{refused:?}");
    let joined = finish(&mut cell.replica(lost).command("join")).ok();
    assert!(joined.contains("has no vote yet"), "{joined}");
    let again = finish(&mut cell.replica(lost).command("join"));
    assert_eq!(again.code, CONFIG, "{again:?}");
    assert!(again.errors.contains("is not empty"), "{again:?}");
    cell.replica(lost).start();
    eventually("it follows without a vote", || {
        role_of(&cell, id).contains(&"no vote".to_owned())
    });
    change(&cell, "replace", id);
    assert_eq!(role_of(&cell, id), ["follower"]);
    cell.put("/ls/local/between", "kept too");
    // The majority rests on the new disk now.
    cell.replica(other).kill();
    cell.put("/ls/local/after", "written");
    // And the new disk keeps it: everybody starts again, as configured.
    for replica in cell.replicas() {
        if replica.runs() {
            replica.kill();
        }
    }
    cell.start_all();
    cell.master();
    eventually("the cell serves again", || {
        cell.run(&["cat", "/ls/local/after"]).code == 0
    });
    assert_eq!(cat(&cell, "/ls/local/before"), "kept");
    assert_eq!(cat(&cell, "/ls/local/between"), "kept too");
    assert_eq!(cat(&cell, "/ls/local/after"), "written");
}

#[test]
fn a_replica_that_may_rejoins_by_itself() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    cell.put("/ls/local/before", "kept");
    let (lost, other) = lose_a_disk(&mut cell);
    let id = cell.replica(lost).id;
    let config = cell.replica(lost).config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("rejoin = true\n{text}")).unwrap();
    cell.replica(lost).start();
    eventually("it has its vote back", || {
        role_of(&cell, id) == ["follower"]
            && members(&cell)
                .as_array()
                .unwrap()
                .iter()
                .all(|row| row["connected"] == true)
    });
    cell.replica(other).kill();
    cell.put("/ls/local/after", "written");
    assert_eq!(cat(&cell, "/ls/local/before"), "kept");
}

#[test]
fn a_cell_of_one_grows_to_three_survives_its_founder_and_shrinks() {
    let _alone = alone();
    let mut cell = Cell::start(1);
    cell.put("/ls/local/kept", "since one");
    for _ in 0..2 {
        let index = cell.grow();
        let id = cell.replica(index).id;
        finish(&mut cell.replica(index).command("join")).ok();
        cell.replica(index).start();
        change(&cell, "add", id);
    }
    let roles: Vec<Vec<String>> = (1..=3).map(|id| role_of(&cell, id)).collect();
    assert_eq!(roles, [["master"], ["follower"], ["follower"]]);
    // The founder's configuration names nobody else, and it finds them all the same.
    cell.replica(0).kill();
    cell.put("/ls/local/more", "without the founder");
    cell.replica(0).start();
    eventually("the founder is back", || {
        members(&cell)
            .as_array()
            .unwrap()
            .iter()
            .all(|row| row["connected"] == true)
    });
    let master = cell.master() as u64 + 1;
    let refused = cell.run(&["cell", "remove", &master.to_string()]);
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert!(refused.errors.contains("transfer"), "{refused:?}");
    for id in (1..=3).filter(|id| *id != master) {
        change(&cell, "remove", id);
    }
    for id in (1..=3).filter(|id| *id != master) {
        cell.replica(id as usize - 1).kill();
    }
    cell.put("/ls/local/alone", "one of one");
    assert_eq!(cat(&cell, "/ls/local/kept"), "since one");
    assert_eq!(cat(&cell, "/ls/local/more"), "without the founder");
}

#[test]
fn a_transfer_costs_no_session_and_no_lock() {
    let _alone = alone();
    let mut cell = Cell::start(3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoints = cell.endpoints();
    let (client, guard) = runtime.block_on(async {
        let client = Client::builder().endpoints(endpoints.split(','));
        let client = client.connect().await.unwrap();
        let lock = client.lock("/ls/local/held").unwrap();
        let guard = lock.wait(Wait::Ms(5_000)).acquire().await.unwrap();
        (client, guard)
    });
    let token = guard.sequencer().unwrap().token;
    for _ in 0..3 {
        let to = (cell.master() as u64 + 1) % 3 + 1;
        let transfer = ["cell", "transfer", &to.to_string(), "--output", "json"];
        let done = cell.run(&transfer).json();
        assert_eq!(done["master"], to);
        assert_eq!(guard.sequencer().unwrap().token, token);
    }
    runtime.block_on(async {
        guard.release().await.unwrap();
        client.close().await.unwrap();
    });
}
