//! Codes, typed details and push-back of statuses.

use super::{
    Any, No, RETRY_INFO_URL, RetryInfo, RpcStatus, Unknown, code, reason, retry_after_ms, status,
};
use cotter_types::{Answer, Refusal, ReplicaId, Response, SessionId, Unavailable};
use prost::Message;
use tonic::{Code, Status};

fn retry_info(status: &Status) -> Option<RetryInfo> {
    let details: Vec<Any> = RpcStatus::decode(status.details()).unwrap().details;
    let info = details.iter().find(|any| any.type_url == RETRY_INFO_URL)?;
    Some(RetryInfo::decode(info.value.as_slice()).unwrap())
}

fn overloaded() -> No {
    No::Unavailable(Unavailable::Overloaded {
        retry_after_ms: 1_250,
    })
}

#[test]
fn overload_is_resource_exhausted_with_retry_info() {
    let status = status(&overloaded());
    assert_eq!(status.code(), Code::ResourceExhausted);
    let delay = retry_info(&status).unwrap().retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (1, 250_000_000));
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    assert_eq!(pushback.to_str().unwrap(), "1250");
}

#[test]
fn limit_is_resource_exhausted_without_retry_info() {
    let status = status(&No::Refused(Refusal::Limit {
        what: "nodes".to_owned(),
        limit: 3,
    }));
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(retry_info(&status), None);
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_none());
}

#[test]
fn refused_things_are_never_retried_and_unavailable_ones_always() {
    assert_eq!(retry_after_ms(&No::Refused(Refusal::Cancelled)), None);
    for unavailable in [
        Unavailable::DiskFull,
        Unavailable::Condemned,
        Unavailable::NotMaster {
            master: None,
            address: None,
        },
    ] {
        assert!(retry_after_ms(&No::Unavailable(unavailable)).is_some());
    }
}

fn unknown(repeatable: bool, late: bool) -> Status {
    let no = No::Unknown(Unknown { repeatable, late });
    let status = status(&no);
    assert_eq!(reason(&status), Some(no));
    status
}

fn push_back(status: &Status) -> Option<&str> {
    let value = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap())
}

#[test]
fn lost_answer_of_a_call_that_may_be_repeated_invites_to_repeat_it() {
    let lost = unknown(true, false);
    assert_eq!(lost.code(), Code::Unavailable);
    assert!(retry_info(&lost).is_some());
    assert_eq!(push_back(&lost), Some("100"));
    assert!(lost.message().contains("same request id"), "{lost}");
}

#[test]
fn lost_answer_of_a_change_without_request_id_forbids_to_repeat_it() {
    let lost = unknown(false, false);
    assert_eq!(lost.code(), Code::Unknown);
    assert_eq!(retry_info(&lost), None);
    assert_eq!(push_back(&lost), Some("-1"));
    assert!(lost.message().contains("look before"), "{lost}");
}

#[test]
fn deadline_that_passed_says_whether_the_call_may_be_repeated() {
    for (repeatable, pushed_back) in [(true, "100"), (false, "-1")] {
        let late = unknown(repeatable, true);
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert_eq!(retry_info(&late).is_some(), repeatable);
        assert_eq!(push_back(&late), Some(pushed_back));
    }
}

#[test]
fn not_master_is_unavailable_and_says_where_the_master_is() {
    let no = No::Unavailable(Unavailable::NotMaster {
        master: Some(ReplicaId(2)),
        address: Some("10.0.0.2:7400".to_owned()),
    });
    let status = status(&no);
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), Some(no));
    let master = status.metadata().get("cotter-master").unwrap();
    assert_eq!(master.to_str().unwrap(), "10.0.0.2:7400");
}

#[test]
fn lost_compare_and_set_is_aborted() {
    let changed = Refusal::Changed {
        path: "/ls/local/a".to_owned(),
        content_generation: 2,
        instance: 1,
    };
    assert_eq!(code(&No::Refused(changed)), Code::Aborted);
}

#[test]
fn failed_compare_of_a_transaction_is_aborted_and_a_refused_operation_is_not() {
    let failed = |compare| {
        code(&No::Refused(Refusal::TransactionFailed {
            index: 0,
            compare,
            reason: "it has changed".to_owned(),
        }))
    };
    assert_eq!(failed(true), Code::Aborted);
    assert_eq!(failed(false), Code::FailedPrecondition);
}

#[test]
fn ended_session_is_a_failed_precondition_not_a_lack_of_rights() {
    let no = No::Refused(Refusal::NoSession {
        session: SessionId(3),
    });
    assert_eq!(code(&no), Code::FailedPrecondition);
}

#[test]
fn status_of_another_origin_has_no_reason() {
    assert_eq!(reason(&Status::internal("elsewhere")), None);
    let garbage = Status::with_details(Code::Internal, "garbage", vec![0xff; 9].into());
    assert_eq!(reason(&garbage), None);
}

#[test]
fn over_long_text_is_cut_at_a_character_and_the_detail_is_whole() {
    let no = No::Refused(Refusal::Invalid {
        what: "ä".repeat(5_000),
    });
    let status = status(&no);
    assert!(status.message().len() < 1_100);
    assert!(status.message().ends_with('…'));
    assert_eq!(reason(&status), Some(no));
}

#[test]
fn split_keeps_what_was_done() {
    assert_eq!(No::split(Answer::Done(Response::Done)), Ok(Response::Done));
    assert_eq!(
        No::split(Answer::Refused(Refusal::Cancelled)),
        Err(No::Refused(Refusal::Cancelled))
    );
}
