//! Paths and sequencers from hostile hands: what is accepted is what the text says, and no more.
//!
//! Texts are put together from a dictionary, because a parser that compares words is blind to random
//! bytes. `COTTER_FUZZ_CASES` sets the number of cases (see `docs/TESTING.md`).

use cotter_types::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX, TOKEN_LIMIT};
use cotter_types::{FencingToken, Instance, LockMode, Path, PathError, Sequencer};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::{collection, prop_assert, prop_assert_eq, sample};

/// Cases of each target when the environment does not say.
const CASES_DEFAULT: u32 = 4_096;

fn config() -> ProptestConfig {
    let cases = std::env::var("COTTER_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(CASES_DEFAULT),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Says by the words of the documentation whether a text is a path. It is written apart from the
/// parser on purpose: splitting into all parts first, judging afterwards.
fn is_path(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let sound = |name: &&str| {
        !matches!(*name, "" | "." | "..")
            && name.len() <= NAME_BYTES_MAX
            && !name
                .chars()
                .any(|c| c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c))
    };
    parts.len() >= 3
        && parts[0].is_empty()
        && parts[1] == "ls"
        && parts[2..].iter().all(sound)
        && parts.len() - 3 <= PATH_DEPTH_MAX
        && text.len() <= PATH_BYTES_MAX
}

/// What stands between two slashes, or beside them.
fn word() -> impl Strategy<Value = String> {
    let words = sample::select(vec![
        "",
        "/",
        "//",
        "ls",
        "LS",
        "local",
        "main",
        "a",
        ".",
        "..",
        "...",
        ". ",
        "%2f",
        "\\",
        "\0",
        "\n",
        "\t",
        "\u{7f}",
        "\u{80}",
        "\u{9f}",
        "\u{a0}",
        "\u{200b}",
        "\u{202e}",
        "\u{2028}",
        "\u{feff}",
        "é",
        "e\u{301}",
        "/ls/",
        "/ls/local",
        "\u{ff0f}",
        "\u{2215}",
        "🔒",
        "~",
        ":",
        "*",
    ]);
    let lengths = prop_oneof![
        Just(NAME_BYTES_MAX - 1),
        Just(NAME_BYTES_MAX),
        Just(NAME_BYTES_MAX + 1),
        1..300_usize,
    ];
    prop_oneof![
        8 => words.prop_map(str::to_owned),
        2 => lengths.prop_map(|length| "n".repeat(length)),
        1 => any::<char>().prop_map(String::from),
    ]
}

/// A text that is a path, or nearly one.
fn nearly_a_path() -> impl Strategy<Value = String> {
    let names = collection::vec(word(), 0..6);
    let head =
        prop_oneof![4 => Just("/ls/local"), 1 => Just("/ls/main"), 1 => Just("/ls"), 1 => Just("")];
    let deep = (PATH_DEPTH_MAX - 6..PATH_DEPTH_MAX + 3).prop_map(|depth| "/d".repeat(depth));
    let middle = prop_oneof![3 => Just(String::new()), 1 => deep];
    (head, middle, names, any::<bool>()).prop_map(|(head, middle, names, joined)| {
        let between = if joined { "/" } else { "" };
        let names: String = names
            .iter()
            .map(|name| format!("{between}{name}"))
            .collect();
        format!("{head}{middle}{names}")
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_path_is_what_the_documentation_says_and_nothing_else(text in nearly_a_path()) {
        let parsed = Path::parse(&text);
        prop_assert_eq!(parsed.is_ok(), is_path(&text), "{:?}: {:?}", text, parsed);
        let Ok(path) = parsed else { return Ok(()) };
        prop_assert_eq!(path.to_string(), text.clone());
        prop_assert_eq!(path.as_str(), text.as_str());
        prop_assert_eq!(path.depth(), text.split('/').count() - 3);
        prop_assert_eq!(path.is_root(), path.depth() == 0);
        if let Some(parent) = path.parent() {
            prop_assert_eq!(parent.child(path.name()), Ok(path.clone()));
            prop_assert!(path.is_within(&parent) && !parent.is_within(&path));
            prop_assert!(is_path(parent.as_str()) && parent < path);
        }
        let local = path.localized("main");
        let known = matches!(path.cell(), "main" | "local");
        prop_assert_eq!(local.is_some(), known, "{}", path);
        if let Some(local) = local {
            prop_assert_eq!(local.cell(), "local");
            prop_assert_eq!(local.with_cell(path.cell()), path);
        }
    }

    #[test]
    fn any_text_is_a_path_or_an_error_that_can_be_shown(text in any::<String>()) {
        match Path::parse(&text) {
            Ok(path) => prop_assert_eq!(path.as_str(), text.as_str()),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{}", error),
        }
    }

    #[test]
    fn a_child_is_one_level_below_or_refused(parent in nearly_a_path(), name in word()) {
        let Ok(parent) = Path::parse(&parent) else { return Ok(()) };
        if let Ok(child) = parent.child(&name) {
            prop_assert!(child.is_within(&parent));
            prop_assert_eq!(child.depth(), parent.depth() + 1 + name.matches('/').count());
        }
    }

    #[test]
    fn a_sequencer_says_what_its_text_says(sequencer in sequencer()) {
        let text = sequencer.to_string();
        prop_assert_eq!(text.parse::<Sequencer>(), Ok(sequencer));
    }

    #[test]
    fn a_mutated_sequencer_is_refused_or_says_just_that(
        sequencer in sequencer(),
        changes in collection::vec((any::<sample::Index>(), 0..4_u8, piece()), 1..4),
    ) {
        let text = mutated(&sequencer.to_string(), &changes);
        if let Ok(parsed) = text.parse::<Sequencer>() {
            prop_assert_eq!(parsed.to_string(), text);
            prop_assert!(parsed.token.0 < TOKEN_LIMIT);
        }
    }

    #[test]
    fn a_number_of_a_sequencer_has_one_form(
        place in 2..5_usize,
        number in piece(),
    ) {
        let mut parts = ["1", "x", "7", "8", "9", "/ls/main/a"];
        parts[place] = &number;
        let text = parts.join(":");
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let leading = number.len() > 1 && number.starts_with('0');
        let value = number.parse::<u128>().ok().filter(|_| digits && !leading);
        let limit = if place == 2 { u128::from(TOKEN_LIMIT) } else { 1 << 64 };
        let good = value.is_some_and(|value| value < limit);
        let parsed = text.parse::<Sequencer>();
        prop_assert_eq!(parsed.is_ok(), good, "{}: {:?}", text, parsed);
        if let (Ok(parsed), Some(value)) = (parsed, value) {
            let read = [parsed.token.0, parsed.instance.0, parsed.lock_generation];
            prop_assert_eq!(u128::from(read[place - 2]), value);
        }
    }
}

fn sequencer() -> impl Strategy<Value = Sequencer> {
    let number = || {
        prop_oneof![
            Just(0),
            Just(1),
            Just(u64::MAX),
            Just(TOKEN_LIMIT - 1),
            any::<u64>()
        ]
    };
    let path = sample::select(vec![
        "/ls/main",
        "/ls/main/a",
        "/ls/main/x:y",
        "/ls/1:x:2:3:4:/ls",
        "/ls/ä/🔒",
    ]);
    (path, any::<bool>(), number(), number(), number()).prop_map(
        |(path, shared, token, instance, lock_generation)| Sequencer {
            path: Path::parse(path).expect("a path of the list"),
            mode: if shared {
                LockMode::Shared
            } else {
                LockMode::Exclusive
            },
            token: FencingToken(token % TOKEN_LIMIT),
            instance: Instance(instance),
            lock_generation,
        },
    )
}

/// What a parser of numbers and colons stumbles over.
fn piece() -> impl Strategy<Value = String> {
    let pieces = sample::select(vec![
        "",
        ":",
        "::",
        "+",
        "-",
        "-0",
        "+1",
        "0",
        "00",
        "01",
        "1",
        "2",
        "10",
        " ",
        " 1",
        "1 ",
        "_",
        "1_0",
        "0x1",
        "1e3",
        "x",
        "s",
        "X",
        "S",
        "xs",
        "١",
        "１",
        "²",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "/",
        "/ls/",
        "/ls/local",
        "\0",
        "\n",
        "\u{feff}",
        "1:",
        ":x:",
        "2:x:",
        "0:s:",
    ]);
    prop_oneof![
        4 => pieces.prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|number| number.to_string()),
    ]
}

/// Puts pieces into a text, in front of, over or in place of its parts.
fn mutated(text: &str, changes: &[(sample::Index, u8, String)]) -> String {
    let mut text = text.to_owned();
    for (at, kind, piece) in changes {
        if *kind == 3 {
            let mut parts: Vec<&str> = text.split(':').collect();
            let at = at.index(parts.len());
            parts[at] = piece;
            text = parts.join(":");
            continue;
        }
        let characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len() + 1);
        let skipped = usize::from(*kind);
        text = characters[..at]
            .iter()
            .copied()
            .chain(piece.chars())
            .chain(characters.iter().copied().skip(at + skipped))
            .collect();
    }
    text
}

#[test]
fn the_limits_of_a_path_are_exact() {
    let name = |length| format!("/ls/local/{}", "n".repeat(length));
    assert!(Path::parse(&name(NAME_BYTES_MAX)).is_ok());
    assert_eq!(
        Path::parse(&name(NAME_BYTES_MAX + 1)),
        Err(PathError::NameTooLong(NAME_BYTES_MAX + 1))
    );
    let deep = |depth| format!("/ls/local{}", "/d".repeat(depth));
    assert!(Path::parse(&deep(PATH_DEPTH_MAX)).is_ok());
    for depth in [PATH_DEPTH_MAX + 1, 255, 256, 256 + PATH_DEPTH_MAX] {
        assert_eq!(Path::parse(&deep(depth)), Err(PathError::TooDeep(depth)));
    }
    let whole = |length: usize| {
        let mut text = "/ls/local".to_owned();
        for left in (0..length - text.len()).step_by(200) {
            let part = (length - "/ls/local".len() - left).min(200);
            text.push('/');
            text.push_str(&"n".repeat(part - 1));
        }
        text
    };
    assert_eq!(whole(PATH_BYTES_MAX).len(), PATH_BYTES_MAX);
    assert!(Path::parse(&whole(PATH_BYTES_MAX)).is_ok());
    assert_eq!(
        Path::parse(&whole(PATH_BYTES_MAX + 1)),
        Err(PathError::TooLong(PATH_BYTES_MAX + 1))
    );
}
