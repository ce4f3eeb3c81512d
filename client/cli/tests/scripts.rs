//! Transaction scripts and their JSON from hostile hands: never a panic, an error that says where,
//! and what is accepted is what the text says.
//!
//! Texts are valid ones, changed with the words that the parsers know and the characters that they
//! treat as special. `COTTER_FUZZ_CASES` sets the number of cases (see `docs/TESTING.md`).

use cotter_cli::{script, script_json};
use cotter_types::{
    Compare, Condition, Contents, Create, CreateSequential, Delete, Instance, Lifetime,
    NodeOperation, Path, Set, Transaction,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::{collection, option, prop_assert, prop_assert_eq, sample};
use serde_json::{Value, json};

/// Cases of each target when the environment does not say.
const CASES_DEFAULT: u32 = 1_024;

fn config() -> ProptestConfig {
    let cases = std::env::var("COTTER_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(CASES_DEFAULT),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn path() -> impl Strategy<Value = Path> {
    let paths = sample::select(vec![
        "/ls/local",
        "/ls/local/a",
        "/ls/main/b",
        "/ls/local/with space",
        "/ls/local/#",
        "/ls/local/é",
        "/ls/local/\"",
        "/ls/local/\\",
        "/ls/local/it's",
        "/ls/local/\u{a0}",
        "/ls/local/if",
    ]);
    paths.prop_map(|text| Path::parse(text).expect("a path of the list"))
}

fn contents() -> impl Strategy<Value = Contents> {
    prop_oneof![
        collection::vec(any::<u8>(), 0..6).prop_map(Contents::from),
        sample::select(vec![
            "",
            " ",
            "#",
            "if-generation",
            "exists",
            "\\",
            "\"",
            "\\x41",
            "\r",
            "\n",
            "é"
        ])
        .prop_map(Contents::from),
    ]
}

fn text_contents() -> impl Strategy<Value = Contents> {
    any::<String>().prop_map(|text| Contents::from(text.as_str()))
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        Just(Condition::Exists),
        Just(Condition::Absent),
        any::<u64>().prop_map(|number| Condition::Instance(Instance(number))),
        any::<u64>().prop_map(Condition::ContentGeneration),
        any::<u64>().prop_map(Condition::ChildGeneration),
        any::<u64>().prop_map(Condition::LockGeneration),
    ]
}

fn compares(contents: impl Strategy<Value = Contents>) -> impl Strategy<Value = Vec<Compare>> {
    let condition = prop_oneof![3 => condition(), 1 => contents.prop_map(Condition::Contents)];
    let compare = (path(), condition).prop_map(|(path, condition)| Compare { path, condition });
    collection::vec(compare, 0..4)
}

/// An operation that a script can say.
fn operation() -> impl Strategy<Value = NodeOperation> {
    (0..3_u8, path(), contents(), option::of(any::<u64>())).prop_map(
        |(kind, path, contents, if_content_generation)| match kind {
            0 => NodeOperation::Create(Create {
                path,
                contents,
                lifetime: Lifetime::Permanent,
                parents: false,
                exclusive: true,
            }),
            1 => NodeOperation::Set(Set {
                path,
                contents,
                if_content_generation,
                if_instance: None,
            }),
            _ => NodeOperation::Delete(Delete {
                path,
                recursive: false,
                if_content_generation,
                if_instance: None,
            }),
        },
    )
}

/// An operation that JSON can say.
fn json_operation() -> impl Strategy<Value = NodeOperation> {
    let flags = (0..4_u8, any::<bool>());
    let numbers = (option::of(any::<u64>()), option::of(any::<u64>()));
    (flags, path(), text_contents(), numbers).prop_map(
        |((kind, flag), path, contents, (generation, other))| {
            let lifetime = other.map_or(Lifetime::Permanent, |ms| Lifetime::Ttl { ms });
            match kind {
                0 => NodeOperation::Create(Create {
                    path,
                    contents,
                    lifetime,
                    parents: flag,
                    exclusive: true,
                }),
                1 => NodeOperation::CreateSequential(CreateSequential {
                    path,
                    contents,
                    lifetime,
                    parents: flag,
                }),
                2 => NodeOperation::Set(Set {
                    path,
                    contents,
                    if_content_generation: generation,
                    if_instance: other.map(Instance),
                }),
                _ => NodeOperation::Delete(Delete {
                    path,
                    recursive: flag,
                    if_content_generation: generation,
                    if_instance: other.map(Instance),
                }),
            }
        },
    )
}

/// Writes a word as a script wants it: as it is where that may be, in quotes otherwise or if asked.
fn word(bytes: &[u8], quoted: bool) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.');
    if !quoted && !bytes.is_empty() && bytes.iter().all(plain) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("\\x{other:02X}")),
        }
    }
    text.push('"');
    text
}

