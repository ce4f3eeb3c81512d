//! Every refusal has its status, and the published description says what the routes do.

use super::operation::{Expected, Operation, Verb};
use super::problem::{Problem, status};
use super::views::{etag, parse_etag};
use super::{Answer, Content, OPENAPI};
use cotter_proto::status::{No, Unknown};
use cotter_types::{Refusal, ReplicaId, RequestNumber, SessionId, Unavailable};
use serde_json::Value;
use std::collections::BTreeSet;

fn described() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn verb(operation: Operation) -> &'static str {
    match operation.method() {
        Verb::Get => "get",
        Verb::Put => "put",
        Verb::Post => "post",
        Verb::Delete => "delete",
    }
}

fn description(operation: Operation) -> Value {
    let path = operation.route().replace("{*path}", "{path}");
    described()["paths"][path][verb(operation)].clone()
}

fn names(operation: Operation, place: &str) -> BTreeSet<String> {
    let description = description(operation);
    let parameters = description["parameters"].as_array();
    parameters
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == place)
        .map(|parameter| parameter["name"].as_str().unwrap().to_ascii_lowercase())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn description_has_the_routes_that_are_served_and_no_other() {
    let served: BTreeSet<String> = Operation::ALL
        .into_iter()
        .map(|it| format!("{} {} {}", verb(it), it.route(), it.name()))
        .collect();
    assert_eq!(served.len(), Operation::ALL.len());
    let described = described();
    let mut found = BTreeSet::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        let route = path.replace("{path}", "{*path}");
        for (method, description) in methods.as_object().unwrap() {
            let id = description["operationId"].as_str().unwrap();
            found.insert(format!("{method} {route} {id}"));
        }
    }
    assert_eq!(served, found);
}

#[test]
fn description_has_the_parameters_headers_and_bodies_that_are_understood() {
    for operation in Operation::ALL {
        let name = operation.name();
        assert_eq!(
            names(operation, "query"),
            set(operation.parameters()),
            "{name}"
        );
        assert_eq!(
            names(operation, "header"),
            set(operation.headers()),
            "{name}"
        );
        let body = &description(operation)["requestBody"]["content"];
        let kind = match operation.body() {
            Expected::Nothing => None,
            Expected::Json(_) => Some("application/json"),
            Expected::Contents(_) => Some("application/octet-stream"),
        };
        let described = body
            .as_object()
            .map(|it| it.keys().next().unwrap().as_str());
        assert_eq!(described, kind, "{name}");
        let too_large = description(operation)["responses"]["413"].is_object();
        assert_eq!(too_large, kind.is_some(), "{name}");
    }
}

fn path() -> String {
    "/ls/local/a".to_owned()
}

/// One of each refusal, with its status and kind as a client sees them.
fn refusals() -> Vec<(Refusal, u16, &'static str)> {
    let (path, what) = (path(), String::from("it"));
    let session = SessionId(1);
    let number = RequestNumber(1);
    vec![
        (Refusal::NotFound { path: path.clone() }, 404, "not_found"),
        (Refusal::UnknownLock, 404, "unknown_lock"),
        (
            Refusal::AlreadyExists { path: path.clone() },
            409,
            "already_exists",
        ),
        (
            Refusal::Changed {
                path: path.clone(),
                content_generation: 2,
                instance: 7,
            },
            409,
            "changed",
        ),
        (
            Refusal::HasChildren {
                path: path.clone(),
                children: 1,
            },
            409,
            "has_children",
        ),
        (
            Refusal::EphemeralParent { path: path.clone() },
            409,
            "ephemeral_parent",
        ),
        (Refusal::TtlParent { path: path.clone() }, 409, "ttl_parent"),
        (
            Refusal::NotEphemeral { path: path.clone() },
            409,
            "not_ephemeral",
        ),
        (Refusal::IsRoot { path: path.clone() }, 409, "is_root"),
        (
            Refusal::LockInUse { path: path.clone() },
            409,
            "lock_in_use",
        ),
        (
            Refusal::Held {
                path: path.clone(),
                session,
                holder: what.clone(),
            },
            409,
            "held",
        ),
        (
            Refusal::LockDelayed {
                path: path.clone(),
                left_ms: 1,
            },
            409,
            "lock_delayed",
        ),
        (
            Refusal::WaitTimeout {
                path: path.clone(),
                waited_ms: 1,
            },
            409,
            "wait_timeout",
        ),
        (
            Refusal::NotHeld {
                path: path.clone(),
                number,
            },
            409,
            "not_held",
        ),
        (
            Refusal::TransactionFailed {
                index: 0,
                compare: true,
                reason: what.clone(),
            },
            409,
            "transaction_failed",
        ),
        (
            Refusal::LockEnded {
                path: path.clone(),
                expired: true,
            },
            410,
            "lock_ended",
        ),
        (Refusal::Cancelled, 410, "cancelled"),
        (Refusal::NoSession { session }, 410, "no_session"),
        (Refusal::Acknowledged { number }, 410, "acknowledged"),
        (
            Refusal::StaleSequencer {
                path: path.clone(),
                token: 1,
            },
            412,
            "stale_sequencer",
        ),
        (
            Refusal::TooManyNodes {
                path: path.clone(),
                limit: 1,
            },
            422,
            "too_many_nodes",
        ),
        (
            Refusal::Limit {
                what: what.clone(),
                limit: 1,
            },
            422,
            "limit",
        ),
        (Refusal::RequestIdReused, 422, "request_id_reused"),
        (
            Refusal::OtherCell {
                path,
                cell: what.clone(),
            },
            400,
            "other_cell",
        ),
        (Refusal::Invalid { what }, 400, "invalid"),
    ]
}

