//! Questions without a session.
//!
//! A command that only looks needs no session: nothing is written to the log for it, and nothing is
//! left behind. An observer has one stream at a time, to the master, and asks one question after the
//! other.
//!
//! A cell that could not be reached for a bound is unreachable: the question fails, and so do those
//! that come before the next try is due. There is no thread behind an observer, so it is the questions
//! themselves that try again.

use crate::builder::{self, client_label};
use crate::clock;
use crate::error::QueryError;
use crate::reads::Reads;
use crate::stream;
use cotter_session::{Circuit, MasterSearch, Trouble, Verdict};
use cotter_types::{
    Answer, CellId, CellStatus, ClientFrame, Moment, Query, QueryResponse, ServerFrame, Unavailable,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// Version of the protocol.
const PROTOCOL_VERSION: u32 = cotter_proto::PROTOCOL_VERSION;
/// Frames on their way; an observer asks one question at a time.
const FRAMES_MAX: usize = 16;
/// A replica that says nothing for so long is left.
const SILENCE: Duration = Duration::from_millis(1_000);
/// Longest delay that a replica's hint can impose, in milliseconds.
const RETRY_MS_MAX: u64 = 1_000;

/// Asks a cell without a session. Clones share one stream.
#[derive(Clone, Debug)]
pub struct Observer {
    inner: Arc<Mutex<Inner>>,
    /// How long a question may take; nothing for ever, and through any outage.
    timeout: Option<Duration>,
}

#[derive(Debug)]
struct Inner {
    search: MasterSearch,
    /// A stream on which the master has introduced itself.
    master: Option<Link>,
    next_query: u64,
    circuit: Circuit,
    /// When the next attempt is due.
    next_try: Moment,
}

/// One stream.
#[derive(Debug)]
struct Link {
    address: String,
    outgoing: mpsc::Sender<ClientFrame>,
    incoming: mpsc::Receiver<Result<ServerFrame, String>>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How one attempt to ask ended.
enum Attempt {
    Answered(Result<QueryResponse, QueryError>),
    /// To be repeated after so long.
    Again(Duration),
}

impl Observer {
    pub(crate) fn new(search: MasterSearch, circuit: Circuit, timeout: Option<Duration>) -> Self {
        let inner = Inner {
            search,
            master: None,
            next_query: 0,
            circuit,
            next_try: Moment(0),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            timeout,
        }
    }

    /// Returns this observer with another time limit for each question, as
    /// [`ClientBuilder::call_timeout`](crate::ClientBuilder::call_timeout) says. It shares the stream.
    #[must_use]
    pub fn with_call_timeout(&self, timeout: Duration) -> Self {
        let inner = Arc::clone(&self.inner);
        let timeout = Some(timeout);
        Self { inner, timeout }
    }

    /// Returns this observer with questions that wait for ever. It shares the stream, and while it
    /// asks, the questions of others wait.
    #[must_use]
    pub fn without_call_timeout(&self) -> Self {
        let inner = Arc::clone(&self.inner);
        Self {
            inner,
            timeout: None,
        }
    }

    /// Returns the addresses of all replicas that are known, the configured ones first.
    pub(crate) async fn endpoints(&self) -> Vec<String> {
        self.inner.lock().await.search.addresses()
    }

    /// Asks one particular replica how it is, whether it is master or not.
    ///
    /// # Errors
    /// A [`QueryError`] if it does not answer; only this replica is asked.
    pub async fn status_of(&self, endpoint: &str) -> Result<CellStatus, QueryError> {
        let timed_out = |problem: String| QueryError::TimedOut {
            troubles: vec![Trouble {
                endpoint: endpoint.to_owned(),
                problem,
            }],
        };
        let address = builder::endpoint(endpoint).map_err(|error| timed_out(error.to_string()))?;
        let asked = async {
            let mut link = Link::open(&address).await?;
            link.greet(None).await?;
            let query = Query::Status;
            link.send(ClientFrame::Query { id: 1, query }).await?;
            loop {
                if let ServerFrame::QueryAnswer { id: 1, answer } = link.next().await? {
                    return Ok(answer);
                }
            }
        };
        let answer = tokio::time::timeout(self.timeout.unwrap_or(Duration::MAX), asked).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match answer.map_err(timed_out)? {
            Ok(QueryResponse::Status(status)) => Ok(*status),
            Err(Answer::Refused(refusal)) => Err(QueryError::Refused(refusal)),
            Err(Answer::Unavailable(unavailable)) => Err(timed_out(unavailable.to_string())),
            Ok(_) | Err(Answer::Done(_)) => Err(QueryError::Misfit),
        }
    }
}

impl Reads for Observer {
    async fn ask(&self, query: Query) -> Result<QueryResponse, QueryError> {
        let through_outages = self.timeout.is_none();
        let asked = async {
            let mut inner = self.inner.lock().await;
            inner.answer(&query, through_outages).await
        };
        match tokio::time::timeout(self.timeout.unwrap_or(Duration::MAX), asked).await {
            Ok(answer) => answer,
            Err(_) => Err(QueryError::TimedOut {
                // Another question may be under way, for as long as it likes.
                troubles: self
                    .inner
                    .try_lock()
                    .map_or_else(|_| Vec::new(), |inner| inner.circuit.troubles()),
            }),
        }
    }
}

impl Inner {
    /// Asks until there is an answer, or the cell proves to be unreachable.
    async fn answer(
        &mut self,
        query: &Query,
        through_outages: bool,
    ) -> Result<QueryResponse, QueryError> {
        if !self.circuit.is_open() {
            // What an earlier question met may be long over: each has the whole bound.
            self.circuit.answered();
        }
        loop {
            let begin = clock::now();
            if self.circuit.is_open() && !through_outages && begin < self.next_try {
                return Err(self.unreachable(begin));
            }
            let delay = match self.attempt(query).await {
                Attempt::Answered(answer) => {
                    if self.circuit.answered() {
                        tracing::info!("the cell is reachable again");
                    }
                    return answer;
                }
                Attempt::Again(delay) => delay,
            };
            let now = clock::now();
            self.next_try = now.after(delay);
            self.circuit.lost(begin);
            if !self.circuit.is_open() {
                // The bound may come before the next try.
                let bound = self.circuit.opens_at().since(now).min(delay);
                tokio::time::sleep(bound).await;
            }
            let now = clock::now();
            if self.circuit.open_if_due(now) {
                tracing::warn!("{}", self.circuit.report(now, self.next_try));
            }
            if self.circuit.is_open() && !through_outages {
                return Err(self.unreachable(now));
            }
            tokio::time::sleep(self.next_try.since(now)).await;
        }
    }

    fn unreachable(&self, now: Moment) -> QueryError {
        QueryError::Unreachable(Box::new(self.circuit.report(now, self.next_try)))
    }

    fn trouble(&mut self, address: &str, problem: &str) {
        self.circuit.trouble(clock::now(), address, problem);
    }

    /// Asks once, at the master if one is found.
    async fn attempt(&mut self, query: &Query) -> Attempt {
        let link = match self.master.take() {
            Some(link) => Ok(link),
            None => self.find().await,
        };
        let mut link = match link {
            Ok(link) => link,
            Err(delay) => return Attempt::Again(delay),
        };
        self.next_query += 1;
        let id = self.next_query;
        match ask(&mut link, id, query.clone()).await {
            Ok(Ok(response)) => {
                self.master = Some(link);
                Attempt::Answered(Ok(response))
            }
            Ok(Err(Answer::Refused(refusal))) => {
                self.master = Some(link);
                Attempt::Answered(Err(QueryError::Refused(refusal)))
            }
            Ok(Err(Answer::Done(_))) => Attempt::Answered(Err(QueryError::Misfit)),
            Ok(Err(Answer::Unavailable(unavailable))) => {
                if !matches!(unavailable, Unavailable::NotMaster { .. }) {
                    // A master that asks for time can be reached.
                    self.circuit.answered();
                }
                self.trouble(&link.address, &unavailable.to_string());
                Attempt::Again(match unavailable {
                    Unavailable::Overloaded { retry_after_ms } => {
                        self.search.jittered(retry_after_ms.min(RETRY_MS_MAX))
                    }
                    Unavailable::NotMaster { .. }
                    | Unavailable::DiskFull
                    | Unavailable::Condemned => self.search.backoff(),
                })
            }
            Err(problem) => {
                self.trouble(&link.address, &problem);
                Attempt::Again(self.search.backoff())
            }
        }
    }

    /// Looks for the master; if it is not found, says when to look again.
    async fn find(&mut self) -> Result<Link, Duration> {
        let mut next = self.search.next_address(clock::now());
        while let Some(address) = next.take() {
            let cell = self.search.cell();
            let greeted = async {
                let mut link = Link::open(&address).await?;
                let welcome = link.greet(cell).await?;
                Ok::<_, String>((link, welcome))
            };
            let (link, welcome) = match greeted.await {
                Ok(greeted) => greeted,
                Err(problem) => {
                    self.trouble(&address, &problem);
                    self.search.unreachable(clock::now(), &address);
                    return Err(self.search.backoff());
                }
            };
            match self.search.welcome(clock::now(), &address, &welcome) {
                Verdict::Master => return Ok(link),
                Verdict::Elsewhere(address) => next = Some(address),
                Verdict::Listen(delay) => {
                    self.trouble(
                        &address,
                        "it is not the master, and knows of none that can be reached",
                    );
                    return Err(delay);
                }
                Verdict::OtherCell(delay) => {
                    self.trouble(&address, "it belongs to another cell");
                    return Err(delay);
                }
            }
        }
        Err(self.search.backoff())
    }
}

async fn ask(
    link: &mut Link,
    id: u64,
    query: Query,
) -> Result<Result<QueryResponse, Answer>, String> {
    link.send(ClientFrame::Query { id, query }).await?;
    loop {
        match link.next().await? {
            ServerFrame::QueryAnswer {
                id: answered,
                answer,
            } if answered == id => {
                return Ok(answer);
            }
            ServerFrame::Welcome(welcome) if !welcome.is_master => {
                return Err("it is no longer the master".to_owned());
            }
            ServerFrame::GoAway { reason, .. } => return Err(reason),
            // An answer to a question whose asker has gone.
            _ => {}
        }
    }
}

impl Link {
    async fn open(address: &str) -> Result<Self, String> {
        let channel = stream::connect(address).await;
        let channel = channel.map_err(stream::StreamError::into_reason)?;
        let (outgoing, queued) = mpsc::channel(FRAMES_MAX);
        let (sender, incoming) = mpsc::channel(FRAMES_MAX);
        let task = tokio::spawn({
            let address = address.to_owned();
            async move {
                let incoming = sender.clone();
                let ended = stream::carry(&address, channel, queued, incoming, Ok).await;
                if let Err(error) = ended {
                    let _ = sender.send(Err(error.into_reason())).await;
                }
            }
        });
        Ok(Self {
            address: address.to_owned(),
            outgoing,
            incoming,
            task,
        })
    }

    /// Introduces itself and waits until the replica has done so too.
    async fn greet(&mut self, cell: Option<CellId>) -> Result<cotter_types::Welcome, String> {
        self.send(ClientFrame::Hello {
            version: PROTOCOL_VERSION,
            client: client_label(),
            cell,
        })
        .await?;
        loop {
            match self.next().await? {
                ServerFrame::Welcome(welcome) => return Ok(welcome),
                ServerFrame::GoAway { reason, .. } => return Err(reason),
                _ => {}
            }
        }
    }

    async fn send(&mut self, frame: ClientFrame) -> Result<(), String> {
        let sent = self.outgoing.send(frame).await;
        if sent.is_ok() {
            return Ok(());
        }
        // What ended the stream says why.
        while let Ok(frame) = self.next().await {
            drop(frame);
        }
        Err("the stream has ended".to_owned())
    }

    async fn next(&mut self) -> Result<ServerFrame, String> {
        match tokio::time::timeout(SILENCE, self.incoming.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => Err("the stream has ended".to_owned()),
            Err(_) => Err("no answer".to_owned()),
        }
    }
}
