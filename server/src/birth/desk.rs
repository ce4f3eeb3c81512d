//! Where a replica answers for itself at a birth: who it is, and whether it takes a certificate.
//!
//! A replica that runs has a desk as well, so that a member whose birth was interrupted at the last
//! step finds somebody to tell it that the cell was born.

use super::ground::Ground;
use super::introduction::{Introduced, certificate_from_wire, certificate_to_wire, fingerprint};
use crate::config::MemberAddress;
use crate::failure::Failure;
use crate::storage::{
    CellState, Certificate, DataDirectory, DirectoryError, FIRST_CHAPTER, Identity, LogSettings,
    OpenError, OsFiles, place_of_fault,
};
use cotter_proto::peer::v1::birth_reply::{Born, Forming};
use cotter_proto::peer::v1::{BirthReply, BirthRequest, birth_reply, birth_request};
use cotter_types::ReplicaId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tonic::Status;

/// What a replica has at its desk.
#[derive(Debug)]
enum Deskwork {
    /// Nothing yet; it would live on this disk.
    Empty {
        /// Drawn at random when the desk was opened.
        incarnation: u64,
    },
    /// Its data directory, held open for the birth.
    Held(Box<DataDirectory<OsFiles>>),
    /// It runs, or is about to: somebody else holds the directory.
    Running(Box<Identity>),
}

/// A replica's desk.
#[derive(Debug)]
pub struct BirthDesk {
    replica: ReplicaId,
    cell: String,
    path: PathBuf,
    members: Vec<ReplicaId>,
    fingerprint: u64,
    /// What the cell is restored from; nothing at a birth.
    ground: Option<Ground>,
    work: Mutex<Deskwork>,
    /// Who asked, and whether it was born when it did.
    asked: Mutex<BTreeMap<ReplicaId, bool>>,
}

impl BirthDesk {
    /// Opens the desk of a replica that is to be born in `path`, in a cell that is restored from `ground`
    /// if that is given.
    ///
    /// # Errors
    /// [`Failure`] if the directory is in use, damaged, belongs to another cell or replica, or was born
    /// from something else than `ground`.
    pub fn open(
        path: &Path,
        cell: &str,
        replica: ReplicaId,
        members: &[MemberAddress],
        ground: Option<Ground>,
    ) -> Result<Self, Failure> {
        let work = match DataDirectory::open_at(path, Some(cell)) {
            Ok(directory) => Deskwork::Held(Box::new(directory)),
            Err(DirectoryError::NotInitialised(_)) => Deskwork::Empty {
                incarnation: random("a disk id")?,
            },
            Err(error) => return Err(directory_failure(&error)),
        };
        if let Deskwork::Held(directory) = &work {
            check_replica(path, directory.identity(), replica)?;
            if directory.identity().state == CellState::Joined {
                return Err(Failure::config(format!(
                    "{} has joined a cell that was born without it: start it with cotterd run",
                    path.display()
                )));
            }
            let begun = directory.identity().certificate.base;
            if let Some(ground) = &ground
                && begun.map(|base| base.source) != Some(ground.source())
            {
                return Err(Failure::config(format!(
                    "{} holds a replica of cell {} already, which was not restored from this file: a \
                     cell is restored into empty data directories",
                    path.display(),
                    directory.identity().certificate.cell_id
                )));
            }
        }
        Ok(Self {
            ground,
            ..Self::with(work, path, cell, replica, members)
        })
    }

    /// Opens the desk of a replica that runs as `identity`.
    #[must_use]
    pub fn of_running(identity: &Identity, path: &Path, members: &[MemberAddress]) -> Self {
        Self::with(
            Deskwork::Running(Box::new(identity.clone())),
            path,
            &identity.certificate.cell_name,
            identity.replica,
            members,
        )
    }

    fn with(
        work: Deskwork,
        path: &Path,
        cell: &str,
        replica: ReplicaId,
        members: &[MemberAddress],
    ) -> Self {
        Self {
            replica,
            cell: cell.to_owned(),
            path: path.to_owned(),
            members: members.iter().map(|member| member.id).collect(),
            fingerprint: fingerprint(members),
            ground: None,
            work: Mutex::new(work),
            asked: Mutex::new(BTreeMap::new()),
        }
    }

