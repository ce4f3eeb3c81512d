//! Where a measurement takes place: sessions, and a directory of its own in the cell, of which nothing
//! is left behind.

use super::args::RunArgs;
use crate::args::Common;
use crate::failure::{self, Failure};
use crate::verbs::builder;
use crate::verbs::nodes::finish;
use cotter_client::{ChangeError, Client, Path, Refusal};
use tokio::task::JoinSet;

/// Deletions that are on their way at the same time.
const DELETIONS_MAX: usize = 256;

/// Sessions and a directory.
#[derive(Debug)]
pub(super) struct Ground {
    /// The sessions; there is at least one.
    pub(super) clients: Vec<Client>,
    /// The directory of this run.
    pub(super) directory: String,
    /// What this run created to have that directory, itself included, from the root downwards.
    created: Vec<String>,
}

impl Ground {
    /// Opens the sessions and makes the directory.
    pub(super) async fn prepare(
        run: &RunArgs,
        common: &Common,
        workers: u32,
    ) -> Result<Self, Failure> {
        let mut clients = Vec::new();
        for _ in 0..run.streams.min(workers) {
            clients.push(builder(common).name("cotter bench").connect().await?);
        }
        let first = clients.first().ok_or_else(no_session)?;
        // No two sessions of a cell have the same id, so no two runs have the same directory.
        let directory = format!("{}/run-{}", run.path, first.session_id());
        let mut ground = Self {
            clients,
            directory,
            created: Vec::new(),
        };
        if let Err(failure) = ground.make_directory(&run.path).await {
            ground.clear(Vec::new()).await?;
            return Err(failure);
        }
        Ok(ground)
    }

    async fn make_directory(&mut self, prefix: &Path) -> Result<(), Failure> {
        let first = self.clients.first().ok_or_else(no_session)?;
        // The first two names, `ls` and the cell's, are no nodes that anybody makes.
        let beginnings = prefix.as_str().match_indices('/').map(|(at, _)| at);
        let beginnings = beginnings.skip(3).map(|at| &prefix.as_str()[..at]);
        let is_root = prefix.as_str().matches('/').count() < 3;
        let whole = (!is_root).then_some(prefix.as_str());
        for path in beginnings.chain(whole).chain([self.directory.as_str()]) {
            let request = first.create(path).map_err(|error| usage(path, &error))?;
            if request.send().await?.created {
                self.created.push(path.to_owned());
            }
        }
        Ok(())
    }

    /// Deletes the nodes and what else this run created, and closes the sessions. Everything is
    /// tried even if a part of it fails; the first failure is told.
    pub(super) async fn clear(mut self, nodes: Vec<String>) -> Result<(), Failure> {
        let first = self.clients.swap_remove(0);
        // Their locks go with them.
        for client in self.clients {
            finish(client).await;
        }
        let mut outcome = delete_all(&first, nodes).await;
        for path in self.created.iter().rev() {
            match delete(first.clone(), path.clone()).await {
                // Others have put something there meanwhile, and it is theirs now.
                Err(ChangeError::Refused(Refusal::HasChildren { .. })) => {}
                deleted => outcome = outcome.and(deleted),
            }
        }
        finish(first).await;
        outcome.map_err(Failure::from)
    }
}

async fn delete_all(client: &Client, nodes: Vec<String>) -> Result<(), ChangeError> {
    let mut outcome = Ok(());
    let mut deletions = JoinSet::new();
    for node in nodes {
        if deletions.len() >= DELETIONS_MAX
            && let Some(Ok(deleted)) = deletions.join_next().await
        {
            outcome = outcome.and(deleted);
        }
        deletions.spawn(delete(client.clone(), node));
    }
    while let Some(ended) = deletions.join_next().await {
        if let Ok(deleted) = ended {
            outcome = outcome.and(deleted);
        }
    }
    outcome
}

/// Deletes a node; that it is not there is as well.
async fn delete(client: Client, path: String) -> Result<(), ChangeError> {
    let invalid = |what: String| ChangeError::Refused(Refusal::Invalid { what });
    let request = client.delete(&path).map_err(|e| invalid(e.to_string()))?;
    match request.send().await {
        Ok(_) | Err(ChangeError::Refused(Refusal::NotFound { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the failure of a path that would break a rule with what is put behind it.
pub(super) fn usage(path: &str, error: &cotter_client::PathError) -> Failure {
    Failure::new(failure::USAGE, format!("--path: {path}: {error}"))
}

fn no_session() -> Failure {
    Failure::new(failure::SOFTWARE, "a measurement without a session")
}
