//! `cotter explain` in plain sentences: who holds a lock, who waits, and what would have to happen.
//!
//! It only words what the cell has said; every number in it comes from there.

use crate::output::{span, utc, visible};
use cotter_types::{ChangeOfHands, Explanation, HandEnd, HolderView, WaiterView};
use serde_json::{Value, json};

/// Tells an explanation in sentences.
#[must_use]
pub fn sentences(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    state(explanation, &mut lines);
    queue(explanation, &mut lines);
    outlook(explanation, &mut lines);
    history(explanation, &mut lines);
    lines.push(String::new());
    lines.join("\n")
}

fn state(explanation: &Explanation, lines: &mut Vec<String>) {
    let path = &explanation.path;
    match explanation.mode {
        Some(mode) if explanation.holder_count == 1 => {
            lines.push(format!("{path} is held, {mode}, by"));
        }
        Some(mode) => lines.push(format!(
            "{path} is held, {mode}, by {} sessions:",
            explanation.holder_count
        )),
        None if explanation.lock_delay_left_ms > 0 => lines.push(format!(
            "{path} is not held, but its lock-delay lasts another {}: its last holder's session \
             expired",
            span(explanation.lock_delay_left_ms)
        )),
        None => lines.push(format!("{path} is free.")),
    }
    for holder in &explanation.holders {
        lines.push(format!("  {}", who_holds(holder)));
        let held_ms = explanation.now.since_ms(holder.since);
        let lease = holder.lease_left_ms.map_or_else(
            || "its lease is not known".to_owned(),
            |left| format!("its lease has {} left", span(left)),
        );
        lines.push(format!(
            "    since {} ({}), with token {}; {lease}, and its lock-delay would be {}",
            utc(holder.since_wall_ms),
            span(held_ms),
            holder.token,
            span(holder.lock_delay_ms)
        ));
    }
    more(explanation.holder_count, explanation.holders.len(), lines);
}

fn queue(explanation: &Explanation, lines: &mut Vec<String>) {
    match explanation.waiter_count {
        0 => lines.push("nobody waits for it.".to_owned()),
        1 => lines.push("1 session waits for it:".to_owned()),
        count => lines.push(format!("{count} sessions wait for it, in this order:")),
    }
    for waiter in &explanation.waiters {
        let waits = span(explanation.now.since_ms(waiter.since));
        let until = waiter.deadline.map_or_else(
            || "as long as it takes".to_owned(),
            |deadline| {
                format!(
                    "at most another {}",
                    span(deadline.since_ms(explanation.now))
                )
            },
        );
        lines.push(format!(
            "  {}. {}, {}, for {waits}, {until}",
            waiter.place,
            who_waits(waiter),
            waiter.mode
        ));
    }
    more(explanation.waiter_count, explanation.waiters.len(), lines);
}

fn more(count: u64, shown: usize, lines: &mut Vec<String>) {
    let rest = count.saturating_sub(u64::try_from(shown).unwrap_or(u64::MAX));
    if rest > 0 {
        lines.push(format!("  … and {rest} more"));
    }
}

fn outlook(explanation: &Explanation, lines: &mut Vec<String>) {
    if let Some(worst) = explanation.worst_case_free_ms
        && explanation.mode.is_some()
    {
        lines.push(format!(
            "if its holders died this moment, it would be free within {} (lease and lock-delay).",
            span(worst)
        ));
    }
}

fn history(explanation: &Explanation, lines: &mut Vec<String>) {
    if explanation.history.is_empty() {
        lines.push("it has not changed hands before.".to_owned());
        return;
    }
    lines.push("it changed hands before, latest first:".to_owned());
    for change in &explanation.history {
        lines.push(format!(
            "  until {}: {} held it, {}, for {}, token {}, and {}",
            utc(change.until_wall_ms),
            who_held(change),
            change.mode,
            span(change.until.since_ms(change.from)),
            change.token,
            why(change.end)
        ));
    }
}

fn why(end: HandEnd) -> &'static str {
    match end {
        HandEnd::Released => "released it",
        HandEnd::Cancelled => "cancelled its acquire just as it was granted",
        HandEnd::SessionClosed => "closed its session",
        HandEnd::SessionExpired => "its session expired",
    }
}

/// Names a holder: `crawl (session s7, pid 123 on host a)`.
#[must_use]
pub fn who_holds(holder: &HolderView) -> String {
    who(&holder.name, holder.session, holder.pid, &holder.host)
}

fn who_waits(waiter: &WaiterView) -> String {
    who(&waiter.name, waiter.session, waiter.pid, &waiter.host)
}

fn who_held(change: &ChangeOfHands) -> String {
    who(&change.name, change.session, change.pid, &change.host)
}

fn who(name: &str, session: cotter_types::SessionId, pid: u32, host: &str) -> String {
    let (name, host) = (visible(name), visible(host));
    format!("{name} (session {session}, pid {pid} on {host})")
}

/// Tells an explanation as JSON.
#[must_use]
pub fn as_json(explanation: &Explanation) -> Value {
    let now = explanation.now;
    let waiters: Vec<Value> = explanation
        .waiters
        .iter()
        .map(|waiter| {
            json!({
                "place": waiter.place,
                "session": waiter.session.to_string(),
                "name": waiter.name,
                "host": waiter.host,
                "pid": waiter.pid,
                "program": waiter.program,
                "principal": waiter.principal,
                "mode": waiter.mode.to_string(),
                "waiting_ms": now.since_ms(waiter.since),
                "wait_left_ms": waiter.deadline.map(|deadline| deadline.since_ms(now)),
            })
        })
        .collect();
    let history: Vec<Value> = explanation
        .history
        .iter()
        .map(|change| {
            json!({
                "session": change.session.to_string(),
                "name": change.name,
                "host": change.host,
                "pid": change.pid,
                "mode": change.mode.to_string(),
                "token": change.token.0,
                "held_ms": change.until.since_ms(change.from),
                "until_wall_ms": change.until_wall_ms,
                "end": change.end.to_string(),
            })
        })
        .collect();
    let holders: Vec<Value> = explanation.holders.iter().map(holder_json).collect();
    json!({
        "path": explanation.path.as_str(),
        "instance": explanation.instance.0,
        "lock_generation": explanation.lock_generation,
        "mode": explanation.mode.map(|mode| mode.to_string()),
        "holder_count": explanation.holder_count,
        "holders": holders,
        "waiter_count": explanation.waiter_count,
        "waiters": waiters,
        "lock_delay_left_ms": explanation.lock_delay_left_ms,
        "worst_case_free_ms": explanation.worst_case_free_ms,
        "history": history,
    })
}

/// Tells a holder as JSON.
#[must_use]
pub fn holder_json(holder: &HolderView) -> Value {
    json!({
        "session": holder.session.to_string(),
        "name": holder.name,
        "host": holder.host,
        "pid": holder.pid,
        "program": holder.program,
        "principal": holder.principal,
        "token": holder.token.0,
        "since_wall_ms": holder.since_wall_ms,
        "lock_delay_ms": holder.lock_delay_ms,
        "lease_left_ms": holder.lease_left_ms,
    })
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
