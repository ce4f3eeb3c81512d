//! What a configuration may say, and which line one gets when it says something else.

use super::{Config, LogFormat, Settings, file, listen_address, span_of_time};
use crate::failure::{Exit, Failure};
use cotter_types::ReplicaId;
use std::path::PathBuf;
use std::time::Duration;

const SAMPLE: &str = include_str!("../../cotterd.sample.toml");

fn load(text: &str, settings: &Settings) -> Result<Config, Failure> {
    let file = file::parse(text).map_err(Failure::config)?;
    Config::check(file, settings)
}

fn refusal(text: &str) -> String {
    refusal_with(text, &Settings::default())
}

fn refusal_with(text: &str, settings: &Settings) -> String {
    let failure = load(text, settings).expect_err("it must be refused");
    assert_eq!(failure.exit, Exit::Config);
    let line = failure.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

fn alone() -> String {
    "cell = \"one\"\nreplica = 1\ndata = \"/tmp/one\"\n\
     client.listen = \"127.0.0.1:0\"\npeer.listen = \"127.0.0.1:0\"\n"
        .to_owned()
}

#[test]
fn the_sample_is_a_configuration_that_holds() {
    let config = load(SAMPLE, &Settings::default()).unwrap();
    assert_eq!(config.cell, "example");
    assert_eq!(config.replica, ReplicaId(1));
    assert_eq!(config.members.len(), 3);
    assert_eq!(config.log_format, LogFormat::Text);
}

#[test]
fn the_sample_says_the_defaults() {
    let config = load(SAMPLE, &Settings::default()).unwrap();
    let default = cotter_replica::Timing::default();
    assert_eq!(config.timing, default);
}

#[test]
fn the_sample_has_every_key_flag_and_variable() {
    // What a key is, serde itself says when it refuses an unknown one.
    let mut keys = Vec::new();
    for unknown in ["", "client.", "peer.", "timing."] {
        let line = file::parse(&format!("{unknown}unknown = 1\n")).unwrap_err();
        let known = line
            .split("expected one of")
            .nth(1)
            .or_else(|| line.split("expected").nth(1));
        keys.extend(
            known
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
                .map(|key| format!("{unknown}{key}")),
        );
    }
    let row = file::parse("[[members]]\nunknown = 1\n").unwrap_err();
    keys.extend(
        row.split('`')
            .skip(3)
            .step_by(2)
            .map(|key| format!("members.{key}")),
    );
    assert!(keys.len() >= 15, "{keys:?}");
    let table: toml::Table = SAMPLE.parse().unwrap();
    for key in keys {
        let found = match key.split_once('.') {
            None => table.contains_key(&key),
            Some(("members", key)) => table["members"][0].get(key).is_some(),
            Some((section, key)) => table[section].get(key).is_some(),
        };
        assert!(found, "the sample lacks {key}");
    }
    let command = <super::CommandLine as clap::CommandFactory>::command();
    let run = command.find_subcommand("run").unwrap();
    for argument in run
        .get_arguments()
        .filter(|argument| argument.get_id() != "config")
    {
        let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else {
            continue;
        };
        let variable = variable.to_str().unwrap();
        assert!(
            SAMPLE.contains(&format!("--{flag}")),
            "the sample lacks --{flag}"
        );
        assert!(SAMPLE.contains(variable), "the sample lacks {variable}");
    }
}

#[test]
fn a_cell_of_one_needs_no_members_table() {
    let config = load(&alone(), &Settings::default()).unwrap();
    let client = "127.0.0.1:7001".parse().unwrap();
    let peer = "127.0.0.1:7002".parse().unwrap();
    let members = config.members_advertised(client, peer);
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].client, "127.0.0.1:7001");
    assert_eq!(members[0].peer, "127.0.0.1:7002");
}

#[test]
fn what_is_advertised_replaces_the_own_row() {
    let settings = Settings {
        client_advertise: Some("locks.example.org:443".to_owned()),
        ..Settings::default()
    };
    let text = SAMPLE.replace("advertise = \"127.0.0.1:7400\"\n", "");
    let config = load(&text, &settings).unwrap();
    let any = "127.0.0.1:1".parse().unwrap();
    let members = config.members_advertised(any, any);
    assert_eq!(members[0].client, "locks.example.org:443");
    assert_eq!(members[0].peer, "127.0.0.1:7401");
    assert_eq!(members[1].client, "127.0.0.1:7410");
}

#[test]
fn flags_go_before_the_file() {
    let settings = Settings {
        cell: Some("other".to_owned()),
        replica: Some("2".to_owned()),
        data: Some(PathBuf::from("/tmp/other")),
        log_format: Some("json".to_owned()),
        client_listen: Some("127.0.0.1:9".to_owned()),
        master_lease_ms: Some("1000".to_owned()),
        members: vec![
            "2=b:1,b:2".to_owned(),
            "1=a:1,a:2".to_owned(),
            "3=c:1,c:2".to_owned(),
        ],
        ..Settings::default()
    };
    let config = load(SAMPLE, &settings).unwrap();
    assert_eq!(config.cell, "other");
    assert_eq!(config.replica, ReplicaId(2));
    assert_eq!(config.data, PathBuf::from("/tmp/other"));
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.client_listen.port(), 9);
    assert_eq!(config.timing.master_lease_ms, 1_000);
    assert_eq!(config.members[0].client, "a:1");
}

