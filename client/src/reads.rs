//! Everything that only looks.

use crate::error::QueryError;
use cotter_types::{
    CellStatus, Contents, Explanation, ListPage, LockRow, NodeStat, Path, Query, QueryResponse,
    Revision, Sequencer, SessionId, SessionView,
};

/// A node with its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The contents.
    pub contents: Contents,
    /// The stat.
    pub stat: NodeStat,
    /// The revision at which this was true.
    pub revision: Revision,
}

/// One page of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

/// Questions to a cell. A [`Client`](crate::Client) asks within its session, an
/// [`Observer`](crate::Observer) without one; every answer is linearizable.
///
/// All methods but [`Reads::ask`] are provided.
pub trait Reads: Sync {
    /// Asks anything.
    fn ask(&self, query: Query) -> impl Future<Output = Result<QueryResponse, QueryError>> + Send;

    /// Reads a node's contents and stat.
    fn get(&self, path: &str) -> impl Future<Output = Result<Node, QueryError>> + Send {
        async {
            let path = Path::parse(path)?;
            match self.ask(Query::Get { path }).await? {
                QueryResponse::Node {
                    contents,
                    stat,
                    revision,
                } => Ok(Node {
                    contents,
                    stat,
                    revision,
                }),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads a node's stat.
    fn stat(&self, path: &str) -> impl Future<Output = Result<NodeStat, QueryError>> + Send {
        async {
            let path = Path::parse(path)?;
            match self.ask(Query::Stat { path }).await? {
                QueryResponse::Stat { stat, .. } => Ok(stat),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads one page of a node's children, in order of name: those after the name `after` (empty
    /// for the first page), at most `limit` (0 for the default of 200).
    fn list_page(
        &self,
        path: &str,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Result<ListPage, QueryError>> + Send {
        async move {
            let query = Query::List {
                path: Path::parse(path)?,
                after: after.to_owned(),
                limit,
            };
            match self.ask(query).await? {
                QueryResponse::List { page, .. } => Ok(page),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads all children of a node, page by page. Each page is true for itself.
    fn list(
        &self,
        path: &str,
    ) -> impl Future<Output = Result<Vec<(String, NodeStat)>, QueryError>> + Send {
        async move {
            let mut all: Vec<(String, NodeStat)> = Vec::new();
            loop {
                let after = all.last().map_or("", |(name, _)| name).to_owned();
                let mut page = self.list_page(path, &after, 0).await?;
                let more = page.more && !page.children.is_empty();
                all.append(&mut page.children);
                if !more {
                    return Ok(all);
                }
            }
        }
    }

    /// Explains a lock: who holds it, who waits, and why.
    fn explain(&self, path: &str) -> impl Future<Output = Result<Explanation, QueryError>> + Send {
        async {
            let path = Path::parse(path)?;
            match self.ask(Query::Explain { path }).await? {
                QueryResponse::Explain(explanation) => Ok(*explanation),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads one page of the locks within a path that are held, waited for or delayed: those after
    /// the path `after`, at most `limit` (0 for the default).
    fn locks_page(
        &self,
        within: &Path,
        after: Option<Path>,
        limit: u32,
    ) -> impl Future<Output = Result<Page<LockRow>, QueryError>> + Send {
        let within = within.clone();
        async move {
            let query = Query::Locks {
                within,
                after,
                limit,
            };
            match self.ask(query).await? {
                QueryResponse::Locks { rows, more } => Ok(Page { rows, more }),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads all locks within a path that are held, waited for or delayed, page by page.
    fn locks(
        &self,
        within: &Path,
    ) -> impl Future<Output = Result<Vec<LockRow>, QueryError>> + Send {
        async move {
            let mut all: Vec<LockRow> = Vec::new();
            loop {
                let after = all.last().map(|row| row.path.clone());
                let mut page = self.locks_page(within, after, 0).await?;
                let more = page.more && !page.rows.is_empty();
                all.append(&mut page.rows);
                if !more {
                    return Ok(all);
                }
            }
        }
    }

    /// Reads one page of the sessions, in order of id: those after `after` (0 for the first page),
    /// at most `limit` (0 for the default).
    fn sessions_page(
        &self,
        after: SessionId,
        limit: u32,
    ) -> impl Future<Output = Result<Page<SessionView>, QueryError>> + Send {
        async move {
            match self.ask(Query::Sessions { after, limit }).await? {
                QueryResponse::Sessions { rows, more } => Ok(Page { rows, more }),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Reads all sessions, page by page.
    fn sessions(&self) -> impl Future<Output = Result<Vec<SessionView>, QueryError>> + Send {
        async {
            let mut all: Vec<SessionView> = Vec::new();
            loop {
                let after = all.last().map_or(SessionId(0), |row| row.session);
                let mut page = self.sessions_page(after, 0).await?;
                let more = page.more && !page.rows.is_empty();
                all.append(&mut page.rows);
                if !more {
                    return Ok(all);
                }
            }
        }
    }

    /// Asks whether the acquisition that a sequencer names still holds its lock.
    fn check_sequencer(
        &self,
        sequencer: &Sequencer,
    ) -> impl Future<Output = Result<bool, QueryError>> + Send {
        let sequencer = sequencer.clone();
        async move {
            match self.ask(Query::CheckSequencer { sequencer }).await? {
                QueryResponse::Sequencer { current } => Ok(current),
                _ => Err(QueryError::Misfit),
            }
        }
    }

    /// Asks the master how the cell is.
    fn status(&self) -> impl Future<Output = Result<CellStatus, QueryError>> + Send {
        async {
            match self.ask(Query::Status).await? {
                QueryResponse::Status(status) => Ok(*status),
                _ => Err(QueryError::Misfit),
            }
        }
    }
}
