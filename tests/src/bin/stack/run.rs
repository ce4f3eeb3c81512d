//! One run: a cell of three replicas and its clients on a simulated network, faults, then peace.
//!
//! What runs is what ships: the owner of each replica, its links and doors, tonic and hyper, the client
//! library with its driver. Simulated are the network, the clocks, and who runs when; disks are real,
//! so a crash here is the death of a process, never a power cut (that is for the core simulation).

use crate::chance::Chance;
use crate::guest;
use crate::record::{Record, Shared, Tally};
use cotter_replica::{ChapterPolicy, Timing};
use cotter_server::birth::{BirthDesk, birth_of_all_here};
use cotter_server::config::{MemberAddress, SCRUB_EVERY_DEFAULT};
use cotter_server::daemon::{ReplicaSpec, RunningReplica};
use cotter_server::history::HistorySettings;
use cotter_server::net::TcpListener;
use cotter_types::ReplicaId;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use turmoil::Sim;

const CELL: &str = "local";
const REPLICAS: u64 = 3;
const GUESTS: usize = 4;
/// How long anything may fail.
const SAFETY: Duration = Duration::from_secs(40);
/// Within which time, once everything is healed, every lock must have been granted.
const LIVENESS: Duration = Duration::from_secs(20);
/// Longest that one fault lasts, in milliseconds.
const FAULT_MS_MAX: u64 = 4_000;
/// Less work than this proves nothing.
const WORK_MIN: u64 = 20;
const FAULTS_MIN: u64 = 5;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) tally: Tally,
    /// Lines of the trace, and their hash.
    pub(crate) trace: (u64, u64),
}

/// Something that a fault broke and that is mended later.
#[derive(Debug)]
enum Mend {
    Bounce(String),
    Repair(String, String),
    Release(String, String),
}

/// Runs a seed.
///
/// # Errors
/// What was violated, or why the run proves nothing.
pub(crate) fn run(
    seed: u64,
    data: &Path,
    is_calm: bool,
    is_printing: bool,
) -> Result<Ended, Box<dyn Error>> {
    let record: Shared = Rc::new(RefCell::new(Record::new(is_printing)));
    let members = members();
    be_born(data, &members)?;
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(SAFETY + 2 * LIVENESS)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .tcp_capacity(65_536)
        .build();
    for member in &members {
        add_replica(&mut sim, member.id, data, &members, &record);
    }
    for number in 0..GUESTS {
        add_guest(&mut sim, number, seed, &record);
    }
    let mut chance = Chance::new(seed, 0);
    let mut mends: Vec<(Duration, Mend)> = Vec::new();
    let mut next_fault = chance.ms(2_000, 4_000);
    while sim.elapsed() < SAFETY {
        step(&mut sim, &record)?;
        let now = sim.elapsed();
        mend(&mut sim, &mut mends, now, &record);
        if !is_calm && now >= next_fault {
            next_fault = now + chance.ms(200, 3_000);
            if let Some(broken) = break_something(&mut sim, &mut chance, &record) {
                mends.push((now + chance.ms(100, FAULT_MS_MAX), broken));
            }
        }
    }
    mend(&mut sim, &mut mends, Duration::MAX, &record);
    let probed = Rc::clone(&record);
    let wait_ms = u64::try_from(LIVENESS.as_millis())?;
    sim.client("probe", guest::probe(probed, wait_ms));
    let healed = sim.elapsed();
    while record.borrow().grantable < guest::LOCKS.len() {
        if sim.elapsed() > healed + LIVENESS {
            let granted = record.borrow().grantable;
            return Err(format!("only {granted} locks were granted in time after healing").into());
        }
        step(&mut sim, &record)?;
    }
    drop(sim);
    let record = record.borrow();
    let (tally, trace) = (record.tally, record.trace());
    check_work(&tally, is_calm)?;
    Ok(Ended { tally, trace })
}

fn check_work(tally: &Tally, is_calm: bool) -> Result<(), String> {
    let least = tally.acquired.min(tally.written).min(tally.read);
    if least < WORK_MIN || (!is_calm && tally.faults < FAULTS_MIN) {
        return Err(format!("the run is invalid, it did too little: {tally:?}"));
    }
    Ok(())
}

fn step(sim: &mut Sim<'_>, record: &Shared) -> Result<(), Box<dyn Error>> {
    sim.step()?;
    let mut record = record.borrow_mut();
    record.check(sim.elapsed());
    match &record.violation {
        Some(violation) => Err(violation.to_string().into()),
        None => Ok(()),
    }
}

fn members() -> Vec<MemberAddress> {
    let member = |id| MemberAddress {
        id: ReplicaId(id),
        client: format!("replica-{id}:7400"),
        peer: format!("replica-{id}:7401"),
    };
    (1..=REPLICAS).map(member).collect()
}

fn directory(data: &Path, id: ReplicaId) -> std::path::PathBuf {
    data.join(format!("replica-{id}"))
}

