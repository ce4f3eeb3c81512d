//! The daemon as an operator meets it: its lines, its exit statuses, and what it refuses to do.

use cotter_tests::cluster::{
    Cell, DevCell, Finished, Process, cotterd, eventually, finish, free_ports,
};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

/// Checks that a command failed with `code`, and said why in one line that contains `words`.
#[track_caller]
fn refused(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    // Lines of the log are JSON here; what is meant for a person is the one other line.
    let said: Vec<&str> = finished
        .errors
        .lines()
        .filter(|line| line.starts_with("cotterd: "))
        .collect();
    assert_eq!(said.len(), 1, "{finished:?}");
    for word in words {
        assert!(said[0].contains(word), "{word:?} is not in {:?}", said[0]);
    }
}

#[test]
fn dev_starts_with_nothing_stops_at_interrupt_and_finds_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut cell = DevCell::start_in(directory.path());
    let log = cell.process().log();
    assert!(log.contains(&format!("client={}", cell.endpoint)), "{log}");
    cell.run(&["create", "-p", "/ls/local/config/site"]).ok();
    let put = directory.path().join("contents");
    std::fs::write(&put, "eight bytes").unwrap();
    cell.run(&["put", "/ls/local/config/site", put.to_str().unwrap()])
        .ok();
    let before = cell
        .run(&["-o", "json", "stat", "/ls/local/config/site"])
        .json();

    cell.process().signal(Signal::SIGINT);
    assert_eq!(
        cell.process().wait().code(),
        Some(0),
        "{}",
        cell.process().log()
    );
    drop(cell);

    let mut cell = DevCell::start_in(directory.path());
    let after = cell
        .run(&["-o", "json", "stat", "/ls/local/config/site"])
        .json();
    assert_eq!(after, before);
    assert_eq!(
        cell.run(&["cat", "/ls/local/config/site"]).ok(),
        "eight bytes"
    );
    // SIGTERM is as good.
    cell.process().signal(Signal::SIGTERM);
    assert_eq!(
        cell.process().wait().code(),
        Some(0),
        "{}",
        cell.process().log()
    );
}

#[test]
fn dev_that_was_killed_starts_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut cell = DevCell::start_in(directory.path());
    cell.run(&["create", "/ls/local/here"]).ok();
    cell.process().kill();
    drop(cell);
    let cell = DevCell::start_in(directory.path());
    assert_eq!(cell.run(&["-o", "plain", "ls", "/ls/local"]).ok(), "here\n");
}

