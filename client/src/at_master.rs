//! What only the master does, asked for without a session: find the master, ask, and find it again when
//! it is another one by now.

use crate::error::QueryError;
use crate::observer::Observer;
use crate::reads::Reads;
use cotter_types::MemberStatus;
use std::time::Duration;

/// Pause before the master is looked for again.
const AGAIN: Duration = Duration::from_millis(200);
/// How often the master is looked for, when it changes meanwhile.
const ATTEMPTS_MAX: u32 = 20;

/// Why one master did not do it.
pub(crate) enum Refusal<E> {
    /// Nothing was done, and the master may be another one by now.
    Again(String),
    Final(E),
}

/// Why no master did it.
pub(crate) enum Failed<E> {
    /// The cell was not found.
    Query(QueryError),
    /// The cell has no master, or it changes all the time; nothing was done.
    NoMaster(String),
    /// A master refused for good.
    Final(E),
}

impl Observer {
    /// Asks the master, at its address, and asks the next one as long as nothing was done.
    pub(crate) async fn at_master<T, E>(
        &self,
        ask: impl AsyncFn(&str) -> Result<T, Refusal<E>>,
    ) -> Result<T, Failed<E>> {
        let mut trouble = String::new();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                tokio::time::sleep(AGAIN).await;
            }
            let status = self.status().await.map_err(Failed::Query)?;
            // Those with a vote stand first.
            let is_master = |member: &&MemberStatus| Some(member.replica) == status.master;
            let Some(master) = status.members.iter().find(is_master) else {
                "the cell has no master".clone_into(&mut trouble);
                continue;
            };
            match ask(&master.client_address).await {
                Ok(done) => return Ok(done),
                Err(Refusal::Final(error)) => return Err(Failed::Final(error)),
                Err(Refusal::Again(why)) => trouble = why,
            }
        }
        Err(Failed::NoMaster(trouble))
    }
}
