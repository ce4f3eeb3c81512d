//! The tree over HTTP: contents, conditions, fences, transactions.

use crate::cell::Cell;
use crate::exchange::{Reply, Request};
use cotter_types::limits::CONTENTS_BYTES_MAX;
use serde_json::json;

const NODE: &str = "/v1/nodes/ls/local/config/crawler";

fn put_if(cell: &Cell, header: &str, value: &str, body: &[u8]) -> Reply {
    cell.ask(&Request::new("PUT", NODE).header(header, value).body(body))
}

#[test]
fn node_is_written_read_and_deleted() {
    let cell = Cell::start();
    let missing = cell
        .put(NODE, b"batch=100")
        .refuses(409, "transaction_failed");
    assert!(
        missing.starts_with("/ls/local/config does not exist"),
        "{missing}"
    );
    let created = cell.put(&format!("{NODE}?parents"), b"batch=100");
    assert_eq!(created.expect(201)["created"], true);
    let read = cell.get(NODE);
    assert_eq!(read.headers["etag"], created.headers["etag"]);
    let node = read.expect(200);
    assert_eq!(
        (&node["contents"], &node["encoding"]),
        (&"batch=100".into(), &"utf-8".into())
    );
    assert_eq!(node["path"], "/ls/local/config/crawler");
    assert_eq!(node["stat"]["etag"], created.headers["etag"].as_str());
    assert_eq!(read.headers["cache-control"], "no-store");

    let replaced = cell.put(NODE, b"batch=200");
    assert_eq!(replaced.expect(200)["created"], false);
    assert_ne!(replaced.headers["etag"], created.headers["etag"]);
    let raw = Request::new("GET", NODE).header("accept", "application/octet-stream");
    for reply in [cell.ask(&raw), cell.get(&format!("{NODE}?raw"))] {
        assert_eq!(
            (reply.status, reply.body.as_slice()),
            (200, &b"batch=200"[..])
        );
        assert_eq!(reply.headers["content-type"], "application/octet-stream");
    }
    let stat = cell.get(&format!("{NODE}?stat=true")).expect(200);
    assert_eq!(
        (stat.get("contents"), &stat["stat"]["content_bytes"]),
        (None, &9.into())
    );
    let head = cell.ask(&Request::new("HEAD", NODE));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["etag"], replaced.headers["etag"]);

    let children = cell.get("/v1/nodes/ls/local?list").expect(200);
    assert_eq!(children["children"][0]["name"], "config");
    let parent = Request::new("DELETE", "/v1/nodes/ls/local/config");
    cell.ask(&parent).refuses(409, "has_children");
    let all = Request::new("DELETE", "/v1/nodes/ls/local/config?recursive=true");
    assert_eq!(cell.ask(&all).expect(200), json!({ "deleted": 2 }));
    cell.get(NODE).refuses(404, "not_found");
    let root = Request::new("DELETE", "/v1/nodes/ls/local?recursive");
    cell.ask(&root).refuses(409, "is_root");
}

#[test]
fn lost_compare_and_set_is_a_conflict_and_says_what_is_there() {
    let cell = Cell::start();
    put_if(&cell, "if-match", "*", b"x").refuses(404, "not_found");
    let target = format!("{NODE}?parents");
    let absent = Request::new("PUT", &target)
        .header("if-none-match", "*")
        .body(b"one");
    let first = cell.ask(&absent);
    first.expect(201);
    let first = first.headers["etag"].clone();
    cell.ask(&absent).refuses(409, "already_exists");
    let second = put_if(&cell, "if-match", &first, b"two");
    second.expect(200);
    let second = second.headers["etag"].clone();
    let lost = put_if(&cell, "if-match", &first, b"three");
    lost.refuses(409, "changed");
    assert_eq!(lost.json()["error"]["reason"]["etag"], second.as_str());
    let delete = Request::new("DELETE", NODE).header("if-match", &first);
    cell.ask(&delete).refuses(409, "changed");
    assert_eq!(cell.get(NODE).json()["contents"], "two");

    let unchanged = cell.ask(&Request::new("GET", NODE).header("if-none-match", &second));
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let changed = cell.ask(&Request::new("GET", NODE).header("if-none-match", &first));
    assert_eq!(changed.status, 200);
    // Deleted and created again, it is another node, though it may look the same.
    cell.ask(&Request::new("DELETE", NODE).header("if-match", &second))
        .expect(200);
    cell.ask(&absent).expect(201);
    put_if(&cell, "if-match", &first, b"four").refuses(409, "changed");
}

