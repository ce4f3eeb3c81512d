//! The verbs of `cotter` against a cell, in all three outputs, and the exit statuses that scripts
//! rely on.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use cotter_tests::cluster::{
    DevCell, Finished, Process, cotter_at, eventually, finish, free_ports, lives,
};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

const CHANGED: i32 = 65;
const NO_INPUT: i32 = 66;
const UNAVAILABLE: i32 = 69;
const NOT_ACQUIRED: i32 = 75;

/// A cell and a directory for files.
struct Bench {
    cell: DevCell,
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            cell: DevCell::start(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    #[track_caller]
    fn run(&self, line: &str) -> Finished {
        let words: Vec<&str> = line.split(' ').collect();
        self.cell.run(&words)
    }

    /// Runs `cotter put PATH` with `contents` on standard input.
    #[track_caller]
    fn put(&self, line: &str, contents: &[u8]) -> Finished {
        let input = self.file("input");
        std::fs::write(&input, contents).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = self.cell.cotter(&words);
        finish(command.stdin(Stdio::from(File::open(input).unwrap())))
    }

    /// Starts a `cotter lock` with the arguments of `line` around a script that goes on until it is
    /// told to end, and waits until it is up.
    #[track_caller]
    fn hold(&self, line: &str, name: &str) -> Process {
        let up = self.file(&format!("{name}.up"));
        let script = format!(
            "echo \"$COTTER_LOCK $COTTER_TOKEN $COTTER_SEQUENCER $COTTER_SESSION $$\" > {}; \
             exec sleep 600",
            up.display()
        );
        let words: Vec<&str> = line.split(' ').collect();
        let mut command = self.cell.cotter(&words);
        command.args(["--", "sh", "-c", &script]);
        let mut process = Process::start(name, &mut command, &self.file(&format!("{name}.log")));
        eventually("the command is up", || {
            assert!(process.ended().is_none(), "{}", process.log());
            std::fs::read_to_string(&up).is_ok_and(|text| text.ends_with('\n'))
        });
        process
    }

    /// Returns what the script of [`Bench::hold`] found in its environment, and its process id.
    fn environment(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(&format!("{name}.up"))).unwrap();
        text.split_whitespace().map(str::to_owned).collect()
    }
}

