//! Random commands: whatever comes, invariants hold, replicas agree, footprints are wide enough, and
//! a walk rebuilds what it walked.

#![allow(
    clippy::unwrap_used,
    reason = "clippy takes only functions marked as tests for tests"
)]

use cotter_cell::{
    Batch, Cell, Chunk, Command, Effect, Entry, Footprint, Genesis, Recorded, Stamp,
};
use cotter_types::{
    Acknowledged, Acquire, CellId, CellTime, Compare, Condition, Contents, Create,
    CreateSequential, Delete, Epoch, FencingToken, Instance, LeasedAcquire, Lifetime, LockId,
    LockMode, Mutation, NodeChange, NodeOperation, Nonce, OpenSession, Path, Query, Refusal,
    ReplicaId, RequestId, RequestNumber, Response, Sequencer, SessionId, SessionMetadata, Set,
    Transaction, Wait,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;

/// One thing that happens to the cell.
#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Expire(u64),
    Time(u64),
    Mutate {
        session: u64,
        /// Which number, counted back from the next unused one; negative for a number to come.
        back: i64,
        acknowledge: Option<(u64, Option<(u64, u64)>)>,
        mutation: Mutation,
    },
    Renew(u64),
    TakeOver(bool),
    Resign,
    StaleBatch,
    CallAcquire(u8, Acquire),
    CallRelease(u8, u64),
    CallChange(u8, bool, Option<u64>, NodeChange),
}

const PATHS: [&str; 8] = [
    "",
    "/a",
    "/b",
    "/a/x",
    "/a/y",
    "/a/x/deep",
    "/e",
    "/e/below",
];

fn path() -> impl Strategy<Value = Path> {
    (0..PATHS.len()).prop_map(|at| format!("/ls/local{}", PATHS[at]).parse().unwrap())
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::Permanent),
        Just(Lifetime::Ephemeral),
        (0..4_u64).prop_map(|seconds| Lifetime::Ttl {
            ms: seconds * 1_000
        }),
    ]
}

fn acquire() -> impl Strategy<Value = Mutation> {
    let mode = prop_oneof![Just(LockMode::Exclusive), Just(LockMode::Shared)];
    let wait = prop_oneof![
        Just(Wait::No),
        (0..4_000_u64).prop_map(Wait::Ms),
        Just(Wait::Forever)
    ];
    let create = proptest::option::weighted(0.7, lifetime());
    (path(), mode, wait, 0..3_u64, any::<bool>(), create).prop_map(
        |(path, mode, wait, delay, conflict_notice, create)| {
            Mutation::Acquire(Acquire {
                path,
                mode,
                wait,
                lock_delay_ms: delay * 1_500,
                conflict_notice,
                create,
            })
        },
    )
}

/// Numbers that fit as often as not.
fn small() -> impl Strategy<Value = u64> {
    0..4_u64
}

fn compare() -> impl Strategy<Value = Compare> {
    let condition = prop_oneof![
        6 => Just(Condition::Exists),
        2 => Just(Condition::Absent),
        1 => small().prop_map(|number| Condition::Instance(Instance(number))),
        1 => small().prop_map(Condition::ContentGeneration),
        1 => small().prop_map(Condition::ChildGeneration),
        1 => small().prop_map(Condition::LockGeneration),
        1 => Just(Condition::Contents(Contents::from("begin"))),
    ];
    (path(), condition).prop_map(|(path, condition)| Compare { path, condition })
}

fn transaction() -> impl Strategy<Value = Mutation> {
    let operation = node_change().prop_map(|mutation| match mutation {
        Mutation::Create(create) => NodeOperation::Create(create),
        Mutation::CreateSequential(create) => NodeOperation::CreateSequential(create),
        Mutation::Set(set) => NodeOperation::Set(set),
        Mutation::Delete(delete) => NodeOperation::Delete(delete),
        other => unreachable!("{other:?} changes more than nodes"),
    });
    (vec(compare(), 0..2), vec(operation, 0..6)).prop_map(|(compares, operations)| {
        Mutation::Transaction(Transaction {
            compares,
            operations,
        })
    })
}

