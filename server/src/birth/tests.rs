//! Births that go well, that are interrupted, and that must not happen.

use super::desk::BirthDesk;
use super::introduction::{Introduced, certificate_from_wire, certificate_to_wire};
use super::plan::{Plan, born_by, check_pair, plan};
use super::{birth_of_all_here, init};
use crate::config::{Config, LogFormat, MemberAddress};
use crate::failure::Exit;
use crate::storage::{
    CellState, Certificate, CertifiedBase, CertifiedMember, DataDirectory, OpenError,
};
use cotter_replica::{ChapterPolicy, Timing};
use cotter_types::{CellId, FencingToken, ReplicaId};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const DISKS: [u64; 4] = [0, 101, 102, 103];

fn certificate(cell_id: u64) -> Certificate {
    let members = (1..=3).map(|id| CertifiedMember {
        id: ReplicaId(id),
        incarnation: DISKS[id as usize],
        client_address: format!("c{id}:1"),
        peer_address: format!("p{id}:1"),
    });
    Certificate {
        cell_id: CellId(cell_id),
        cell_name: "one".to_owned(),
        token_floor: FencingToken(5),
        members: members.collect(),
        base: None,
    }
}

fn member(id: u64, held: Option<CellState>) -> Introduced {
    Introduced {
        replica: ReplicaId(id),
        incarnation: DISKS[id as usize],
        held: held.map(|state| (certificate(7), state)),
        fingerprint: 1,
        source: None,
    }
}

const EMPTY: Option<CellState> = None;
const FORMING: Option<CellState> = Some(CellState::Forming);
const BORN: Option<CellState> = Some(CellState::Born);

fn plan_of(states: [Option<CellState>; 3]) -> Result<Plan, String> {
    let all: Vec<Introduced> = states
        .iter()
        .zip(1..)
        .map(|(s, id)| member(id, *s))
        .collect();
    plan("one", &all)
}

#[test]
fn a_birth_goes_from_empty_to_forming_to_born() {
    assert_eq!(plan_of([EMPTY; 3]), Ok(Plan::Draw));
    assert_eq!(plan_of([FORMING; 3]), Ok(Plan::Commit(certificate(7))));
    assert_eq!(plan_of([BORN; 3]), Ok(Plan::Done));
}

#[test]
fn an_interrupted_birth_is_completed() {
    for states in [[FORMING, EMPTY, EMPTY], [EMPTY, FORMING, FORMING]] {
        assert_eq!(plan_of(states), Ok(Plan::Propose(certificate(7))));
    }
    for states in [[FORMING, BORN, FORMING], [FORMING, BORN, BORN]] {
        assert_eq!(plan_of(states), Ok(Plan::Commit(certificate(7))));
    }
}

#[test]
fn an_empty_directory_beside_a_born_one_is_refused() {
    for states in [
        [EMPTY, BORN, BORN],
        [BORN, EMPTY, FORMING],
        [BORN, BORN, EMPTY],
    ] {
        let why = plan_of(states).unwrap_err();
        assert!(why.contains("must not vote"), "{why}");
    }
    let why = check_pair("one", &member(1, EMPTY), &member(2, BORN)).unwrap_err();
    assert!(why.contains("must not vote"), "{why}");
}

#[test]
fn members_of_different_births_are_refused() {
    let mut other = member(2, FORMING);
    other.held = Some((certificate(8), CellState::Forming));
    let all = [member(1, FORMING), other.clone(), member(3, EMPTY)];
    assert!(plan("one", &all).unwrap_err().contains("different births"));
    assert!(check_pair("one", &member(1, FORMING), &other).is_err());
    assert!(!born_by(&member(1, FORMING), &other));
}

#[test]
fn members_that_do_not_agree_on_the_cell_are_refused() {
    let all = [member(1, FORMING), member(2, FORMING), member(3, FORMING)];
    assert!(plan("two", &all).is_err());
    let mut all = [member(1, EMPTY), member(2, EMPTY), member(3, EMPTY)];
    all[2].fingerprint = 2;
    assert!(plan("one", &all).unwrap_err().contains("members tables"));
}

