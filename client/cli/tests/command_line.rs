//! What the command line says and with which status it ends, as far as that needs no cell.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails the test by panicking"
)]

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

fn cotter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cotter"))
        .args(arguments)
        .env_remove("COTTER_ENDPOINTS")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn standard_error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn command_line_that_makes_no_sense_is_status_64() {
    for arguments in [
        &["dance"][..],
        &[],
        &["lock"],
        &["lock", "not/a/path"],
        &["lock", "-n", "-w", "1", "/ls/local/a"],
        &["lock", "-w", "soon", "/ls/local/a"],
        &["lock", "--on-lost", "shrug", "/ls/local/a", "--", "true"],
        &["lock", "--grace", "11", "/ls/local/a", "--", "true"],
        &["lock", "--lease", "1.999", "/ls/local/a"],
        &["lock", "--lease", "120.001", "/ls/local/a"],
        &["lock", "--lock-delay", "60.001", "/ls/local/a"],
        &["lock", "--name", &"n".repeat(256), "/ls/local/a"],
        &["lock", "-E", "256", "/ls/local/a"],
        &["tree", "--depth", "0"],
        &["man"],
        &["completions", "tcsh"],
        &["--endpoints", "nowhere", "ls"],
        &["create", "--ttl", "0.5", "/ls/local/a"],
        &["create", "--ttl", "400000000", "/ls/local/a"],
        &["create", "--ttl", "5", "--ephemeral", "/ls/local/a"],
        &["create", "--sequential", "--exclusive", "/ls/local/a"],
        &["rm", "--if-instance", "old", "/ls/local/a"],
    ] {
        let output = cotter(arguments);
        let text = standard_error(&output);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.starts_with("cotter: "), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn cell_that_does_not_answer_is_status_69_within_the_timeout() {
    // It accepts nothing, and nobody else can have its port meanwhile.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for verb in [
        &["ls"][..],
        &["cell", "status"],
        &["put", "/ls/local/a", "/dev/null"],
        &["lock", "-n", "/ls/local/a", "--", "true"],
    ] {
        let mut arguments = vec!["--endpoints", &address, "--timeout", "0.5"];
        arguments.extend(verb);
        let output = cotter(&arguments);
        let text = standard_error(&output);
        assert_eq!(output.status.code(), Some(69), "{verb:?}: {text}");
        assert!(text.contains("--endpoints"), "{verb:?}: {text}");
    }
}

#[test]
fn cell_that_is_not_there_is_told_with_its_endpoints_without_being_asked_for_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for verb in [&["ls"][..], &["create", "/ls/local/a"]] {
        let mut arguments = vec!["--endpoints", &address];
        arguments.extend(verb);
        let output = cotter(&arguments);
        let text = standard_error(&output);
        assert_eq!(output.status.code(), Some(69), "{verb:?}: {text}");
        assert!(
            text.contains("the cell has been unreachable for"),
            "{verb:?}: {text}"
        );
        assert!(text.contains(&address), "{verb:?}: {text}");
        assert_eq!(text.lines().count(), 1, "{verb:?}: {text}");
    }
}

#[test]
fn file_that_is_missing_or_too_large_is_refused_before_the_cell_is_asked() {
    let missing = cotter(&["put", "/ls/local/a", "/does/not/exist"]);
    assert_eq!(missing.status.code(), Some(66));
    assert!(standard_error(&missing).starts_with("cotter: /does/not/exist: "));
    let endless = cotter(&["put", "/ls/local/a", "/dev/zero"]);
    assert_eq!(endless.status.code(), Some(65));
}