/// What can also stand in a transaction.
fn node_change() -> impl Strategy<Value = Mutation> {
    let sequential = (path(), lifetime(), any::<bool>()).prop_map(|(path, lifetime, parents)| {
        Mutation::CreateSequential(CreateSequential {
            path,
            contents: Contents::from("numbered"),
            lifetime,
            parents,
        })
    });
    let create = (path(), lifetime(), any::<bool>(), any::<bool>()).prop_map(
        |(path, lifetime, parents, exclusive)| {
            Mutation::Create(Create {
                path,
                contents: Contents::from("begin"),
                lifetime,
                parents,
                exclusive,
            })
        },
    );
    let set = (path(), proptest::option::of(1..3_u64)).prop_map(|(path, generation)| {
        Mutation::Set(Set {
            path,
            contents: Contents::from("changed"),
            if_content_generation: generation,
            if_instance: None,
        })
    });
    let delete = (
        path(),
        any::<bool>(),
        proptest::option::weighted(0.1, 1..9_u64),
    )
        .prop_map(|(path, recursive, instance)| {
            Mutation::Delete(Delete {
                path,
                recursive,
                if_content_generation: None,
                if_instance: instance.map(Instance),
            })
        });
    prop_oneof![3 => create, 1 => sequential, 2 => set, 2 => delete]
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let number = || (1..12_u64).prop_map(RequestNumber);
    let release = (path(), number()).prop_map(|(path, number)| Mutation::Release { path, number });
    prop_oneof![
        8 => acquire(),
        6 => node_change(),
        5 => transaction(),
        2 => path().prop_map(|path| Mutation::Unhold { path }),
        4 => release,
        3 => number().prop_map(|number| Mutation::Cancel { number }),
        1 => Just(Mutation::Close),
    ]
}

