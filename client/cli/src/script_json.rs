//! The JSON form of `cotter txn`: the same as a script, and what a script has no words for.

use cotter_types::{Transaction, TransactionJson};

/// Reads a transaction from JSON.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(bytes: &[u8]) -> Result<Transaction, String> {
    let json: TransactionJson = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    json.try_into()
        .map_err(|error: cotter_types::TransactionJsonError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use cotter_types::{Condition, Lifetime, NodeOperation};

    #[test]
    fn json_says_what_a_script_says_and_more() {
        let text = r#"{"if": [{"path": "/ls/local/a", "exists": false},
                              {"path": "/ls/local/b", "child_generation": 7}],
                       "do": [{"create": {"path": "/ls/local/q/n", "sequential": true, "ttl_ms": 5000}},
                              {"set": {"path": "/ls/local/b", "contents": "x", "if_instance": 3}},
                              {"delete": {"path": "/ls/local/c", "recursive": true}}]}"#;
        let transaction = parse(text.as_bytes()).unwrap();
        assert_eq!(transaction.compares[0].condition, Condition::Absent);
        let NodeOperation::CreateSequential(create) = &transaction.operations[0] else {
            panic!("expected a sequential creation");
        };
        assert_eq!(create.lifetime, Lifetime::Ttl { ms: 5_000 });
        assert_eq!(transaction.operations.len(), 3);
    }

    #[test]
    fn json_that_says_too_much_or_too_little_is_refused() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"do": [{"drop": {"path": "/ls/local/a"}}]}"#,
            r#"{"do": [{"delete": {"path": "a"}}]}"#,
            r#"{"do": [{"delete": {"path": "/ls/local/a", "recursiv": true}}]}"#,
            r#"{"do": [{"set": {"path": "/ls/local/a"}}]}"#,
            r#"{"do": [], "iff": []}"#,
            r#"{"do": [], "if": [{"path": "/ls/local/a"}]}"#,
            r#"{"do": [], "if": [{"path": "/ls/local/a", "exists": true, "instance": 1}]}"#,
            r#"{"do": [], "if": [{"path": "/ls/local/a", "instance": -1}]}"#,
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