fn printed(transaction: &Transaction, quoted: bool) -> String {
    let path = |path: &Path| word(path.as_str().as_bytes(), quoted);
    let mut text = String::new();
    for Compare {
        path: of,
        condition,
    } in &transaction.compares
    {
        let condition = match condition {
            Condition::Exists => "exists".to_owned(),
            Condition::Absent => "absent".to_owned(),
            Condition::Instance(Instance(number)) => format!("instance {number}"),
            Condition::ContentGeneration(number) => format!("generation {number}"),
            Condition::ChildGeneration(number) => format!("child-generation {number}"),
            Condition::LockGeneration(number) => format!("lock-generation {number}"),
            Condition::Contents(contents) => {
                format!("contents {}", word(contents.as_bytes(), quoted))
            }
        };
        text.push_str(&format!("if {} {condition}\n", path(of)));
    }
    let if_generation = |number: Option<u64>| {
        number.map_or_else(String::new, |number| format!(" if-generation {number}"))
    };
    for operation in &transaction.operations {
        let line = match operation {
            NodeOperation::Create(create) => {
                let contents = word(create.contents.as_bytes(), quoted);
                format!("create {} {contents}", path(&create.path))
            }
            NodeOperation::Set(set) => {
                let contents = word(set.contents.as_bytes(), quoted);
                let condition = if_generation(set.if_content_generation);
                format!("set {} {contents}{condition}", path(&set.path))
            }
            NodeOperation::Delete(delete) => {
                let condition = if_generation(delete.if_content_generation);
                format!("delete {}{condition}", path(&delete.path))
            }
            other => panic!("a script has no words for {other:?}"),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn printed_json(transaction: &Transaction) -> Value {
    let text = |contents: &Contents| String::from_utf8_lossy(contents.as_bytes()).into_owned();
    let compare = |compare: &Compare| {
        let path = compare.path.as_str();
        match &compare.condition {
            Condition::Exists => json!({"path": path, "exists": true}),
            Condition::Absent => json!({"path": path, "exists": false}),
            Condition::Instance(number) => json!({"path": path, "instance": number.0}),
            Condition::ContentGeneration(number) => {
                json!({"path": path, "content_generation": number})
            }
            Condition::ChildGeneration(number) => json!({"path": path, "child_generation": number}),
            Condition::LockGeneration(number) => json!({"path": path, "lock_generation": number}),
            Condition::Contents(contents) => json!({"path": path, "contents": text(contents)}),
        }
    };
    let ttl_ms = |lifetime: Lifetime| match lifetime {
        Lifetime::Ttl { ms } => Some(ms),
        _ => None,
    };
    let operation = |operation: &NodeOperation| match operation {
        NodeOperation::Create(it) => json!({"create": {"path": it.path.as_str(),
            "contents": text(&it.contents), "parents": it.parents, "ttl_ms": ttl_ms(it.lifetime)}}),
        NodeOperation::CreateSequential(it) => json!({"create": {"path": it.path.as_str(),
            "contents": text(&it.contents), "sequential": true, "parents": it.parents,
            "ttl_ms": ttl_ms(it.lifetime)}}),
        NodeOperation::Set(it) => json!({"set": {"path": it.path.as_str(),
            "contents": text(&it.contents), "if_generation": it.if_content_generation,
            "if_instance": it.if_instance.map(|it| it.0)}}),
        NodeOperation::Delete(it) => json!({"delete": {"path": it.path.as_str(),
            "recursive": it.recursive, "if_generation": it.if_content_generation,
            "if_instance": it.if_instance.map(|it| it.0)}}),
    };
    json!({
        "if": transaction.compares.iter().map(compare).collect::<Vec<_>>(),
        "do": transaction.operations.iter().map(operation).collect::<Vec<_>>(),
    })
}

/// What scripts and JSON are made of, and what is nearly that.
const TOKENS: [&str; 62] = [
    "if",
    "create",
    "set",
    "delete",
    "exists",
    "absent",
    "contents",
    "generation",
    "instance",
    "if-generation",
    "child-generation",
    "lock-generation",
    "IF",
    "recursive",
    "/ls/local/a",
    "/ls/",
    "a/b",
    " ",
    "  ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "#",
    "# ",
    "\"",
    "\"\"",
    "\\",
    "\\\\",
    "\\\"",
    "\\x",
    "\\x4",
    "\\x00",
    "\\xff",
    "\\xé",
    "\\u0000",
    "\\ud800",
    "'",
    "0",
    "-1",
    "+1",
    "01",
    "1.0",
    "1e3",
    "18446744073709551615",
    "18446744073709551616",
    "\0",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[",
    ",",
    ":",
    "null",
    "true",
    "\"do\":",
    "\"path\":",
    "\"drop\":",
];

type Change = (sample::Index, u8, usize);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (any::<sample::Index>(), 0..4_u8, 0..TOKENS.len() + 2);
    collection::vec(change, 1..5)
}

/// Puts tokens into a text, over parts of it or in place of whole words; two more kinds are bytes that
/// are no text.
fn mutated(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, kind, token) in changes {
        let token = match TOKENS.get(*token) {
            Some(token) => token.as_bytes(),
            None if *token == TOKENS.len() => b"\xff",
            None => b"\xc3",
        };
        let from = at.index(bytes.len() + 1);
        let to = match kind {
            0 => from,
            1 => (from + 1).min(bytes.len()),
            2 => (from + token.len()).min(bytes.len()),
            _ => {
                let rest = bytes[from..].iter();
                let word = rest.take_while(|byte| !b" \n\"{}:,".contains(byte)).count();
                from + word
            }
        };
        bytes.splice(from..to, token.iter().copied());
    }
    bytes
}

/// Says without the parser which lines of a script are neither empty nor a comment.
fn lines_with_words(bytes: &[u8]) -> Vec<usize> {
    let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    lines
        .filter(|(line, _)| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let first = line.iter().find(|byte| !b" \t".contains(byte));
            // A comment that is no text is an error as well.
            first.is_some_and(|byte| *byte != b'#') || std::str::from_utf8(line).is_err()
        })
        .map(|(_, number)| number)
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_script_says_what_was_written(
        compares in compares(contents()),
        operations in collection::vec(operation(), 0..4),
        quoted in any::<bool>(),
    ) {
        let transaction = Transaction { compares, operations };
        let text = printed(&transaction, quoted);
        let read = script::parse(text.as_bytes());
        prop_assert!(read.is_ok(), "{:?}: {}", read, text);
        prop_assert_eq!(read.map(|read| read.transaction), Ok(transaction), "{}", text);
    }

    #[test]
    fn a_mutated_script_is_refused_with_its_line_or_means_what_it_says(
        compares in compares(contents()),
        operations in collection::vec(operation(), 1..4),
        changes in changes(),
    ) {
        let text = printed(&Transaction { compares, operations }, false);
        let bytes = mutated(&text, &changes);
        let lines = lines_with_words(&bytes);
        match script::parse(&bytes) {
            Ok(read) => {
                let said = [read.compare_lines, read.operation_lines].concat();
                prop_assert_eq!(&said, &lines, "no line is passed over");
                let text = printed(&read.transaction, true);
                let again = script::parse(text.as_bytes()).map(|again| again.transaction);
                prop_assert_eq!(again, Ok(read.transaction));
            }
            Err(error) => {
                prop_assert!(lines.contains(&error.line), "{} of {:?}", error, lines);
                prop_assert!(!error.problem.is_empty());
                // What stands above the line is sound: the first bad line is the one that is named.
                let above: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(error.line - 1).collect();
                let above = above.join(&b'\n');
                prop_assert!(script::parse(&above).is_ok(), "{}", error);
            }
        }
    }

    #[test]
    fn a_number_of_a_script_is_digits_and_nothing_else(token in sample::select(TOKENS.to_vec())) {
        let whole = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
        let number = token.parse::<u64>().ok().filter(|_| whole);
        let line = format!("delete /ls/local/a if-generation \t{token}");
        let read = script::parse(line.as_bytes());
        let line = format!("if /ls/local/a instance {token}");
        let compare = script::parse(line.as_bytes());
        if number.is_none() {
            let blank = token.trim_matches([' ', '\t', '\n', '\r']).is_empty();
            prop_assert!(read.is_err() || blank, "{:?}: {:?}", token, read);
            prop_assert!(compare.is_err(), "{:?}: {:?}", token, compare);
        } else if let (Some(number), Ok(compare)) = (number, compare) {
            let condition = &compare.transaction.compares[0].condition;
            prop_assert_eq!(condition, &Condition::Instance(Instance(number)));
        } else {
            prop_assert!(false, "{:?} was refused", token);
        }
    }

    #[test]
    fn json_says_what_was_written(
        compares in compares(text_contents()),
        operations in collection::vec(json_operation(), 0..4),
        pretty in any::<bool>(),
    ) {
        let transaction = Transaction { compares, operations };
        let json = printed_json(&transaction);
        let text = if pretty { format!("{json:#}") } else { json.to_string() };
        prop_assert_eq!(script_json::parse(text.as_bytes()), Ok(transaction), "{}", text);
    }

    #[test]
    fn mutated_json_is_refused_with_its_place_or_means_what_it_says(
        compares in compares(text_contents()),
        operations in collection::vec(json_operation(), 1..4),
        changes in changes(),
    ) {
        let text = format!("{:#}", printed_json(&Transaction { compares, operations }));
        let bytes = mutated(&text, &changes);
        match script_json::parse(&bytes) {
            Ok(transaction) => {
                let text = printed_json(&transaction).to_string();
                prop_assert_eq!(script_json::parse(text.as_bytes()), Ok(transaction));
            }
            Err(error) => {
                let places = ["line ", "condition ", "operation "];
                prop_assert!(places.iter().any(|place| error.contains(place)), "{}", error);
            }
        }
    }
}

#[test]
fn json_nested_without_end_is_refused() {
    for open in ["[", "{\"do\":", "{\"if\":[", "{\"do\":[{\"create\":"] {
        let error = script_json::parse(open.repeat(100_000).as_bytes());
        assert!(error.is_err_and(|error| error.contains("line 1")), "{open}");
    }
}