fn be_born(data: &Path, members: &[MemberAddress]) -> Result<(), Box<dyn Error>> {
    let mut desks = Vec::new();
    for member in members {
        let path = directory(data, member.id);
        desks.push(BirthDesk::open(&path, CELL, member.id, members, None).map_err(|e| e.message)?);
    }
    let desks: Vec<&BirthDesk> = desks.iter().collect();
    birth_of_all_here(CELL, members, &desks).map_err(|failure| failure.message)?;
    Ok(())
}

fn add_replica(
    sim: &mut Sim<'_>,
    id: ReplicaId,
    data: &Path,
    members: &[MemberAddress],
    record: &Shared,
) {
    let (path, members, record) = (directory(data, id), members.to_vec(), Rc::clone(record));
    sim.host(format!("replica-{id}"), move || {
        serve(id, path.clone(), members.clone(), Rc::clone(&record))
    });
}

/// Runs a replica until its host does not.
async fn serve(
    id: ReplicaId,
    data: std::path::PathBuf,
    members: Vec<MemberAddress>,
    record: Shared,
) -> turmoil::Result {
    record.borrow_mut().line(&format!("replica-{id} starts"));
    let spec = ReplicaSpec {
        id,
        cell: CELL.to_owned(),
        data,
        members,
        timing: Timing::default(),
        chapters: ChapterPolicy {
            entries_max: 400,
            ..ChapterPolicy::default()
        },
        history: HistorySettings::default(),
        scrub_every: SCRUB_EVERY_DEFAULT,
        take_back: false,
        client_listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7_400)).await?,
        peer_listener: TcpListener::bind((Ipv4Addr::UNSPECIFIED, 7_401)).await?,
    };
    let mut replica = RunningReplica::start(spec).map_err(|failure| failure.message)?;
    let mut standing = replica.standing();
    let mut reigned = false;
    loop {
        tokio::select! {
            biased;
            failure = replica.broken() => return Err(failure.message.into()),
            changed = standing.changed() => if changed.is_err() {
                return Err(format!("replica {id} ended").into());
            },
        }
        let reigns = standing.borrow_and_update().is_master;
        if reigns != reigned {
            reigned = reigns;
            let mut record = record.borrow_mut();
            record.tally.reigns += u64::from(reigns);
            record.line(&format!("replica-{id} reigns: {reigns}"));
        }
    }
}

fn add_guest(sim: &mut Sim<'_>, number: usize, seed: u64, record: &Shared) {
    let lives = Cell::new(0);
    let record = Rc::clone(record);
    sim.host(format!("guest-{number}"), move || {
        let life = lives.replace(lives.get() + 1);
        let record = Rc::clone(&record);
        async move {
            guest::live(number, seed, life, record).await;
            Ok(())
        }
    });
}

/// Draws a fault and makes it; nothing if it cannot be made now.
fn break_something(sim: &mut Sim<'_>, chance: &mut Chance, record: &Shared) -> Option<Mend> {
    let a = format!("replica-{}", 1 + chance.below(REPLICAS));
    let guest = chance.below(GUESTS as u64);
    let b = match chance.below(2) {
        0 => format!("replica-{}", 1 + chance.below(REPLICAS)),
        _ => format!("guest-{guest}"),
    };
    let kind = chance.below(6);
    let is_host = kind < 2;
    if !is_host && a == b {
        return None;
    }
    let (name, mend) = match kind {
        0 => {
            if !sim.is_host_running(a.as_str()) {
                return None;
            }
            sim.crash(a.as_str());
            ("crash", Mend::Bounce(a.clone()))
        }
        1 => {
            let host = format!("guest-{guest}");
            if !sim.is_host_running(host.as_str()) {
                return None;
            }
            sim.crash(host.as_str());
            record.borrow_mut().over(usize::try_from(guest).ok()?);
            record.borrow_mut().line(&format!("{host} dies"));
            ("crash", Mend::Bounce(host))
        }
        2 => {
            sim.partition(a.as_str(), b.as_str());
            ("partition", Mend::Repair(a.clone(), b.clone()))
        }
        3 => {
            sim.partition_oneway(a.as_str(), b.as_str());
            ("one-way cut", Mend::Repair(a.clone(), b.clone()))
        }
        4 => {
            sim.partition_oneway(b.as_str(), a.as_str());
            ("one-way cut back", Mend::Repair(a.clone(), b.clone()))
        }
        _ => {
            sim.hold(a.as_str(), b.as_str());
            ("delay", Mend::Release(a.clone(), b.clone()))
        }
    };
    let mut record = record.borrow_mut();
    record.tally.faults += 1;
    record.line(&format!("{name}: {a} {b} until {mend:?}"));
    Some(mend)
}

/// Mends what is due.
fn mend(sim: &mut Sim<'_>, mends: &mut Vec<(Duration, Mend)>, now: Duration, record: &Shared) {
    let due: Vec<_> = mends.extract_if(.., |(at, _)| *at <= now).collect();
    for (_, mend) in due {
        record.borrow_mut().line(&format!("mended: {mend:?}"));
        match mend {
            Mend::Bounce(host) => sim.bounce(host.as_str()),
            Mend::Repair(a, b) => sim.repair(a.as_str(), b.as_str()),
            Mend::Release(a, b) => sim.release(a.as_str(), b.as_str()),
        }
    }
}
