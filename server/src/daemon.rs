//! One replica with everything around it: directory, owner, links, doors; and how it stops.

use crate::api::door::{Door, door};
use crate::api::{Readiness, serve};
use crate::birth::{BirthDesk, check_replica, directory_failure, is_empty, join, random};
use crate::config::{Config, MemberAddress};
use crate::driver::{Owned, Owner, Standing};
use crate::failure::Failure;
use crate::history::{self, HistorySettings};
use crate::link::{self, Identity, Links};
use crate::listen;
use crate::net::TcpListener;
use crate::storage::{CellState, DataDirectory};
use cotter_replica::{
    ChapterPolicy, DIGEST_INTERVAL, FEATURE_LEVEL_MAX, Input, Member, ReplicaConfig, Timing,
};
use cotter_types::ReplicaId;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Longest time for a replica to lay its mastership down when it is asked to stop.
const RETIRE_WAIT: Duration = Duration::from_secs(1);
/// Time for the last messages to leave, after that.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(20);

/// Longest time for a replica whose data directory is empty to find a member that runs.
const REJOIN_WAIT: Duration = Duration::from_secs(60);

/// Longest time for clients to take what was said to them last.
const FAREWELL_WAIT: Duration = Duration::from_millis(200);

/// Everything that a replica is started with.
#[cfg_attr(not(feature = "simulated"), derive(Debug))]
pub struct ReplicaSpec {
    /// Which member it is.
    pub id: ReplicaId,
    /// The cell's name.
    pub cell: String,
    /// Its data directory.
    pub data: PathBuf,
    /// All members with the addresses of this run.
    pub members: Vec<MemberAddress>,
    /// Rounds and leases.
    pub timing: Timing,
    /// When a chapter of the log is sealed.
    pub chapters: ChapterPolicy,
    /// How much history is kept.
    pub history: HistorySettings,
    /// How often its disk is read back.
    pub scrub_every: Duration,
    /// Whether it asks for the vote of its id back when that belongs to a disk that is gone.
    pub take_back: bool,
    /// Where clients come in.
    pub client_listener: TcpListener,
    /// Where peers come in.
    pub peer_listener: TcpListener,
}

/// A replica that runs.
#[derive(Debug)]
pub struct RunningReplica {
    id: ReplicaId,
    door: Door,
    owned: Owned,
    // Held for its `Drop`, which ends the links.
    _links: Links,
    api: JoinSet<()>,
    close_api: oneshot::Sender<()>,
}

