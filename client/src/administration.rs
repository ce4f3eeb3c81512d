//! Changes of the cell itself: who has a vote, and who reigns.

use crate::error::QueryError;
use crate::observer::Observer;
use crate::reads::Reads;
use crate::stream;
use cotter_proto::status::{No, reason};
use cotter_proto::v1;
use cotter_proto::v1::cell_client::CellClient;
use cotter_types::{Administered, Administration, MemberStatus};
use std::time::Duration;
use tonic::{Code, Status};

/// Longest time for a change to stand. The master gives up before.
const CHANGE_WAIT: Duration = Duration::from_secs(60);
/// Pause before the master is looked for again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the master is looked for, when it changes meanwhile.
const ATTEMPTS_MAX: u32 = 20;

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

enum Trouble {
    /// Nothing was changed, and the master may be another one by now.
    Again(String),
    Final(AdministrationError),
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
        let mut trouble = String::new();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let status = self.status().await?;
            let is_master =
                |member: &&MemberStatus| member.votes && Some(member.replica) == status.master;
            let Some(master) = status.members.iter().find(is_master) else {
                "the cell has no master".clone_into(&mut trouble);
                continue;
            };
            match ask(&master.client_address, what).await {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Again(why)) => trouble = why,
            }
        }
        Err(AdministrationError::NoMaster(trouble))
    }
}

async fn ask(address: &str, what: Administration) -> Result<Administered, Trouble> {
    let channel = stream::connect(address).await;
    let channel = channel.map_err(|error| Trouble::Again(error.to_string()))?;
    let mut client = CellClient::new(channel);
    let request = v1::AdministerRequest::from(what);
    let unknown = |why: String| Trouble::Final(AdministrationError::Unknown(why));
    let asked = tokio::time::timeout(CHANGE_WAIT, client.administer(request)).await;
    let asked = asked.map_err(|_| unknown(format!("{address}: no answer")))?;
    let response = asked.map_err(|status| told(&status))?.into_inner();
    Administered::try_from(response).map_err(|error| unknown(error.to_string()))
}

/// Sorts a refusal. What carries no detail may have been told after the change was begun.
fn told(status: &Status) -> Trouble {
    let why = status.message().to_owned();
    match reason(status) {
        Some(No::Refused(_)) => Trouble::Final(AdministrationError::Refused(why)),
        Some(No::Unavailable(_)) => Trouble::Again(why),
        Some(No::Unknown(_)) => Trouble::Final(AdministrationError::Unknown(why)),
        None if status.code() == Code::Unimplemented => {
            let why = "the cell is older than this program, and cannot be changed".to_owned();
            Trouble::Final(AdministrationError::Refused(why))
        }
        None => Trouble::Final(AdministrationError::Unknown(why)),
    }
}
