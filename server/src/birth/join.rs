//! How a replica joins a cell that was born without it, or with another disk of it.
//!
//! It asks a member that runs for the certificate of the cell, draws a disk id and makes its data
//! directory. That is all: it has no vote, and holds no state. Run from that directory it fetches the
//! state and follows, until a chapter of the log names its disk (`cotter cell add`, `replace`).
//!
//! What is written here can give nobody a vote, so nothing has to be agreed on; when it is interrupted
//! there is no directory, or a whole one.

use super::ceremony::ask;
use super::desk::{directory_failure, random};
use super::introduction::certificate_from_wire;
use crate::config::Config;
use crate::failure::Failure;
use crate::storage::{CellState, Certificate, DataDirectory, Identity};
use cotter_proto::peer::v1::{BirthRequest, birth_reply, birth_request};
use cotter_types::CellId;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Pause between two rounds of asking.
const ROUND: Duration = Duration::from_millis(200);

/// Makes the data directory of a replica that joins a living cell.
///
/// # Errors
/// [`Failure`] when the directory is not empty, when no member answers in time, or when one refuses.
pub async fn join(config: &Config, timeout: Duration) -> Result<CellId, Failure> {
    let others: Vec<&str> = config
        .members
        .iter()
        .filter(|member| member.id != config.replica)
        .map(|member| member.peer.as_str())
        .collect();
    if others.is_empty() {
        return Err(Failure::config(
            "members names nobody else: a replica joins by asking one of the cell's members",
        ));
    }
    // Said before anybody is asked; it is checked again when the directory is made.
    if matches!(is_empty(&config.data), Ok(false)) {
        return Err(Failure::config(format!(
            "{} is not empty: a replica joins with an empty directory. Move it away first; what was \
             promised from it is never used again",
            config.data.display()
        )));
    }
    let deadline = Instant::now() + timeout;
    let mut told = String::new();
    let certificate = loop {
        match certified(config, &others).await {
            Ok(certificate) => break certificate,
            Err(why) if Instant::now() >= deadline => {
                return Err(Failure::unavailable(format!(
                    "no member of the cell {} answered in time: {why}",
                    config.cell
                )));
            }
            Err(why) => {
                if why != told {
                    tracing::info!(replica = config.replica.0, why, "waiting for a member");
                }
                told = why;
                tokio::time::sleep(ROUND).await;
            }
        }
    };
    let cell_id = certificate.cell_id;
    let identity = Identity {
        certificate,
        replica: config.replica,
        incarnation: random("a disk id")?,
        state: CellState::Joined,
    };
    DataDirectory::create_at(&config.data, identity, None)
        .map_err(|error| directory_failure(&error))?;
    Ok(cell_id)
}

/// Tells whether a data directory holds nothing, or is not there.
pub(crate) fn is_empty(data: &Path) -> io::Result<bool> {
    match std::fs::read_dir(data) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Asks one member after the other.
async fn certified(config: &Config, others: &[&str]) -> Result<Certificate, String> {
    let mut trouble = Vec::new();
    for address in others {
        let request = BirthRequest {
            step: Some(birth_request::Step::Certify(birth_request::Certify {
                cell_name: config.cell.clone(),
            })),
        };
        let certificate = match ask(address, request).await.map(|reply| reply.reply) {
            Ok(Some(birth_reply::Reply::Certificate(wire))) => certificate_from_wire(wire),
            Ok(_) => Err("it gave no certificate".to_owned()),
            Err(why) => Err(why),
        };
        match certificate {
            Ok(certificate) if certificate.cell_name == config.cell => return Ok(certificate),
            Ok(_) => trouble.push(format!("{address}: its certificate is of another cell")),
            Err(why) => trouble.push(format!("{address}: {why}")),
        }
    }
    Err(trouble.join("; "))
}
