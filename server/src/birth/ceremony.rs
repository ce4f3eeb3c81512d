//! The course of a birth, over the network or among replicas of one process.

use super::desk::{BirthDesk, commit_request, propose_request, random};
use super::ground::Ground;
use super::introduction::Introduced;
use super::plan::{Plan, born_by, check_pair, plan};
use crate::config::{Config, MemberAddress};
use crate::failure::Failure;
use crate::listen;
use crate::net;
use crate::storage::{Certificate, CertifiedBase, CertifiedMember};
use cotter_proto::peer::v1::peer_client::PeerClient;
use cotter_proto::peer::v1::peer_server::{Peer, PeerServer};
use cotter_proto::peer::v1::{
    BirthReply, BirthRequest, LinkMessage, LinkReply, birth_reply, birth_request,
};
use cotter_types::limits::TOKEN_LIMIT;
use cotter_types::{CellId, FencingToken, ReplicaId};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

/// Pause between two rounds of asking.
const ROUND: Duration = Duration::from_millis(100);
/// Longest time for one question, connecting included.
const QUESTION_WAIT: Duration = Duration::from_secs(2);
/// How long a member that is born stays to tell others, when it does not hear that they know.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long a member that refuses stays, so that others learn why.
const FAREWELL_REFUSED: Duration = Duration::from_millis(500);
/// A clock that shows an earlier time than this was never set: 2024, in microseconds since 1970.
const WALL_US_MIN: u64 = 1_704_067_200_000_000;

/// Runs the part of this replica in the birth of its cell.
///
/// # Errors
/// [`Failure`] when something cannot become right, or when not all members came in time.
pub async fn init(config: &Config, timeout: Duration) -> Result<CellId, Failure> {
    give_birth(config, timeout, None).await
}

/// Runs the part of this replica in the birth of a cell that is restored from `ground`.
///
/// # Errors
/// [`Failure`] when something cannot become right, or when not all members came in time.
pub async fn restore(
    config: &Config,
    timeout: Duration,
    ground: Ground,
) -> Result<CellId, Failure> {
    give_birth(config, timeout, Some(ground)).await
}

async fn give_birth(
    config: &Config,
    timeout: Duration,
    ground: Option<Ground>,
) -> Result<CellId, Failure> {
    check_founders(&config.members)?;
    let alone = config.members.len() <= 1;
    let members = config.members_advertised(config.client_listen, config.peer_listen);
    let desk = BirthDesk::open(&config.data, &config.cell, config.replica, &members, ground)?;
    if alone {
        return birth_of_all_here(&config.cell, &members, &[&desk]);
    }
    let listener = listen::bind("peer.listen", config.peer_listen).await?;
    let desk = Arc::new(desk);
    let mut tasks = JoinSet::new();
    let door = PeerServer::new(BirthDoor {
        desk: Arc::clone(&desk),
    });
    tasks.spawn(async move {
        // It ends with the process; until then a failure shows as silence to the others.
        let _ = crate::link::peer_server()
            .add_service(door)
            .serve_with_incoming(net::incoming(listener))
            .await;
    });
    let mut ceremony = Ceremony {
        cell: &config.cell,
        members: &members,
        desk: &desk,
        tasks,
    };
    let outcome = ceremony.run(Instant::now() + timeout).await;
    // Connections of others may outlive this, and with them the desk.
    desk.leave();
    outcome
}

/// Checks that members can found a cell. What a cell can have later is another matter.
fn check_founders(members: &[MemberAddress]) -> Result<(), Failure> {
    let count = members.len();
    if !matches!(count, 0 | 1 | 3 | 5) {
        return Err(Failure::config(format!(
            "members has {count} rows, but a cell is born with 1, 3 or 5 replicas"
        )));
    }
    for (member, id) in members.iter().zip(1..) {
        if member.id != ReplicaId(id) {
            return Err(Failure::config(format!(
                "members must be numbered 1 to {count} at a birth, each once, but {id} is missing"
            )));
        }
    }
    Ok(())
}

/// Gives birth to a cell all of whose members are in this process; no network is needed.
///
/// # Errors
/// [`Failure`] when the directories do not belong together.
pub fn birth_of_all_here(
    cell: &str,
    members: &[MemberAddress],
    desks: &[&BirthDesk],
) -> Result<CellId, Failure> {
    // Draw, propose and commit are one round each.
    for _ in 0..4 {
        let all: Vec<Introduced> = desks.iter().map(|desk| desk.introduction()).collect();
        match plan(cell, &all).map_err(Failure::config)? {
            Plan::Draw => {
                let ground = desks.first().and_then(|desk| desk.ground());
                let certificate = draw(cell, members, &all, ground)?;
                for desk in desks {
                    desk.propose(&certificate)?;
                }
            }
            Plan::Propose(certificate) => {
                for desk in desks {
                    desk.propose(&certificate)?;
                }
            }
            Plan::Commit(certificate) => {
                for desk in desks.iter().rev() {
                    desk.commit(certificate.cell_id.0)?;
                }
            }
            Plan::Done => return cell_id(&all),
        }
    }
    Err(Failure::software("the birth of the cell does not end"))
}

