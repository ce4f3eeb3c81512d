//! `cotter history`.
//!
//! What is shown is what one replica remembers, and the last line says what that covers: nothing that
//! is missing is passed over in silence.

use super::observer;
use crate::args::{Common, HistoryArgs};
use crate::failure::{Failure, UNAVAILABLE};
use crate::output::{Format, Table, show, show_json, span, utc, write_out};
use cotter_client::{Doer, PastEvent};
use cotter_client::{HistoryCoverage, HistoryError, HistoryPage, HistoryQuery, PastChange};
use serde_json::{Value, json};

/// Gaps that the coverage line names one by one.
const GAPS_NAMED_MAX: usize = 3;

/// Shows what happened.
pub(crate) async fn run(arguments: &HistoryArgs, common: &Common) -> Result<(), Failure> {
    let query = HistoryQuery {
        path: arguments.path.clone(),
        recursive: arguments.recursive,
        since_wall_ms: arguments.since.map_or(0, |since| since.wall_ms()),
        before: None,
        limit: arguments.limit,
    };
    let mut page = observer(common)?.history(&query).await?;
    // Newest first is how it is found; people read on from the oldest.
    page.events.reverse();
    match common.output {
        Format::Json => show_json(&as_json(&page)),
        Format::Plain => {
            show(common.output, &table(&page, true), &Value::Null)?;
            eprintln!("cotter: {}", covered(&page, query.since_wall_ms));
            Ok(())
        }
        Format::Table => {
            show(
                common.output,
                &table(&page, arguments.recursive),
                &Value::Null,
            )?;
            let line = format!("{}\n", covered(&page, query.since_wall_ms));
            write_out(line.as_bytes())
        }
    }
}

fn table(page: &HistoryPage, with_paths: bool) -> Table {
    let heads = [
        "TIME", "REVISION", "PATH", "WHAT", "WHO", "HOST", "PID", "TOKEN", "HOW",
    ];
    let shown = |column: &usize| with_paths || heads[*column] != "PATH";
    let columns: Vec<usize> = (0..heads.len()).filter(shown).collect();
    let named: Vec<&'static str> = columns.iter().map(|column| heads[*column]).collect();
    let mut table = Table::new(&named);
    for event in &page.events {
        let (what, token, how) = words(&event.what);
        let pid = match event.who.pid {
            0 => String::new(),
            pid => pid.to_string(),
        };
        let row = [
            utc(event.wall_ms),
            event.revision.0.to_string(),
            event.path.to_string(),
            what.to_owned(),
            who(&event.who),
            event.who.host.clone(),
            pid,
            token.map_or_else(String::new, |token| token.to_string()),
            how,
        ];
        let cells = columns.iter().map(|column| row[*column].clone());
        table.rows.push(cells.collect());
    }
    table
}

fn who(who: &Doer) -> String {
    match who.session {
        Some(session) => format!("{} ({session})", who.name),
        None => who.name.clone(),
    }
}

/// Returns what happened, with which token, and how.
fn words(what: &PastChange) -> (&'static str, Option<u64>, String) {
    match what {
        PastChange::LockGranted {
            mode,
            token,
            waited_ms,
        } => {
            let how = match waited_ms {
                0 => mode.to_string(),
                waited => format!("{mode}, after a wait of {}", span(*waited)),
            };
            ("lock granted", Some(token.0), how)
        }
        PastChange::LockEnded {
            mode,
            token,
            held_ms,
            end,
        } => {
            let how = format!("{end}, {mode}, held for {}", span(*held_ms));
            ("lock ended", Some(token.0), how)
        }
        PastChange::NodeCreated { bytes } => ("node created", None, format!("{bytes} bytes")),
        PastChange::NodeSet {
            content_generation,
            bytes,
        } => {
            let how = format!("{bytes} bytes, content generation {content_generation}");
            ("contents set", None, how)
        }
        PastChange::NodeDeleted => ("node deleted", None, String::new()),
        PastChange::NodeLapsed => ("node lapsed", None, "nothing kept it".to_owned()),
    }
}

