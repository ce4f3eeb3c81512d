//! The JSON form of a transaction, for `cotter txn` and for HTTP.
//!
//! Every name that is not known is an error, so that a slip cannot drop a condition. Contents are
//! text; whoever has bytes that are no UTF-8 needs another form.

use crate::{
    Compare, Condition, Contents, Create, CreateSequential, Delete, Instance, Lifetime,
    NodeOperation, Path, Set, Transaction,
};
use serde::Deserialize;

/// Says what is wrong with a transaction that was read from JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransactionJsonError(String);

/// A transaction as JSON has it. Make a [`Transaction`] of it with `try_from`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionJson {
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

impl TryFrom<TransactionJson> for Transaction {
    type Error = TransactionJsonError;

    fn try_from(json: TransactionJson) -> Result<Self, TransactionJsonError> {
        let compares = json.compares.into_iter().zip(1..).map(|(it, nth)| {
            let compare: Result<Compare, String> = it.try_into();
            compare.map_err(|it| TransactionJsonError(format!("condition {nth}: {it}")))
        });
        let operations = json.operations.into_iter().zip(1..).map(|(it, nth)| {
            let operation: Result<NodeOperation, String> = it.try_into();
            operation.map_err(|it| TransactionJsonError(format!("operation {nth}: {it}")))
        });
        Ok(Self {
            compares: compares.collect::<Result<_, _>>()?,
            operations: operations.collect::<Result<_, _>>()?,
        })
    }
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
