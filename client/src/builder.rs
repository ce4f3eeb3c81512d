//! How a client is set up.

use crate::clock;
use crate::driver;
use crate::error::ConnectError;
use crate::observer::Observer;
use crate::shared::SessionState;
use crate::{Client, shared::Handle};
use cotter_session::{Circuit, MasterSearch, SessionConfig};
use cotter_types::{CellId, Nonce, SessionMetadata, limits};
use std::time::Duration;

/// Where a cell is expected when nobody says.
pub const DEFAULT_ENDPOINT: &str = "127.0.0.1:7400";
/// The variable that says where the cell is: addresses separated by commas.
pub const ENDPOINTS_VARIABLE: &str = "COTTER_ENDPOINTS";
/// Longest time that a call takes when the caller does not say: far above a failover, and long enough
/// for a session to come back from jeopardy.
pub const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// After how long without a replica that can be used a cell counts as unreachable when the caller does
/// not say.
pub const UNREACHABLE_AFTER_DEFAULT: Duration =
    Duration::from_millis(limits::UNREACHABLE_AFTER_MS_DEFAULT);

/// Sets up a [`Client`] or an [`Observer`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    name: String,
    lease: Duration,
    grace: Duration,
    call_timeout: Option<Duration>,
    unreachable_after: Duration,
    cell: Option<CellId>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientBuilder {
    /// Returns the defaults: no endpoints yet, the cell's default lease, a grace period of 45 s.
    #[must_use]
    pub fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            name: String::new(),
            lease: Duration::from_millis(limits::LEASE_MS_DEFAULT),
            grace: Duration::from_millis(limits::GRACE_MS_DEFAULT),
            call_timeout: Some(CALL_TIMEOUT_DEFAULT),
            unreachable_after: UNREACHABLE_AFTER_DEFAULT,
            cell: None,
        }
    }

    /// Adds addresses (`host:port`) of replicas. Any one is enough to find the others.
    #[must_use]
    pub fn endpoints<I>(mut self, endpoints: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Adds the addresses in the environment variable `COTTER_ENDPOINTS`, separated by commas, or
    /// `127.0.0.1:7400` if it is not set.
    #[must_use]
    pub fn endpoints_from_env(self) -> Self {
        let text = std::env::var(ENDPOINTS_VARIABLE).unwrap_or_default();
        let listed: Vec<String> = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        if listed.is_empty() {
            self.endpoints([DEFAULT_ENDPOINT])
        } else {
            self.endpoints(listed)
        }
    }

    /// Gives the session a name for people to read, at most 255 bytes. The default is the program's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Asks for a lease: how long locks may stay held after this process has died. From 2 s to
    /// 120 s; the default is 12 s. What was granted is in [`Client::lease`].
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Says how long a session may stay in jeopardy before it is given up. The default is 45 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Says how long a call may take, connecting included; an acquire may take that much longer than
    /// its own wait. The default is 30 s. A single call can be given another with
    /// [`Client::with_call_timeout`].
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = Some(timeout);
        self
    }

    /// Lets calls wait for ever, connecting included: they end only with the session, and do not fail
    /// while the cell is unreachable.
    #[must_use]
    pub fn without_call_timeout(mut self) -> Self {
        self.call_timeout = None;
        self
    }

    /// Says for how long no replica must have been of use before the cell counts as unreachable, and
    /// calls that would only wait fail at once. The default is 5 s; a failover takes well under one.
    /// With [`Duration::MAX`] only the time limit of each call counts; with less than it takes to
    /// connect, no session is ever opened.
    #[must_use]
    pub fn unreachable_after(mut self, bound: Duration) -> Self {
        self.unreachable_after = bound;
        self
    }

    /// Names the only cell that will do. The default is whichever answers first.
    #[must_use]
    pub fn cell(mut self, cell: CellId) -> Self {
        self.cell = Some(cell);
        self
    }

    /// Opens a session.
    ///
    /// # Errors
    /// A [`ConnectError`] if an endpoint is malformed, the cell refuses, it is unreachable for
    /// [`ClientBuilder::unreachable_after`], or there is no session within the call timeout.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let timeout = self.call_timeout;
        let config = self.session_config()?;
        clock::read().map_err(|error| ConnectError::NoClock(error.to_string()))?;
        let handle = driver::start(config, timeout).map_err(ConnectError::NoThread)?;
        let opened = tokio::time::timeout(timeout.unwrap_or(Duration::MAX), opened(&handle));
        opened.await.unwrap_or_else(|_| {
            let timeout_ms = timeout.unwrap_or_default().as_millis();
            Err(ConnectError::TimedOut {
                timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX),
                troubles: handle.shared.troubles(),
            })
        })?;
        Ok(Client::new(handle))
    }

    /// Returns an observer, which asks without a session. It connects when it is first used.
    ///
    /// # Errors
    /// A [`ConnectError`] if an endpoint is malformed.
    pub fn observe(self) -> Result<Observer, ConnectError> {
        let endpoints = checked(&self.endpoints)?;
        let seed = random()? as u64;
        let circuit = Circuit::new(self.unreachable_after);
        let search = MasterSearch::new(endpoints, self.cell, seed);
        Ok(Observer::new(search, circuit, self.call_timeout))
    }

    fn session_config(&self) -> Result<SessionConfig, ConnectError> {
        let endpoints = checked(&self.endpoints)?;
        let nonce = random()?;
        let seed = random()? as u64;
        let mut config = SessionConfig::new(endpoints, Nonce(nonce), seed);
        config.lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        config.grace_ms = u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX);
        let unreachable_after_ms = self.unreachable_after.as_millis();
        config.unreachable_after_ms = u64::try_from(unreachable_after_ms).unwrap_or(u64::MAX);
        config.cell = self.cell;
        config.client = client_label();
        config.metadata = metadata(&self.name);
        Ok(config)
    }
}

