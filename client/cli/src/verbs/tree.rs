//! `cotter tree`: a node and everything below it.
//!
//! It goes node by node, depth first, and each listing is true for itself: what changes meanwhile
//! may be seen or not. A node that is deleted under its feet is left out.

use super::nodes::stat_json;
use super::observer;
use crate::args::Common;
use crate::failure::Failure;
use crate::output::{Format, show_json, span, visible, write_out};
use cotter_client::{Lifetime, NodeStat, Path, QueryError, Reads, Refusal};
use serde_json::{Value, json};

/// A node that was found, and how to draw it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    path: Path,
    stat: NodeStat,
    depth: u8,
    /// For each level down to this node: whether it is the last of its siblings.
    last: Vec<bool>,
}

/// Shows a node and everything below it.
pub(crate) async fn run(path: &Path, depth: Option<u8>, common: &Common) -> Result<(), Failure> {
    let observer = observer(common)?;
    let root = Found {
        path: path.clone(),
        stat: observer.stat(path.as_str()).await?,
        depth: 0,
        last: Vec::new(),
    };
    let mut pending = vec![root];
    let mut list = Vec::new();
    while let Some(node) = pending.pop() {
        if node.stat.children > 0 && depth.is_none_or(|limit| node.depth < limit) {
            match observer.list(node.path.as_str()).await {
                Ok(children) => pending.extend(below(&node, children)),
                Err(QueryError::Refused(Refusal::NotFound { .. })) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        match common.output {
            Format::Table => write_out(drawn(&node).as_bytes())?,
            Format::Plain => write_out(format!("{}\n", node.path).as_bytes())?,
            Format::Json => list.push(json!({
                "path": node.path.as_str(),
                "stat": stat_json(&node.stat),
            })),
        }
    }
    if common.output == Format::Json {
        show_json(&Value::Array(list))?;
    }
    Ok(())
}

/// Returns the children of a node, the first of them last, as a stack wants them.
fn below(node: &Found, children: Vec<(String, NodeStat)>) -> Vec<Found> {
    let count = children.len();
    let found = children.into_iter().enumerate().rev();
    found
        .filter_map(|(index, (name, stat))| {
            let mut last = node.last.clone();
            last.push(index + 1 == count);
            Some(Found {
                path: node.path.child(&name).ok()?,
                stat,
                depth: node.depth.saturating_add(1),
                last,
            })
        })
        .collect()
}

/// Draws one line: `│   ├── name  12 bytes, ephemeral`.
fn drawn(node: &Found) -> String {
    let mut line = String::new();
    if let Some((own, above)) = node.last.split_last() {
        for last in above {
            line.push_str(if *last { "    " } else { "│   " });
        }
        line.push_str(if *own { "└── " } else { "├── " });
        line.push_str(&visible(node.path.name()));
    } else {
        line.push_str(node.path.as_str());
    }
    let mut notes = Vec::new();
    if node.stat.content_bytes > 0 {
        notes.push(format!("{} bytes", node.stat.content_bytes));
    }
    match node.stat.lifetime {
        Lifetime::Permanent => {}
        Lifetime::Ephemeral => notes.push("ephemeral".to_owned()),
        Lifetime::Ttl { ms } => notes.push(format!("lives {} at a time", span(ms))),
    }
    if !notes.is_empty() {
        line.push_str("  ");
        line.push_str(&notes.join(", "));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::{Found, below, drawn};
    use cotter_client::{Instance, Lifetime, NodeStat, Path};

    fn stat(children: u64, content_bytes: u64) -> NodeStat {
        NodeStat {
            instance: Instance(1),
            lifetime: Lifetime::Permanent,
            content_generation: 1,
            lock_generation: 0,
            acl_generation: 1,
            child_generation: 0,
            content_bytes,
            content_checksum: 0,
            children,
            sequence: 0,
            creator: String::new(),
        }
    }

    #[test]
    fn branches_are_drawn_down_to_their_last_child() {
        let root = Found {
            path: Path::root(),
            stat: stat(2, 0),
            depth: 0,
            last: Vec::new(),
        };
        let children = vec![("a".to_owned(), stat(1, 0)), ("b".to_owned(), stat(0, 7))];
        let mut stack = below(&root, children);
        let first = stack.pop().unwrap();
        let grandchild = below(&first, vec![("c".to_owned(), stat(0, 0))]).remove(0);
        let second = stack.pop().unwrap();
        let text: Vec<String> = [&root, &first, &grandchild, &second].map(drawn).into();
        assert_eq!(
            text.concat(),
            "/ls/local\n├── a\n│   └── c\n└── b  7 bytes\n"
        );
    }
}