fn names(value: &serde_json::Value, key: &str) -> Vec<String> {
    let rows = value.as_array().expect("a list");
    rows.iter()
        .map(|row| row[key].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn nodes_are_written_read_listed_and_deleted() {
    let bench = Bench::new();
    bench.run("create -p /ls/local/config/site").ok();
    bench.put("put /ls/local/config/site", b"one\ntwo").ok();
    assert_eq!(bench.run("cat /ls/local/config/site").ok(), "one\ntwo");
    let whole = bench.run("-o json cat /ls/local/config/site").json();
    assert_eq!(whole["contents"], "one\ntwo");
    assert_eq!(whole["stat"]["content_bytes"], 7);

    let stat = bench.run("-o json stat /ls/local/config/site").json();
    assert_eq!(stat["path"], "/ls/local/config/site");
    assert_eq!(stat["lifetime"], "permanent");
    let generation = stat["content_generation"].as_u64().unwrap();
    assert!(
        bench
            .run("stat /ls/local/config/site")
            .ok()
            .contains("permanent")
    );
    assert!(
        bench
            .run("-o plain stat /ls/local/config/site")
            .ok()
            .contains("bytes\t7\n")
    );

    // Compare-and-set on the generation.
    let guarded = format!("put --if-generation {generation} /ls/local/config/site");
    bench.put(&guarded, b"three").ok();
    let lost = bench.put(&guarded, b"four");
    assert_eq!(lost.code, CHANGED, "{lost:?}");
    assert_eq!(bench.run("cat /ls/local/config/site").ok(), "three");

    bench
        .put("put -p /ls/local/config/deep/er/still", b"x")
        .ok();
    let listed = bench.run("-o json ls /ls/local/config").json();
    assert_eq!(names(&listed, "name"), ["deep", "site"]);
    assert_eq!(
        bench.run("-o plain ls /ls/local/config").ok(),
        "deep\nsite\n"
    );
    assert!(bench.run("ls /ls/local/config").ok().starts_with("NAME"));

    let tree = bench.run("-o plain tree /ls/local/config").ok();
    assert_eq!(
        tree,
        "/ls/local/config\n/ls/local/config/deep\n/ls/local/config/deep/er\n\
         /ls/local/config/deep/er/still\n/ls/local/config/site\n"
    );
    assert!(
        bench
            .run("tree /ls/local")
            .ok()
            .contains("└── still  1 bytes")
    );
    let tree = bench.run("-o json tree -L 1 /ls/local/config").json();
    assert_eq!(names(&tree, "path").len(), 3);

    assert_eq!(bench.run("rm /ls/local/config").code, CHANGED);
    let removed = bench.run("-o json rm -r /ls/local/config").json();
    assert_eq!(removed["deleted"], 5);
    for verb in ["cat", "stat", "ls", "tree", "rm", "explain"] {
        let missing = bench.run(&format!("{verb} /ls/local/config"));
        assert_eq!(missing.code, NO_INPUT, "{verb}: {missing:?}");
        assert_eq!(missing.errors.lines().count(), 1, "{missing:?}");
        assert!(missing.errors.starts_with("cotter: "), "{missing:?}");
    }
}

#[test]
fn create_tells_whether_it_created() {
    let bench = Bench::new();
    let first = bench.run("-o json create /ls/local/a").json();
    assert_eq!(first["created"], true);
    let second = bench.run("-o json create /ls/local/a").json();
    assert_eq!(second["created"], false);
    assert_eq!(second["instance"], first["instance"]);
    assert_eq!(bench.run("create -x /ls/local/a").code, CHANGED);
    assert_eq!(bench.run("create /ls/local/no/parent").code, NO_INPUT);
    let too_large = bench.put("put /ls/local/a", &vec![0; 256 * 1_024 + 1]);
    assert_eq!(too_large.code, CHANGED, "{too_large:?}");
    let largest = vec![b'x'; 256 * 1_024];
    bench.put("put /ls/local/a", &largest).ok();
    assert_eq!(bench.run("cat /ls/local/a").ok().len(), largest.len());
}

#[test]
fn ephemeral_node_goes_with_its_last_session() {
    let bench = Bench::new();
    let mut command = bench
        .cell
        .cotter(&["create", "--ephemeral", "/ls/local/alive"]);
    let mut process = Process::start("create", &mut command, &bench.file("create.log"));
    eventually("the node is there", || {
        bench.run("stat /ls/local/alive").code == 0
    });
    let stat = bench.run("-o json stat /ls/local/alive").json();
    assert_eq!(stat["lifetime"], "ephemeral");
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    assert_eq!(bench.run("stat /ls/local/alive").code, NO_INPUT);
}

#[test]
fn lock_is_explained_while_it_is_held_and_waited_for() {
    let bench = Bench::new();
    let mut holder = bench.hold(
        "lock --name crawler --lock-delay 1 /ls/local/jobs/crawl",
        "first",
    );
    let found = bench.environment("first");
    assert_eq!(found[0], "/ls/local/jobs/crawl");
    let (token, session) = (found[1].parse::<u64>().unwrap(), found[3].clone());

    let mut wait = bench
        .cell
        .cotter(&["lock", "/ls/local/jobs/crawl", "--", "true"]);
    let mut waiter = Process::start("waiter", &mut wait, &bench.file("waiter.log"));
    eventually("somebody waits", || {
        bench.run("-o json explain /ls/local/jobs/crawl").json()["waiter_count"] == 1
    });
    let explained = bench.run("-o json explain /ls/local/jobs/crawl").json();
    assert_eq!(explained["mode"], "exclusive");
    assert_eq!(explained["holders"][0]["name"], "crawler");
    assert_eq!(explained["holders"][0]["token"], token);
    assert_eq!(explained["holders"][0]["session"], session.as_str());
    assert_eq!(explained["waiters"][0]["place"], 1);
    assert_eq!(explained["waiters"][0]["name"], "true");
    let sentences = bench.run("explain /ls/local/jobs/crawl").ok();
    assert!(
        sentences.contains("crawler") && sentences.contains("1 session waits"),
        "{sentences}"
    );

    let locks = bench.run("-o json locks").json();
    assert_eq!(names(&locks, "path"), ["/ls/local/jobs/crawl"]);
    assert_eq!(locks[0]["holder"]["token"], token);
    assert!(bench.run("locks").ok().contains(&token.to_string()));
    assert!(
        bench
            .run("-o plain locks /ls/local/jobs")
            .ok()
            .starts_with("/ls/local/jobs/crawl\t")
    );

    let sessions = bench.run("-o json sessions").json();
    assert_eq!(sessions.as_array().unwrap().len(), 2, "{sessions}");
    let own = sessions
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["session"] == session.as_str());
    let own = own.expect("the holder's session is listed");
    assert_eq!(
        (&own["name"], &own["locks"]),
        (&"crawler".into(), &1.into())
    );
    assert_eq!(own["lease_ms"], 12_000);
    assert!(bench.run("sessions").ok().contains("crawler"));
    assert_eq!(bench.run("-o plain sessions").ok().lines().count(), 2);

    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.wait().code(), Some(128 + 15), "{}", holder.log());
    assert_eq!(waiter.wait().code(), Some(0), "{}", waiter.log());
    let explained = bench.run("-o json explain /ls/local/jobs/crawl").json();
    assert_eq!(explained["holder_count"], 0);
    let history = explained["history"].as_array().unwrap();
    assert_eq!(history.len(), 2, "{explained}");
    assert!(
        history.iter().any(|change| change["token"] == token),
        "{explained}"
    );
    // Nothing is left behind.
    assert_eq!(
        bench
            .run("-o json sessions")
            .json()
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(
        bench.run("-o json locks").json().as_array().unwrap().len(),
        0
    );
}

#[test]
fn lock_that_is_not_acquired_in_time_is_told_by_the_status() {
    let bench = Bench::new();
    let _holder = bench.hold("lock /ls/local/a", "holder");
    for (line, code) in [
        ("lock -n /ls/local/a -- true", NOT_ACQUIRED),
        ("lock -w 0 /ls/local/a -- true", NOT_ACQUIRED),
        ("lock -w 0.3 /ls/local/a -- true", NOT_ACQUIRED),
        ("lock -n -E 3 /ls/local/a -- true", 3),
        ("lock -w 0.3 -E 0 /ls/local/a -- true", 0),
        ("lock -n -s /ls/local/a -- true", NOT_ACQUIRED),
    ] {
        let finished = bench.run(line);
        assert_eq!(finished.code, code, "{line}: {finished:?}");
        assert_eq!(finished.errors, "", "flock says nothing either");
        assert!(finished.took < Duration::from_secs(10), "{finished:?}");
    }
    // A wait that was given up stands in nobody's way.
    let explained = bench.run("-o json explain /ls/local/a").json();
    assert_eq!(explained["waiter_count"], 0);
}

#[test]
fn waiting_ends_with_a_signal_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let _holder = bench.hold("lock /ls/local/a", "holder");
    let mut wait = bench.cell.cotter(&["lock", "/ls/local/a", "--", "true"]);
    let mut waiter = Process::start("waiter", &mut wait, &bench.file("waiter.log"));
    let waiters = || bench.run("-o json explain /ls/local/a").json()["waiter_count"].clone();
    eventually("it waits", || waiters() == 1);
    waiter.signal(Signal::SIGINT);
    assert_eq!(waiter.wait().code(), Some(128 + 2), "{}", waiter.log());
    eventually("its wait is gone", || waiters() == 0);
}

