//! `cotter ls`, `cat`, `stat`, `put`, `create` and `rm`.

use super::{builder, observer};
use crate::args::{Common, CreateArgs, PutArgs, RmArgs};
use crate::failure::{self, Failure};
use crate::lock::signals::Signals;
use crate::output::{Format, Table, show, show_json, span, write_out};
use cotter_client::{ChangeError, Client, Instance, Lifetime, NodeStat, Path, Reads, Refusal};
use cotter_types::limits::CONTENTS_BYTES_MAX;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Read};

/// Lists the children of a node.
pub(crate) async fn ls(path: &Path, common: &Common) -> Result<(), Failure> {
    let children = observer(common)?.list(path.as_str()).await?;
    let mut table = match common.output {
        Format::Plain => Table::new(&["NAME"]),
        _ => Table::new(&[
            "NAME",
            "LIFETIME",
            "BYTES",
            "GENERATION",
            "CHILDREN",
            "CREATOR",
        ]),
    };
    let mut list = Vec::new();
    for (name, stat) in children {
        let mut row = vec![name.clone()];
        if common.output != Format::Plain {
            row.extend([
                lifetime(stat.lifetime).to_owned(),
                stat.content_bytes.to_string(),
                stat.content_generation.to_string(),
                stat.children.to_string(),
                stat.creator.clone(),
            ]);
        }
        table.rows.push(row);
        list.push(json!({ "name": name, "stat": stat_json(&stat) }));
    }
    show(common.output, &table, &Value::Array(list))
}

/// Writes the contents of a node to standard output, byte for byte.
pub(crate) async fn cat(path: &Path, common: &Common) -> Result<(), Failure> {
    let node = observer(common)?.get(path.as_str()).await?;
    let bytes = node.contents.as_bytes();
    if common.output != Format::Json {
        return write_out(bytes);
    }
    // JSON holds text; what is no text comes in hexadecimal under another name.
    let text = std::str::from_utf8(bytes).ok();
    let hexadecimal = text.is_none().then(|| {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        digits.collect::<String>()
    });
    show_json(&json!({
        "path": path.as_str(),
        "contents": text,
        "contents_hex": hexadecimal,
        "revision": node.revision.0,
        "stat": stat_json(&node.stat),
    }))
}

/// Shows the metadata of a node.
pub(crate) async fn stat(path: &Path, common: &Common) -> Result<(), Failure> {
    let stat = observer(common)?.stat(path.as_str()).await?;
    show_stat(path, &stat, common)
}

fn show_stat(path: &Path, stat: &NodeStat, common: &Common) -> Result<(), Failure> {
    let mut table = Table::new(&["WHAT", "VALUE"]);
    let facts = [
        ("path", path.to_string()),
        ("lifetime", lifetime(stat.lifetime).to_owned()),
        (
            "time to live",
            ttl_ms(stat.lifetime).map_or_else(String::new, span),
        ),
        ("instance", stat.instance.to_string()),
        ("content generation", stat.content_generation.to_string()),
        ("lock generation", stat.lock_generation.to_string()),
        ("ACL generation", stat.acl_generation.to_string()),
        ("child generation", stat.child_generation.to_string()),
        ("bytes", stat.content_bytes.to_string()),
        ("checksum", format!("{:016x}", stat.content_checksum)),
        ("children", stat.children.to_string()),
        ("sequence", stat.sequence.to_string()),
        ("creator", stat.creator.clone()),
    ];
    for (what, value) in facts {
        table.rows.push(vec![what.to_owned(), value]);
    }
    let mut json = stat_json(stat);
    json["path"] = Value::from(path.as_str());
    show(common.output, &table, &json)
}

/// Replaces the contents of a node, or creates it.
pub(crate) async fn put(arguments: &PutArgs, common: &Common) -> Result<(), Failure> {
    let contents = read_contents(&arguments.file)?;
    let client = builder(common).name("cotter put").connect().await?;
    let written = write(&client, arguments, &contents).await;
    finish(client).await;
    let stat = written?;
    if common.output == Format::Json {
        return show_stat(&arguments.path, &stat, common);
    }
    Ok(())
}

/// Sets what exists, and creates what does not. Another client may delete or create the node in
/// between, so it is tried again, a few times.
async fn write(
    client: &Client,
    arguments: &PutArgs,
    contents: &[u8],
) -> Result<NodeStat, ChangeError> {
    let path = arguments.path.as_str();
    let create = || {
        let request = client.create(path).map(|it| it.contents(contents));
        let request = request.map_err(invalid)?;
        Ok::<_, ChangeError>(if arguments.parents {
            request.parents()
        } else {
            request
        })
    };
    match arguments.if_generation {
        Some(0) => return Ok(create()?.exclusive().send().await?.stat),
        Some(generation) => {
            let set = client.set(path, contents).map_err(invalid)?;
            return set.if_content_generation(generation).send().await;
        }
        None => {}
    }
    let mut attempts = 3;
    loop {
        let set = client.set(path, contents).map_err(invalid)?;
        match set.send().await {
            Err(ChangeError::Refused(Refusal::NotFound { .. })) => {}
            other => return other,
        }
        let created = create()?.send().await?;
        attempts -= 1;
        if created.created || attempts == 0 {
            return Ok(created.stat);
        }
    }
}