/// Calls of the simple interface, whose request ids and nonces of sessions meet now and then.
fn call() -> impl Strategy<Value = Step> {
    let acquire = (3..9_u8, acquire()).prop_map(|(request, mutation)| match mutation {
        Mutation::Acquire(acquire) => Step::CallAcquire(request, acquire),
        other => unreachable!("{other:?}"),
    });
    let change = prop_oneof![2 => node_change(), 1 => transaction()];
    let change = change.prop_map(|mutation| match mutation {
        Mutation::Create(create) => NodeChange::Create(create),
        Mutation::CreateSequential(create) => NodeChange::CreateSequential(create),
        Mutation::Set(set) => NodeChange::Set(set),
        Mutation::Delete(delete) => NodeChange::Delete(delete),
        Mutation::Transaction(transaction) => NodeChange::Transaction(transaction),
        other => unreachable!("{other:?}"),
    });
    let bound = proptest::option::weighted(0.2, 1_000..1_010_u64);
    prop_oneof![
        4 => acquire,
        2 => (3..9_u8, 1..9_u64).prop_map(|(request, session)| Step::CallRelease(request, session)),
        2 => (3..15_u8, any::<bool>(), bound, change)
            .prop_map(|(request, repeatable, token, change)| {
                Step::CallChange(request, repeatable, token, change)
            }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let range = (1..6_u64, 0..6_u64);
    let acknowledge = proptest::option::weighted(0.3, (0..8_u64, proptest::option::of(range)));
    let mutate = (1..6_u64, -3..6_i64, acknowledge, mutation()).prop_map(
        |(session, back, acknowledge, mutation)| Step::Mutate {
            session,
            back: back.min(1),
            acknowledge,
            mutation,
        },
    );
    prop_oneof![
        2 => (0..5_u8).prop_map(Step::Open),
        1 => (1..6_u64).prop_map(Step::Expire),
        3 => (0..3_000_u64).prop_map(Step::Time),
        20 => mutate,
        1 => (0..4_u64).prop_map(Step::Renew),
        1 => any::<bool>().prop_map(Step::TakeOver),
        1 => Just(Step::Resign),
        1 => Just(Step::StaleBatch),
        4 => call(),
    ]
}

/// Two replicas, and what a test knows of what it has sent them.
struct Pair {
    one: Cell,
    two: Cell,
    next: BTreeMap<u64, u64>,
    time: u64,
    sequence: u64,
    tokens: BTreeMap<(SessionId, RequestNumber), FencingToken>,
}

fn genesis() -> Genesis {
    Genesis {
        cell_id: CellId(7),
        cell: "main".to_owned(),
        token_floor: 1_000,
        voters: Vec::new(),
    }
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            one: Cell::born(&genesis()),
            two: Cell::born(&genesis()),
            next: BTreeMap::new(),
            time: 0,
            sequence: 0,
            tokens: BTreeMap::new(),
        };
        pair.entry(&take_over(0), None);
        pair
    }

    /// Applies an entry to both and checks everything that can be checked.
    fn entry(&mut self, entry: &Entry, footprint: Option<&Footprint>) {
        let before = self.one.digest();
        let applied = self.one.apply(entry);
        assert_eq!(
            applied,
            self.two.apply(entry),
            "replicas told different things"
        );
        assert_eq!(self.one.digest(), self.two.digest(), "replicas differ");
        self.one.check().unwrap();
        if !applied.accepted {
            assert!(applied.effects.is_empty() && applied.touched.is_empty());
            assert_ne!(before, self.one.digest(), "the entry itself is counted");
        }
        if let Some(footprint) = footprint {
            for touched in applied.touched.iter() {
                assert!(
                    footprint.covers(touched),
                    "{entry:?} touched {touched:?}, its footprint is {footprint:?}"
                );
            }
        }
        for effect in &applied.effects {
            self.judge(effect);
        }
    }

    /// Judges what a client would see.
    fn judge(&mut self, effect: &Effect) {
        if let Effect::Answered {
            session,
            number,
            result: Ok(Response::Acquired { sequencer, .. }),
        } = effect
        {
            // One request has one acquisition, however often it is sent.
            let known = self.tokens.insert((*session, *number), sequencer.token);
            assert!(known.is_none_or(|token| token == sequencer.token));
        }
    }

    /// Returns everything but sessions and outcomes that a walk shows: nodes, locks, who holds nodes
    /// open, and when they expire.
    fn nodes(&self) -> Vec<Chunk> {
        let apart = |chunk: &Chunk| !matches!(chunk.table, 1 | 7..=9 | 12);
        self.one.walk(usize::MAX).filter(apart).collect()
    }

    fn batch(&mut self, commands: Vec<Command>) -> Entry {
        self.sequence += 1;
        Entry::Batch(Batch {
            epoch: self.one.mastership().epoch,
            sequence: self.sequence,
            stamp: Stamp {
                time: CellTime(self.time),
                wall_ms: self.time + 1_000_000,
            },
            commands,
        })
    }

    fn command(&mut self, command: Command) {
        let footprint = self.one.footprint(&command);
        let entry = self.batch(vec![command]);
        self.entry(&entry, Some(&footprint));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Open(nonce) => self.command(Command::Open {
                open: OpenSession {
                    nonce: Nonce(u128::from(*nonce)),
                    lease_ms: 12_000,
                    metadata: SessionMetadata::default(),
                },
                principal: "somebody".to_owned(),
            }),
            Step::Expire(session) => self.command(Command::Expire {
                session: SessionId(*session),
            }),
            Step::Time(ms) => {
                self.time += ms;
                let footprint = self.one.footprint_of_time(CellTime(self.time));
                let entry = self.batch(Vec::new());
                self.entry(&entry, Some(&footprint));
            }
            Step::Mutate {
                session,
                back,
                acknowledge,
                mutation,
            } => self.mutate(*session, *back, acknowledge.as_ref(), mutation),
            Step::Renew(attempt) => {
                let epoch = self.one.mastership().epoch;
                let attempt = *attempt;
                self.entry(&Entry::Renew { epoch, attempt }, None);
            }
            Step::TakeOver(current) => {
                let behind = u64::from(!current);
                let last_seen = self.one.mastership().sequence - behind;
                self.entry(&take_over(last_seen), None);
                self.sequence = if *current { 0 } else { self.sequence };
            }
            Step::Resign => {
                let epoch = self.one.mastership().epoch;
                self.entry(&Entry::Resign { epoch }, None);
                let last_seen = self.one.mastership().sequence;
                self.entry(&take_over(last_seen), None);
                self.sequence = 0;
            }
            Step::StaleBatch => {
                let Entry::Batch(mut batch) = self.batch(vec![Command::Expire {
                    session: SessionId(1),
                }]) else {
                    return;
                };
                batch.epoch = Epoch(batch.epoch.0 - 1);
                self.entry(&Entry::Batch(batch), Some(&Footprint::default()));
            }
            Step::CallAcquire(request, acquire) => self.command(Command::CallAcquire {
                request: RequestId(u128::from(*request)),
                principal: "somebody".to_owned(),
                acquire: LeasedAcquire {
                    path: acquire.path.clone(),
                    mode: acquire.mode,
                    wait: acquire.wait,
                    lease_ms: 12_000,
                    lock_delay_ms: acquire.lock_delay_ms,
                    create: acquire.create,
                    holder: SessionMetadata::default(),
                },
            }),
            Step::CallRelease(request, session) => self.command(Command::CallRelease {
                lock: LockId {
                    session: SessionId(*session),
                    request: RequestId(u128::from(*request)),
                },
            }),
            Step::CallChange(request, repeatable, token, change) => {
                self.change(*request, *repeatable, *token, change);
            }
        }
    }

    /// A change that is repeated at once does nothing more.
    fn change(&mut self, request: u8, repeatable: bool, token: Option<u64>, change: &NodeChange) {
        let command = Command::CallChange {
            request: RequestId(u128::from(request)),
            principal: "somebody".to_owned(),
            repeatable,
            sequencer: token.map(|token| Sequencer {
                path: "/ls/local/a".parse().unwrap(),
                mode: LockMode::Exclusive,
                token: FencingToken(token),
                instance: Instance(2),
                lock_generation: token - 1_000,
            }),
            change: change.clone(),
        };
        self.command(command.clone());
        if repeatable {
            let before = self.nodes();
            self.command(command);
            assert_eq!(before, self.nodes(), "a repeated change did something");
        }
    }

    fn mutate(
        &mut self,
        session: u64,
        back: i64,
        acknowledge: Option<&(u64, Option<(u64, u64)>)>,
        mutation: &Mutation,
    ) {
        let next = self.next.entry(session).or_insert(1);
        let number = next.saturating_add_signed(1 - back).max(1) - u64::from(back == 1);
        *next = (*next).max(number + 1);
        let acknowledged = acknowledge.map_or_else(Acknowledged::default, |(behind, range)| {
            let floor = next.saturating_sub(*behind + 2);
            let above = range.map(|(gap, length)| {
                let first = RequestNumber(floor + gap);
                (first, RequestNumber(first.0 + length))
            });
            Acknowledged {
                floor: RequestNumber(floor),
                above: above.into_iter().collect(),
            }
        });
        let (session, number) = (SessionId(session), RequestNumber(number.max(1)));
        let recorded = self.one.outcome(session, number);
        let before = self.nodes();
        self.command(Command::Mutate {
            session,
            number,
            acknowledged: acknowledged.clone(),
            mutation: mutation.clone(),
        });
        if let Recorded::Done(Err(Refusal::TransactionFailed { .. })) =
            self.one.outcome(session, number)
            && recorded == Recorded::Unseen
        {
            assert_eq!(before, self.nodes(), "a refused transaction changed a node");
        }
        // What was decided stays decided, until it is acknowledged or the session ends.
        if let Recorded::Done(result) = recorded {
            let after = self.one.outcome(session, number);
            let kept = after == Recorded::Done(result);
            assert!(kept || matches!(after, Recorded::Acknowledged | Recorded::NoSession));
        }
    }
}