#[test]
fn shared_holders_hold_together_and_have_one_token() {
    let bench = Bench::new();
    let mut first = bench.hold("lock -s /ls/local/a", "first");
    let _second = bench.hold("lock -s /ls/local/a", "second");
    assert_eq!(
        bench.environment("first")[1],
        bench.environment("second")[1]
    );
    assert_eq!(
        bench.run("lock -n -x /ls/local/a -- true").code,
        NOT_ACQUIRED
    );
    first.signal(Signal::SIGTERM);
    first.wait();
    assert_eq!(
        bench.run("lock -n -x /ls/local/a -- true").code,
        NOT_ACQUIRED
    );
    assert_eq!(bench.run("lock -n -s /ls/local/a -- true").code, 0);
}

#[test]
fn status_of_the_command_is_passed_through() {
    let bench = Bench::new();
    let script = |script: &str| {
        bench
            .cell
            .run(&["lock", "/ls/local/a", "--", "sh", "-c", script])
    };
    for code in [0, 1, 7, 69, 75, 117, 255] {
        assert_eq!(script(&format!("exit {code}")).code, code);
    }
    assert_eq!(script("kill -KILL $$").code, 128 + 9);
    assert_eq!(script("kill -USR1 $$").code, 128 + 10);
    assert_eq!(bench.run("lock /ls/local/a -- /does/not/exist").code, 127);
    assert_eq!(bench.run("lock /ls/local/a -- /etc/passwd").code, 126);
    // Standard streams belong to the command.
    let through = script("echo out; echo err >&2");
    assert_eq!(
        (through.output.as_str(), through.errors.as_str()),
        ("out\n", "err\n")
    );
    let input = bench.file("input");
    std::fs::write(&input, "typed").unwrap();
    let mut cat = bench.cell.cotter(&["lock", "/ls/local/a", "--", "cat"]);
    assert_eq!(finish(cat.stdin(File::open(input).unwrap())).ok(), "typed");
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let bench = Bench::new();
    for (signal, number) in [
        (Signal::SIGINT, 2),
        (Signal::SIGTERM, 15),
        (Signal::SIGHUP, 1),
        (Signal::SIGQUIT, 3),
        (Signal::SIGUSR1, 10),
        (Signal::SIGUSR2, 12),
    ] {
        let name = format!("holder-{number}");
        let mut holder = bench.hold("lock /ls/local/a", &name);
        let command: i32 = bench.environment(&name)[4].parse().unwrap();
        holder.signal(signal);
        assert_eq!(holder.wait().code(), Some(128 + number), "{}", holder.log());
        assert!(!lives(Pid::from_raw(command)));
    }
}