    /// Answers a step of a birth.
    ///
    /// # Errors
    /// A status that says why the step is refused.
    pub(crate) fn answer(&self, request: BirthRequest) -> Result<BirthReply, Status> {
        let reply = match request.step {
            Some(birth_request::Step::Introduce(wire)) => {
                let other = Introduced::from_wire(wire).map_err(Status::invalid_argument)?;
                self.lock_asked().insert(other.replica, other.is_born());
                birth_reply::Reply::Introduction(self.introduction().to_wire())
            }
            Some(birth_request::Step::Propose(propose)) => {
                let certificate = propose
                    .certificate
                    .ok_or_else(|| Status::invalid_argument("no certificate is proposed"))?;
                let certificate =
                    certificate_from_wire(certificate).map_err(Status::invalid_argument)?;
                self.propose(&certificate).map_err(refused)?;
                birth_reply::Reply::Forming(Forming {})
            }
            Some(birth_request::Step::Commit(commit)) => {
                self.commit(commit.cell_id).map_err(refused)?;
                birth_reply::Reply::Born(Born {})
            }
            Some(birth_request::Step::Certify(certify)) => {
                let certificate = self.certify(&certify.cell_name)?;
                birth_reply::Reply::Certificate(certificate_to_wire(&certificate))
            }
            None => return Err(Status::invalid_argument("a birth has no such step")),
        };
        Ok(BirthReply { reply: Some(reply) })
    }

    /// Returns the certificate of the cell, for a replica that joins it.
    fn certify(&self, cell: &str) -> Result<Certificate, Status> {
        if cell != self.cell {
            return Err(Status::failed_precondition(format!(
                "replica {} belongs to the cell {:?}, not to {cell:?}",
                self.replica, self.cell
            )));
        }
        match &*self.lock_work() {
            Deskwork::Running(identity) => Ok(identity.certificate.clone()),
            Deskwork::Empty { .. } | Deskwork::Held(_) => Err(Status::unavailable(format!(
                "replica {} does not run yet",
                self.replica
            ))),
        }
    }

    /// Returns what the cell is restored from; nothing at a birth.
    pub(super) fn ground(&self) -> Option<&Ground> {
        self.ground.as_ref()
    }

    /// Says who this replica is.
    pub(super) fn introduction(&self) -> Introduced {
        let work = self.lock_work();
        let identity = match &*work {
            Deskwork::Empty { .. } => None,
            Deskwork::Held(directory) => Some(directory.identity()),
            Deskwork::Running(identity) => Some(&**identity),
        };
        let incarnation = match &*work {
            Deskwork::Empty { incarnation } => *incarnation,
            Deskwork::Held(directory) => directory.identity().incarnation,
            Deskwork::Running(identity) => identity.incarnation,
        };
        Introduced {
            replica: self.replica,
            incarnation,
            held: identity.map(|identity| (identity.certificate.clone(), identity.state)),
            fingerprint: self.fingerprint,
            source: match identity {
                Some(identity) => identity.certificate.base.map(|base| base.source),
                None => self.ground.as_ref().map(Ground::source),
            },
        }
    }

    /// Writes a certificate down, durably. Once it did, doing so again changes nothing.
    pub(super) fn propose(&self, certificate: &Certificate) -> Result<(), Failure> {
        let mut work = self.lock_work();
        let held = match &*work {
            Deskwork::Empty { .. } => None,
            Deskwork::Held(directory) => Some(&directory.identity().certificate),
            Deskwork::Running(identity) => Some(&identity.certificate),
        };
        if let Some(held) = held {
            if held == certificate {
                return Ok(());
            }
            return Err(Failure::config(format!(
                "replica {} belongs to cell {} already",
                self.replica, held.cell_id
            )));
        }
        let incarnation = self.check(certificate)?;
        let base = match (&self.ground, certificate.base) {
            (Some(ground), Some(base)) => Some(ground.begin(certificate, base)?),
            (None, None) => None,
            // Members that say so do not agree in the first place.
            _ => {
                return Err(Failure::config(format!(
                    "replica {} and the certificate do not begin the cell with the same state",
                    self.replica
                )));
            }
        };
        let identity = Identity {
            certificate: certificate.clone(),
            replica: self.replica,
            incarnation,
            state: CellState::Forming,
        };
        let directory = DataDirectory::create_at(&self.path, identity, base.as_ref())
            .map_err(|error| directory_failure(&error))?;
        *work = Deskwork::Held(Box::new(directory));
        Ok(())
    }