/// The path was read before, so this does not happen.
fn invalid(error: cotter_client::PathError) -> ChangeError {
    let what = error.to_string();
    ChangeError::Refused(Refusal::Invalid { what })
}

/// Creates a node, and holds it open if it is ephemeral.
pub(crate) async fn create(arguments: &CreateArgs, common: &Common) -> Result<(), Failure> {
    let contents = match &arguments.file {
        Some(file) => read_contents(file)?,
        None => Vec::new(),
    };
    let mut signals = match arguments.ephemeral {
        true => Some(Signals::catch(false).map_err(|error| Failure::of_file("signals", &error))?),
        false => None,
    };
    let client = builder(common).name("cotter create").connect().await?;
    let path = arguments.path.as_str();
    let mut request = client
        .create(path)
        .map_err(invalid)?
        .contents(contents.as_slice());
    if arguments.parents {
        request = request.parents();
    }
    if arguments.exclusive {
        request = request.exclusive();
    }
    if arguments.ephemeral {
        request = request.ephemeral();
    }
    if arguments.sequential {
        request = request.sequential();
    }
    if let Some(ttl) = arguments.ttl {
        request = request.ttl(ttl);
    }
    let outcome = match request.send().await {
        Ok(created) => {
            let path = created.path.as_str();
            let mut json = stat_json(&created.stat);
            json["path"] = Value::from(path);
            json["created"] = Value::from(created.created);
            let shown = match common.output {
                Format::Json => show_json(&json),
                _ if arguments.sequential => write_out(format!("{path}\n").as_bytes()),
                _ if created.created => Ok(()),
                _ => {
                    eprintln!("cotter: {path} exists already, and was left as it is");
                    Ok(())
                }
            };
            match (shown, signals.as_mut()) {
                (Ok(()), Some(signals)) => hold_open(&client, path, signals).await,
                (shown, _) => shown,
            }
        }
        Err(error) => Err(error.into()),
    };
    finish(client).await;
    outcome
}

/// Waits for a signal, or for the end of the session.
async fn hold_open(client: &Client, path: &str, signals: &mut Signals) -> Result<(), Failure> {
    let mut state = client.state();
    tokio::select! {
        _ = signals.end() => Ok(()),
        _ = state.wait_for(|state| state.is_over()) => {
            let message = format!("the session has ended, and {path} is not held open any more");
            Err(Failure::new(failure::LOST, message))
        }
    }
}

/// Deletes a node.
pub(crate) async fn rm(arguments: &RmArgs, common: &Common) -> Result<(), Failure> {
    let client = builder(common).name("cotter rm").connect().await?;
    let mut request = client.delete(arguments.path.as_str()).map_err(invalid)?;
    if arguments.recursive {
        request = request.recursive();
    }
    if let Some(generation) = arguments.if_generation {
        request = request.if_content_generation(generation);
    }
    if let Some(instance) = arguments.if_instance {
        request = request.if_instance(Instance(instance));
    }
    let deleted = request.send().await;
    finish(client).await;
    let nodes = deleted?;
    if common.output == Format::Json {
        return show_json(&json!({ "path": arguments.path.as_str(), "deleted": nodes }));
    }
    Ok(())
}

/// Closes a session whose work is done. If that fails, nothing is lost by it: its lease ends it.
pub(crate) async fn finish(client: Client) {
    if let Err(error) = client.close().await {
        tracing::debug!(%error, "the session was not closed");
    }
}

/// Reads contents from a file, or from standard input for `-`.
fn read_contents(file: &std::path::Path) -> Result<Vec<u8>, Failure> {
    read_at_most(file, CONTENTS_BYTES_MAX, "a node")
}

/// Reads a file, or standard input for `-`, if it is not larger than `what` may be.
pub(crate) fn read_at_most(
    file: &std::path::Path,
    most: usize,
    what: &str,
) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    let name = file.display();
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().lock().take(limit + 1).read_to_end(&mut bytes)
    } else {
        let opened = File::open(file).map_err(|error| Failure::of_file(&name, &error))?;
        opened.take(limit + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| Failure::of_file(&name, &error))?;
    if bytes.len() > most {
        let message = format!("{name} is larger than {what} may be ({most} bytes)");
        return Err(Failure::new(failure::DATA, message));
    }
    Ok(bytes)
}

pub(crate) fn lifetime(lifetime: Lifetime) -> &'static str {
    match lifetime {
        Lifetime::Permanent => "permanent",
        Lifetime::Ephemeral => "ephemeral",
        Lifetime::Ttl { .. } => "ttl",
    }
}

/// Returns a node's time to live in milliseconds, if it has one.
fn ttl_ms(lifetime: Lifetime) -> Option<u64> {
    match lifetime {
        Lifetime::Permanent | Lifetime::Ephemeral => None,
        Lifetime::Ttl { ms } => Some(ms),
    }
}

pub(crate) fn stat_json(stat: &NodeStat) -> Value {
    json!({
        "lifetime": lifetime(stat.lifetime),
        "ttl_ms": ttl_ms(stat.lifetime),
        "instance": stat.instance.0,
        "content_generation": stat.content_generation,
        "lock_generation": stat.lock_generation,
        "acl_generation": stat.acl_generation,
        "child_generation": stat.child_generation,
        "content_bytes": stat.content_bytes,
        "content_checksum": format!("{:016x}", stat.content_checksum),
        "children": stat.children,
        "sequence": stat.sequence,
        "creator": stat.creator,
    })
}