fn told(no: No) -> (u16, Value, Vec<(&'static str, String)>) {
    let answer = Answer::from(Problem::from(no));
    let Content::Json(value) = answer.body else {
        panic!("a problem is JSON");
    };
    (
        answer.status.as_u16(),
        value["error"].clone(),
        answer.headers,
    )
}

#[test]
fn every_refusal_has_its_status_and_its_kind_and_is_not_to_be_repeated() {
    let refusals = refusals();
    let kinds: BTreeSet<&str> = refusals.iter().map(|(_, _, kind)| *kind).collect();
    assert_eq!(kinds.len(), refusals.len());
    for (refusal, expected, kind) in refusals {
        let text = refusal.to_string();
        let (found, error, headers) = told(No::Refused(refusal));
        assert_eq!((found, &error["reason"]["kind"]), (expected, &kind.into()));
        assert_eq!(error["message"], text);
        assert_eq!(error.get("retry_after_ms"), None, "{kind}");
        assert_eq!(headers, [], "{kind}");
    }
}

#[test]
fn overload_says_when_to_come_again_in_whole_seconds_and_exactly() {
    for (ms, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (2_500, "3")] {
        let overloaded = Unavailable::Overloaded { retry_after_ms: ms };
        let (status, error, headers) = told(No::Unavailable(overloaded));
        assert_eq!(status, 429);
        assert_eq!(error["retry_after_ms"], ms);
        assert_eq!(headers, [("retry-after", seconds.to_owned())]);
    }
}

#[test]
fn replica_that_is_not_the_master_says_where_the_master_is() {
    let known = No::Unavailable(Unavailable::NotMaster {
        master: Some(ReplicaId(2)),
        address: Some("10.0.0.2:7400".to_owned()),
    });
    let (status, error, headers) = told(known);
    assert_eq!(status, 503);
    assert_eq!(error["master"], "10.0.0.2:7400");
    assert_eq!(error["reason"]["master"], 2);
    assert_eq!(headers, [("cotter-master", "10.0.0.2:7400".to_owned())]);
    let unknown = No::Unavailable(Unavailable::NotMaster {
        master: None,
        address: None,
    });
    let (status, error, headers) = told(unknown);
    assert_eq!((status, error.get("master")), (503, None));
    assert_eq!(headers, [("retry-after", "1".to_owned())]);
    for other in [Unavailable::DiskFull, Unavailable::Condemned] {
        let (status, error, headers) = told(No::Unavailable(other));
        assert_eq!((status, headers.len()), (503, 1));
        assert_eq!(error["code"], "unavailable");
    }
}

#[test]
fn what_is_not_known_is_said_to_be_not_known() {
    for late in [false, true] {
        let repeatable = No::Unknown(Unknown {
            repeatable: true,
            late,
        });
        let (status, error, _) = told(repeatable);
        assert_eq!(
            (status, &error["reason"]["repeatable"]),
            (504, &true.into())
        );
        assert!(error["retry_after_ms"].is_u64());
        let not_repeatable = No::Unknown(Unknown {
            repeatable: false,
            late,
        });
        let (status, error, headers) = told(not_repeatable);
        assert_eq!(
            (status, &error["reason"]["repeatable"]),
            (504, &false.into())
        );
        assert_eq!((error.get("retry_after_ms"), headers), (None, vec![]));
    }
}

#[test]
fn statuses_of_one_meaning_are_not_used_for_another() {
    for (refusal, expected, kind) in refusals() {
        let stale = matches!(refusal, Refusal::StaleSequencer { .. });
        assert_eq!(
            status(&No::Refused(refusal)).as_u16() == 412,
            stale,
            "{kind}"
        );
        assert!((400..500).contains(&expected) && expected != 429, "{kind}");
    }
}

#[test]
fn entity_tags_have_one_form() {
    assert_eq!(parse_etag(&etag(7, 3)), Some((7, 3)));
    for text in [
        "7.3",
        "\"7\"",
        "\"07.3\"",
        "\"+7.3\"",
        "W/\"7.3\"",
        "\"7.3\" ",
        "\"7.3.1\"",
        "\"\"",
        "\"",
        "",
    ] {
        assert_eq!(parse_etag(text), None, "{text}");
    }
}