#[test]
fn write_bound_to_a_lock_that_was_lost_changes_nothing() {
    let cell = Cell::start();
    cell.put(&format!("{NODE}?parents"), b"before").expect(201);
    let acquire = |create: &str| json!({ "path": "/ls/local/lock", "request_id": cell.request_id(), "create": create });
    let old = cell.post("/v1/acquire", &acquire("permanent")).expect(200);
    let fenced = |method: &str, sequencer: &serde_json::Value| {
        let sequencer = sequencer.as_str().unwrap();
        Request::new(method, NODE).header("cotter-sequencer", sequencer)
    };
    cell.ask(&fenced("PUT", &old["sequencer"]).body(b"fenced"))
        .expect(200);
    cell.post("/v1/release", &json!({ "lock_id": old["lock_id"] }))
        .expect(200);
    let new = cell.post("/v1/acquire", &acquire("permanent")).expect(200);
    let late = cell.ask(&fenced("PUT", &old["sequencer"]).body(b"late"));
    assert!(
        late.refuses(412, "stale_sequencer")
            .contains("nothing was changed")
    );
    cell.ask(&fenced("DELETE", &old["sequencer"]))
        .refuses(412, "stale_sequencer");
    let transaction = Request::new("POST", "/v1/transactions")
        .header("cotter-sequencer", old["sequencer"].as_str().unwrap())
        .json(&json!({ "do": [{ "delete": { "path": "/ls/local/config/crawler" } }] }));
    cell.ask(&transaction).refuses(412, "stale_sequencer");
    assert_eq!(cell.get(NODE).json()["contents"], "fenced");
    cell.ask(&fenced("PUT", &new["sequencer"]).body(b"on time"))
        .expect(200);
    let nonsense = Request::new("PUT", NODE)
        .header("cotter-sequencer", "1:x:1")
        .body(b"");
    cell.ask(&nonsense).refuses(400, "invalid");
}

#[test]
fn repeated_change_is_made_once() {
    let cell = Cell::start();
    let id = cell.request_id();
    let target = format!("{NODE}?parents");
    let put = Request::new("PUT", &target)
        .header("cotter-request-id", &id)
        .body(b"x");
    let first = cell.ask(&put);
    let revision = cell.revision();
    let again = cell.ask(&put);
    assert_eq!((first.status, first.body.clone()), (201, again.body));
    assert_eq!(cell.revision(), revision);
    let other = Request::new("PUT", &target)
        .header("cotter-request-id", &id)
        .body(b"y");
    cell.ask(&other).refuses(422, "request_id_reused");
    cell.put(NODE, b"x").expect(200);
}

