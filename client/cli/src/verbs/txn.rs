//! `cotter txn`.

use super::builder;
use super::nodes::{finish, read_at_most};
use crate::args::{Common, TxnArgs};
use crate::failure::{self, Failure};
use crate::output::{Format, Table, show};
use crate::script::{self, Script};
use crate::script_json;
use cotter_client::{ChangeError, NodeResult, Refusal};
use cotter_types::limits::TRANSACTION_BYTES_MAX;
use serde_json::{Value, json};

/// Largest script, in bytes: a byte of contents can take four, and there is room for comments.
const SCRIPT_BYTES_MAX: usize = 8 * TRANSACTION_BYTES_MAX;

/// Makes a transaction.
pub(crate) async fn run(arguments: &TxnArgs, common: &Common) -> Result<(), Failure> {
    let text = read_at_most(&arguments.file, SCRIPT_BYTES_MAX, "a transaction")?;
    let script = read(&text, arguments.json).map_err(|problem| {
        let message = format!("{}: {problem}", arguments.file.display());
        Failure::new(failure::DATA, message)
    })?;
    let client = builder(common).name("cotter txn").connect().await?;
    let mut request = client.transaction();
    for compare in script.transaction.compares.iter().cloned() {
        request = request.compare(compare);
    }
    for operation in script.transaction.operations.iter().cloned() {
        request = request.operation(operation);
    }
    let outcome = request.send().await;
    finish(client).await;
    let results = outcome.map_err(|error| located(error, &script))?;
    show_results(&results, &script, common)
}

/// Reads a script of either form. One that no cell would take is refused here too.
fn read(text: &[u8], is_json: bool) -> Result<Script, String> {
    let script = if is_json {
        Script {
            transaction: script_json::parse(text)?,
            ..Script::default()
        }
    } else {
        script::parse(text).map_err(|error| error.to_string())?
    };
    let checked = script.transaction.check();
    checked.map_err(|refusal| refusal.to_string())?;
    Ok(script)
}

/// Names the line of what failed, where there are lines.
fn located(error: ChangeError, script: &Script) -> Failure {
    let ChangeError::Refused(Refusal::TransactionFailed {
        index,
        compare,
        reason,
    }) = &error
    else {
        return error.into();
    };
    let lines = match compare {
        true => &script.compare_lines,
        false => &script.operation_lines,
    };
    let line = usize::try_from(*index).ok().and_then(|at| lines.get(at));
    let line = line.copied();
    let message = line.map(|line| format!("line {line}: {reason}; nothing was changed"));
    let mut failure = Failure::from(error);
    failure.message = message.unwrap_or(failure.message);
    failure
}

fn show_results(results: &[NodeResult], script: &Script, common: &Common) -> Result<(), Failure> {
    let mut table = Table::new(&["DONE", "PATH", "INSTANCE", "GENERATION"]);
    let mut list = Vec::new();
    for (result, operation) in results.iter().zip(&script.transaction.operations) {
        let asked = operation.path();
        let (done, path, numbers) = match result {
            NodeResult::Created {
                path,
                created,
                instance,
                content_generation,
            } => {
                let done = if *created { "created" } else { "found" };
                (done, path, Some((instance.0, *content_generation)))
            }
            NodeResult::Written {
                instance,
                content_generation,
            } => ("written", asked, Some((instance.0, *content_generation))),
            NodeResult::Deleted { .. } => ("deleted", asked, None),
        };
        let shown = |number: Option<u64>| number.map_or_else(String::new, |it| it.to_string());
        let (instance, generation) = numbers.unzip();
        let row = [
            done.to_owned(),
            path.to_string(),
            shown(instance),
            shown(generation),
        ];
        table.rows.push(row.into());
        let mut json = json!({ "done": done, "path": path.as_str() });
        match result {
            NodeResult::Deleted { nodes } => json["nodes"] = Value::from(*nodes),
            NodeResult::Created { .. } | NodeResult::Written { .. } => {
                json["instance"] = Value::from(instance);
                json["content_generation"] = Value::from(generation);
            }
        }
        list.push(json);
    }
    // For people, silence says that all is done, as with the other verbs.
    let numbered = results.iter().zip(&script.transaction.operations).any(|(result, operation)| {
        matches!(result, NodeResult::Created { path, .. } if path != operation.path())
    });
    if common.output == Format::Table && !numbered {
        return Ok(());
    }
    show(
        common.output,
        &table,
        &json!({ "applied": true, "results": list }),
    )
}
