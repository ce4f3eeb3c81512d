//! The commands of golden scripts that make calls of the simple interface.
//!
//! ```text
//! call q7 acquire PATH x|s …    with request id 7, as a session would; [lease=MS] [principal=P]
//! call q7 release s3            of the lock that request 7 acquired and session 3 stands for
//! call q8 once MUTATION         a create, set, delete or txn that is not made again
//! call q8 MUTATION              one that may be, and is remembered; [principal=P]
//!   … by=SEQUENCER              only while the sequencer is current
//! ```

use crate::language::{Words, acquire, after_letter, mutation, rest_of_transaction, transaction};
use cotter_cell::Command;
use cotter_types::{
    LeasedAcquire, LockId, Mutation, NodeChange, RequestId, SessionId, SessionMetadata,
};

/// Reads a call.
pub(crate) fn command(text: &str) -> Command {
    let words = Words::of(text);
    let request = RequestId(u128::from(after_letter(&words.plain[1])));
    let principal = words.named.get("principal");
    let principal = principal.map_or_else(|| "anybody".to_owned(), Clone::clone);
    match words.plain[2].as_str() {
        "release" => Command::CallRelease {
            lock: LockId {
                session: SessionId(after_letter(&words.plain[3])),
                request,
            },
        },
        "acquire" => {
            let asked = acquire(&words);
            Command::CallAcquire {
                request,
                principal,
                acquire: LeasedAcquire {
                    path: asked.path,
                    mode: asked.mode,
                    wait: asked.wait,
                    lease_ms: words.number("lease").unwrap_or(12_000),
                    lock_delay_ms: asked.lock_delay_ms,
                    create: asked.create,
                    holder: SessionMetadata {
                        name: words.text("name"),
                        host: "host".to_owned(),
                        pid: 42,
                        program: "test".to_owned(),
                    },
                },
            }
        }
        first => Command::CallChange {
            request,
            principal,
            repeatable: first != "once",
            sequencer: words.named.get("by").map(|by| by.parse().unwrap()),
            change: change(text, first == "once"),
        },
    }
}

fn change(text: &str, once: bool) -> NodeChange {
    if let Some(parts) = rest_of_transaction(text) {
        return NodeChange::Transaction(transaction(parts));
    }
    // A mutation's own words begin behind two others.
    let behind = text.split_whitespace().skip(if once { 3 } else { 2 });
    let words: Vec<&str> = behind.collect();
    match mutation(&Words::of(&format!("s1 #1 {}", words.join(" ")))) {
        Mutation::Create(create) => NodeChange::Create(create),
        Mutation::CreateSequential(create) => NodeChange::CreateSequential(create),
        Mutation::Set(set) => NodeChange::Set(set),
        Mutation::Delete(delete) => NodeChange::Delete(delete),
        other => panic!("not a change of the tree: {other:?}"),
    }
}
