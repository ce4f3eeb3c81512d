//! The power of replicas' disks is cut, again and again, while programs write.
//!
//! Each replica keeps its data on an ext4 file system of its own, and a cut ends that file system
//! without flushing its journal: what was not synced is gone. The replica must notice by itself that
//! its disk is broken, and stop; what the cell acknowledged before the cut must be there afterwards.
//!
//! Three tests of `COTTER_POWER_CUTS` cuts each, 7 if that is not set. They need root.

use cotter_tests::cluster::{
    Acknowledged, Cell, Ledger, POWER_DISK_NEEDS, PowerDisk, eventually, fault_count, root_with,
};
use std::sync::{Mutex, PoisonError};

const CUTS: &str = "COTTER_POWER_CUTS";
const CUTS_DEFAULT: usize = 7;
const WRITERS: usize = 4;
/// Nodes that are acknowledged, at least, between two cuts.
const NODES_BETWEEN: usize = 20;
/// Status of a replica that found itself broken.
const BROKEN: i32 = 70;
/// The exit status of a replica that cannot use its log at the start.
const UNUSABLE: i32 = 69;

static ALONE: Mutex<()> = Mutex::new(());

/// Waits until the cell has acknowledged `NODES_BETWEEN` more nodes and a token.
fn write_more(ledger: &Ledger) {
    let (nodes, tokens) = ledger.count();
    eventually("the cell goes on", || {
        let (nodes_now, tokens_now) = ledger.count();
        nodes_now >= nodes + NODES_BETWEEN && tokens_now > tokens
    });
}

/// Cuts the power of the disks at `victims` at once, and returns what was acknowledged before.
fn cut(cell: &mut Cell, disks: &[PowerDisk], victims: &[usize], ledger: &Ledger) -> Acknowledged {
    let before = ledger.so_far();
    for victim in victims {
        disks[*victim].cut_power();
    }
    // Whoever is left alone with a broken disk has nothing to write, and cannot notice.
    let least = victims.len().saturating_sub(1).max(1);
    eventually("broken disks are noticed", || {
        let ended = victims
            .iter()
            .filter(|victim| !cell.replica(**victim).runs());
        ended.count() >= least
    });
    for victim in victims {
        let replica = cell.replica(*victim);
        if replica.runs() {
            replica.kill();
            continue;
        }
        let status = replica.process().wait();
        // A disk that breaks while a replica still opens its log is one that it cannot use.
        assert!(
            matches!(status.code(), Some(BROKEN | UNUSABLE)),
            "a broken disk stops a replica: {status}"
        );
        let log = replica.process().log();
        let said = log.lines().rev().find(|line| line.starts_with("cotterd: "));
        let place = replica.data().display().to_string();
        assert!(
            said.is_some_and(|line| line.contains("Input/output error") && line.contains(&place)),
            "the last word names the place and what the disk said: {said:?}"
        );
    }
    before
}

fn list(cell: &Cell) -> String {
    let line = ["--timeout", "30", "-o", "plain", "ls", Ledger::directory()];
    cell.run(&line).ok()
}

/// Cuts the power of those whom `choose` names, given the number of the cut and the master.
fn survive_cuts(choose: impl Fn(usize, usize) -> Vec<usize>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !root_with(&POWER_DISK_NEEDS) {
        return;
    }
    // Declared before the cell, so that its processes have ended when the disks go.
    let disks: Vec<PowerDisk> = (0..3).map(|_| PowerDisk::new()).collect();
    let mut paths = disks.iter().map(PowerDisk::path).cycle();
    let mut cell = Cell::born_with(3, |replica| {
        if let Some(path) = paths.next() {
            replica.keep_data_on(&path);
        }
    });
    cell.start_all();
    let mut master = cell.master();
    let ledger = Ledger::start(&cell.endpoints(), WRITERS, 100);
    let cuts = fault_count(CUTS, CUTS_DEFAULT);
    for number in 0..cuts {
        write_more(&ledger);
        let victims = choose(number, master);
        let before = cut(&mut cell, &disks, &victims, &ledger);
        if victims.len() == 1 {
            // The others need no help.
            write_more(&ledger);
        }
        let epoch = cell.epoch();
        for victim in &victims {
            disks[*victim].restore_power();
            cell.replica(*victim).start();
        }
        master = if victims.contains(&master) {
            cell.master_after(epoch.saturating_sub(1))
        } else {
            cell.master()
        };
        before.check_kept(&list(&cell));
    }
    write_more(&ledger);
    let all = ledger.stop();
    all.check_tokens();
    println!(
        "{cuts} cuts, {} nodes and {} tokens acknowledged",
        all.names.len(),
        all.tokens.len()
    );
    assert!(all.names.len() >= cuts * NODES_BETWEEN && all.tokens.len() >= cuts);
}

#[test]
fn power_cut_of_one_replica_loses_nothing_and_stops_nobody_else() {
    survive_cuts(|number, master| vec![(master + number) % 3]);
}

#[test]
fn power_cut_of_a_majority_loses_nothing_that_was_acknowledged() {
    survive_cuts(|number, master| vec![(master + number) % 3, (master + number + 1) % 3]);
}

#[test]
fn power_cut_of_the_whole_cell_loses_nothing_that_was_acknowledged() {
    survive_cuts(|number, _| (0..3).map(|index| (index + number) % 3).collect());
}