#[test]
fn members_that_do_not_begin_with_the_same_file_are_refused() {
    let mut all = [member(1, EMPTY), member(2, EMPTY), member(3, EMPTY)];
    all[1].source = Some(0xabc);
    let why = plan("one", &all).unwrap_err();
    assert!(why.contains("replica 1 begins an empty cell"), "{why}");
    assert!(why.contains("00000abc"), "{why}");
    all[0].source = Some(0xabd);
    let why = check_pair("one", &all[0], &all[1]).unwrap_err();
    assert!(why.contains("00000abd"), "{why}");
}

#[test]
fn a_directory_on_another_disk_than_certified_is_refused() {
    let mut all = [member(1, FORMING), member(2, FORMING), member(3, FORMING)];
    all[1].incarnation = 9;
    assert!(plan("one", &all).is_err());
}

#[test]
fn a_forming_member_is_born_by_one_that_is() {
    assert!(born_by(&member(1, FORMING), &member(2, BORN)));
    assert!(!born_by(&member(1, FORMING), &member(2, FORMING)));
    assert!(!born_by(&member(1, EMPTY), &member(2, BORN)));
}

#[test]
fn introductions_survive_the_wire() {
    for state in [EMPTY, FORMING, BORN] {
        let introduced = member(2, state);
        assert_eq!(Introduced::from_wire(introduced.to_wire()), Ok(introduced));
    }
    let mut restoring = member(2, EMPTY);
    restoring.source = Some(1 << 100);
    let back = Introduced::from_wire(restoring.to_wire());
    assert_eq!(back, Ok(restoring));
    let mut torn = member(2, FORMING).to_wire();
    torn.certificate = None;
    assert!(Introduced::from_wire(torn).is_err());
}

fn members(ports: &[u16]) -> Vec<MemberAddress> {
    let member = |(id, port): (u64, &u16)| MemberAddress {
        id: ReplicaId(id),
        client: format!("client-{id}:1"),
        peer: format!("127.0.0.1:{port}"),
    };
    (1..).zip(ports).map(member).collect()
}

/// Lets the system choose ports that are free now. Another process may take one before it is bound
/// again, which shows as a refusal to bind, never as a wrong result.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn config(root: &Path, id: u64, ports: &[u16]) -> Config {
    Config {
        cell: "one".to_owned(),
        replica: ReplicaId(id),
        data: root.join(id.to_string()),
        log_format: LogFormat::Text,
        client_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        client_advertise: Some(format!("client-{id}:1")),
        peer_listen: SocketAddr::from(([127, 0, 0, 1], ports[id as usize - 1])),
        peer_advertise: Some(format!("127.0.0.1:{}", ports[id as usize - 1])),
        members: if ports.len() == 1 {
            Vec::new()
        } else {
            members(ports)
        },
        rejoin: false,
        timing: Timing::default(),
        chapters: ChapterPolicy::default(),
        history: crate::history::HistorySettings::default(),
        scrub_every: crate::config::SCRUB_EVERY_DEFAULT,
    }
}