impl RunningReplica {
    /// Starts a replica on a directory that was born.
    ///
    /// # Errors
    /// [`Failure`] when the directory was not born, is damaged, in use, or somebody else's.
    pub fn start(spec: ReplicaSpec) -> Result<Self, Failure> {
        let directory = DataDirectory::open_at(&spec.data, Some(&spec.cell))
            .map_err(|error| directory_failure(&error))?;
        let identity = directory.identity().clone();
        check_born(&spec, &identity)?;
        let boot = directory.boot();
        let rebuild = directory.distrust().is_open();
        let rebuild = rebuild.map_err(|error| directory_failure(&error))?;
        let (door, inbox, streams) = door();
        let readiness = Readiness::new();
        let desk = BirthDesk::of_running(&identity, &spec.data, &spec.members);
        let members = all_members(&spec.members, &identity);
        let own = members.iter().find(|member| member.id == spec.id);
        let own = own.ok_or_else(|| Failure::software("a replica has no row of its own"))?;
        let links = Identity {
            cell_id: identity.certificate.cell_id,
            replica: spec.id,
            incarnation: identity.incarnation,
            boot,
            life: random("the name of this process")?,
            client_address: own.client_address.clone(),
            peer_address: own.peer_address.clone(),
        };
        let (peers, prepared) = link::prepare(links, door.clone());
        let cell_id = identity.certificate.cell_id;
        let (history, past) = history::start(&spec.data, cell_id, spec.id, spec.history);
        let owned = Owner {
            history,
            directory,
            path: spec.data,
            config: ReplicaConfig {
                id: spec.id,
                members,
                boot,
                incarnation: identity.incarnation,
                joined: identity.state == CellState::Joined,
                take_back: spec.take_back,
                timing: spec.timing,
                chapters: spec.chapters,
                digest_interval: DIGEST_INTERVAL,
                rebuild,
                state_from: None,
                genesis: identity.certificate.genesis(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                feature_level_max: FEATURE_LEVEL_MAX,
            },
            inbox,
            streams,
            readiness: readiness.clone(),
            peers,
            scrub_every: spec.scrub_every,
            door: door.clone(),
        }
        .start()?;
        let links = prepared.start(spec.peer_listener, Arc::new(desk));
        let (close_api, closed) = oneshot::channel();
        let mut api = JoinSet::new();
        let (id, cell, listener) = (spec.id, spec.cell, spec.client_listener);
        let clients = door.clone();
        api.spawn(async move {
            let closed = async move {
                // Dropping the sender means the same.
                let _ = closed.await;
            };
            if let Err(error) = serve(listener, clients, &cell, &readiness, past, closed).await {
                tracing::error!(replica = id.0, %error, "clients cannot be served any more");
            }
        });
        Ok(Self {
            id: spec.id,
            door,
            owned,
            _links: links,
            api,
            close_api,
        })
    }

    /// Says which member it is.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Returns how it stands, now and later.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.owned.standing.clone()
    }

    /// Waits until the replica ends by itself, which it does only when it is broken.
    pub async fn broken(&mut self) -> Failure {
        match (&mut self.owned.ended).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) | Err(_) => {
                Failure::software(format!("replica {} ended by itself", self.id))
            }
        }
    }

    /// Asks it to lay down its mastership and to take none any more.
    pub async fn retire(&self) {
        // A closed door means that it has ended already.
        let _ = self.door.send(Input::Retire).await;
    }

    /// Waits until it has laid its mastership down. One that is still being rebuilt has none.
    pub async fn retired(&self) {
        let mut standing = self.standing();
        if !standing.borrow().takes_part {
            return;
        }
        // An error means that it has ended already.
        let _ = standing.wait_for(|standing| standing.may_stop).await;
    }

    /// Stops it and waits until its data directory is free.
    pub async fn stop(self) {
        let Self {
            owned,
            door,
            mut api,
            close_api,
            ..
        } = self;
        // No new streams; if nobody waits for this any more, the API has ended by itself.
        let _ = close_api.send(());
        owned.stop(&door).await;
        // The owner has closed all streams; what it said last is on its way.
        let farewell = async { while api.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL_WAIT, farewell).await;
    }
}

/// Stops replicas cleanly: the master resigns, so that the next need not wait out its lease.
pub async fn stop_all(replicas: Vec<RunningReplica>) {
    let all_retired = async {
        for replica in &replicas {
            replica.retire().await;
        }
        for replica in &replicas {
            replica.retired().await;
        }
    };
    if tokio::time::timeout(RETIRE_WAIT, all_retired)
        .await
        .is_err()
    {
        tracing::warn!("mastership could not be laid down in time; its lease runs out by itself");
    }
    tokio::time::sleep(LAST_WORDS_WAIT).await;
    for replica in replicas {
        replica.stop().await;
    }
}

/// The signals that ask the process to stop.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes the signals over, from here on.
    ///
    /// # Errors
    /// [`Failure`] when the system refuses.
    pub fn new() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind)
                .map_err(|error| Failure::unavailable(format!("signals cannot be taken: {error}")))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one, and returns its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Notes in a replica's data directory that its state is not to be trusted, because somebody says so.
