//! What must hold of calls, deadlines and outages whatever happens, and in whichever order.

use super::script::{SESSION, Script, acquire, acquired, attached, opened, stat, unhold, welcome};
use crate::{Call, Patience, State};
use cotter_types::{Answer, Moment, Response, ServerFrame, Unavailable};
use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Sleep(u64),
    Connect,
    Disconnect,
    Greet { master: bool },
    Attach,
    Overloaded,
    Detach,
    Keepalive,
    AnswerLast,
    Call { kind: u8, patience: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    let patience = prop_oneof![Just(None), (0_u64..8_000).prop_map(Some)];
    let call = (0_u8..3, patience).prop_map(|(kind, patience)| Step::Call { kind, patience });
    prop_oneof![
        3 => (0_u64..3_000).prop_map(Step::Pass),
        1 => (0_u64..9_000).prop_map(Step::Sleep),
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        3 => proptest::bool::weighted(0.7).prop_map(|master| Step::Greet { master }),
        3 => Just(Step::Attach),
        1 => Just(Step::Overloaded),
        1 => Just(Step::Detach),
        2 => Just(Step::Keepalive),
        1 => Just(Step::AnswerLast),
        6 => call,
    ]
}

/// The script, and what was asked and said.
struct Walk {
    script: Script,
    calls: BTreeMap<u64, Patience>,
    over: BTreeMap<u64, String>,
    /// What each number was sent with first.
    sent: BTreeMap<u64, String>,
    last_number: u64,
}

impl Walk {
    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let script = &mut self.script;
        match step {
            Step::Pass(ms) => script.pass(ms),
            Step::Sleep(ms) => {
                script.sleep(ms);
                script.pass(0);
            }
            Step::Connect => script.connected(),
            Step::Disconnect => script.disconnected(),
            Step::Greet { master } => script.frame(welcome(3, master, None)),
            Step::Attach => {
                script.frame(opened());
                script.frame(attached());
            }
            Step::Overloaded => script.frame(ServerFrame::AttachRefused {
                session: SESSION,
                answer: Answer::Unavailable(Unavailable::Overloaded { retry_after_ms: 5 }),
            }),
            Step::Detach => script.frame(ServerFrame::Detached {
                session: SESSION,
                condemned: false,
            }),
            Step::Keepalive => script.keepalive(),
            Step::AnswerLast => {
                let number = self.last_number;
                let locks = self
                    .sent
                    .get(&number)
                    .is_some_and(|it| it.starts_with("acquire"));
                let done = Answer::Done(Response::Done);
                let answer = if locks { acquired(number) } else { done };
                script.answer(number, answer);
            }
            Step::Call { kind, patience } => {
                let id = self.calls.len() as u64 + 1;
                // The name tells which call a frame belongs to.
                let name = format!("call{id}");
                let call: Call = match kind {
                    0 => unhold(&name),
                    1 => acquire(&name),
                    _ => stat(&name),
                };
                let patience = patience.map_or(Patience::FOR_EVER, |ms| {
                    Patience::until(script.now.after(Duration::from_millis(ms)))
                });
                self.calls.insert(id, patience);
                script.call_with(id, call, patience);
            }
        }
        self.listen()
    }

    fn listen(&mut self) -> Result<(), TestCaseError> {
        for line in self.script.said() {
            let mut words = line.splitn(3, ' ');
            let kind = words.next().unwrap_or_default();
            let number = words.next().unwrap_or_default().trim_end_matches(':');
            let rest = words.next().unwrap_or_default().to_owned();
            match (kind, number.parse::<u64>()) {
                ("call", Ok(id)) => {
                    let before = self.over.insert(id, rest);
                    prop_assert!(
                        before.is_none(),
                        "call {id} ended twice: {before:?}, {line}"
                    );
                }
                ("mutate", Ok(number)) => self.mutated(number, &rest)?,
                _ => {}
            }
        }
        self.no_call_outlives_its_deadline()
    }

    /// A number names one mutation for ever, and what was said not to have happened never leaves.
    fn mutated(&mut self, number: u64, text: &str) -> Result<(), TestCaseError> {
        self.last_number = number;
        let (what, _) = text.split_once(" (").unwrap_or((text, ""));
        let first = self.sent.entry(number).or_insert_with(|| what.to_owned());
        prop_assert_eq!(first.as_str(), what);
        if let Some((_, id)) = what.split_once("call") {
            let id: u64 = id.parse().unwrap();
            let outcome = self.over.get(&id).map(String::as_str);
            let never = ["timed out, never sent", "unreachable", "session ended"];
            prop_assert!(
                !outcome.is_some_and(|outcome| never.contains(&outcome)),
                "call {id} came to {outcome:?}, and left: {text}"
            );
        }
        Ok(())
    }

    fn no_call_outlives_its_deadline(&self) -> Result<(), TestCaseError> {
        for (id, patience) in &self.calls {
            let late = patience.deadline < self.script.now && !self.over.contains_key(id);
            prop_assert!(!late, "call {id} still waits, {patience:?}");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn each_call_ends_once_in_time_and_with_the_truth(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut walk = Walk {
            script: Script::new(),
            calls: BTreeMap::new(),
            over: BTreeMap::new(),
            sent: BTreeMap::new(),
            last_number: 0,
        };
        for step in steps {
            walk.take(step)?;
        }
        walk.script.pass(120_000);
        walk.listen()?;
        // Without a cell everything ends; but a session that never opened waits on, if asked to.
        let patient = walk.calls.iter().filter(|(_, it)| it.deadline == Moment::NEVER);
        let patient: BTreeSet<u64> = patient.map(|(id, _)| *id).collect();
        let opening = walk.script.session.state() == State::Opening;
        for id in walk.calls.keys() {
            let waits = opening && patient.contains(id);
            prop_assert!(walk.over.contains_key(id) || waits, "call {id} never ended");
        }
    }
}