#[test]
fn transaction_is_made_whole_or_not_at_all() {
    let cell = Cell::start();
    let make = json!({
        "if": [{ "path": "/ls/local/a", "exists": false }],
        "do": [{ "create": { "path": "/ls/local/a", "contents": "1" } },
               { "create": { "path": "/ls/local/q/n-", "sequential": true, "parents": true } }],
    });
    let made = cell.post("/v1/transactions", &make).expect(200);
    assert_eq!(made["results"][0]["created"], true);
    assert_eq!(made["results"][1]["path"], "/ls/local/q/n-0000000000");
    let again = cell.post("/v1/transactions", &make);
    again.refuses(409, "transaction_failed");
    let reason = &again.json()["error"]["reason"];
    assert_eq!(
        (&reason["list"], &reason["place"]),
        (&"if".into(), &1.into())
    );
    let half = json!({ "do": [{ "set": { "path": "/ls/local/a", "contents": "2" } },
                             { "delete": { "path": "/ls/local/none" } }] });
    let refused = cell.post("/v1/transactions", &half);
    refused.refuses(409, "transaction_failed");
    assert_eq!(refused.json()["error"]["reason"]["place"], 2);
    assert_eq!(cell.get("/v1/nodes/ls/local/a").json()["contents"], "1");
    let both = json!({ "do": [{ "set": { "path": "/ls/local/a", "contents": "2" } },
                             { "delete": { "path": "/ls/local/q", "recursive": true } }] });
    let both = cell.post("/v1/transactions", &both).expect(200);
    assert_eq!(both["results"][1], json!({ "deleted": 2 }));
    for wrong in [
        json!({ "do": [{ "delete": { "path": "/ls/local/a", "recursiv": true } }] }),
        json!({ "do": [{ "drop": { "path": "/ls/local/a" } }] }),
        json!({ "do": [{ "delete": { "path": "a" } }] }),
        json!({ "do": [], "iff": [] }),
        json!({ "do": [] }),
    ] {
        cell.post("/v1/transactions", &wrong)
            .refuses(400, "invalid");
    }
}

#[test]
fn names_and_contents_may_be_any_text_and_any_bytes() {
    let cell = Cell::start();
    let target = "/v1/nodes/ls/local/a%20b%3F%25%C3%A9+c";
    cell.put(target, &[0xff, 0, b'\n']).expect(201);
    let node = cell.get(target).expect(200);
    assert_eq!(node["path"], "/ls/local/a b?%é+c");
    assert_eq!(
        (&node["encoding"], &node["contents"]),
        (&"base64".into(), &"/wAK".into())
    );
    assert_eq!(
        cell.get("/v1/nodes/ls%2Flocal%2Fa%20b%3F%25%C3%A9%2Bc")
            .status,
        200
    );
    cell.put("/v1/nodes/ls/local/empty", b"").expect(201);
    assert_eq!(cell.get("/v1/nodes/ls/local/empty").json()["contents"], "");
    let full = vec![b'x'; CONTENTS_BYTES_MAX];
    cell.put("/v1/nodes/ls/local/full", &full).expect(201);
    assert_eq!(cell.get("/v1/nodes/ls/local/full?raw").body, full);
    let long = vec![b'x'; CONTENTS_BYTES_MAX + 1];
    cell.put("/v1/nodes/ls/local/full", &long)
        .refuses(413, "too_large");
    let huge = vec![b'x'; 8 * CONTENTS_BYTES_MAX];
    let refused = Request::new("PUT", "/v1/nodes/ls/local/full").body(&huge);
    // The answer may be lost if the client does not listen while it sends.
    let refused = refused.try_exchange(cell.address);
    assert!(refused.is_none_or(|reply| reply.status == 413));
    assert_eq!(cell.get("/v1/nodes/ls/local/full?raw").body, full);
}

#[test]
fn node_with_a_time_to_live_goes_by_itself() {
    let cell = Cell::start();
    let target = "/v1/nodes/ls/local/short";
    cell.put(&format!("{target}?ttl_ms=1000"), b"").expect(201);
    assert_eq!(cell.get(target).json()["stat"]["ttl_ms"], 1_000);
    let begin = std::time::Instant::now();
    while cell.get(target).status != 404 {
        assert!(begin.elapsed() < crate::cell::PATIENCE);
    }
    cell.put(&format!("{target}?ttl_ms=1"), b"")
        .refuses(409, "transaction_failed");
    let exclusive = Request::new("PUT", "/v1/nodes/ls/local/short?ttl_ms=1")
        .header("if-none-match", "*")
        .body(b"");
    assert!([400, 422].contains(&cell.ask(&exclusive).status));
}
