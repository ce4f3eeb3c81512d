//! One conversation, line for line: what changes it is a change for every program that speaks HTTP.
//!
//! Times, ids and tokens that differ from run to run are replaced by their names.

use crate::cell::Cell;
use crate::exchange::{Reply, Request};
use std::fmt::Write;

/// Fields whose values differ from run to run.
const VARYING: [&str; 4] = ["token", "sequencer", "lock_id", "lease_ms"];

fn shown(reply: &Reply) -> String {
    let mut shown = reply.status.to_string();
    for name in ["etag", "allow", "retry-after"] {
        if let Some(value) = reply.headers.get(name) {
            let _ = write!(shown, " {name}: {value}");
        }
    }
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&reply.body) else {
        return format!("{shown} {}", String::from_utf8_lossy(&reply.body));
    };
    for name in VARYING.iter().chain(&["safe_ms", "waited_ms"]) {
        if let Some(field) = value.get_mut(*name) {
            *field = (*name).to_uppercase().into();
        }
    }
    format!("{shown} {value}")
}

#[test]
fn conversation_is_as_it_is_written_down() {
    let cell = Cell::start();
    let mut lock_id = String::new();
    let mut transcript = String::new();
    for line in include_str!("transcript.txt").lines() {
        let Some(request) = line.strip_prefix("> ") else {
            if !line.starts_with("< ") {
                let _ = writeln!(transcript, "{line}");
            }
            continue;
        };
        let _ = writeln!(transcript, "{line}");
        let request = request.replace("LOCK_ID", &lock_id);
        let mut words = request.splitn(3, ' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let body = words.next().unwrap_or_default();
        let mut request = Request::new(method, target);
        if method == "POST" {
            request = request.header("content-type", "application/json");
        }
        if !body.is_empty() {
            request = request.body(body.as_bytes());
        }
        let reply = cell.ask(&request);
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&reply.body)
            && let Some(id) = value["lock_id"].as_str()
        {
            id.clone_into(&mut lock_id);
        }
        let _ = writeln!(transcript, "< {}", shown(&reply));
    }
    let written = include_str!("transcript.txt");
    assert!(transcript == written, "what was said now:\n{transcript}");
}