#[test]
fn lock_without_a_command_prints_its_sequencer_and_holds_until_a_signal() {
    let bench = Bench::new();
    let mut command = bench.cell.cotter(&["-o", "json", "lock", "/ls/local/a"]);
    let mut holder = Process::start("holder", &mut command, &bench.file("holder.log"));
    eventually("it prints", || holder.log().ends_with('\n'));
    let printed: serde_json::Value = serde_json::from_str(&holder.log()).unwrap();
    let explained = bench.run("-o json explain /ls/local/a").json();
    assert_eq!(printed["token"], explained["holders"][0]["token"]);
    let sequencer = printed["sequencer"].as_str().unwrap();
    assert!(
        sequencer.parse::<cotter_types::Sequencer>().is_ok(),
        "{sequencer}"
    );
    holder.signal(Signal::SIGTERM);
    assert_eq!(holder.wait().code(), Some(0), "{}", holder.log());
    assert_eq!(bench.run("lock -n /ls/local/a -- true").code, 0);
}

#[test]
fn cell_shows_itself_and_its_members() {
    let bench = Bench::new();
    let status = bench.run("-o json cell status").json();
    assert_eq!(status["cell"], "dev");
    assert_eq!(status["role"], "master");
    assert_eq!(status["master"], status["replica"]);
    assert!(status["epoch"].as_u64().unwrap() >= 1);
    assert_eq!(status["members"].as_array().unwrap().len(), 3);
    assert!(bench.run("cell status").ok().contains("master"));
    assert!(
        bench
            .run("-o plain cell status")
            .ok()
            .contains("members\t3\n")
    );

    let members = bench.run("-o json cell members").json();
    let members = members.as_array().unwrap().clone();
    assert_eq!(members.len(), 3);
    let masters = members
        .iter()
        .filter(|member| member["role"] == "master")
        .count();
    assert_eq!(masters, 1, "{members:?}");
    assert!(
        members
            .iter()
            .any(|member| member["client_address"] == bench.cell.endpoint.as_str())
    );
    assert_eq!(bench.run("-o plain cell members").ok().lines().count(), 3);
    assert!(bench.run("cell members").ok().contains("REPLICA"));
}

