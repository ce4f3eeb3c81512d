//! Changes of the cell itself: who has a vote, and who reigns.

use crate::at_master::{Failed, Refusal};
use crate::error::QueryError;
use crate::observer::Observer;
use crate::stream;
use cotter_proto::status::{No, reason};
use cotter_proto::v1;
use cotter_proto::v1::cell_client::CellClient;
use cotter_types::{Administered, Administration};
use std::time::Duration;
use tonic::{Code, Status};

/// Longest time for a change to stand. The master gives up before.
const CHANGE_WAIT: Duration = Duration::from_secs(60);

/// Why the cell was not changed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdministrationError {
    /// The cell was not found.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The cell has no master, or it changes all the time; nothing was changed.
    #[error("no master takes the change: {0}")]
    NoMaster(String),
    /// The master refused; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Whether it was changed is not known: the members and the master tell.
    #[error("it is not known whether the change was made ({0}): see cotter cell members")]
    Unknown(String),
}

impl From<Failed<Self>> for AdministrationError {
    fn from(failed: Failed<Self>) -> Self {
        match failed {
            Failed::Query(error) => Self::Query(error),
            Failed::NoMaster(why) => Self::NoMaster(why),
            Failed::Final(error) => error,
        }
    }
}

impl Observer {
    /// Changes the cell itself, and returns when the change stands.
    ///
    /// # Errors
    /// [`AdministrationError`]. It is never made twice: what is not known is not tried again.
    pub async fn administer(
        &self,
        what: Administration,
    ) -> Result<Administered, AdministrationError> {
        Ok(self
            .at_master(async |address| ask(address, what).await)
            .await?)
    }
}

async fn ask(
    address: &str,
    what: Administration,
) -> Result<Administered, Refusal<AdministrationError>> {
    let channel = stream::connect(address).await;
    let channel = channel.map_err(|error| Refusal::Again(error.to_string()))?;
    let mut client = CellClient::new(channel);
    let request = v1::AdministerRequest::from(what);
    let unknown = |why: String| Refusal::Final(AdministrationError::Unknown(why));
    let asked = tokio::time::timeout(CHANGE_WAIT, client.administer(request)).await;
    let asked = asked.map_err(|_| unknown(format!("{address}: no answer")))?;
    let response = asked.map_err(|status| told(&status))?.into_inner();
    Administered::try_from(response).map_err(|error| unknown(error.to_string()))
}

/// Sorts a refusal. What carries no detail may have been told after the change was begun.
fn told(status: &Status) -> Refusal<AdministrationError> {
    let why = status.message().to_owned();
    match reason(status) {
        Some(No::Refused(_)) => Refusal::Final(AdministrationError::Refused(why)),
        Some(No::Unavailable(_)) => Refusal::Again(why),
        Some(No::Unknown(_)) => Refusal::Final(AdministrationError::Unknown(why)),
        None if status.code() == Code::Unimplemented => {
            let why = "the cell is older than this program, and cannot be changed".to_owned();
            Refusal::Final(AdministrationError::Refused(why))
        }
        None => Refusal::Final(AdministrationError::Unknown(why)),
    }
}