#[test]
fn dev_listens_where_the_system_chooses_and_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(cotterd());
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(directory.path().join("data"));
    let mut process = Process::start("cotterd dev", &mut command, &directory.path().join("log"));
    eventually("it is ready", || {
        assert!(process.ended().is_none(), "{}", process.log());
        process.log().lines().any(|line| line == "ready")
    });
    let log = process.log();
    let endpoint = log
        .lines()
        .find_map(|line| line.split("client=").nth(1)?.split(' ').next())
        .expect("it says where it listens");
    let status = cotter_tests::cluster::cotter_at(endpoint, &["-o", "json", "cell", "status"]);
    assert_eq!(
        finish(&mut { status }).json()["members"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    process.signal(Signal::SIGINT);
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn directory_serves_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let cell = DevCell::start_in(directory.path());
    let mut second = Command::new(cotterd());
    second
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(&cell.data);
    let finished = finish(&mut second);
    assert_ne!(finished.code, 0);
    refused(&finished, finished.code, &["in use"]);
    assert_eq!(cell.run(&["-o", "plain", "ls", "/ls/local"]).ok(), "");
}

#[test]
fn run_without_a_birth_is_refused() {
    let mut cell = Cell::configured(3);
    let missing = finish(&mut cell.replica(0).command("run"));
    refused(&missing, CONFIG, &["cotterd init"]);
    std::fs::create_dir(cell.replica(0).data()).unwrap();
    let empty = finish(&mut cell.replica(0).command("run"));
    refused(&empty, CONFIG, &["cotterd init"]);
}

#[test]
fn replica_that_lost_its_directory_never_votes() {
    let mut cell = Cell::start(3);
    cell.run(&["create", "/ls/local/kept"]).ok();
    cell.replica(0).kill();
    let data = cell.replica(0).data();
    std::fs::remove_dir_all(&data).unwrap();
    let missing = finish(&mut cell.replica(0).command("run"));
    refused(&missing, CONFIG, &["cotterd init"]);
    std::fs::create_dir(&data).unwrap();
    let empty = finish(&mut cell.replica(0).command("run"));
    refused(&empty, CONFIG, &["cotterd init"]);
    // Nor can it be made to by another birth, into a cell that is older than it.
    let mut init = cell.replica(0).command("init");
    let again = finish(init.args(["--timeout", "5s"]));
    refused(&again, again.code, &[]);
    assert!([UNAVAILABLE, CONFIG].contains(&again.code), "{again:?}");
    let run = finish(&mut cell.replica(0).command("run"));
    refused(&run, CONFIG, &[]);
    // The others go on without it.
    assert_eq!(cell.run(&["-o", "plain", "ls", "/ls/local"]).ok(), "kept\n");
}

#[test]
fn birth_of_a_born_cell_changes_nothing() {
    let mut cell = Cell::start(3);
    cell.run(&["create", "/ls/local/kept"]).ok();
    let id = |cell: &Cell| cell.run(&["-o", "json", "cell", "status"]).json()["cell_id"].clone();
    let before = id(&cell);
    for replica in cell.replicas() {
        replica.kill();
    }
    let mut births: Vec<Process> = cell
        .replicas()
        .iter()
        .map(|replica| replica.start_verb("init"))
        .collect();
    for birth in &mut births {
        // It tells the cell that there is, or refuses; both are true.
        birth.wait();
    }
    let epoch = cell.epoch();
    cell.start_all();
    cell.master_after(epoch);
    assert_eq!(id(&cell), before);
    assert_eq!(cell.run(&["-o", "plain", "ls", "/ls/local"]).ok(), "kept\n");
}

#[test]
fn birth_without_all_members_ends_in_time_and_can_be_repeated() {
    let mut cell = Cell::configured(3);
    let mut init = cell.replica(0).command("init");
    let alone = finish(init.args(["--timeout", "1s"]));
    refused(&alone, UNAVAILABLE, &[]);
    let mut births: Vec<Process> = cell
        .replicas()
        .iter()
        .map(|replica| replica.start_verb("init"))
        .collect();
    for birth in &mut births {
        assert_eq!(birth.wait().code(), Some(0), "{}", birth.log());
    }
    cell.start_all();
    cell.master();
}

#[test]
fn cell_of_one_replica_serves_alone() {
    let mut cell = Cell::start(1);
    let token = cell
        .run(&[
            "lock",
            "/ls/local/a",
            "--",
            "sh",
            "-c",
            "echo $COTTER_TOKEN",
        ])
        .ok();
    cell.replica(0).kill();
    cell.start_all();
    let later = cell
        .run(&[
            "lock",
            "/ls/local/a",
            "--",
            "sh",
            "-c",
            "echo $COTTER_TOKEN",
        ])
        .ok();
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    assert!(number(&later) > number(&token));
}

#[test]
fn taken_port_is_one_line() {
    let mut cell = Cell::born(1);
    let address = cell.replica(0).client_address.clone();
    let _taken = TcpListener::bind(&address).unwrap();
    refused(
        &finish(&mut cell.replica(0).command("run")),
        UNAVAILABLE,
        &[&address],
    );
    let mut dev = Command::new(cotterd());
    dev.args(["dev", "--listen", &address, "--data"])
        .arg(cell.directory().join("dev"));
    refused(&finish(&mut dev), UNAVAILABLE, &[&address]);
}

#[test]
fn bad_configuration_is_one_line_that_names_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports(2);
    let good = |data: &Path| {
        format!(
            "cell = \"proof\"\nreplica = 1\ndata = {data:?}\n[client]\nlisten = \"127.0.0.1:{}\"\n\
             [peer]\nlisten = \"127.0.0.1:{}\"\n",
            ports[0], ports[1]
        )
    };
    let text = good(&directory.path().join("data"));
    let bad = [
        (text.replace("cell = \"proof\"", "cell = \"a/b\""), "cell"),
        (text.replace("replica = 1", "replica = 4"), "replica"),
        (text.replace("replica = 1", "replica = \"one\""), "line 2"),
        (text.replace("cell =", "sell ="), "sell"),
        (text.replace("127.0.0.1:", "nowhere:"), "client.listen"),
        (format!("{text}[timing]\nmaster_lease_ms = 1\n"), "timing"),
        ("[[[".to_owned(), "cotterd.toml: line 1"),
    ];
    let file = directory.path().join("cotterd.toml");
    for (text, word) in bad {
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(cotterd());
        let finished = finish(command.arg("run").arg("--config").arg(&file));
        refused(&finished, CONFIG, &[word]);
    }
    let mut command = Command::new(cotterd());
    let absent = directory.path().join("absent.toml");
    let finished = finish(command.arg("run").arg("--config").arg(&absent));
    refused(&finished, CONFIG, &["absent.toml"]);
}

#[test]
fn command_line_that_makes_no_sense_is_status_64() {
    for arguments in [&["frob"][..], &["run", "--frob"], &[]] {
        let finished = finish(Command::new(cotterd()).args(arguments));
        assert_eq!(finished.code, USAGE, "{finished:?}");
        assert!(finished.output.is_empty(), "{finished:?}");
    }
    assert_eq!(finish(Command::new(cotterd()).arg("--help")).code, 0);
    assert_eq!(finish(Command::new(cotterd()).arg("--version")).code, 0);
}