fn cell_id(all: &[Introduced]) -> Result<CellId, Failure> {
    all.iter()
        .find_map(Introduced::certificate)
        .map(|certificate| certificate.cell_id)
        .ok_or_else(|| Failure::software("a born replica has no certificate"))
}

/// Draws a certificate for members that are all empty.
fn draw(
    cell: &str,
    members: &[MemberAddress],
    all: &[Introduced],
    ground: Option<&Ground>,
) -> Result<Certificate, Failure> {
    let token_floor = match ground {
        Some(ground) => ground.token_floor()?,
        None => time_of_birth()?,
    };
    let named = members.iter().map(|member| {
        let introduced = all.iter().find(|other| other.replica == member.id);
        introduced
            .map(|introduced| CertifiedMember {
                id: member.id,
                incarnation: introduced.incarnation,
                client_address: member.client.clone(),
                peer_address: member.peer.clone(),
            })
            .ok_or_else(|| Failure::software(format!("replica {} was not asked", member.id)))
    });
    let mut certificate = Certificate {
        cell_id: CellId(random("a cell id")?),
        cell_name: cell.to_owned(),
        token_floor: FencingToken(token_floor),
        members: named.collect::<Result<_, _>>()?,
        base: None,
    };
    if let Some(ground) = ground {
        certificate.base = Some(CertifiedBase {
            source: ground.source(),
            state: ground.restored(&certificate)?.digest(),
        });
    }
    Ok(certificate)
}

/// Returns the present time in microseconds since 1970, from which the tokens of a cell go on.
pub(super) fn time_of_birth() -> Result<u64, Failure> {
    let now = crate::clock::wall_us();
    if !(WALL_US_MIN..TOKEN_LIMIT).contains(&now) {
        return Err(Failure::config(
            "the clock of this machine is not set: a cell's tokens begin at its time of birth",
        ));
    }
    Ok(now)
}

/// One member's part.
struct Ceremony<'a> {
    cell: &'a str,
    members: &'a [MemberAddress],
    desk: &'a Arc<BirthDesk>,
    /// The door that answers the others; it closes when the ceremony ends.
    tasks: JoinSet<()>,
}

