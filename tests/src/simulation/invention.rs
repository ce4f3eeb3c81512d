//! What a simulated client asks for next.
//!
//! Everything is about few paths, so that clients meet; conditions are taken from what somebody was
//! told, so that some hold and some do not; and a part of the transactions can never be made.

use super::knowledge::Knowledge;
use super::random::Random;
use cotter_session::Call;
use cotter_types::{
    Acquire, Compare, Condition, Contents, Create, CreateSequential, Delete, Lifetime, LockMode,
    Mutation, NodeOperation, Path, Query, SessionId, Set, Transaction, Wait,
};

/// Longest time to live that is asked for, in milliseconds.
const TTL_MS_MAX: u64 = 4_000;

/// Invents a call.
pub(super) fn invent(random: &mut Random, knowledge: &Knowledge) -> Call {
    let lock = random.pick(&knowledge.locks).clone();
    let node = match random.below(10) {
        0 => lock.clone(),
        1 => invent_numbered(random, knowledge),
        _ => random.pick(&knowledge.nodes).clone(),
    };
    match random.below(1_000) {
        0..400 => Call::Acquire(invent_acquire(random, lock)),
        400..500 => Call::Mutate(Mutation::Create(invent_create(random, node))),
        500..610 => Call::Mutate(Mutation::Set(invent_set(random, node, knowledge))),
        610..670 => Call::Mutate(Mutation::Delete(invent_delete(random, node, knowledge))),
        670..690 => Call::Mutate(Mutation::Unhold { path: node }),
        690..730 => Call::Mutate(Mutation::CreateSequential(invent_sequential(
            random, knowledge,
        ))),
        730..810 => Call::Mutate(Mutation::Transaction(invent_transaction(random, knowledge))),
        810..995 => Call::Query(invent_query(random, lock, node, knowledge)),
        _ => Call::Close,
    }
}

/// Returns a path with a number that somebody was given, if anybody was.
fn invent_numbered(random: &mut Random, knowledge: &Knowledge) -> Path {
    match knowledge.numbered.len() {
        0 => random.pick(&knowledge.nodes).clone(),
        some => knowledge.numbered[random.index(some)].clone(),
    }
}

/// Returns contents that nothing else has.
fn invent_contents(random: &mut Random) -> Contents {
    Contents::from(random.bits().to_string().as_str())
}

fn invent_lifetime(random: &mut Random) -> Lifetime {
    match random.below(10) {
        0..5 => Lifetime::Permanent,
        5..8 => Lifetime::Ephemeral,
        _ => Lifetime::Ttl {
            ms: random.between(cotter_types::limits::TTL_MS_MIN, TTL_MS_MAX),
        },
    }
}

fn invent_create(random: &mut Random, path: Path) -> Create {
    Create {
        path,
        contents: invent_contents(random),
        lifetime: invent_lifetime(random),
        parents: random.chance(800),
        exclusive: random.chance(500),
    }
}

fn invent_sequential(random: &mut Random, knowledge: &Knowledge) -> CreateSequential {
    CreateSequential {
        path: random.pick(&knowledge.unnumbered).clone(),
        contents: invent_contents(random),
        lifetime: invent_lifetime(random),
        parents: random.chance(800),
    }
}

fn invent_set(random: &mut Random, path: Path, knowledge: &Knowledge) -> Set {
    let known = knowledge.stats.get(&path);
    Set {
        contents: invent_contents(random),
        if_content_generation: known
            .filter(|_| random.chance(500))
            .map(|stat| stat.content_generation),
        if_instance: known
            .filter(|_| random.chance(200))
            .map(|stat| stat.instance),
        path,
    }
}

fn invent_delete(random: &mut Random, path: Path, knowledge: &Knowledge) -> Delete {
    let known = knowledge.stats.get(&path);
    Delete {
        recursive: random.chance(200),
        if_content_generation: known
            .filter(|_| random.chance(300))
            .map(|stat| stat.content_generation),
        if_instance: known
            .filter(|_| random.chance(300))
            .map(|stat| stat.instance),
        path,
    }
}

