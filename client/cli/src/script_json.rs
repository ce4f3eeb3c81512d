//! The JSON form of `cotter txn`: the same as a script, and what a script has no words for.
//!
//! Every name that is not known is an error, so that a slip cannot drop a condition.

use cotter_types::{
    Compare, Condition, Contents, Create, CreateSequential, Delete, Instance, Lifetime,
    NodeOperation, Path, Set, Transaction,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default, rename = "if")]
    compares: Vec<JsonCompare>,
    #[serde(rename = "do")]
    operations: Vec<JsonOperation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCompare {
    path: String,
    exists: Option<bool>,
    instance: Option<u64>,
    content_generation: Option<u64>,
    child_generation: Option<u64>,
    lock_generation: Option<u64>,
    contents: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum JsonOperation {
    Create(JsonCreate),
    Set(JsonSet),
    Delete(JsonDelete),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonCreate {
    path: String,
    #[serde(default)]
    contents: String,
    #[serde(default)]
    sequential: bool,
    #[serde(default)]
    parents: bool,
    ttl_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSet {
    path: String,
    contents: String,
    if_generation: Option<u64>,
    if_instance: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonDelete {
    path: String,
    #[serde(default)]
    recursive: bool,
    if_generation: Option<u64>,
    if_instance: Option<u64>,
}

/// Reads a transaction from JSON.
///
/// # Errors
/// What is wrong with it, and where.
pub fn parse(bytes: &[u8]) -> Result<Transaction, String> {
    let whole: Whole = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let compares = whole.compares.into_iter().zip(1..).map(|(it, nth)| {
        let compare: Result<Compare, String> = it.try_into();
        compare.map_err(|problem| format!("condition {nth}: {problem}"))
    });
    let operations = whole.operations.into_iter().zip(1..).map(|(it, nth)| {
        let operation: Result<NodeOperation, String> = it.try_into();
        operation.map_err(|problem| format!("operation {nth}: {problem}"))
    });
    Ok(Transaction {
        compares: compares.collect::<Result<_, _>>()?,
        operations: operations.collect::<Result<_, _>>()?,
    })
}

fn path(text: &str) -> Result<Path, String> {
    Path::parse(text).map_err(|error| error.to_string())
}

impl TryFrom<JsonCompare> for Compare {
    type Error = String;

    fn try_from(json: JsonCompare) -> Result<Self, String> {
        let exists = json.exists.map(|exists| match exists {
            true => Condition::Exists,
            false => Condition::Absent,
        });
        let contents = json.contents.as_deref().map(Contents::from);
        let conditions = [
            exists,
            json.instance.map(|it| Condition::Instance(Instance(it))),
            json.content_generation.map(Condition::ContentGeneration),
            json.child_generation.map(Condition::ChildGeneration),
            json.lock_generation.map(Condition::LockGeneration),
            contents.map(Condition::Contents),
        ];
        let mut given = conditions.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(condition), None) => Ok(Self {
                path: path(&json.path)?,
                condition,
            }),
            _ => Err("it must say exactly one thing of its path".to_owned()),
        }
    }
}

impl TryFrom<JsonOperation> for NodeOperation {
    type Error = String;

    fn try_from(json: JsonOperation) -> Result<Self, String> {
        Ok(match json {
            JsonOperation::Create(create) => {
                let lifetime = match create.ttl_ms {
                    Some(ms) => Lifetime::Ttl { ms },
                    None => Lifetime::Permanent,
                };
                let (path, parents) = (path(&create.path)?, create.parents);
                let contents = Contents::from(create.contents.as_str());
                if create.sequential {
                    Self::CreateSequential(CreateSequential {
                        path,
                        contents,
                        lifetime,
                        parents,
                    })
                } else {
                    Self::Create(Create {
                        path,
                        contents,
                        lifetime,
                        parents,
                        exclusive: true,
                    })
                }
            }
            JsonOperation::Set(set) => Self::Set(Set {
                path: path(&set.path)?,
                contents: Contents::from(set.contents.as_str()),
                if_content_generation: set.if_generation,
                if_instance: set.if_instance.map(Instance),
            }),
            JsonOperation::Delete(delete) => Self::Delete(Delete {
                path: path(&delete.path)?,
                recursive: delete.recursive,
                if_content_generation: delete.if_generation,
                if_instance: delete.if_instance.map(Instance),
            }),
        })
    }
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