impl Ceremony<'_> {
    async fn run(&mut self, deadline: Instant) -> Result<CellId, Failure> {
        let own = self.desk.introduction().replica;
        let leader = self.members.iter().map(|member| member.id).min() == Some(own);
        let mut told = String::new();
        loop {
            let (others, missing) = self.ask_everybody().await;
            let mut own = self.desk.introduction();
            if own.is_born() {
                self.farewell(leader).await;
                return cell_id(&[own]);
            }
            for other in &others {
                if let Err(why) = check_pair(self.cell, &own, other) {
                    return Err(self.refuse(why).await);
                }
            }
            if !leader && others.iter().any(|other| born_by(&own, other)) {
                let id = cell_id(std::slice::from_ref(&own))?;
                self.desk.commit(id.0)?;
                continue;
            }
            let mut trouble = missing.join("; ");
            if leader && missing.is_empty() {
                let mut all = others;
                all.push(own.clone());
                let next = match plan(self.cell, &all) {
                    Ok(next) => next,
                    Err(why) => return Err(self.refuse(why).await),
                };
                match self.lead(next, &all).await {
                    Ok(()) => continue,
                    Err(why) => trouble = why,
                }
                own = self.desk.introduction();
            }
            if Instant::now() >= deadline {
                return Err(not_in_time(&own, leader, &trouble));
            }
            if trouble != told {
                if !trouble.is_empty() {
                    tracing::info!(replica = own.replica.0, trouble, "waiting for all members");
                }
                told = trouble;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Takes one step as the leader; an error says what to try again.
    async fn lead(&self, next: Plan, all: &[Introduced]) -> Result<(), String> {
        let plain = |failure: Failure| failure.to_string();
        let certificate = match next {
            Plan::Draw => draw(self.cell, self.members, all, self.desk.ground()).map_err(plain)?,
            Plan::Propose(certificate) => certificate,
            Plan::Commit(certificate) => {
                self.tell_others(&commit_request(&certificate)).await?;
                // Last: that the leader is born means that everybody is.
                return self.desk.commit(certificate.cell_id.0).map_err(plain);
            }
            Plan::Done => return Ok(()),
        };
        // First: if this is interrupted, the leader still knows the certificate.
        self.desk.propose(&certificate).map_err(plain)?;
        self.tell_others(&propose_request(&certificate)).await
    }

    async fn tell_others(&self, request: &BirthRequest) -> Result<(), String> {
        for member in self.others() {
            ask(&member.peer, request.clone())
                .await
                .map_err(|why| format!("replica {} ({}): {why}", member.id, member.peer))?;
        }
        Ok(())
    }

    /// Asks all others who they are; returns who answered, and a line for each who did not.
    async fn ask_everybody(&self) -> (Vec<Introduced>, Vec<String>) {
        let mut questions = JoinSet::new();
        for member in self.others() {
            let (id, address) = (member.id, member.peer.clone());
            let request = BirthRequest {
                step: Some(birth_request::Step::Introduce(
                    self.desk.introduction().to_wire(),
                )),
            };
            questions.spawn(async move {
                let answer = ask(&address, request).await;
                (id, address, answer)
            });
        }
        let mut answers = questions.join_all().await;
        answers.sort_by_key(|(id, ..)| *id);
        let mut present = Vec::new();
        let mut missing = Vec::new();
        for (id, address, answer) in answers {
            match answer.and_then(|reply| introduced(id, reply)) {
                Ok(introduced) => present.push(introduced),
                Err(why) => missing.push(format!("replica {id} ({address}): {why}")),
            }
        }
        (present, missing)
    }

    /// Stays until the others know what this one knows, or for as long as is worth waiting.
    async fn farewell(&mut self, leader: bool) {
        let until = Instant::now() + FAREWELL;
        let first = self.members.iter().map(|member| member.id).min();
        while Instant::now() < until {
            let (others, _) = self.ask_everybody().await;
            let leader_born = others
                .iter()
                .any(|other| Some(other.replica) == first && other.is_born());
            let known = if leader {
                self.desk.was_asked_by_all()
            } else {
                leader_born
            };
            if known {
                // One more moment, for answers that are on their way.
                tokio::time::sleep(ROUND).await;
                return;
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    async fn refuse(&mut self, why: String) -> Failure {
        tokio::time::sleep(FAREWELL_REFUSED).await;
        self.tasks.abort_all();
        Failure::config(format!("the cell is not born: {why}"))
    }

    fn others(&self) -> impl Iterator<Item = &MemberAddress> {
        let own = self.desk.introduction().replica;
        self.members.iter().filter(move |member| member.id != own)
    }
}

fn not_in_time(own: &Introduced, leader: bool, trouble: &str) -> Failure {
    let state = match own.held {
        None => "nothing was written",
        Some(_) => "the birth is interrupted and goes on when init is run again on all members",
    };
    let trouble = match (trouble, leader) {
        ("", true) => "not all members answered",
        ("", false) => "all members answer, but the one with the lowest id did not finish",
        (trouble, _) => trouble,
    };
    Failure::unavailable(format!("the cell is not born in time ({state}): {trouble}"))
}

fn introduced(id: ReplicaId, reply: BirthReply) -> Result<Introduced, String> {
    let Some(birth_reply::Reply::Introduction(wire)) = reply.reply else {
        return Err("it did not say who it is".to_owned());
    };
    let introduced = Introduced::from_wire(wire)?;
    if introduced.replica != id {
        return Err(format!("it says that it is replica {}", introduced.replica));
    }
    Ok(introduced)
}

pub(super) async fn ask(address: &str, request: BirthRequest) -> Result<BirthReply, String> {
    let question = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(QUESTION_WAIT);
        let channel = net::connect(&endpoint)
            .await
            .map_err(|error| crate::failure::chain(&error))?;
        let answer = PeerClient::new(channel).birth(request).await;
        answer
            .map(Response::into_inner)
            .map_err(|status| status.message().to_owned())
    };
    tokio::time::timeout(QUESTION_WAIT, question)
        .await
        .unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

/// Serves a member that is not born: it answers for its birth, and takes no link.
struct BirthDoor {
    desk: Arc<BirthDesk>,
}

#[tonic::async_trait]
impl Peer for BirthDoor {
    type LinkStream = ReceiverStream<Result<LinkReply, Status>>;

    async fn link(
        &self,
        _request: Request<Streaming<LinkMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        Err(Status::unavailable("this replica is being born"))
    }

    async fn birth(&self, request: Request<BirthRequest>) -> Result<Response<BirthReply>, Status> {
        self.desk.answer(request.into_inner()).map(Response::new)
    }
}