#[test]
fn transaction_that_makes_no_sense_is_status_65_before_the_cell_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    let file = path.to_str().unwrap();
    let play = |arguments: &[&str], text: &str| {
        std::fs::write(&path, text).unwrap();
        // Nobody answers there; it would be status 69 if it were asked.
        let mut all = vec!["--endpoints", "127.0.0.1:1", "--timeout", "5", "txn"];
        all.extend(arguments);
        all.push(file);
        let output = cotter(&all);
        assert_eq!(output.status.code(), Some(65), "{text}");
        standard_error(&output)
    };
    let said = play(&[], "# first\ncreate /ls/local/a\nset /ls/local/a\n");
    assert!(said.contains("line 3: the contents are missing"), "{said}");
    let said = play(&[], "if /ls/local/a exists\n");
    assert!(said.contains("1 to 128 operations"), "{said}");
    let said = play(&[], &"delete /ls/local/a\n".repeat(129));
    assert!(said.contains("at most 128"), "{said}");
    let said = play(&["--json"], "{\"do\": [{\"drop\": 1}]}");
    assert!(said.contains("drop") && said.contains("line 1"), "{said}");
}

#[test]
fn help_of_txn_shows_every_kind_of_line_and_status() {
    let text = String::from_utf8(cotter(&["txn", "--help"]).stdout).unwrap();
    for word in [
        "exists",
        "absent",
        "contents",
        "generation",
        "instance",
        "child-generation",
        "lock-generation",
        "create PATH",
        "set PATH",
        "delete PATH",
        "if-generation",
        "\\xHH",
        "   0  ",
        "   1  ",
        "  65  ",
        "--json",
        "ttl_ms",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn help_of_lock_names_every_exit_status_and_variable() {
    let output = cotter(&["lock", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for word in [
        "64",
        "69",
        "70",
        "75",
        "77",
        "117",
        "126",
        "127",
        "128+n",
        "COTTER_LOCK",
        "COTTER_TOKEN",
        "COTTER_SEQUENCER",
        "COTTER_SESSION",
    ] {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn inner_verbs_are_shown_to_nobody() {
    let help = cotter(&["--help"]).stdout;
    let script = cotter(&["completions", "bash"]).stdout;
    for text in [help, script] {
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("explain"));
        assert!(!text.contains("keeper") && !text.contains("trampoline"));
    }
}

#[test]
fn completion_scripts_know_every_verb_in_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = cotter(&["completions", shell]);
        assert!(script.status.success(), "{shell}");
        let script = String::from_utf8(script.stdout).unwrap();
        for verb in ["lock", "explain", "txn", "members", "pairs", "man"] {
            assert!(script.contains(verb), "{shell} does not know {verb}");
        }
    }
}

#[test]
fn completion_scripts_are_valid() {
    let script = cotter(&["completions", "bash"]);
    assert!(script.status.success());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cotter.bash");
    std::fs::write(&path, script.stdout).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&path).status().unwrap();
    assert!(checked.success());
    // What bash proposes after "cotter cell m", asked of its own machinery.
    let asked = Command::new("bash")
        .args([
            "--norc",
            "-c",
            "source \"$0\"; COMP_WORDS=(cotter cell m); COMP_CWORD=2; \
               _cotter cotter m cell; echo \"${COMPREPLY[@]}\"",
        ])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(asked.stdout).unwrap(), "members\n");
}

#[test]
fn man_pages_are_written_into_a_directory_that_need_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("share/man/man1");
    let written = cotter(&["man", "--dir", target.to_str().unwrap()]);
    assert_eq!(
        written.status.code(),
        Some(0),
        "{}",
        standard_error(&written)
    );
    let paths = String::from_utf8(written.stdout).unwrap();
    for name in ["cotter.1", "cotter-lock.1", "cotter-cell-status.1"] {
        let path = target.join(name);
        assert!(
            paths.lines().any(|line| line == path.to_str().unwrap()),
            "{paths}"
        );
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains("SYNOPSIS"), "{text}");
    }
    let in_the_way = directory.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let refused = cotter(&["man", "--dir", in_the_way.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(74));
    assert!(
        standard_error(&refused).contains("/file: "),
        "{}",
        standard_error(&refused)
    );
}

#[test]
fn reader_that_went_away_is_no_complaint() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cotter"))
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(standard_error(&output).is_empty());
}
