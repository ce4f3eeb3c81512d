//! One whole run: first anything may fail and nothing may be wrong, then nothing fails any more and
//! everything must come right.

use super::profile::Choices;
use super::tally::Tally;
use super::world::{Event, World};
use crate::checkers::{Verdict, Violation};
use cotter_session::{Call, State};
use cotter_types::{
    Acquire, Contents, Create, Lifetime, LockMode, Mutation, Path, Query, Set, Wait,
};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// How long everything may take to come right once nothing fails any more, in microseconds. The
/// longest lease of the clients is nine seconds, the longest lock-delay two.
pub const RECOVERY_US_MAX: u64 = 45_000_000;
/// How often the liveness phase looks whether all is well.
const LOOK_US: u64 = 100_000;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What was violated, if anything.
    pub violation: Option<Violation>,
    /// What happened.
    pub tally: Tally,
    /// Two runs of the same seed have the same.
    pub fingerprint: u64,
}

impl Report {
    /// Tells whether the run shows anything: enough happened, or something was wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.violation.is_some() || self.tally.is_valid()
    }
}

/// Runs one seed. A panic in the code under test is a violation like any other.
#[must_use]
pub fn run(seed: u64, choices: Choices, trace: bool) -> Report {
    catch_panics();
    let mut tally = Tally::default();
    let mut fingerprint = 0;
    SIMULATING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, choices, trace)?;
        let mut verdict = safety(&mut world).and_then(|()| liveness(&mut world));
        let judged = verdict.is_ok() && !world.checkers.is_spoilt();
        if judged || choices.linearizability_alone {
            verdict = world.check_linearizability();
        }
        tally = world.tally();
        fingerprint = world.fingerprint();
        verdict
    }));
    SIMULATING.set(false);
    let violation = match result {
        Ok(Ok(())) => None,
        Ok(Err(violation)) => Some(violation),
        Err(_) => Some(Violation::new(
            "panic",
            PANIC.with_borrow_mut(std::mem::take),
        )),
    };
    Report {
        seed,
        violation,
        tally,
        fingerprint,
    }
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SIMULATING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Keeps the messages of panics in simulated code for the report, instead of printing them.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if SIMULATING.get() {
                PANIC.set(info.to_string().replace('\n', " "));
            } else {
                usual(info);
            }
        }));
    });
}

fn safety(world: &mut World) -> Verdict {
    world.run_until(world.profile.safety_us)?;
    world.check_reference()
}

fn liveness(world: &mut World) -> Verdict {
    world.heal();
    let healed_at = world.now();
    let deadline = healed_at + RECOVERY_US_MAX;
    let last = world.profile.guests;
    world.guests[last].scripted = true;
    world.guests[last].script = script(&world.knowledge.locks).into();
    world
        .agenda
        .after(200_000, Event::GuestStart { guest: last });
    let mut converging = None;
    loop {
        world.run_until(world.now() + LOOK_US)?;
        let trouble = trouble(world);
        if trouble.is_none() {
            let target = *converging.get_or_insert(world.checkers.history.length());
            if world.applied_least() >= target {
                break;
            }
        }
        if world.now() > deadline {
            return Err(Violation::new(
                "liveness",
                format!(
                    "{} s after everything was healed: {}",
                    RECOVERY_US_MAX / 1_000_000,
                    trouble.unwrap_or_else(|| "a replica has not caught up".to_owned())
                ),
            ));
        }
    }
    world.check_reference()?;
    let least = world.applied_least();
    let once = &world.checkers.once;
    let kept = once.check_kept(&world.checkers.history, least);
    if world.checkers.is_spoilt() {
        Ok(())
    } else {
        kept
    }
}

/// Says what is not well yet.
fn trouble(world: &World) -> Option<String> {
    let masters = world.hosts.iter().filter(|host| host.is_master()).count();
    if masters != 1 {
        return Some(format!("there are {masters} masters"));
    }
    if world.profile.replicas > 1 && world.somebody_has_no_vote() {
        return Some("a replica has no vote".to_owned());
    }
    if let Some(place) = world.whose_state_differs() {
        return Some(format!("the state of replica {} differs", place + 1));
    }
    if world.hosts.iter().any(|host| host.rebuild) {
        return Some("a replica is being rebuilt".to_owned());
    }
    if world.checkers.is_spoilt() {
        // What a master with a wrong state told its clients is not judged.
        return None;
    }
    for guest in &world.guests {
        if guest.scripted {
            if !guest.finished {
                return Some(format!(
                    "the last client has not got through: {:?}, {} calls under way, left {:?}",
                    guest.state(),
                    guest.calls(),
                    guest.script
                ));
            }
            continue;
        }
        if guest.state() != Some(State::Safe) {
            return Some(format!("client {} is {:?}", guest.place, guest.state()));
        }
        if !guest.program.is_quiet() {
            return Some(format!(
                "client {} is not through with {:?}",
                guest.place, guest.program
            ));
        }
    }
    if let Some(caller) = world.callers.iter().position(|caller| !caller.is_quiet()) {
        return Some(format!("caller {caller} is not through"));
    }
    let counts = world.checkers.history.cell().counts();
    if counts.locks_held > 0 || counts.waiters > 0 {
        return Some(format!("nobody wants a lock, and yet: {counts:?}"));
    }
    if let Some(path) = world.checkers.nodes.overdue() {
        return Some(format!("{path} has outlived its time"));
    }
    None
}

/// A fresh client must get every lock, write, and read what it wrote.
fn script(locks: &[Path]) -> Vec<Call> {
    let mut script: Vec<Call> = locks
        .iter()
        .map(|path| {
            Call::Acquire(Acquire {
                path: path.clone(),
                mode: LockMode::Exclusive,
                wait: Wait::Ms(RECOVERY_US_MAX / 1_000),
                lock_delay_ms: 0,
                conflict_notice: false,
                create: Some(Lifetime::Permanent),
            })
        })
        .collect();
    let path = Path::parse("/ls/local/last").expect("a path written here is valid");
    script.push(Call::Mutate(Mutation::Create(Create {
        path: path.clone(),
        contents: Contents::default(),
        lifetime: Lifetime::Permanent,
        parents: false,
        exclusive: false,
    })));
    script.push(Call::Mutate(Mutation::Set(Set {
        path: path.clone(),
        contents: Contents::from("all is well"),
        if_content_generation: None,
        if_instance: None,
    })));
    script.push(Call::Query(Query::Get { path }));
    script.push(Call::Close);
    script
}

impl World {
    /// Returns a replica whose state is not what the committed log comes to.
    pub(super) fn whose_state_differs(&self) -> Option<usize> {
        let history = &self.checkers.history;
        self.hosts.iter().position(|host| {
            let running = host.running.as_ref().filter(|_| !host.rebuild);
            running.is_some_and(|running| {
                let cell = running.replica.cell();
                let at = cell.applied() as usize;
                history.check_digest("it", at, cell.digest()).is_err()
            })
        })
    }

    /// Returns how many entries every replica has applied.
    fn applied_least(&self) -> usize {
        self.hosts
            .iter()
            .map(|host| {
                host.running
                    .as_ref()
                    .map_or(0, |running| running.replica.cell().applied() as usize)
            })
            .min()
            .unwrap_or(0)
    }
}
