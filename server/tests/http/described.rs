//! The published description and the real server say the same.

use crate::cell::Cell;
use crate::exchange::Request;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/openapi/cotter.v1.json")
}

pub(crate) fn description() -> Value {
    serde_json::from_slice(&std::fs::read(file()).unwrap()).unwrap()
}

/// Checks that `value` has the fields of a schema, all of them and no other, as deep as the schema
/// names others. It knows as much of JSON Schema as this description uses for answers.
pub(crate) fn check(all: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return check(
            all,
            &all["components"]["schemas"][name],
            value,
            &format!("{place}:{name}"),
        );
    }
    if let Some(choice) = schema["oneOf"].as_array() {
        if !value.is_null() {
            check(all, &choice[0], value, place);
        }
        return;
    }
    if let Some(items) = schema.get("items") {
        for item in value
            .as_array()
            .unwrap_or_else(|| panic!("{place}: {value}"))
        {
            check(all, items, item, place);
        }
    }
    if let Some(choice) = schema["enum"].as_array() {
        assert!(choice.contains(value), "{place}: {value}");
    }
    check_type(schema, value, place);
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let found = value
        .as_object()
        .unwrap_or_else(|| panic!("{place}: {value}"));
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(
            found.contains_key(required.as_str().unwrap()),
            "{place}: no {required}"
        );
    }
    for (name, value) in found {
        match properties.get(name) {
            Some(schema) => check(all, schema, value, &format!("{place}.{name}")),
            None => assert_eq!(schema["additionalProperties"], true, "{place}.{name}"),
        }
    }
}

fn check_type(schema: &Value, value: &Value, place: &str) {
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&found), "{place}: {value} is no {types:?}");
}