#[test]
fn backup_of_a_living_cell_is_whole_and_never_replaces_a_file() {
    let bench = Bench::new();
    for nth in 0..40 {
        let put = bench.put(&format!("put /ls/local/n{nth}"), &vec![nth; 100_000]);
        assert_eq!(put.code, 0, "{}", put.errors);
    }
    let holder = bench.hold("lock /ls/local/held", "held");
    let file = bench.file("backup");
    let line = format!("--output json cell backup {}", file.display());
    let made = bench.run(&line);
    assert_eq!(made.code, 0, "{}", made.errors);
    let told: serde_json::Value = serde_json::from_str(&made.output).unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert_eq!(told["bytes"], bytes);
    assert!(bytes > 4_000_000, "{bytes}");
    assert!(!bench.file("backup.unfinished").exists());
    let mut inspect = std::process::Command::new(cotter_tests::cluster::cotterd());
    let seen = finish(inspect.args(["inspect", "--output", "json"]).arg(&file));
    assert_eq!(seen.code, 0, "{}", seen.errors);
    let seen: serde_json::Value = serde_json::from_str(&seen.output).unwrap();
    let checkpoint = &seen["checkpoints"][0];
    assert_eq!(checkpoint["whole"], true);
    assert_eq!(checkpoint["digest"], told["state_digest"]);
    assert_eq!(checkpoint["revision"], told["revision"]);
    assert_eq!(checkpoint["cell_id"], told["cell_id"]);
    let again = bench.run(&line);
    assert_eq!(again.code, 74, "{}", again.errors);
    assert!(again.errors.contains("there already"), "{}", again.errors);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
    drop(holder);
}

#[test]
fn backup_without_a_cell_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    // Held, so that no other test's cell gets the port; nobody ever answers there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = silent.local_addr().unwrap().to_string();
    let mut command = cotter_at(&endpoint, &["cell", "backup", file.to_str().unwrap()]);
    let failed = finish(&mut command);
    assert_eq!(failed.code, UNAVAILABLE, "{}", failed.errors);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn any_living_endpoint_is_enough() {
    let bench = Bench::new();
    let dead = free_ports(1)[0];
    let first_is_dead = format!("127.0.0.1:{dead},{}", bench.cell.endpoint);
    let lock = ["lock", "-w", "20", "/ls/local/a", "--", "true"];
    assert_eq!(finish(&mut cotter_at(&first_is_dead, &lock)).code, 0);
    finish(&mut cotter_at(&first_is_dead, &["cell", "status"])).ok();
    // A replica that is not master is as good an address as any.
    for member in bench.run("-o json cell members").json().as_array().unwrap() {
        let address = member["client_address"].as_str().unwrap();
        assert_eq!(finish(&mut cotter_at(address, &lock)).code, 0, "{member}");
        finish(&mut cotter_at(address, &["create", "/ls/local/b"])).ok();
    }
    let all_dead = format!("127.0.0.1:{dead}");
    let refused = finish(&mut cotter_at(&all_dead, &["--timeout", "1", "ls"]));
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
    assert_eq!(refused.errors.lines().count(), 1, "{refused:?}");
    let refused = finish(&mut cotter_at(
        &all_dead,
        &["--timeout", "1", "lock", "/ls/local/a", "--", "true"],
    ));
    assert_eq!(refused.code, UNAVAILABLE, "{refused:?}");
}

#[test]
fn command_line_that_makes_no_sense_is_status_64() {
    let bench = Bench::new();
    for line in [
        "frob",
        "lock",
        "lock relative -- true",
        "-o xml ls",
        "lock -n -w 1 /ls/local/a",
    ] {
        let finished = bench.run(line);
        assert_eq!(finished.code, 64, "{line}: {finished:?}");
        assert_eq!(finished.output, "");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            bench
                .run(&format!("completions {shell}"))
                .ok()
                .contains("explain")
        );
    }
    assert!(bench.run("--help").ok().contains("lock"));
}
