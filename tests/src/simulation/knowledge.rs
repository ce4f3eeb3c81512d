//! What the simulated clients know together, so that they compare and check what others did.
//!
//! It is what they were told, and so it is often out of date: that is what makes their conditions
//! fail now and then.

use cotter_session::{Call, Outcome};
use cotter_types::{
    Contents, Create, Mutation, NodeStat, Path, Query, QueryResponse, Response, Sequencer, Set,
};
use std::collections::{BTreeMap, VecDeque};

/// Numbered paths and sequencers that are remembered.
const REMEMBERED_MAX: usize = 8;

/// What all clients know together.
#[derive(Debug)]
pub(super) struct Knowledge {
    /// Paths that are locked, and sometimes deleted.
    pub(super) locks: Vec<Path>,
    /// Paths that are written.
    pub(super) nodes: Vec<Path>,
    /// Below what sequential names are created, by their unfinished paths.
    pub(super) unnumbered: Vec<Path>,
    /// Paths with numbers that somebody was given.
    pub(super) numbered: VecDeque<Path>,
    pub(super) stats: BTreeMap<Path, NodeStat>,
    pub(super) contents: BTreeMap<Path, Contents>,
    pub(super) sequencers: VecDeque<Sequencer>,
}

impl Knowledge {
    /// Chooses the paths of a run.
    #[must_use]
    pub(super) fn new(locks: usize, nodes: usize) -> Self {
        let path = |text: String| Path::parse(&text).expect("a path written here is valid");
        Self {
            locks: (0..locks)
                .map(|number| match number % 3 {
                    2 => path(format!("/ls/local/jobs/lock{number}")),
                    _ => path(format!("/ls/local/lock{number}")),
                })
                .collect(),
            nodes: (0..nodes)
                .map(|number| match number % 3 {
                    0 => path(format!("/ls/local/node{number}")),
                    _ => path(format!("/ls/local/tree/node{number}")),
                })
                .collect(),
            // The parent of the second is a node that is written, and deleted with all its children.
            unnumbered: vec![
                path("/ls/local/queue/job-".to_owned()),
                path("/ls/local/node0/part-".to_owned()),
            ],
            numbered: VecDeque::new(),
            stats: BTreeMap::new(),
            contents: BTreeMap::new(),
            sequencers: VecDeque::new(),
        }
    }

    /// Remembers what a call has come to.
    pub(super) fn learn(&mut self, call: &Call, outcome: &Outcome) {
        let (path, stat) = match outcome {
            Outcome::Done {
                response: Response::CreatedAt { path, stat },
                ..
            } => {
                self.numbered.push_back(path.clone());
                if self.numbered.len() > REMEMBERED_MAX {
                    self.numbered.pop_front();
                }
                (Some(path), &**stat)
            }
            Outcome::Done {
                response: Response::Created { stat, .. } | Response::Written { stat },
                ..
            } => (path_of(call), stat),
            Outcome::Found(QueryResponse::Stat { stat, .. }) => (path_of(call), stat),
            Outcome::Found(QueryResponse::Node { stat, contents, .. }) => {
                if let Some(path) = path_of(call) {
                    self.contents.insert(path.clone(), contents.clone());
                }
                (path_of(call), stat)
            }
            Outcome::Done {
                response: Response::Acquired { sequencer, .. },
                ..
            } => {
                self.sequencers.push_back(sequencer.clone());
                if self.sequencers.len() > REMEMBERED_MAX {
                    self.sequencers.pop_front();
                }
                return;
            }
            _ => return,
        };
        if let Some(path) = path {
            self.stats.insert(path.clone(), stat.clone());
        }
    }
}

fn path_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Mutate(Mutation::Create(Create { path, .. }) | Mutation::Set(Set { path, .. }))
        | Call::Query(Query::Get { path } | Query::Stat { path }) => Some(path),
        _ => None,
    }
}