///
/// # Errors
/// [`Failure`] when there is nobody from whom another could be fetched, or the directory cannot be used.
pub fn distrust(config: &Config) -> Result<(), Failure> {
    if config.members.len() < 2 {
        return Err(Failure::config(
            "--rebuild fetches the state from other members, and the configuration names none",
        ));
    }
    look_before_binding(&config.data)?;
    let opened = DataDirectory::open_at(&config.data, Some(&config.cell));
    let noted = opened.and_then(|directory| directory.distrust().doubt());
    noted.map_err(|error| directory_failure(&error))
}

/// Runs one replica of a cell of separate processes until it is asked to stop.
///
/// # Errors
/// [`Failure`] when it cannot start, or when it broke.
pub async fn run(config: Config) -> Result<(), Failure> {
    let mut signals = StopSignals::new()?;
    // Said before a port is bound, because it is the more useful of two complaints.
    if config.rejoin && matches!(is_empty(&config.data), Ok(true)) {
        let cell = join(&config, REJOIN_WAIT).await?;
        tracing::warn!(replica = config.replica.0, %cell, "the data directory was empty: joined anew");
    }
    look_before_binding(&config.data)?;
    let client_listener = listen::bind("client.listen", config.client_listen).await?;
    let peer_listener = listen::bind("peer.listen", config.peer_listen).await?;
    let client = listen::address_of(&client_listener)?;
    let peer = listen::address_of(&peer_listener)?;
    listen::warn_unless_loopback("client.listen", client);
    listen::warn_unless_loopback("peer.listen", peer);
    let members = config.members_advertised(client, peer);
    let mut replica = RunningReplica::start(ReplicaSpec {
        id: config.replica,
        cell: config.cell,
        data: config.data,
        members,
        timing: config.timing,
        chapters: config.chapters,
        history: config.history,
        scrub_every: config.scrub_every,
        take_back: config.rejoin,
        client_listener,
        peer_listener,
    })?;
    say(&listening(client, peer));
    tokio::select! {
        name = signals.next() => {
            tracing::info!(replica = replica.id().0, signal = name, "stopping");
            stop_all(vec![replica]).await;
            Ok(())
        }
        failure = replica.broken() => Err(failure),
    }
}

/// Writes one line on standard output. That nobody reads it is no reason to stop.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// Returns the line that says where a replica listens.
pub(crate) fn listening(client: SocketAddr, peer: SocketAddr) -> String {
    format!("listening client={client} peer={peer}")
}

fn look_before_binding(data: &Path) -> Result<(), Failure> {
    let missing = matches!(data.try_exists(), Ok(false));
    if missing {
        return Err(Failure::config(format!(
            "the data directory {} does not exist: run cotterd init on all members first. A replica \
             that lost its directory must not vote: it comes back with cotterd join",
            data.display()
        )));
    }
    Ok(())
}

fn check_born(spec: &ReplicaSpec, identity: &crate::storage::Identity) -> Result<(), Failure> {
    check_replica(&spec.data, identity, spec.id)?;
    if identity.state == CellState::Forming {
        return Err(Failure::config(format!(
            "the birth of the cell in {} was interrupted: run cotterd init again on all members",
            spec.data.display()
        )));
    }
    Ok(())
}

/// Returns who may be a member: as the configuration says, and, where that says nothing, as the cell
/// was born. Who has a vote is in the log.
fn all_members(configured: &[MemberAddress], identity: &crate::storage::Identity) -> Vec<Member> {
    let mut members: Vec<Member> = configured
        .iter()
        .map(|member| Member {
            id: member.id,
            client_address: member.client.clone(),
            peer_address: member.peer.clone(),
        })
        .collect();
    for born in &identity.certificate.members {
        if members.iter().all(|member| member.id != born.id) {
            members.push(Member {
                id: born.id,
                client_address: born.client_address.clone(),
                peer_address: born.peer_address.clone(),
            });
        }
    }
    members.sort_by_key(|member| member.id);
    members
}
