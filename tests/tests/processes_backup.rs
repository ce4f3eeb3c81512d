//! Backups that do not go well: a master that dies while it sends, and more of them than it makes.

use cotter_client::{Backup, BackupError, Client, Observer};
use cotter_tests::cluster::DevCell;
use std::time::Duration;

/// Nodes and the bytes of each: together more than can be on the way to a receiver that takes nothing.
const NODES: usize = 120;
const NODE_BYTES: usize = 250_000;

/// A cell of some size, and who looks at it.
async fn large() -> (DevCell, Observer) {
    let cell = tokio::task::spawn_blocking(DevCell::start).await;
    let cell = cell.expect("a cell");
    let builder = || Client::builder().endpoints([cell.endpoint.as_str()]);
    let client = builder().connect().await.expect("a session");
    for nth in 0..NODES {
        let create = client.create(&format!("/ls/local/n{nth}"));
        let create = create
            .expect("a path")
            .contents(vec![nth as u8; NODE_BYTES]);
        create.send().await.expect("room for a node");
    }
    client.close().await.expect("a closed session");
    let observer = builder().call_timeout(Duration::from_secs(20)).observe();
    (cell, observer.expect("an observer"))
}

async fn rest(backup: &mut Backup) -> Result<usize, BackupError> {
    let mut bytes = 0;
    while let Some(piece) = backup.next().await? {
        bytes += piece.len();
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_breaks_off_with_its_master_and_never_ends_as_if_it_were_whole() {
    let (mut cell, observer) = large().await;
    let mut backup = observer.backup().await.expect("a backup");
    let first = backup.next().await.expect("a piece").expect("a piece");
    assert!(!first.is_empty());
    cell.process().kill();
    let ended = rest(&mut backup).await;
    assert!(
        matches!(ended, Err(BackupError::Interrupted(_))),
        "{ended:?}"
    );
    assert_eq!(backup.summary(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn third_backup_at_once_is_refused_until_another_is_done() {
    let (_cell, observer) = large().await;
    let mut one = observer.backup().await.expect("a backup");
    let mut two = observer.backup().await.expect("a backup");
    let refused = observer.backup().await;
    let Err(BackupError::Refused(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("backups already"), "{why}");
    let bytes = rest(&mut one).await.expect("all of it");
    assert!(bytes > NODES * NODE_BYTES, "{bytes}");
    let summary = one.summary().expect("an end").clone();
    assert_eq!(summary.bytes, bytes as u64);
    let mut three = observer.backup().await.expect("there is a place again");
    // Nothing has changed meanwhile, and renewals of the mastership are not commands.
    for backup in [&mut two, &mut three] {
        rest(backup).await.expect("all of it");
        assert_eq!(backup.summary().expect("an end").revision, summary.revision);
    }
}
