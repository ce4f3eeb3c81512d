//! Requests that nobody would write: put together from words that mean something, then bent.
//!
//! Whatever arrives, the server answers, with no status that says it broke; a request that is refused
//! has changed nothing; and the next one that makes sense is answered. `COTTER_FUZZ_CASES` says how
//! many sequences of requests are tried; without it as many as suit a test run after each change.

use crate::cell::Cell;
use crate::described::{check, description, statuses};
use crate::exchange::{Reply, Request};
use proptest::prelude::{Strategy, any, prop};
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const CASES_DEFAULT: u32 = 64;
/// Stands for a request id that was never used.
const FRESH: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@";

const METHODS: [&str; 9] = [
    "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", "QUERY",
];
const RESOURCES: [&str; 22] = [
    "/v1/acquire",
    "/v1/acquire",
    "/v1/acquire",
    "/v1/renew",
    "/v1/release",
    "/v1/explain",
    "/v1/locks",
    "/v1/sequencers/check",
    "/v1/nodes/ls/local",
    "/v1/nodes/ls/local/base",
    "/v1/nodes/ls/local/base",
    "/v1/nodes/ls/local/base/child",
    "/v1/nodes/ls/local/new",
    "/v1/nodes/ls/local/new/deep",
    "/v1/nodes/ls/other/a",
    "/v1/transactions",
    "/v1/transactions",
    "/v1/cell",
    "/v1/sessions",
    "/healthz",
    "/v1/openapi.json",
    "/",
];
const NAMES: [&str; 14] = [
    "path",
    "within",
    "after",
    "limit",
    "sequencer",
    "raw",
    "stat",
    "list",
    "parents",
    "ttl_ms",
    "recursive",
    "lmit",
    "",
    "%00",
];
const VALUES: [&str; 18] = [
    "",
    "true",
    "false",
    "yes",
    "0",
    "1",
    "5",
    "-1",
    "1001",
    "18446744073709551616",
    "315360000000",
    "/ls/local/base",
    "/ls/local",
    "/ls/local/a%2Fb",
    "%FF",
    "s1",
    "1:x:5:1:1:/ls/proof/base",
    "1:x:9007199254740992:1:1:/ls/proof/base",
];
const HEADERS: [&str; 12] = [
    "if-match",
    "if-none-match",
    "cotter-request-id",
    "cotter-sequencer",
    "cotter-timeout-ms",
    "cotter-fence",
    "content-type",
    "content-encoding",
    "accept",
    "if-unmodified-since",
    "te",
    "host",
];
const HEADER_VALUES: [&str; 14] = [
    "*",
    "\"1.1\"",
    "\"2.2\"",
    "W/\"1.1\"",
    "",
    FRESH,
    "0123456789abcdef0123456789abcdef",
    "1:x:5:1:1:/ls/proof/base",
    "60000",
    "0",
    "application/json",
    "text/plain",
    "application/octet-stream",
    "gzip",
];
const BODIES: [&str; 12] = [
    "",
    r#"{"path":"/ls/local/base","request_id":"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@"}"#,
    r#"{"path":"/ls/local/base","request_id":"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@","mode":"shared","wait_ms":100,"lease_ms":120000,"lock_delay_ms":0,"create":"permanent","holder":{"name":"n","host":"h","pid":1,"program":"p"}}"#,
    r#"{"path":"/ls/local/new/lock","request_id":"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@","create":"ephemeral","wait_ms":"forever"}"#,
    r#"{"lock_id":"l1-0123456789abcdef0123456789abcdef"}"#,
    r#"{"lock_id":"l1-0123456789abcdef0123456789abcdef","extension_ms":5000}"#,
    r#"{"do":[{"create":{"path":"/ls/local/t","contents":"1"}},{"delete":{"path":"/ls/local/t"}}]}"#,
    r#"{"if":[{"path":"/ls/local/base","exists":true}],"do":[{"set":{"path":"/ls/local/base","contents":"y"}},{"delete":{"path":"/ls/local/none"}}]}"#,
    r#"{"if":[{"path":"/ls/local/base","content_generation":99}],"do":[{"create":{"path":"/ls/local/q-","sequential":true,"parents":true}}]}"#,
    r#"{"do":[{"set":{"path":"/ls/local/base","contents":"z","if_generation":1,"if_instance":1}}]}"#,
    "[[[[[[[[[[[[[[[[",
    "null",
];
const FRAGMENTS: [&[u8]; 20] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"0",
    b"-",
    b"1e999",
    b"null",
    b"true",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"/",
    b"..",
    b"%",
    b"\"path\":\"/ls/local/x\",",
    b" ",
];

/// A place, and what to do there.
type Bend = (u16, u8, usize);

fn bends() -> impl Strategy<Value = Vec<Bend>> {
    prop::collection::vec((any::<u16>(), 0_u8..4, 0..FRAGMENTS.len()), 0..3)
}

fn bent(mut bytes: Vec<u8>, bends: &[Bend]) -> Vec<u8> {
    for (place, what, fragment) in bends {
        let at = usize::from(*place) * (bytes.len() + 1) / (usize::from(u16::MAX) + 1);
        match what {
            0 => drop(bytes.splice(at..at, FRAGMENTS[*fragment].iter().copied())),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..bytes.len().min(at + 1 + fragment))),
            _ => {
                let again = bytes[at..].to_vec();
                bytes.extend(again);
            }
        }
    }
    bytes
}

