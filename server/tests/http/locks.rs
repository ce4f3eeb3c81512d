//! Locks over HTTP: acquire, wait, renew, release, and what can be seen of them.

use crate::cell::Cell;
use crate::exchange::Request;
use cotter_types::limits::TOKEN_LIMIT;
use serde_json::{Value, json};

const PATH: &str = "/ls/local/jobs/crawl";

fn acquire(cell: &Cell) -> Value {
    json!({ "path": PATH, "request_id": cell.request_id(), "create": "permanent" })
}

fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

fn held(cell: &Cell) -> Value {
    cell.post("/v1/acquire", &acquire(cell)).expect(200)
}

#[test]
fn lock_is_acquired_renewed_checked_and_released() {
    let cell = Cell::start();
    let body = acquire(&cell);
    let first = cell.post("/v1/acquire", &body).expect(200);
    assert_eq!(first["path"], "/ls/proof/jobs/crawl");
    assert_eq!(first["mode"], "exclusive");
    assert_eq!(
        (&first["lease_ms"], &first["safe_ms"]),
        (&12_000.into(), &11_880.into())
    );
    let token = first["token"].as_u64().unwrap();
    assert!(token > 0 && token < TOKEN_LIMIT);
    // Again: the same grant, of whose lease nothing was added.
    let again = cell.post("/v1/acquire", &body).expect(200);
    assert_eq!(
        (&again["lock_id"], &again["token"]),
        (&first["lock_id"], &first["token"])
    );
    assert!(again["lease_ms"].as_u64() < Some(12_000));

    let lock_id = first["lock_id"].as_str().unwrap();
    let renewed = cell
        .post("/v1/renew", &json!({ "lock_id": lock_id }))
        .expect(200);
    assert_eq!(renewed["sequencer"], first["sequencer"]);
    assert_eq!(
        (&renewed["lease_ms"], &renewed["waiters"]),
        (&12_000.into(), &0.into())
    );
    let part = json!({ "lock_id": lock_id, "extension_ms": 12_001 });
    cell.post("/v1/renew", &part).refuses(400, "invalid");

    let sequencer = first["sequencer"].as_str().unwrap();
    let check = format!("/v1/sequencers/check?sequencer={sequencer}");
    assert_eq!(cell.get(&check).expect(200)["current"], true);
    let release = json!({ "lock_id": lock_id });
    for _ in 0..2 {
        assert_eq!(
            cell.post("/v1/release", &release).expect(200),
            json!({ "released": true })
        );
    }
    cell.get(&check).refuses(412, "stale_sequencer");
    cell.post("/v1/renew", &release).refuses(410, "lock_ended");
    cell.post("/v1/acquire", &body).refuses(410, "lock_ended");
    let next = held(&cell);
    assert!(next["token"].as_u64() > Some(token));
}

#[test]
fn waiter_is_told_its_place_and_keeps_it_by_repeating_the_request() {
    let cell = Cell::start();
    let holder = held(&cell);
    cell.post("/v1/acquire", &acquire(&cell))
        .refuses(409, "held");
    let short = with(acquire(&cell), "wait_ms", 1);
    cell.post("/v1/acquire", &short)
        .refuses(409, "wait_timeout");

    let body = with(
        with(acquire(&cell), "wait_ms", "forever"),
        "lease_ms",
        2_000,
    );
    let soon = Request::new("POST", "/v1/acquire")
        .header("cotter-timeout-ms", "200")
        .json(&body);
    let mut lock_ids = Vec::new();
    for _ in 0..3 {
        let queued = cell.ask(&soon).expect(202);
        assert_eq!(
            (&queued["queued"], &queued["place"]),
            (&true.into(), &1.into())
        );
        assert_eq!(queued["waiters"], 1);
        lock_ids.push(queued["lock_id"].clone());
    }
    lock_ids.dedup();
    assert_eq!(lock_ids.len(), 1);
    let explained = cell.get(&format!("/v1/explain?path={PATH}")).expect(200);
    assert_eq!(
        (&explained["holder_count"], &explained["waiter_count"]),
        (&1.into(), &1.into())
    );
    cell.post("/v1/renew", &json!({ "lock_id": lock_ids[0] }))
        .refuses(400, "invalid");

    cell.post("/v1/release", &json!({ "lock_id": holder["lock_id"] }))
        .expect(200);
    let granted = cell.ask(&soon).expect(200);
    assert_eq!(granted["lock_id"], lock_ids[0]);
    assert!(granted["token"].as_u64() > holder["token"].as_u64());
}

