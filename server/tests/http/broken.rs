//! Requests that are broken, out of place or too much: a clear error, and nothing changed.

use crate::cell::Cell;
use crate::exchange::{Reply, Request, exchange};
use serde_json::json;

#[test]
fn resource_that_is_not_there_and_method_that_it_has_not_are_told_apart() {
    let cell = Cell::start();
    for target in [
        "/",
        "/v1",
        "/v1/",
        "/v1/nodes",
        "/v1/nodes/",
        "/v2/locks",
        "/v1/locks/",
        "/healthz/x",
    ] {
        cell.get(target).refuses(404, "resource");
    }
    for (method, target, allow) in [
        ("GET", "/v1/acquire", "POST"),
        ("DELETE", "/v1/release", "POST"),
        ("POST", "/v1/locks", "GET,HEAD"),
        ("PATCH", "/healthz", "GET,HEAD"),
        ("OPTIONS", "/v1/cell", "GET,HEAD"),
    ] {
        let reply = cell.ask(&Request::new(method, target));
        reply.refuses(405, "method");
        assert_eq!(reply.headers["allow"], allow, "{method} {target}");
    }
    let reply = cell.ask(&Request::new("POST", "/v1/nodes/ls/local/a"));
    reply.refuses(405, "method");
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        assert!(reply.headers["allow"].contains(method), "{reply:?}");
    }
}

#[test]
fn parameters_and_headers_that_would_be_overheard_are_refused_by_name() {
    let cell = Cell::start();
    let node = "/v1/nodes/ls/local/a";
    cell.put(node, b"x").expect(201);
    let before = cell.revision();
    for (target, name) in [
        ("/v1/nodes/ls/local/a?recursiv=true", "recursiv"),
        ("/v1/nodes/ls/local/a?recursive&recursive", "recursive"),
        ("/v1/nodes/ls/local/a?recursive=yes", "recursive"),
        ("/v1/nodes/ls/local/a?%FF=1", "parameter"),
    ] {
        let text = cell
            .ask(&Request::new("DELETE", target))
            .refuses(400, "invalid");
        assert!(text.contains(name), "{text}");
    }
    for (name, value) in [
        ("cotter-sequencr", "1:x:1:1:1:/ls/proof/a"),
        ("cotter-request-id", "7"),
        ("if-none-match", "*"),
        ("if-match", "7"),
        ("if-match", "W/\"1.1\""),
        ("if-match", "\"1.1\", \"1.2\""),
        ("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("cotter-timeout-ms", "0"),
        ("cotter-timeout-ms", "60001"),
        ("cotter-timeout-ms", "+5"),
    ] {
        let text = cell
            .ask(&Request::new("DELETE", node).header(name, value))
            .refuses(400, "invalid");
        assert!(text.contains(name), "{text}");
    }
    let twice = Request::new("DELETE", node)
        .header("if-match", "\"1.1\"")
        .header("if-match", "\"1.2\"");
    cell.ask(&twice).refuses(400, "invalid");
    for target in [
        "?list&stat",
        "?stat&raw",
        "?after=x",
        "?limit=1",
        "?list&limit=x",
        "?list&limit=-1",
    ] {
        cell.get(&format!("{node}{target}")).refuses(400, "invalid");
    }
    cell.get(&format!("{node}?list&limit=1001"))
        .refuses(422, "limit");
    cell.get("/v1/nodes/ls/local/%FF").refuses(400, "invalid");
    cell.get("/v1/nodes/ls/local//a").refuses(400, "invalid");
    cell.get("/v1/nodes/x").refuses(400, "invalid");
    cell.get("/v1/explain").refuses(400, "invalid");
    cell.get("/v1/sessions?after=5").refuses(400, "invalid");
    cell.get("/v1/sequencers/check?sequencer=x")
        .refuses(400, "invalid");
    assert_eq!(cell.revision(), before);
    assert_eq!(cell.get(node).status, 200);
}

#[test]
fn body_of_another_kind_is_refused() {
    let cell = Cell::start();
    let body =
        json!({ "path": "/ls/local/a", "request_id": cell.request_id(), "create": "permanent" });
    let before = cell.revision();
    let text = body.to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/jsonx",
        "text/json",
    ] {
        let request = Request::new("POST", "/v1/acquire").header("content-type", kind);
        cell.ask(&request.body(text.as_bytes()))
            .refuses(415, "media_type");
    }
    cell.ask(&Request::new("POST", "/v1/acquire").body(text.as_bytes()))
        .refuses(415, "media_type");
    let packed = Request::new("PUT", "/v1/nodes/ls/local/a").header("content-encoding", "gzip");
    cell.ask(&packed.body(b"x")).refuses(415, "media_type");
    let long = format!("{}{text}", " ".repeat(64 * 1_024));
    let long = Request::new("POST", "/v1/acquire")
        .header("content-type", "application/json")
        .body(long.as_bytes());
    cell.ask(&long).refuses(413, "too_large");
    cell.ask(&Request::new("GET", "/v1/locks").body(b"x"))
        .refuses(400, "invalid");
    for broken in [
        "",
        "{",
        "{}}",
        "{\"path\":\"\\ud800\"}",
        &format!("{}1", "[".repeat(1_000)),
    ] {
        let request =
            Request::new("POST", "/v1/acquire").header("content-type", "application/json");
        cell.ask(&request.body(broken.as_bytes()))
            .refuses(400, "invalid");
    }
    let twice = format!("{{\"path\":\"/ls/local/b\",{}", &text[1..]);
    let twice = Request::new("POST", "/v1/acquire")
        .header("content-type", "application/json")
        .body(twice.as_bytes());
    assert!(
        cell.ask(&twice)
            .refuses(400, "invalid")
            .contains("duplicate field `path`")
    );
    assert_eq!(cell.revision(), before);
    let proper = Request::new("POST", "/v1/acquire")
        .header("content-type", "Application/JSON; charset=utf-8");
    cell.ask(&proper.body(text.as_bytes())).expect(200);
}