/// Waits until the session is open or will never be, or the cell proves to be unreachable.
async fn opened(handle: &Handle) -> Result<(), ConnectError> {
    let mut state = handle.shared.watch_state();
    let settled = async {
        let settled = state.wait_for(|state| *state != SessionState::Opening);
        settled.await.map(|state| *state)
    };
    let settled = tokio::select! {
        biased;
        settled = settled => settled,
        report = handle.shared.unreachable(), if handle.call_timeout.is_some() => {
            return Err(ConnectError::Unreachable(Box::new(report)));
        }
    };
    match settled {
        Ok(SessionState::Refused) => {
            let refusal = handle.shared.refusal();
            let what = "the session was refused without a reason".to_owned();
            let unknown = cotter_types::Refusal::Invalid { what };
            Err(ConnectError::Refused(refusal.unwrap_or(unknown)))
        }
        Ok(state) if !state.is_over() => Ok(()),
        Ok(_) | Err(_) => Err(ConnectError::TimedOut {
            timeout_ms: 0,
            troubles: handle.shared.troubles(),
        }),
    }
}

/// Says which program this is, for the server's log.
pub(crate) fn client_label() -> String {
    let version = env!("CARGO_PKG_VERSION");
    shortened(&format!("{} cotter-client/{version}", program()))
}

fn metadata(name: &str) -> SessionMetadata {
    let program = program();
    let name = if name.is_empty() { &program } else { name };
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|host| host.into_string().ok());
    SessionMetadata {
        name: shortened(name),
        host: shortened(&host.unwrap_or_default()),
        // The simulation's own id would differ from run to run.
        pid: if cfg!(feature = "simulated") {
            1
        } else {
            std::process::id()
        },
        program: shortened(&program),
    }
}

fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(std::path::Path::file_name);
    name.map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Returns as much of a label as the cell takes.
fn shortened(text: &str) -> String {
    let mut end = text.len().min(limits::LABEL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn random() -> Result<u128, ConnectError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| ConnectError::NoThread(std::io::Error::other(error.to_string())))?;
    Ok(u128::from_le_bytes(bytes))
}

/// Checks endpoints and brings them into the form `host:port`.
pub(crate) fn checked(endpoints: &[String]) -> Result<Vec<String>, ConnectError> {
    if endpoints.is_empty() {
        return Err(ConnectError::NoEndpoints);
    }
    endpoints.iter().map(|text| endpoint(text)).collect()
}

/// Checks one endpoint.
pub(crate) fn endpoint(text: &str) -> Result<String, ConnectError> {
    let invalid = |problem| ConnectError::InvalidEndpoint {
        endpoint: text.to_owned(),
        problem,
    };
    let trimmed = text.trim();
    if trimmed.starts_with("https://") {
        return Err(invalid("this version speaks no TLS"));
    }
    let address = trimmed.strip_prefix("http://").unwrap_or(trimmed);
    let address = address.strip_suffix('/').unwrap_or(address);
    let authority: tonic::codegen::http::uri::Authority =
        address.parse().map_err(|_| invalid("it cannot be read"))?;
    match authority.port_u16() {
        None => Err(invalid("it has no port")),
        Some(0) => Err(invalid("port 0 cannot be connected to")),
        Some(_) if authority.host().is_empty() => Err(invalid("it has no host")),
        Some(_) => Ok(address.to_owned()),
    }
}
