//! What happened in the past, as the replicas remember it.
//!
//! Each replica keeps a history of its own, for people who ask. It is no part of what a cell promises:
//! it can be lost and have gaps, so an answer comes with its coverage, and what that does not hold is
//! not known. The master is asked first, because it has applied everything that was answered; then the
//! others, in case its history is off. Without a master the configured endpoints are asked.

use crate::error::QueryError;
use crate::observer::Observer;
use crate::reads::Reads;
use crate::stream;
use cotter_proto::v1;
use cotter_proto::v1::cell_client::CellClient;
use cotter_session::Trouble;
use cotter_types::limits::{FRAME_BYTES_MAX, HISTORY_PAGE_MAX};
use cotter_types::{HistoryPage, HistoryQuery};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A replica that does not answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most pages that are read for one question: each is worth many thousand events.
const PAGES_MAX: u32 = 10_000;

/// Why the past is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// No replica was found.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A replica refused the question.
    #[error("the history was refused: {0}")]
    Refused(String),
    /// No replica that was asked has a history to tell of.
    #[error("no replica tells of the past: {}", told(.0))]
    Nobody(Vec<Trouble>),
}

fn told(troubles: &[Trouble]) -> String {
    let each = |it: &Trouble| format!("{}: {}", it.endpoint, it.problem);
    troubles.iter().map(each).collect::<Vec<_>>().join("; ")
}

impl Observer {
    /// Tells what happened, newest first: as many events as `query.limit` says, or all there are if it
    /// is 0. All of it comes from one replica, whose coverage stands beside it.
    ///
    /// # Errors
    /// [`HistoryError`].
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        let mut troubles = Vec::new();
        for endpoint in self.tellers().await? {
            match tell(&endpoint, query).await {
                Ok(page) => return Ok(page),
                Err(Refusal::Final(why)) => return Err(HistoryError::Refused(why)),
                Err(Refusal::AskAnother(problem)) => troubles.push(Trouble { endpoint, problem }),
            }
        }
        Err(HistoryError::Nobody(troubles))
    }

    /// Returns whom to ask, in order.
    async fn tellers(&self) -> Result<Vec<String>, QueryError> {
        match self.status().await {
            Ok(mut status) => {
                let master = status.master;
                status
                    .members
                    .sort_by_key(|member| Some(member.replica) != master);
                let addresses = status.members.into_iter().map(|it| it.client_address);
                Ok(addresses.collect())
            }
            Err(error @ (QueryError::Unreachable(_) | QueryError::TimedOut { .. })) => {
                let known = self.endpoints().await;
                if known.is_empty() {
                    Err(error)
                } else {
                    Ok(known)
                }
            }
            Err(error) => Err(error),
        }
    }
}

enum Refusal {
    AskAnother(String),
    Final(String),
}

/// Reads all pages at one replica.
async fn tell(address: &str, query: &HistoryQuery) -> Result<HistoryPage, Refusal> {
    let channel = stream::connect(address).await;
    let channel = channel.map_err(|error| Refusal::AskAnother(error.into_reason()))?;
    let mut client = CellClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
    let wanted = match query.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    let mut next = query.clone();
    let mut whole: Option<HistoryPage> = None;
    for _ in 0..PAGES_MAX {
        let left = wanted - whole.as_ref().map_or(0, |page| page.events.len());
        next.limit = u32::try_from(left)
            .unwrap_or(u32::MAX)
            .min(HISTORY_PAGE_MAX);
        let page = page(&mut client, next.clone()).await?;
        next.before = page.before;
        let whole = match &mut whole {
            None => whole.insert(page),
            Some(whole) => {
                whole.events.extend(page.events);
                whole.before = page.before;
                whole
            }
        };
        if whole.before.is_none() || whole.events.len() >= wanted {
            break;
        }
    }
    whole.ok_or_else(|| Refusal::AskAnother("it told nothing".to_owned()))
}

async fn page(
    client: &mut CellClient<Channel>,
    query: HistoryQuery,
) -> Result<HistoryPage, Refusal> {
    let request = v1::HistoryRequest::from(query);
    let answer = tokio::time::timeout(PATIENCE, client.history(request)).await;
    let answer = answer.map_err(|_| Refusal::AskAnother("no answer in time".to_owned()))?;
    let message = answer.map_err(refusal)?.into_inner();
    message
        .try_into()
        .map_err(|error: cotter_proto::WireError| Refusal::Final(error.to_string()))
}

fn refusal(status: Status) -> Refusal {
    let why = status.message().to_owned();
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange | Code::PermissionDenied => Refusal::Final(why),
        Code::Unimplemented => {
            Refusal::AskAnother("it is of a version without a history".to_owned())
        }
        _ => Refusal::AskAnother(why),
    }
}