/// Says in a line what is known and what is not.
fn covered(page: &HistoryPage, since_wall_ms: u64) -> String {
    let HistoryCoverage { spans } = &page.coverage;
    let replica = page.replica;
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return format!("replica {replica} holds nothing of the past yet: no coverage");
    };
    let mut line = format!(
        "replica {replica} holds revisions {} to {}, from {} to {}",
        first.after.0 + 1,
        last.to.0,
        utc(first.since_wall_ms),
        utc(last.until_wall_ms)
    );
    let gaps: Vec<String> = spans
        .windows(2)
        .map(|pair| {
            format!(
                "{} to {} ({} to {})",
                pair[0].to.0 + 1,
                pair[1].after.0,
                utc(pair[0].until_wall_ms),
                utc(pair[1].since_wall_ms)
            )
        })
        .collect();
    match gaps.len() {
        0 => line.push_str(", without a gap"),
        count => {
            let newest = &gaps[count.saturating_sub(GAPS_NAMED_MAX)..];
            let noun = if count == 1 { "gap" } else { "gaps" };
            line.push_str(&format!(", WITH {count} {noun}: {}", newest.join(", ")));
            if count > newest.len() {
                line.push_str(" and older ones");
            }
        }
    }
    if first.after.0 > 0 {
        line.push_str("; what happened before is not known");
    }
    if page.before.is_some() {
        line.push_str("; there are older events, which --limit leaves out");
    } else if since_wall_ms > 0 && since_wall_ms < first.since_wall_ms && first.after.0 > 0 {
        line.push_str(", though --since asks for it");
    }
    line
}

fn as_json(page: &HistoryPage) -> Value {
    let spans: Vec<Value> = page
        .coverage
        .spans
        .iter()
        .map(|span| {
            json!({
                "first_revision": span.after.0 + 1,
                "last_revision": span.to.0,
                "since_wall_ms": span.since_wall_ms,
                "until_wall_ms": span.until_wall_ms,
            })
        })
        .collect();
    json!({
        "events": page.events.iter().map(event_json).collect::<Vec<_>>(),
        "older": page.before.is_some(),
        "replica": page.replica.0,
        "coverage": spans,
    })
}

fn event_json(event: &PastEvent) -> Value {
    let (what, details) = match &event.what {
        PastChange::LockGranted {
            mode,
            token,
            waited_ms,
        } => (
            "lock_granted",
            json!({ "mode": mode.to_string(), "token": token.0, "waited_ms": waited_ms }),
        ),
        PastChange::LockEnded {
            mode,
            token,
            held_ms,
            end,
        } => (
            "lock_ended",
            json!({ "mode": mode.to_string(), "token": token.0, "held_ms": held_ms,
                    "end": end.to_string() }),
        ),
        PastChange::NodeCreated { bytes } => ("node_created", json!({ "bytes": bytes })),
        PastChange::NodeSet {
            content_generation,
            bytes,
        } => (
            "node_set",
            json!({ "content_generation": content_generation, "bytes": bytes }),
        ),
        PastChange::NodeDeleted => ("node_deleted", json!({})),
        PastChange::NodeLapsed => ("node_lapsed", json!({})),
    };
    let mut value = json!({
        "path": event.path.as_str(),
        "revision": event.revision.0,
        "index": event.index,
        "wall_ms": event.wall_ms,
        "what": what,
        "session": event.who.session.map(|session| session.to_string()),
        "name": event.who.name,
        "host": event.who.host,
        "pid": event.who.pid,
    });
    if let (Some(value), Value::Object(details)) = (value.as_object_mut(), details) {
        value.extend(details);
    }
    value
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Query(error) => error.into(),
            HistoryError::Refused(_) => Self::new(crate::failure::DATA, error.to_string()),
            error => Self::new(UNAVAILABLE, error.to_string()),
        }
    }
}