#[test]
fn wait_is_left_by_releasing_its_lock_id() {
    let cell = Cell::start();
    held(&cell);
    let body = with(acquire(&cell), "wait_ms", "forever");
    let soon = Request::new("POST", "/v1/acquire")
        .header("cotter-timeout-ms", "200")
        .json(&body);
    let queued = cell.ask(&soon).expect(202);
    let leave = json!({ "lock_id": queued["lock_id"] });
    cell.post("/v1/release", &leave).expect(200);
    let locks = cell.get("/v1/locks").expect(200);
    assert_eq!(locks["locks"][0]["waiter_count"], 0);
    let gone = cell.ask(&soon);
    assert_eq!(gone.status, 410, "{gone:?}");
}

#[test]
fn shared_holders_share_and_an_ephemeral_lock_goes_with_them() {
    let cell = Cell::start();
    let shared = |cell: &Cell| {
        let body = with(acquire(cell), "mode", "shared");
        cell.post("/v1/acquire", &with(body, "create", "ephemeral"))
            .expect(200)
    };
    let (one, two) = (shared(&cell), shared(&cell));
    assert_eq!(
        (&one["mode"], &one["token"]),
        (&"shared".into(), &two["token"])
    );
    let row = cell
        .get("/v1/locks?within=/ls/local/jobs&limit=1")
        .expect(200);
    assert_eq!(row["locks"][0]["holder_count"], 2);
    let sessions = cell.get("/v1/sessions?after=s0").expect(200);
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2);
    for lock in [one, two] {
        cell.post("/v1/release", &json!({ "lock_id": lock["lock_id"] }))
            .expect(200);
    }
    cell.get(&format!("/v1/nodes{PATH}"))
        .refuses(404, "not_found");
}

#[test]
fn pages_go_on_where_the_last_one_ended() {
    let cell = Cell::start();
    for name in ["a", "b", "c"] {
        let body = with(acquire(&cell), "path", format!("/ls/local/{name}"));
        cell.post("/v1/acquire", &body).expect(200);
    }
    let rows = |resource: &str, field: &str| {
        let mut found = 0;
        let mut target = format!("{resource}?limit=2");
        for _ in 0..3 {
            let page = cell.get(&target).expect(200);
            found += page[field].as_array().unwrap().len();
            match page["next"].as_str() {
                Some(next) => target = format!("{resource}?limit=2&after={next}"),
                None => break,
            }
        }
        found
    };
    assert_eq!(rows("/v1/locks", "locks"), 3);
    assert_eq!(rows("/v1/sessions", "sessions"), 3);
}

#[test]
fn request_id_names_one_request_only() {
    let cell = Cell::start();
    let body = acquire(&cell);
    cell.post("/v1/acquire", &body).expect(200);
    let other = with(body.clone(), "mode", "shared");
    cell.post("/v1/acquire", &other)
        .refuses(422, "request_id_reused");
    let put = Request::new("PUT", "/v1/nodes/ls/local/a")
        .header("cotter-request-id", body["request_id"].as_str().unwrap())
        .body(b"x");
    cell.ask(&put).refuses(422, "request_id_reused");
}

#[test]
fn fields_that_make_no_sense_are_refused_by_name_and_change_nothing() {
    let cell = Cell::start();
    let before = cell.revision();
    let wrong: [(&str, Value); 12] = [
        ("path", json!("jobs/crawl")),
        ("path", json!(7)),
        ("path", json!("/ls/elsewhere/a")),
        ("request_id", json!("7")),
        ("request_id", json!("0".repeat(32))),
        ("mode", json!("both")),
        ("wait_ms", json!("a while")),
        ("wait_ms", json!(-1)),
        ("wait_ms", json!(1.5)),
        ("lease_ms", json!(1)),
        ("lease", json!(5_000)),
        ("holder", json!({ "nmae": "x" })),
    ];
    for (field, value) in wrong {
        let reply = cell.post("/v1/acquire", &with(acquire(&cell), field, value.clone()));
        let error = &reply.expect(400)["error"];
        assert!(error["message"].is_string(), "{field} {value}: {error}");
    }
    let unknown = cell.post("/v1/acquire", &with(acquire(&cell), "lease", 5_000));
    assert!(unknown.refuses(400, "invalid").contains("`lease`"));
    for body in [
        json!({}),
        json!([]),
        json!({ "path": PATH }),
        json!(null),
        json!("x"),
    ] {
        cell.post("/v1/acquire", &body).refuses(400, "invalid");
    }
    cell.post("/v1/release", &json!({ "lock_id": "l1" }))
        .refuses(400, "invalid");
    let unknown = format!("l99-{}", "0123456789abcdef".repeat(2));
    for operation in ["/v1/renew", "/v1/release"] {
        cell.post(operation, &json!({ "lock_id": unknown }))
            .refuses(404, "unknown_lock");
    }
    let limit = with(acquire(&cell), "lock_delay_ms", 60_001);
    cell.post("/v1/acquire", &limit).refuses(422, "limit");
    // Only the release of an unknown lock may have gone through the log.
    assert!(cell.revision() <= before + 2);
}
