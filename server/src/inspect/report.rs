//! What was found, in the form in which programs read it.

use crate::storage::checkpoint::{self, CheckpointError, CheckpointMeta, Verified};
use crate::storage::{
    CellState, Difference, DirectoryError, FIRST_CHAPTER, Files, LogSurvey, OpenError, Survey,
    segment_file,
};
use omnipaxos::ballot_leader_election::Ballot;
use serde::Serialize;
use std::fmt;

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// What was looked at.
    pub(super) path: String,
    pub(super) identity: Option<IdentityView>,
    pub(super) boot: Option<u64>,
    pub(super) deaths: Vec<DeathView>,
    pub(super) chapters: Vec<ChapterView>,
    pub(super) checkpoints: Vec<CheckpointView>,
    /// What is unusual and not wrong.
    pub(super) notes: Vec<String>,
    /// What is wrong. Empty exactly if everything is whole.
    pub(super) findings: Vec<Finding>,
}

/// The report with the entries that were asked for.
#[derive(Debug, Serialize)]
pub(super) struct Whole<'a> {
    #[serde(flatten)]
    pub(super) report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entries: Option<&'a [super::entries::EntryView]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct IdentityView {
    pub(super) cell: String,
    pub(super) cell_id: String,
    pub(super) replica: u64,
    pub(super) incarnation: u64,
    /// Whether every member is known to hold the certificate.
    pub(super) born: bool,
    pub(super) token_floor: u64,
    pub(super) members: Vec<MemberView>,
    /// What the cell was restored from; nothing if it was born empty.
    pub(super) base: Option<BaseView>,
}