fn take_over(last_seen: u64) -> Entry {
    Entry::TakeOver {
        replica: ReplicaId(1),
        attempt: (1, 1),
        last_seen,
    }
}

proptest! {
    #[test]
    fn random_commands_break_no_invariant(steps in vec(step(), 1..80)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        let rebuilt = Cell::rebuild(&genesis(), pair.one.walk(64)).unwrap();
        prop_assert_eq!(rebuilt.digest(), pair.one.digest());
        prop_assert!(rebuilt.check().is_ok());
    }

    #[test]
    fn walk_of_snapshot_is_not_disturbed_by_later_commands(
        before in vec(step(), 1..40),
        during in vec(step(), 1..40),
    ) {
        let mut pair = Pair::new();
        for step in &before {
            pair.step(step);
        }
        let digest = pair.one.digest();
        let mut walk = pair.one.walk(1);
        let mut chunks = Vec::new();
        for step in &during {
            chunks.extend(walk.next());
            pair.step(step);
        }
        chunks.extend(walk);
        let rebuilt = Cell::rebuild(&genesis(), chunks).unwrap();
        prop_assert_eq!(rebuilt.digest(), digest);
        rebuilt.check().unwrap();
    }

    #[test]
    fn rebuilt_cell_goes_on_like_the_original(
        before in vec(step(), 1..40),
        after in vec(step(), 1..40),
    ) {
        let mut pair = Pair::new();
        for step in &before {
            pair.step(step);
        }
        pair.two = Cell::rebuild(&genesis(), pair.one.walk(1_000)).unwrap();
        for step in &after {
            pair.step(step);
        }
    }

    #[test]
    fn restored_cell_is_sound_empty_of_holders_and_goes_on(
        before in vec(step(), 1..60),
        after in vec(step(), 1..40),
    ) {
        let mut pair = Pair::new();
        for step in &before {
            pair.step(step);
        }
        let new = Genesis {
            cell_id: CellId(99),
            token_floor: 1_000_000,
            ..genesis()
        };
        let restored = pair.one.restored(&new, 1_000).unwrap();
        restored.check().unwrap();
        let public = pair.one.without_secrets();
        public.check().unwrap();
        prop_assert_eq!(public.counts(), pair.one.counts());
        public.restored(&new, 1_000).unwrap().check().unwrap();
        let counts = restored.counts();
        prop_assert_eq!((counts.sessions, counts.locks_held, counts.waiters), (0, 0, 0));
        prop_assert_eq!((restored.applied(), restored.mastership().master), (0, None));
        prop_assert!(restored.revision() > pair.one.revision());
        prop_assert_eq!(pair.two.restored(&new, 1_000).unwrap().digest(), restored.digest());
        let rebuilt = Cell::rebuild(&new, restored.walk(1_000)).unwrap();
        prop_assert_eq!(rebuilt.digest(), restored.digest());
        let seen = restored.mastership().sequence;
        pair.one = restored;
        pair.two = rebuilt;
        pair.sequence = 0;
        pair.entry(&take_over(seen), None);
        for step in &after {
            pair.step(step);
        }
    }

    #[test]
    fn queries_of_any_state_are_answered_or_refused(
        steps in vec(step(), 1..60),
        path in path(),
        after in "[a-z/. ]{0,3}",
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        let queries = [
            Query::Get { path: path.clone() },
            Query::List { path: path.clone(), after, limit: 1 },
            Query::Explain { path: path.clone() },
            Query::Locks { within: path.clone(), after: Some(path), limit: 2 },
            Query::Sessions { after: SessionId(1), limit: 2 },
        ];
        for query in queries {
            let _ = pair.one.query(&query, CellTime(0));
        }
    }
}