/// Some requests are bent nowhere, or the others would hardly ever meet anything.
fn request() -> impl Strategy<Value = Request> {
    let query = prop::collection::vec((select(&NAMES[..]), select(&VALUES[..])), 0..3);
    let headers = prop::collection::vec(
        (select(&HEADERS[..]), select(&HEADER_VALUES[..]), bends()),
        0..3,
    );
    let body = prop::option::weighted(0.6, (select(&BODIES[..]), bends()));
    let strategy = (
        select(&METHODS[..]),
        select(&RESOURCES[..]),
        bends(),
        query,
        headers,
        body,
        0_u8..4,
    );
    strategy.prop_map(
        |(method, resource, in_target, query, headers, body, plain)| {
            let in_target = if plain > 0 { &[][..] } else { &in_target };
            let target = String::from_utf8_lossy(&bent(resource.as_bytes().to_vec(), in_target))
                .replace([' ', '\u{fffd}'], "%20");
            let query: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mark = if query.is_empty() { "" } else { "?" };
            let mut request = Request::new(method, &format!("{target}{mark}{}", query.join("&")));
            if plain > 1 {
                request = request.header("content-type", "application/json");
            }
            for (name, value, bends) in headers {
                let value = bent(
                    value.as_bytes().to_vec(),
                    if plain > 2 { &[] } else { &bends },
                );
                request.headers.push((name.to_owned(), value));
            }
            request.body = body.map(|(body, bends)| {
                bent(
                    body.as_bytes().to_vec(),
                    if plain > 2 { &[] } else { &bends },
                )
            });
            request
        },
    )
}

/// Puts fresh request ids where they belong.
fn with_fresh_ids(mut request: Request, cell: &Cell) -> Request {
    let fresh = cell.request_id();
    let renewed = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.replace(FRESH, &fresh).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    for (_, value) in &mut request.headers {
        *value = renewed(value);
    }
    request.body = request.body.map(|body| renewed(&body));
    request
}

/// What can be seen of the cell: the nodes with their contents and children, sessions, locks.
fn seen(cell: &Cell) -> BTreeMap<String, Value> {
    let status = cell.get("/v1/cell").expect(200);
    let mut seen = BTreeMap::new();
    for count in [
        "nodes",
        "sessions",
        "locks_held",
        "waiters",
        "content_bytes",
    ] {
        seen.insert(count.to_owned(), status[count].clone());
    }
    let mut folders = vec![String::from("/ls/local")];
    while let Some(folder) = folders.pop() {
        let encoded: String = folder.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let page = cell
            .get(&format!("/v1/nodes/{}?list&limit=1000", &encoded[3..]))
            .expect(200);
        for child in page["children"].as_array().unwrap() {
            let path = format!("{folder}/{}", child["name"].as_str().unwrap());
            if child["stat"]["children"] != 0 {
                folders.push(path.clone());
            }
            let stat = &child["stat"];
            seen.insert(
                path,
                json!([
                    stat["etag"],
                    stat["child_generation"],
                    stat["lock_generation"]
                ]),
            );
        }
    }
    seen
}

fn is_at_the_door(reply: &Reply) -> bool {
    let kind = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default()["error"]["reason"]
        ["kind"]
        .clone();
    [405, 408, 413, 415].contains(&reply.status) || kind == "resource"
}

fn try_one(cell: &Cell, all: &Value, request: Request) {
    let request = with_fresh_ids(request, cell);
    let (before, revision) = (seen(cell), cell.revision());
    let reply = request.exchange(cell.address);
    let status = reply.status;
    let good = [200, 201, 202, 304].contains(&status);
    let wrong = (400..500).contains(&status) || [503, 504].contains(&status);
    assert!(good || wrong, "{request:?}: {reply:?}");
    let resource = request.target.split('?').next().unwrap_or_default();
    if let Some(described) = statuses(all, &request.method, resource)
        && !reply.body.is_empty()
    {
        assert!(
            described.contains(&status),
            "not described: {status} for {request:?}"
        );
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&reply.body) {
        if wrong {
            let error = json!({ "$ref": "#/components/schemas/Error" });
            check(all, &error, &value, "error");
        } else if let Some(lock_id) = value["lock_id"].as_str() {
            // So that no lease runs out later and changes the cell by itself.
            cell.post("/v1/release", &json!({ "lock_id": lock_id }))
                .expect(200);
        }
    }
    if wrong && status != 504 {
        assert_eq!(seen(cell), before, "{request:?}: {reply:?}");
    }
    if is_at_the_door(&reply) {
        assert_eq!(cell.revision(), revision, "{request:?}: {reply:?}");
    }
}

#[test]
fn whatever_is_asked_the_server_answers_and_what_it_refuses_changes_nothing() {
    let cases = match std::env::var("COTTER_FUZZ_CASES") {
        Ok(text) => text.parse().expect("COTTER_FUZZ_CASES is a number"),
        Err(_) => CASES_DEFAULT,
    };
    let cell = Cell::start();
    let all = description();
    cell.put("/v1/nodes/ls/local/base", b"x").expect(201);
    cell.put("/v1/nodes/ls/local/base/child", b"x").expect(201);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let requests = prop::collection::vec(request(), 4);
    let tried = runner.run(&requests, |requests| {
        for request in requests {
            try_one(&cell, &all, request);
        }
        Ok(())
    });
    tried.unwrap();
    assert_eq!(cell.get("/healthz").status, 200);
    let body =
        json!({ "path": "/ls/local/last", "request_id": cell.request_id(), "create": "permanent" });
    let held = cell.post("/v1/acquire", &body).expect(200);
    cell.post("/v1/release", &json!({ "lock_id": held["lock_id"] }))
        .expect(200);
}