/// What a restored cell began with, by digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BaseView {
    /// Of the file that it was restored from.
    pub(super) source: String,
    /// Of the state in the first chapter's checkpoint.
    pub(super) state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct MemberView {
    pub(super) replica: u64,
    pub(super) incarnation: u64,
    pub(super) client_address: String,
    pub(super) peer_address: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct DeathView {
    pub(super) chapter: u64,
    pub(super) index: u64,
    pub(super) count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ChapterView {
    pub(super) chapter: u64,
    pub(super) segments: Vec<SegmentView>,
    /// Entries of the chapter that could be read; the first has index 0.
    pub(super) entries: u64,
    pub(super) decided: u64,
    pub(super) promise: Option<BallotView>,
    pub(super) accepted_round: Option<BallotView>,
    /// Whether the next segment is allocated.
    pub(super) reserved: bool,
    pub(super) torn_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SegmentView {
    pub(super) file: String,
    pub(super) used_bytes: u64,
    pub(super) records: u64,
    pub(super) entries_from: u64,
    pub(super) entries_to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct BallotView {
    pub(super) number: u32,
    pub(super) replica: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct CheckpointView {
    pub(super) file: String,
    pub(super) whole: bool,
    pub(super) cell: String,
    pub(super) cell_id: String,
    /// The chapter that begins from it; 0 in a backup.
    pub(super) chapter: u64,
    pub(super) applied: u64,
    pub(super) revision: u64,
    pub(super) digest: String,
    pub(super) written_wall_ms: u64,
    pub(super) program: String,
    /// Bytes, chunks and rows; nothing if it could not be read to its end.
    pub(super) bytes: Option<u64>,
    pub(super) chunks: Option<u64>,
    pub(super) rows: Option<u64>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// The file, as a path from what was looked at.
    pub(super) file: String,
    /// Where in the file, if that is known.
    pub(super) offset: Option<u64>,
    pub(super) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.file, self.what),
            None => write!(f, "{}: {}", self.file, self.what),
        }
    }
}

impl Report {
    pub(super) fn of_directory<F: Files>(survey: &Survey<F>) -> Self {
        let mut report = Self::default();
        match &survey.identity {
            Ok(identity) => report.add_identity(identity),
            Err(error) => report.find_in_directory("identity", error),
        }
        match &survey.boot {
            Ok(boot) => report.boot = Some(*boot),
            Err(error) => report.find_in_directory("boot", error),
        }
        match &survey.deaths {
            Ok(deaths) => report.add_deaths(deaths),
            Err(error) => report.find_in_directory("deaths", error),
        }
        match &survey.distrust {
            Ok((differences, open)) => report.add_differences(differences, *open),
            Err(error) => report.find_in_directory("distrust", error),
        }
        for log in &survey.logs {
            report.add_log(log);
        }
        if survey.logs.is_empty() && report.identity.as_ref().is_some_and(|own| own.born) {
            report.find("chapter-00000001", None, "the log is gone");
        }
        let folder = checkpoint::CHECKPOINTS_NAME;
        match checkpoint::list(&survey.checkpoints) {
            Ok(listing) => {
                for chapter in listing.chapters {
                    let name = checkpoint::checkpoint_name(chapter);
                    let opened = checkpoint::open(&survey.checkpoints, chapter);
                    report.add_checkpoint(format!("{folder}/{name}"), opened);
                }
                for name in listing.unfinished {
                    report.notes.push(format!(
                        "{folder}/{name} was never finished; the next start removes it"
                    ));
                }
            }
            Err(error) => report.find(folder, None, error.to_string()),
        }
        if let Ok(identity) = &survey.identity {
            report.check_base(identity.state);
        }
        report
    }

    pub(super) fn of_file<F: Files>(files: &F, name: &str) -> Self {
        let mut report = Self::default();
        report.add_checkpoint(name.to_owned(), checkpoint::open_file(files, name));
        report
    }

    pub(super) fn find(&mut self, file: &str, offset: Option<u64>, what: impl Into<String>) {
        self.findings.push(Finding {
            file: file.to_owned(),
            offset,
            what: what.into(),
        });
    }

    fn find_in_directory(&mut self, file: &str, error: &DirectoryError) {
        let what = match error {
            DirectoryError::Damaged { why, .. } => why.clone(),
            other => other.to_string(),
        };
        self.find(file, None, what);
    }

    fn add_identity(&mut self, identity: &crate::storage::Identity) {
        let certificate = &identity.certificate;
        if identity.state == CellState::Forming {
            self.notes
                .push("the birth of the cell was interrupted: run cotterd init again".to_owned());
        }
        if identity.state == CellState::Joined {
            self.notes.push(
                "this disk joined after the cell's birth: it votes where the log names it"
                    .to_owned(),
            );
        }
        self.identity = Some(IdentityView {
            cell: certificate.cell_name.clone(),
            cell_id: certificate.cell_id.to_string(),
            replica: identity.replica.0,
            incarnation: identity.incarnation,
            born: identity.state != CellState::Forming,
            token_floor: certificate.token_floor.0,
            members: certificate
                .members
                .iter()
                .map(|member| MemberView {
                    replica: member.id.0,
                    incarnation: member.incarnation,
                    client_address: member.client_address.clone(),
                    peer_address: member.peer_address.clone(),
                })
                .collect(),
            base: certificate.base.map(|base| BaseView {
                source: format!("{:032x}", base.source),
                state: format!("{:032x}", base.state),
            }),
        });
    }

    /// Finds out whether a restored cell still has what it began with, or a later checkpoint.
    fn check_base(&mut self, state: CellState) {
        let base = self.identity.as_ref().and_then(|own| own.base.as_ref());
        let Some(base) = base.map(|base| base.state.clone()) else {
            return;
        };
        let name = checkpoint::checkpoint_name(FIRST_CHAPTER);
        let file = format!("{}/{name}", checkpoint::CHECKPOINTS_NAME);
        let mut checkpoints = self.checkpoints.iter();
        let first = checkpoints.find(|view| view.chapter == FIRST_CHAPTER);
        if let Some(first) = first.filter(|first| first.digest != base) {
            let what = format!(
                "it holds the state with digest {}, but the cell was restored as the one with digest \
                 {base}",
                first.digest
            );
            self.find(&file, None, what);
        } else if state != CellState::Joined && !self.checkpoints.iter().any(|view| view.whole) {
            let what = "the cell was restored, and neither what it began with nor a later checkpoint \
                        is there and whole";
            self.find(&file, None, what);
        }
    }

    fn add_deaths(&mut self, deaths: &[(u64, u64)]) {
        for (chapter, index) in deaths {
            let same = |known: &&mut DeathView| (known.chapter, known.index) == (*chapter, *index);
            match self.deaths.iter_mut().find(same) {
                Some(known) => known.count += 1,
                None => self.deaths.push(DeathView {
                    chapter: *chapter,
                    index: *index,
                    count: 1,
                }),
            }
        }
    }

    fn add_differences(&mut self, differences: &[Difference], open: bool) {
        for difference in differences {
            self.notes.push(format!(
                "after entry {} the state had the digest {:032x}, and that of a majority {:032x}",
                difference.applied, difference.own, difference.theirs
            ));
        }
        if open {
            let what = "the state is not trusted: the next start fetches another from the others";
            self.notes.push(what.to_owned());
        }
    }

    fn add_log<F: Files>(&mut self, log: &LogSurvey<F>) {
        let folder = format!("chapter-{:08}", log.chapter);
        let file = |segment| format!("{folder}/{}", segment_file(segment));
        match &log.fault {
            None => {}
            Some(OpenError::Corrupt {
                segment,
                offset,
                why,
            }) => self.find(&file(*segment), Some(*offset), why.clone()),
            Some(error @ OpenError::Foreign { segment, .. }) => {
                self.find(&file(*segment), Some(0), error.to_string());
            }
            Some(error) => self.find(&folder, None, error.to_string()),
        }
        if let Some(torn) = &log.torn {
            self.notes.push(format!(
                "{} ends in {} unfinished bytes at byte {}: nobody was told of them, and the next \
                 start cuts them off",
                file(torn.segment),
                torn.bytes,
                torn.offset
            ));
        }
        self.chapters.push(ChapterView {
            chapter: log.chapter,
            segments: log
                .segments
                .iter()
                .map(|segment| SegmentView {
                    file: segment_file(segment.number),
                    used_bytes: segment.used_bytes,
                    records: segment.records,
                    entries_from: segment.entries_from,
                    entries_to: segment.entries_to,
                })
                .collect(),
            entries: log.entries,
            decided: log.decided,
            promise: log.promise.map(ballot),
            accepted_round: log.accepted_round.map(ballot),
            reserved: log.reserved,
            torn_bytes: log.torn.map_or(0, |torn| torn.bytes),
        });
    }

    fn add_checkpoint<F: Files>(
        &mut self,
        file: String,
        opened: Result<checkpoint::CheckpointReader<F>, CheckpointError>,
    ) {
        let mut meta = None;
        let verified = opened.and_then(|reader| {
            meta = Some(reader.meta().clone());
            checkpoint::verify(reader)
        });
        if let Some(meta) = meta {
            let cell_id = meta.genesis.cell_id.to_string();
            let own = self.identity.as_ref().map(|own| own.cell_id.clone());
            if let Some(own) = own.filter(|own| *own != cell_id) {
                let what = format!("it is of the cell with id {cell_id}, not {own}");
                self.find(&file, Some(0), what);
            }
            let view = view(file.clone(), &meta, verified.as_ref().ok());
            self.checkpoints.push(view);
        }
        match verified {
            Ok(_) => {}
            Err(CheckpointError::Damaged { offset, why, .. }) => {
                self.find(&file, Some(offset), why);
            }
            Err(error) => self.find(&file, None, error.to_string()),
        }
    }
}

fn ballot(ballot: Ballot) -> BallotView {
    BallotView {
        number: ballot.n,
        replica: ballot.pid,
    }
}

fn view(file: String, meta: &CheckpointMeta, verified: Option<&Verified>) -> CheckpointView {
    let size = verified.map(Verified::size);
    CheckpointView {
        file,
        whole: verified.is_some(),
        cell: meta.genesis.cell.clone(),
        cell_id: meta.genesis.cell_id.to_string(),
        chapter: meta.chapter,
        applied: meta.applied,
        revision: meta.revision.0,
        digest: format!("{:032x}", meta.digest),
        written_wall_ms: meta.written_wall_ms,
        program: meta.program.clone(),
        bytes: size.map(|size| size.bytes),
        chunks: size.map(|size| size.chunks),
        rows: size.map(|size| size.rows),
    }
}