#[test]
fn without_a_file_flags_can_say_everything() {
    let settings = Settings {
        cell: Some("one".to_owned()),
        replica: Some("1".to_owned()),
        data: Some(PathBuf::from("/tmp/one")),
        client_listen: Some("127.0.0.1:0".to_owned()),
        peer_listen: Some("[::1]:0".to_owned()),
        ..Settings::default()
    };
    Config::load(&settings).unwrap();
}

#[test]
fn a_missing_key_is_named() {
    assert!(refusal("cell = \"one\"\n").starts_with("replica is not given"));
    assert!(refusal("").starts_with("cell is not given"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let line = refusal(&format!("{}colour = 1\n", alone()));
    assert!(line.starts_with("line 6: unknown field `colour`"), "{line}");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
    let line = refusal("cell = \"one\"\nreplica = \"first\"\n");
    assert!(line.starts_with("line 2: "), "{line}");
}

#[test]
fn a_missing_file_is_named() {
    let settings = Settings {
        config: Some(PathBuf::from("/nowhere/cotterd.toml")),
        ..Settings::default()
    };
    let failure = Config::load(&settings).unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    assert!(failure.to_string().contains("/nowhere/cotterd.toml"));
}

#[test]
fn bad_values_are_refused_by_name() {
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        refusal_with(SAMPLE, &settings)
    };
    let cases = [
        (with(&|s| s.cell = Some("a/b".into())), "cell is"),
        (with(&|s| s.cell = Some("local".into())), "cell is"),
        (with(&|s| s.cell = Some(String::new())), "cell is"),
        (with(&|s| s.replica = Some("x".into())), "replica is"),
        (with(&|s| s.replica = Some("4".into())), "replica is 4"),
        (
            with(&|s| s.log_format = Some("xml".into())),
            "log_format is",
        ),
        (
            with(&|s| s.client_listen = Some("7400".into())),
            "client.listen is",
        ),
        (
            with(&|s| s.peer_listen = Some("host:1".into())),
            "peer.listen is",
        ),
        (
            with(&|s| s.client_advertise = Some("host:0".into())),
            "client.advertise is",
        ),
        (
            with(&|s| s.peer_advertise = Some("host".into())),
            "peer.advertise is",
        ),
        (with(&|s| s.members = vec!["1".into()]), "a member is"),
        (
            with(&|s| s.members = vec!["1=a:1,a:0".into()]),
            "members.peer is",
        ),
        (
            with(&|s| s.members = vec!["6=a:1,a:2".into()]),
            "members has a row with id 6, but ids go from 1 to 5",
        ),
        (
            with(&|s| s.members = vec!["1=a:1,a:1".into()]),
            "members names the address a:1 twice",
        ),
        (
            with(&|s| s.members = vec!["1=a:1,a:2".into(), "1=b:1,b:2".into()]),
            "members has two rows with id 1",
        ),
        (
            with(&|s| s.master_lease_ms = Some("1".into())),
            "timing does not hold",
        ),
        (
            with(&|s| s.election_round_ms = Some("0".into())),
            "timing does not hold",
        ),
        (
            with(&|s| s.election_round_ms = Some("-5".into())),
            "timing.election_round_ms is",
        ),
    ];
    for (line, start) in cases {
        assert!(
            line.starts_with(start),
            "{line:?} should start with {start:?}"
        );
    }
}

#[test]
fn an_address_that_nobody_can_dial_is_not_advertised() {
    let text = alone().replace(
        "client.listen = \"127.0.0.1:0\"",
        "client.listen = \"0.0.0.0:0\"",
    );
    assert!(refusal(&text).starts_with("client.advertise is not given"));
}

#[test]
fn a_replica_without_a_row_is_refused() {
    assert!(refusal(&alone().replace("replica = 1", "replica = 2")).starts_with("replica is 2"));
}

#[test]
fn spans_of_time_have_units() {
    assert_eq!(span_of_time("t", "60s").unwrap(), Duration::from_secs(60));
    assert_eq!(span_of_time("t", "7").unwrap(), Duration::from_secs(7));
    assert_eq!(
        span_of_time("t", "250ms").unwrap(),
        Duration::from_millis(250)
    );
    assert_eq!(span_of_time("t", "2m").unwrap(), Duration::from_secs(120));
    assert_eq!(
        span_of_time("t", "168h").unwrap(),
        Duration::from_secs(604_800)
    );
    for bad in [
        "",
        "s",
        "-1s",
        "1.5s",
        "1d",
        "0",
        "169h",
        "99999999999999999999s",
    ] {
        let failure = span_of_time("--timeout", bad).unwrap_err();
        assert!(failure.to_string().starts_with("--timeout is"), "{failure}");
    }
}

#[test]
fn addresses_to_listen_on_may_leave_the_port_to_the_system() {
    assert_eq!(listen_address("x", "127.0.0.1:0").unwrap().port(), 0);
    assert_eq!(listen_address("x", "[::1]:7400").unwrap().port(), 7_400);
    assert!(listen_address("x", "localhost:7400").is_err());
}