fn invent_transaction(random: &mut Random, knowledge: &Knowledge) -> Transaction {
    let mut compares: Vec<Compare> = (0..random.below(3))
        .map(|_| invent_compare(random, knowledge))
        .collect();
    let mut operations: Vec<NodeOperation> = (0..random.between(1, 4))
        .map(|_| invent_operation(random, knowledge))
        .collect();
    // No node ever has the content generation 0: these must fail, the second kind after something
    // has been done.
    match random.below(10) {
        0 => compares.push(Compare {
            path: random.pick(&knowledge.nodes).clone(),
            condition: Condition::ContentGeneration(0),
        }),
        1 => operations.push(NodeOperation::Set(Set {
            path: random.pick(&knowledge.nodes).clone(),
            contents: invent_contents(random),
            if_content_generation: Some(0),
            if_instance: None,
        })),
        _ => {}
    }
    Transaction {
        compares,
        operations,
    }
}

fn invent_compare(random: &mut Random, knowledge: &Knowledge) -> Compare {
    let path = match random.below(5) {
        0 => invent_numbered(random, knowledge),
        1 => random.pick(&knowledge.locks).clone(),
        _ => random.pick(&knowledge.nodes).clone(),
    };
    let stat = knowledge.stats.get(&path);
    let condition = match (random.below(8), stat) {
        (0..2, Some(stat)) => Condition::Instance(stat.instance),
        (2..4, Some(stat)) => Condition::ContentGeneration(stat.content_generation),
        (4, Some(stat)) => Condition::ChildGeneration(stat.child_generation),
        (5, Some(stat)) => Condition::LockGeneration(stat.lock_generation),
        (6, _) if knowledge.contents.contains_key(&path) => {
            Condition::Contents(knowledge.contents[&path].clone())
        }
        (0..4, None) => Condition::Absent,
        _ => Condition::Exists,
    };
    Compare { path, condition }
}

fn invent_operation(random: &mut Random, knowledge: &Knowledge) -> NodeOperation {
    let node = match random.below(8) {
        0 => invent_numbered(random, knowledge),
        _ => random.pick(&knowledge.nodes).clone(),
    };
    match random.below(10) {
        0..4 => NodeOperation::Create(Create {
            exclusive: random.chance(200),
            parents: true,
            ..invent_create(random, node)
        }),
        4..7 => NodeOperation::Set(invent_set(random, node, knowledge)),
        7..9 => NodeOperation::CreateSequential(invent_sequential(random, knowledge)),
        _ => NodeOperation::Delete(invent_delete(random, node, knowledge)),
    }
}

fn invent_acquire(random: &mut Random, path: Path) -> Acquire {
    Acquire {
        path,
        mode: if random.chance(650) {
            LockMode::Exclusive
        } else {
            LockMode::Shared
        },
        wait: match random.below(10) {
            0..2 => Wait::No,
            2..6 => Wait::Ms(random.between(1, 4_000)),
            _ => Wait::Forever,
        },
        lock_delay_ms: if random.chance(300) {
            random.between(1, 2_000)
        } else {
            0
        },
        conflict_notice: random.chance(300),
        create: random.chance(900).then(|| invent_lifetime(random)),
    }
}

fn invent_query(random: &mut Random, lock: Path, node: Path, knowledge: &Knowledge) -> Query {
    match random.below(20) {
        0..8 => Query::Get { path: node },
        8..10 => Query::Stat { path: node },
        10..12 => Query::List {
            path: node.parent().unwrap_or_else(Path::root),
            after: String::new(),
            limit: random.below(4) as u32,
        },
        12..15 => Query::Explain { path: lock },
        15 => Query::Locks {
            within: Path::root(),
            after: None,
            limit: 0,
        },
        16 => Query::Sessions {
            after: SessionId(0),
            limit: 0,
        },
        17 => Query::Status,
        _ => match knowledge.sequencers.is_empty() {
            true => Query::Get { path: lock },
            false => Query::CheckSequencer {
                sequencer: knowledge.sequencers[random.index(knowledge.sequencers.len())].clone(),
            },
        },
    }
}
