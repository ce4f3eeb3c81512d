//! `cotter explain`, `cotter locks` and `cotter sessions`.

use super::observer;
use crate::args::Common;
use crate::explain;
use crate::failure::Failure;
use crate::output::{Format, Table, ago_ms, show, show_json, span, write_out};
use cotter_client::{Path, Reads};
use serde_json::{Value, json};

/// Explains one lock.
pub(crate) async fn explain(path: &Path, common: &Common) -> Result<(), Failure> {
    let explanation = observer(common)?.explain(path.as_str()).await?;
    match common.output {
        Format::Table | Format::Plain => write_out(explain::sentences(&explanation).as_bytes()),
        Format::Json => show_json(&explain::as_json(&explanation)),
    }
}

/// Lists the locks within a path.
pub(crate) async fn locks(within: &Path, common: &Common) -> Result<(), Failure> {
    let rows = observer(common)?.locks(within).await?;
    let mut table = Table::new(&[
        "PATH", "MODE", "HOLDERS", "WAITERS", "HOLDER", "HOST", "TOKEN", "HELD", "DELAY",
    ]);
    let mut list = Vec::new();
    for row in rows {
        let mode = row.mode.map(|mode| mode.to_string());
        let holder = row.holder.as_ref();
        let delay = match row.lock_delay_left_ms {
            0 => String::new(),
            left => span(left),
        };
        table.rows.push(vec![
            row.path.to_string(),
            mode.clone().unwrap_or_default(),
            row.holder_count.to_string(),
            row.waiter_count.to_string(),
            holder.map_or_else(String::new, |it| format!("{} ({})", it.name, it.session)),
            holder.map_or_else(String::new, |it| it.host.clone()),
            holder.map_or_else(String::new, |it| it.token.to_string()),
            holder.map_or_else(String::new, |it| span(ago_ms(it.since_wall_ms))),
            delay,
        ]);
        list.push(json!({
            "path": row.path.as_str(),
            "mode": mode,
            "holder_count": row.holder_count,
            "waiter_count": row.waiter_count,
            "holder": holder.map(explain::holder_json),
            "lock_delay_left_ms": row.lock_delay_left_ms,
        }));
    }
    show(common.output, &table, &Value::Array(list))
}

/// Lists the sessions.
pub(crate) async fn sessions(common: &Common) -> Result<(), Failure> {
    let rows = observer(common)?.sessions().await?;
    let mut table = Table::new(&[
        "SESSION",
        "NAME",
        "HOST",
        "PID",
        "PROGRAM",
        "PRINCIPAL",
        "OPEN",
        "LEASE",
        "LEFT",
        "LOCKS",
        "WAITS",
    ]);
    let mut list = Vec::new();
    for row in rows {
        let metadata = &row.metadata;
        table.rows.push(vec![
            row.session.to_string(),
            metadata.name.clone(),
            metadata.host.clone(),
            metadata.pid.to_string(),
            metadata.program.clone(),
            row.principal.clone(),
            span(ago_ms(row.opened_wall_ms)),
            span(row.lease_ms),
            row.lease_left_ms.map_or_else(String::new, span),
            row.locks.to_string(),
            row.waits.to_string(),
        ]);
        list.push(json!({
            "session": row.session.to_string(),
            "name": metadata.name,
            "host": metadata.host,
            "pid": metadata.pid,
            "program": metadata.program,
            "principal": row.principal,
            "opened_wall_ms": row.opened_wall_ms,
            "lease_ms": row.lease_ms,
            "lease_left_ms": row.lease_left_ms,
            "locks": row.locks,
            "waits": row.waits,
        }));
    }
    show(common.output, &table, &Value::Array(list))
}
