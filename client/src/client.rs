//! A session, as an application has it.

use crate::builder::ClientBuilder;
use crate::error::{ChangeError, CloseError, Cut, Lost, QueryError};
use crate::lock::LockRequest;
use crate::nodes::{CreateRequest, DeleteRequest, SetRequest};
use crate::reads::Reads;
use crate::shared::{Handle, Reachability, SessionState};
use crate::transaction::TransactionRequest;
use cotter_session::{Call, Outcome};
use cotter_types::{
    Contents, Moment, Mutation, Path, PathError, Query, QueryResponse, Response, SessionId,
};
use std::time::Duration;
use tokio::sync::watch;

/// A session of a cell. Clones share it; when the last one and the last guard are gone, it is
/// closed.
///
/// Losing a connection or the master is invisible but for time.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Handle,
}

impl Client {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Sets up a client.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// Returns the session's id.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.handle.shared.session()
    }

    /// Returns the lease that was granted.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.handle.shared.lease()
    }

    /// Returns what may be believed of the session, to be watched. The first value is the present
    /// one.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.handle.shared.watch_state()
    }

    /// Returns whether the cell can be reached, to be watched. The first value is the present one;
    /// when the session has ended, it changes no more.
    #[must_use]
    pub fn reachability(&self) -> watch::Receiver<Reachability> {
        self.handle.shared.watch_reachability()
    }

    /// Returns this client with another time limit for each call, as
    /// [`ClientBuilder::call_timeout`] says. It is the same session.
    #[must_use]
    pub fn with_call_timeout(&self, timeout: Duration) -> Self {
        let mut handle = self.handle.clone();
        handle.call_timeout = Some(timeout);
        Self { handle }
    }

    /// Returns this client with calls that wait for ever, as
    /// [`ClientBuilder::without_call_timeout`] says. It is the same session.
    #[must_use]
    pub fn without_call_timeout(&self) -> Self {
        let mut handle = self.handle.clone();
        handle.call_timeout = None;
        Self { handle }
    }

    /// Returns the moment, on [`now`](crate::now)'s clock, from which nothing may be believed any
    /// more unless the lease is extended before.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.handle.shared.lease_end()
    }

    /// Checks that the lease stands at this moment.
    ///
    /// # Errors
    /// [`Lost`] if it may have run out.
    pub fn check(&self) -> Result<(), Lost> {
        self.handle.shared.check()
    }

    /// Resolves when the session is in jeopardy or over, however shortly, since this was called.
    pub fn lost(&self) -> impl Future<Output = Lost> + Send + 'static {
        self.handle.shared.lost()
    }

    /// Prepares the acquisition of a lock.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn lock(&self, path: &str) -> Result<LockRequest, PathError> {
        Ok(LockRequest::new(self.handle.clone(), Path::parse(path)?))
    }

    /// Prepares the creation of a node.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn create(&self, path: &str) -> Result<CreateRequest, PathError> {
        Ok(CreateRequest::new(self.handle.clone(), Path::parse(path)?))
    }

    /// Prepares the replacement of a node's contents.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn set(&self, path: &str, contents: impl Into<Contents>) -> Result<SetRequest, PathError> {
        let path = Path::parse(path)?;
        Ok(SetRequest::new(self.handle.clone(), path, contents.into()))
    }

    /// Prepares the deletion of a node.
    ///
    /// # Errors
    /// A [`PathError`] if the path breaks a rule.
    pub fn delete(&self, path: &str) -> Result<DeleteRequest, PathError> {
        Ok(DeleteRequest::new(self.handle.clone(), Path::parse(path)?))
    }

    /// Prepares a transaction: changes of nodes that are made together or not at all.
    pub fn transaction(&self) -> TransactionRequest {
        TransactionRequest::new(self.handle.clone())
    }

    /// Stops holding an ephemeral node open. It goes when no other session holds it open.
    ///
    /// # Errors
    /// A [`ChangeError`].
    pub async fn unhold(&self, path: &Path) -> Result<(), ChangeError> {
        let path = path.clone();
        change(&self.handle, Mutation::Unhold { path }).await?;
        Ok(())
    }

    /// Closes the session: all its locks, waits and ephemeral nodes go at once. Calls that are still
    /// on their way end.
    ///
    /// # Errors
    /// A [`CloseError`] if the cell has not confirmed it.
    pub async fn close(self) -> Result<(), CloseError> {
        match self.handle.call(Call::Close).await {
            Outcome::Done { .. } => Ok(()),
            Outcome::TimedOut { .. } => Err(CloseError::TimedOut),
            Outcome::Unreachable(report) => Err(CloseError::Unreachable(report)),
            Outcome::Found(_) | Outcome::Refused(_) | Outcome::Unknown | Outcome::SessionEnded => {
                match self.handle.shared.state() {
                    SessionState::Closed => Ok(()),
                    _ => Err(CloseError::SessionEnded),
                }
            }
        }
    }
}

impl Reads for Client {
    async fn ask(&self, query: Query) -> Result<QueryResponse, QueryError> {
        match self.handle.call(Call::Query(query)).await {
            Outcome::Found(response) => Ok(response),
            Outcome::Refused(refusal) => Err(QueryError::Refused(refusal)),
            Outcome::Unknown | Outcome::SessionEnded => Err(QueryError::SessionEnded),
            Outcome::Done { .. } => Err(QueryError::Misfit),
            Outcome::TimedOut { .. } => Err(QueryError::TimedOut {
                troubles: self.handle.shared.troubles(),
            }),
            Outcome::Unreachable(report) => Err(QueryError::Unreachable(report)),
        }
    }
}

/// Sends a mutation and tells what it achieved.
pub(crate) async fn change(handle: &Handle, mutation: Mutation) -> Result<Response, ChangeError> {
    match handle.call(Call::Mutate(mutation)).await {
        Outcome::Done { response, .. } => Ok(response),
        Outcome::Refused(refusal) => Err(ChangeError::Refused(refusal)),
        Outcome::Unknown => Err(ChangeError::Unknown(Cut::SessionEnded)),
        Outcome::SessionEnded => Err(ChangeError::NotSent(Cut::SessionEnded)),
        Outcome::Found(_) => Err(ChangeError::Misfit),
        Outcome::TimedOut { sent: true } => Err(ChangeError::Unknown(Cut::TimedOut)),
        Outcome::TimedOut { sent: false } => Err(ChangeError::NotSent(Cut::TimedOut)),
        Outcome::Unreachable(report) => Err(ChangeError::Unreachable(report)),
    }
}