#[test]
fn chunked_body_has_the_same_bound() {
    let cell = Cell::start();
    let head = "PUT /v1/nodes/ls/local/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let small = format!("{head}{}{}0\r\n\r\n", chunk(5), chunk(3));
    let reply = Reply::read(&exchange(cell.address, small.as_bytes()), false).unwrap();
    reply.expect(201);
    assert_eq!(cell.get("/v1/nodes/ls/local/a?raw").body, b"xxxxxxxx");
    let large = format!("{head}{}0\r\n\r\n", chunk(64 * 1_024).repeat(5));
    let reply = Reply::read(&exchange(cell.address, large.as_bytes()), false).unwrap();
    reply.refuses(413, "too_large");
    assert_eq!(cell.get("/v1/nodes/ls/local/a?raw").body, b"xxxxxxxx");
}

#[test]
fn one_connection_carries_many_requests() {
    let cell = Cell::start();
    let one = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = exchange(cell.address, format!("{one}{one}{last}").as_bytes());
    let text = String::from_utf8(answers).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
}

#[test]
fn heads_that_are_too_large_or_no_http_end_their_connection_only() {
    let cell = Cell::start();
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(1_000)
    );
    let long = format!(
        "GET /healthz?{} HTTP/1.1\r\nhost: x\r\n\r\n",
        "x".repeat(200_000)
    );
    for request in [
        many.as_str(),
        &long,
        "hello\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n        ",
    ] {
        let answer = exchange(cell.address, request.as_bytes());
        let text = String::from_utf8_lossy(&answer);
        let refused = text.is_empty() || text.starts_with("HTTP/1.1 4");
        assert!(refused, "{}: {text}", &request[..20]);
        assert_eq!(cell.get("/healthz").status, 200);
    }
}
