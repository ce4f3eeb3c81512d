//! `cotterd dev`: a whole cell of three replicas in one process, on disk, with nothing to configure.
//!
//! The replicas are real ones: each has its own thread and directory, and they speak over real links
//! on loopback. Only the process is shared, so a crash takes all three, and the disk is one.
//!
//! Addresses change from run to run and are no part of what is kept.

use crate::birth::{BirthDesk, birth_of_all_here};
use crate::config::{
    DevArguments, MemberAddress, SCRUB_EVERY_DEFAULT, chapter_policy, history_settings,
    listen_address,
};
use crate::daemon::{ReplicaSpec, RunningReplica, StopSignals, listening, say, stop_all};
use crate::failure::Failure;
use crate::listen;
use crate::net::TcpListener;
use cotter_replica::Timing;
use cotter_types::ReplicaId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::task::JoinSet;

/// Replicas of a development cell.
const REPLICAS: u64 = 3;
/// Its name.
const CELL: &str = "dev";

/// Doors of one replica, bound.
struct Doors {
    client: TcpListener,
    peer: TcpListener,
}

/// Runs a development cell until it is asked to stop.
///
/// # Errors
/// [`Failure`] when it cannot start, or when a replica broke.
pub async fn dev(arguments: &DevArguments) -> Result<(), Failure> {
    let listen = listen_address("--listen", &arguments.listen)?;
    let chapters = chapter_policy(
        arguments.chapter_bytes.as_deref(),
        arguments.chapter_age.as_deref(),
    )?;
    let history = history_settings(
        arguments.history_bytes.as_deref(),
        arguments.history_days.as_deref(),
    )?;
    let mut signals = StopSignals::new()?;
    let doors = bind_all(listen).await?;
    listen::warn_unless_loopback("--listen", listen);
    let members = doors
        .iter()
        .zip(1..)
        .map(|(doors, id)| {
            Ok(MemberAddress {
                id: ReplicaId(id),
                client: reachable(listen::address_of(&doors.client)?).to_string(),
                peer: listen::address_of(&doors.peer)?.to_string(),
            })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    be_born(&arguments.data, &members)?;

    let mut replicas = Vec::new();
    for (doors, member) in doors.into_iter().zip(&members) {
        let (client, peer) = (
            listen::address_of(&doors.client)?,
            listen::address_of(&doors.peer)?,
        );
        replicas.push(RunningReplica::start(ReplicaSpec {
            id: member.id,
            cell: CELL.to_owned(),
            data: directory(&arguments.data, member.id),
            members: members.clone(),
            timing: Timing::default(),
            chapters,
            history,
            scrub_every: SCRUB_EVERY_DEFAULT,
            take_back: false,
            client_listener: doors.client,
            peer_listener: doors.peer,
        })?);
        say(&format!(
            "replica {} {}",
            member.id,
            listening(client, peer)
        ));
    }
    let mut masters = masters(&replicas);
    let mut is_ready = false;
    let ended = loop {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopping");
                break Ok(());
            }
            failure = any_broken(&mut replicas) => break Err(failure),
            Some(_) = masters.join_next(), if !is_ready => {
                is_ready = true;
                say("ready");
            }
        }
    };
    match ended {
        Ok(()) => {
            stop_all(replicas).await;
            Ok(())
        }
        // The others must not go on under the eyes of somebody who was told that it stopped.
        Err(failure) => Err(failure),
    }
}

fn directory(data: &Path, id: ReplicaId) -> PathBuf {
    data.join(format!("replica-{id}"))
}

/// Gives birth to the cell if no replica has a directory, and completes a birth that was interrupted.
fn be_born(data: &Path, members: &[MemberAddress]) -> Result<(), Failure> {
    let desks = members
        .iter()
        .map(|member| BirthDesk::open(&directory(data, member.id), CELL, member.id, members, None))
        .collect::<Result<Vec<_>, Failure>>()?;
    let desks: Vec<&BirthDesk> = desks.iter().collect();
    birth_of_all_here(CELL, members, &desks)
        .map(|_| ())
        .map_err(|failure| Failure {
            exit: failure.exit,
            message: format!("{}: {}", data.display(), failure.message),
        })
}

/// Binds the doors of all replicas: the first where it was asked, the others next to it if they can.
async fn bind_all(listen: SocketAddr) -> Result<Vec<Doors>, Failure> {
    let mut all = Vec::new();
    for offset in 0..REPLICAS as u16 {
        let client = if offset == 0 {
            listen::bind("--listen", listen).await?
        } else {
            bind_next(listen, offset).await?
        };
        let peer = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let peer = listen::bind("the link between replicas", peer).await?;
        all.push(Doors { client, peer });
    }
    Ok(all)
}

async fn bind_next(listen: SocketAddr, offset: u16) -> Result<TcpListener, Failure> {
    if listen.port() != 0
        && let Some(port) = listen.port().checked_add(offset)
        && let Ok(listener) = TcpListener::bind(SocketAddr::new(listen.ip(), port)).await
    {
        return Ok(listener);
    }
    listen::bind("--listen", SocketAddr::new(listen.ip(), 0)).await
}

/// Returns an address at which clients of this machine reach a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Returns tasks of which one ends when a replica serves as master.
fn masters(replicas: &[RunningReplica]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for replica in replicas {
        let mut standing = replica.standing();
        tasks.spawn(async move {
            if standing
                .wait_for(|standing| standing.is_master)
                .await
                .is_err()
            {
                // It ended before; that is told elsewhere, and is no reason to say "ready".
                std::future::pending::<()>().await;
            }
        });
    }
    tasks
}

/// Waits until one of the replicas breaks.
async fn any_broken(replicas: &mut [RunningReplica]) -> Failure {
    let mut waiting: Vec<_> = replicas
        .iter_mut()
        .map(|replica| Box::pin(replica.broken()))
        .collect();
    std::future::poll_fn(|context| {
        for broken in &mut waiting {
            if let std::task::Poll::Ready(failure) = broken.as_mut().poll(context) {
                return std::task::Poll::Ready(failure);
            }
        }
        std::task::Poll::Pending
    })
    .await
}