    /// Makes the replica born, durably, with an empty log. Doing so again changes nothing.
    pub(super) fn commit(&self, cell_id: u64) -> Result<(), Failure> {
        let mut work = self.lock_work();
        let own = match &*work {
            Deskwork::Empty { .. } => None,
            Deskwork::Held(directory) => Some(directory.identity().certificate.cell_id),
            Deskwork::Running(identity) => Some(identity.certificate.cell_id),
        };
        if own.is_none_or(|own| own.0 != cell_id) {
            return Err(Failure::config(format!(
                "replica {} does not hold the certificate of cell {cell_id:016x}",
                self.replica
            )));
        }
        let Deskwork::Held(directory) = &mut *work else {
            return Ok(());
        };
        if directory.identity().state == CellState::Born {
            return Ok(());
        }
        // The log is made before the birth: a born replica without one is a replica that forgot.
        let settings = LogSettings::default();
        let log = match directory.open_log(FIRST_CHAPTER, settings) {
            Err(OpenError::Missing(_)) => directory.create_log(FIRST_CHAPTER, settings),
            opened => opened,
        };
        let place = |error: &OpenError| self.path.join(place_of_fault(FIRST_CHAPTER, error));
        log.map_err(|error| log_failure(&place(&error), &error))?
            .close()
            .map_err(|fault| Failure::unavailable(fault.to_string()))?;
        directory
            .set_born()
            .map_err(|error| directory_failure(&error))
    }

    /// Lets go of the data directory, so that the replica can run. Who it is can still be asked.
    pub(super) fn leave(&self) {
        let mut work = self.lock_work();
        if let Deskwork::Held(directory) = &*work {
            let identity = Box::new(directory.identity().clone());
            *work = Deskwork::Running(identity);
        }
    }

    /// Tells whether every other member has asked who this one is, from here on.
    pub(super) fn was_asked_by_all(&self) -> bool {
        let asked = self.lock_asked();
        self.members
            .iter()
            .all(|member| *member == self.replica || asked.get(member).copied().unwrap_or(false))
    }

    /// Checks that a certificate is one for this replica, and returns the disk that it gives it.
    fn check(&self, certificate: &Certificate) -> Result<u64, Failure> {
        if certificate.cell_name != self.cell {
            return Err(Failure::config(format!(
                "replica {} is configured for the cell {:?}, not for {:?}",
                self.replica, self.cell, certificate.cell_name
            )));
        }
        let named: Vec<ReplicaId> = certificate.members.iter().map(|member| member.id).collect();
        if named != self.members {
            return Err(Failure::config(format!(
                "the certificate names other members than the configuration of replica {}",
                self.replica
            )));
        }
        certificate
            .members
            .iter()
            .find(|member| member.id == self.replica)
            .map(|member| member.incarnation)
            .ok_or_else(|| {
                Failure::config(format!(
                    "the certificate does not name replica {}",
                    self.replica
                ))
            })
    }

    fn lock_work(&self) -> MutexGuard<'_, Deskwork> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_asked(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, bool>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the request that proposes `certificate`.
pub(super) fn propose_request(certificate: &Certificate) -> BirthRequest {
    BirthRequest {
        step: Some(birth_request::Step::Propose(birth_request::Propose {
            certificate: Some(certificate_to_wire(certificate)),
        })),
    }
}

/// Writes the request that commits to `certificate`.
pub(super) fn commit_request(certificate: &Certificate) -> BirthRequest {
    BirthRequest {
        step: Some(birth_request::Step::Commit(birth_request::Commit {
            cell_id: certificate.cell_id.0,
        })),
    }
}

/// Checks that a directory belongs to the replica that the configuration names.
pub(crate) fn check_replica(
    path: &Path,
    identity: &Identity,
    replica: ReplicaId,
) -> Result<(), Failure> {
    if identity.replica == replica {
        return Ok(());
    }
    Err(Failure::config(format!(
        "{} belongs to replica {}, but the configuration says replica {replica}",
        path.display(),
        identity.replica
    )))
}

/// Turns a directory that cannot be used into the end of the process.
pub(crate) fn directory_failure(error: &DirectoryError) -> Failure {
    match error {
        DirectoryError::Locked(_) | DirectoryError::Disk(_) => {
            Failure::unavailable(error.to_string())
        }
        _ => Failure::config(error.to_string()),
    }
}

/// Turns a log that cannot be used into the end of the process.
pub(crate) fn log_failure(path: &Path, error: &OpenError) -> Failure {
    let message = format!("the log {}: {error}", path.display());
    match error {
        OpenError::Disk(_) => Failure::unavailable(message),
        OpenError::Corrupt { .. } => Failure::damaged(message),
        _ => Failure::config(message),
    }
}

/// Draws a number that is not 0.
pub(crate) fn random(what: &str) -> Result<u64, Failure> {
    loop {
        let drawn = getrandom::u64().map_err(|error| {
            Failure::unavailable(format!("the system has no randomness for {what}: {error}"))
        })?;
        if drawn != 0 {
            return Ok(drawn);
        }
    }
}

fn refused(failure: Failure) -> Status {
    Status::failed_precondition(failure.to_string())
}
