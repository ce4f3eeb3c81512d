//! What scripts mean, and what is no script.

use super::{Script, parse};
use cotter_types::{Condition, Contents, NodeOperation};
use proptest::prelude::{any, proptest};
use proptest::{collection, prop_assert, prop_assert_eq};

fn of(text: &str) -> Script {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn every_kind_of_line_is_understood() {
    let script = of(concat!(
        "# a comment\n",
        "\n",
        "if /ls/local/a exists\n",
        "  if /ls/local/b\tabsent  \r\n",
        "if /ls/local/a instance 3\n",
        "if /ls/local/a generation 4\n",
        "if /ls/local/a child-generation 5\n",
        "if /ls/local/a lock-generation 6\n",
        "if /ls/local/a contents \"two words\"\n",
        "create /ls/local/b\n",
        "create \"/ls/local/with space\" plain\n",
        "set /ls/local/a \"\\x00\\\\\\\"\\n\\t\\rä\" if-generation 4\n",
        "delete /ls/local/c\n",
        "delete /ls/local/d if-generation 1",
    ));
    assert_eq!(script.compare_lines, [3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(script.operation_lines, [10, 11, 12, 13, 14]);
    let compares = &script.transaction.compares;
    assert_eq!(compares[1].condition, Condition::Absent);
    let words = Contents::from("two words");
    assert_eq!(compares[6].condition, Condition::Contents(words));
    let operations = &script.transaction.operations;
    assert_eq!(operations[1].path().as_str(), "/ls/local/with space");
    let NodeOperation::Set(set) = &operations[2] else {
        panic!("expected a set");
    };
    assert_eq!(set.contents, Contents::from("\0\\\"\n\t\rä"));
    assert_eq!(set.if_content_generation, Some(4));
    let NodeOperation::Create(create) = &operations[0] else {
        panic!("expected a creation");
    };
    assert!(create.exclusive && create.contents.is_empty());
}

#[test]
fn line_that_makes_no_sense_is_named() {
    for wrong in [
        "drop /ls/local/a",
        "\"create\" /ls/local/a",
        "create",
        "create a/b",
        "create /ls/local/a one two",
        "create /ls/local/a #comment",
        "set /ls/local/a",
        "set /ls/local/a x if-generation",
        "set /ls/local/a x if-generation -1",
        "set /ls/local/a x if-generation +1",
        "set /ls/local/a x if-generation \"1\"",
        "set /ls/local/a x if-generation 18446744073709551616",
        "set /ls/local/a two words",
        "set /ls/local/a \"open",
        "set /ls/local/a \"a\"b",
        "set /ls/local/a \"a\"\"b\"",
        "set /ls/local/a a\"b",
        "set /ls/local/a it's",
        "set /ls/local/a \"\\q\"",
        "set /ls/local/a \"\\x4\"",
        "set /ls/local/a \"\\xé0\"",
        "if /ls/local/a",
        "if /ls/local/a is 3",
        "if /ls/local/a exists now",
        "if /ls/local/a generation",
        "delete /ls/local/a recursive",
    ] {
        let script = format!("# first\n{wrong}\ncreate /ls/local/z\n");
        let error = parse(script.as_bytes()).unwrap_err();
        assert_eq!(error.line, 2, "{wrong}: {error}");
    }
    let late = b"delete /ls/local/a\nif /ls/local/a exists\n";
    assert_eq!(parse(late).unwrap_err().line, 2);
    assert_eq!(parse(b"\n\nset /ls/local/a \xff").unwrap_err().line, 3);
}

/// Quotes contents as a script wants them.
fn quoted(bytes: &[u8]) -> String {
    let escaped = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
    format!("\"{}\"", escaped.collect::<String>())
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in collection::vec(any::<u8>(), 0..256)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn nothing_like_a_script_makes_the_parser_panic(
        text in "((if|create|set|delete|#|\"if\") ?(/ls/local/[a-z\" ]{0,4}|\"/ls/l\\\\x6)? ?(exists|contents|generation|if-generation)? ?[0-9\"\\\\xn#é ]{0,6}\r?\n){0,6}",
    ) {
        match parse(text.as_bytes()) {
            Ok(script) => {
                let lines = script.compare_lines.len() + script.operation_lines.len();
                prop_assert!(lines <= text.lines().count());
            }
            Err(error) => prop_assert!(error.line <= text.lines().count() + 1),
        }
    }

    #[test]
    fn any_contents_can_be_written(bytes in collection::vec(any::<u8>(), 0..64)) {
        let script = of(&format!("set /ls/local/a {}", quoted(&bytes)));
        let written = script.transaction.operations[0].contents().cloned();
        prop_assert_eq!(written, Some(Contents::from(bytes)));
    }
}