fn state_in(root: &Path, id: u64) -> (CellState, CellId) {
    let directory = DataDirectory::open_at(&root.join(id.to_string()), Some("one")).unwrap();
    let identity = directory.identity();
    (identity.state, identity.certificate.cell_id)
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_are_born_over_the_network() {
    let root = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let configs = [1, 2, 3].map(|id| config(root.path(), id, &ports));
    let (first, second, third) = tokio::join!(
        init(&configs[0], LONG),
        init(&configs[1], LONG),
        init(&configs[2], LONG)
    );
    let cell = first.unwrap();
    assert_eq!(second, Ok(cell));
    assert_eq!(third, Ok(cell));
    for id in 1..=3 {
        assert_eq!(state_in(root.path(), id), (CellState::Born, cell));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_birth_is_completed_over_the_network() {
    let root = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let configs = [1, 2, 3].map(|id| config(root.path(), id, &ports));
    // The leader wrote its certificate down and died.
    let table = members(&ports);
    let mut drawn = certificate(7);
    for (certified, member) in drawn.members.iter_mut().zip(&table) {
        certified.peer_address.clone_from(&member.peer);
    }
    let desk = BirthDesk::open(&configs[0].data, "one", ReplicaId(1), &table, None).unwrap();
    desk.propose(&drawn).unwrap();
    drop(desk);
    let (first, second, third) = tokio::join!(
        init(&configs[0], LONG),
        init(&configs[1], LONG),
        init(&configs[2], LONG)
    );
    for born in [first, second, third] {
        assert_eq!(born, Ok(CellId(7)));
    }
    for id in 1..=3 {
        assert_eq!(state_in(root.path(), id), (CellState::Born, CellId(7)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_birth_without_all_members_writes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let configs = [1, 2].map(|id| config(root.path(), id, &ports));
    let short = Duration::from_millis(300);
    let (first, second) = tokio::join!(init(&configs[0], short), init(&configs[1], short));
    for failure in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(failure.exit, Exit::Unavailable);
        let line = failure.to_string();
        assert!(line.contains("nothing was written"), "{line}");
        assert!(line.contains("replica 3"), "{line}");
    }
    assert!(!root.path().join("1").exists());
    assert!(!root.path().join("2").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_is_not_born_again() {
    let root = tempfile::tempdir().unwrap();
    let ports = free_ports::<3>();
    let configs = [1, 2, 3].map(|id| config(root.path(), id, &ports));
    let table = members(&ports);
    let desks = configs
        .each_ref()
        .map(|c| BirthDesk::open(&c.data, "one", c.replica, &table, None).unwrap());
    birth_of_all_here("one", &table, &desks.each_ref()).unwrap();
    drop(desks);
    std::fs::remove_dir_all(&configs[2].data).unwrap();
    let short = Duration::from_secs(2);
    let (_, third) = tokio::join!(init(&configs[0], short), init(&configs[2], short));
    let failure = third.unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    assert!(failure.to_string().contains("must not vote"), "{failure}");
    assert!(!configs[2].data.exists());
}

#[tokio::test]
async fn a_cell_of_one_needs_no_network() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path(), 1, &free_ports::<1>());
    let cell = init(&config, Duration::ZERO).await.unwrap();
    assert_eq!(state_in(root.path(), 1), (CellState::Born, cell));
    // Again: nothing to do, and nothing changes.
    assert_eq!(init(&config, Duration::ZERO).await, Ok(cell));
}

#[test]
fn a_directory_in_use_is_not_available() {
    let root = tempfile::tempdir().unwrap();
    let table = members(&[1]);
    let path = root.path().join("1");
    let desk = BirthDesk::open(&path, "one", ReplicaId(1), &table, None).unwrap();
    birth_of_all_here("one", &table, &[&desk]).unwrap();
    let failure = BirthDesk::open(&path, "one", ReplicaId(1), &table, None).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    drop(desk);
    let failure = BirthDesk::open(&path, "two", ReplicaId(1), &table, None).unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
    let failure = BirthDesk::open(&path, "one", ReplicaId(2), &table, None).unwrap_err();
    assert_eq!(failure.exit, Exit::Config);
}

#[test]
fn a_commit_for_another_cell_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let table = members(&[1, 2, 3]);
    let desk = BirthDesk::open(&root.path().join("1"), "one", ReplicaId(1), &table, None).unwrap();
    assert!(desk.commit(7).is_err());
    desk.propose(&certificate(7)).unwrap();
    assert!(desk.commit(8).is_err());
    assert!(desk.propose(&certificate(8)).is_err());
    assert!(!desk.introduction().is_born());
    desk.commit(7).unwrap();
    desk.commit(7).unwrap();
    assert!(desk.introduction().is_born());
}

#[test]
fn a_certificate_of_a_restored_cell_keeps_its_base_on_the_wire() {
    let mut restored = certificate(7);
    restored.base = Some(CertifiedBase {
        source: 1 << 100,
        state: 3,
    });
    for certificate in [certificate(7), restored.clone()] {
        let wire = certificate_to_wire(&certificate);
        assert_eq!(certificate_from_wire(wire), Ok(certificate));
    }
    let mut cut = certificate_to_wire(&restored);
    if let Some(base) = &mut cut.base {
        base.source = base.source.slice(..15);
    }
    assert!(certificate_from_wire(cut).unwrap_err().contains("digest"));
}

#[test]
fn damaged_log_ends_with_its_own_status_and_names_chapter_and_file() {
    let error = OpenError::Corrupt {
        segment: 2,
        offset: 512,
        why: "its checksum is wrong".to_owned(),
    };
    let place = Path::new("/data").join(crate::storage::place_of_fault(3, &error));
    let failure = super::log_failure(&place, &error);
    assert_eq!(failure.exit, Exit::Damaged);
    let message = failure.to_string();
    assert!(
        message.contains("/data/chapter-00000003/segment-00000002:"),
        "{message}"
    );
}