/// Checks an answer against the schema that is described for it.
fn fits(cell: &Cell, request: &Request, path: &str, status: u16, schema: &str) -> Value {
    let all = description();
    let reply = cell.ask(request);
    let value = reply.expect(status);
    let method = request.method.to_ascii_lowercase();
    let response = &all["paths"][path][method]["responses"][status.to_string()];
    let described = &response["content"]["application/json"]["schema"];
    let name = json!({ "$ref": format!("#/components/schemas/{schema}") });
    let choices = described["anyOf"].as_array();
    let is_described = choices.map_or(*described == name, |choices| choices.contains(&name));
    assert!(is_described, "{path} {status}: {described}");
    for header in response["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
    {
        assert!(
            reply.headers.contains_key(&header.to_ascii_lowercase()),
            "{path}: no {header}"
        );
    }
    check(&all, &name, &value, path);
    value
}

#[test]
fn answers_are_as_they_are_described() {
    let cell = Cell::start();
    let post = |target: &str, body: Value| Request::new("POST", target).json(&body);
    let get = |target: &str| Request::new("GET", target);
    let body = |wait: Value| json!({ "path": "/ls/local/a", "request_id": cell.request_id(), "create": "permanent", "wait_ms": wait });
    let held = fits(
        &cell,
        &post("/v1/acquire", body(json!(0))),
        "/v1/acquire",
        200,
        "Held",
    );
    let waits = post("/v1/acquire", body(json!("forever"))).header("cotter-timeout-ms", "100");
    fits(&cell, &waits, "/v1/acquire", 202, "Queued");
    fits(
        &cell,
        &post("/v1/acquire", body(json!(0))),
        "/v1/acquire",
        409,
        "Error",
    );
    let lock = json!({ "lock_id": held["lock_id"] });
    fits(
        &cell,
        &post("/v1/renew", lock.clone()),
        "/v1/renew",
        200,
        "Renewed",
    );
    fits(&cell, &get("/v1/locks"), "/v1/locks", 200, "LockPage");
    fits(
        &cell,
        &get("/v1/sessions"),
        "/v1/sessions",
        200,
        "SessionPage",
    );
    let check = format!(
        "/v1/sequencers/check?sequencer={}",
        held["sequencer"].as_str().unwrap()
    );
    fits(
        &cell,
        &get(&check),
        "/v1/sequencers/check",
        200,
        "SequencerState",
    );
    fits(
        &cell,
        &get("/v1/explain?path=/ls/local/a"),
        "/v1/explain",
        200,
        "Explanation",
    );
    fits(
        &cell,
        &post("/v1/release", lock.clone()),
        "/v1/release",
        200,
        "Released",
    );
    fits(&cell, &post("/v1/renew", lock), "/v1/renew", 410, "Error");
    fits(&cell, &get(&check), "/v1/sequencers/check", 412, "Error");
    let explained = fits(
        &cell,
        &get("/v1/explain?path=/ls/local/a"),
        "/v1/explain",
        200,
        "Explanation",
    );
    assert_eq!(explained["history"].as_array().unwrap().len(), 1);

    let (node, path) = ("/v1/nodes/ls/local/b", "/v1/nodes/{path}");
    let put = Request::new("PUT", node).body(b"x");
    fits(&cell, &put, path, 201, "Written");
    fits(&cell, &put, path, 200, "Written");
    fits(
        &cell,
        &put.clone().header("if-match", "\"1.1\""),
        path,
        409,
        "Error",
    );
    fits(&cell, &get(node), path, 200, "Node");
    let all = description();
    let children = cell.get("/v1/nodes/ls/local?list").expect(200);
    check_children(&all, &children);
    let delete = Request::new("DELETE", node);
    fits(&cell, &delete, path, 200, "Deleted");
    fits(&cell, &delete, path, 404, "Error");
    let make = json!({ "do": [{ "create": { "path": "/ls/local/t" } }, { "delete": { "path": "/ls/local/t" } }] });
    fits(
        &cell,
        &post("/v1/transactions", make),
        "/v1/transactions",
        200,
        "Applied",
    );
    fits(&cell, &get("/v1/cell"), "/v1/cell", 200, "Cell");
    fits(&cell, &get("/healthz"), "/healthz", 200, "Health");
    assert_eq!(cell.get("/v1/openapi.json").json(), all);
}

fn check_children(all: &Value, children: &Value) {
    let schema = json!({ "$ref": "#/components/schemas/ChildPage" });
    check(all, &schema, children, "children");
}

#[test]
fn examples_of_the_description_are_understood() {
    let cell = Cell::start();
    let all = description();
    let mut tried = 0;
    for (path, methods) in all["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["examples"];
            for (name, example) in body.as_object().into_iter().flatten() {
                let request = Request::new(&method.to_ascii_uppercase(), path);
                let reply = cell.ask(&request.json(&example["value"]));
                let understood = [200, 201, 202, 404, 409, 410].contains(&reply.status);
                assert!(understood, "{path} {name}: {reply:?}");
                let lock_id = path == "/v1/renew" || path == "/v1/release";
                assert!(lock_id || reply.status == 200, "{path} {name}: {reply:?}");
                tried += 1;
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                if method != "get"
                    || parameter["in"] != "query"
                    || parameter.get("example").is_none()
                {
                    continue;
                }
                let value = match &parameter["example"] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let with_list = if path.contains("nodes") && ["after", "limit"].contains(&name) {
                    "list&"
                } else {
                    ""
                };
                let target = path.replace("{path}", "ls/local");
                let reply = cell.get(&format!("{target}?{with_list}{name}={value}"));
                assert!(
                    [200, 404, 412].contains(&reply.status),
                    "{target} {name}: {reply:?}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 15, "{tried}");
}

/// Returns which statuses are described for a request; nothing if its resource or method is not.
pub(crate) fn statuses(all: &Value, method: &str, resource: &str) -> Option<BTreeSet<u16>> {
    let path = match resource.strip_prefix("/v1/nodes/") {
        Some(_) => "/v1/nodes/{path}",
        None => resource,
    };
    // Methods are as they are written: "get" is none.
    let method = match method {
        "GET" | "HEAD" => "get",
        "PUT" => "put",
        "POST" => "post",
        "DELETE" => "delete",
        _ => return None,
    };
    let responses = all["paths"].get(path)?.get(method)?["responses"].as_object()?;
    Some(
        responses
            .keys()
            .map(|status| status.parse().unwrap())
            .collect(),
    )
}

#[test]
fn description_is_valid_by_the_validator_of_the_openapi_initiative() {
    let look = "import openapi_spec_validator";
    let has = |python: &str| {
        let looked = Command::new(python).args(["-c", look]).output();
        looked.is_ok_and(|output| output.status.success())
    };
    let named = std::env::var("COTTER_PYTHON").ok();
    let Some(python) = named
        .as_deref()
        .into_iter()
        .chain(["python3"])
        .find(|it| has(it))
    else {
        // Not by a macro: what those print is shown only when a test fails.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: no python3 with the package openapi-spec-validator; set COTTER_PYTHON"
        );
        return;
    };
    let output = Command::new(python)
        .args(["-m", "openapi_spec_validator"])
        .arg(file())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
