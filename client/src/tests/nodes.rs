//! Sequential names, times to live, transactions.

use super::fake::Fake;
use crate::{ChangeError, Client, Condition, Contents, Lifetime, NodeOperation, NodeResult};
use cotter_types::limits::CONTENTS_BYTES_MAX;
use cotter_types::{ClientFrame, Mutation, Refusal};
use std::time::Duration;

async fn connect(fake: &Fake) -> Client {
    let endpoint = [fake.address.clone()];
    Client::builder()
        .endpoints(endpoint)
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_sequential_creation_tells_its_path_and_carries_its_time_to_live() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let request = client.create("/ls/local/q/job-").unwrap();
    let request = request.sequential().ttl(Duration::from_secs(60));
    let created = request.contents("x").send().await.unwrap();
    assert_eq!(created.path.as_str(), "/ls/local/q/job-0000000001");
    assert!(created.created);
    let lifetime = Lifetime::Ttl { ms: 60_000 };
    assert_eq!(created.stat.lifetime, lifetime);
    fake.hears_mutation(|mutation| {
        matches!(mutation, Mutation::CreateSequential(create)
            if create.lifetime == lifetime && create.contents == Contents::from("x"))
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_sent_in_the_order_in_which_it_was_said() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let request = client.transaction();
    let request = request.if_absent("/ls/local/a").unwrap();
    let request = request.if_contents("/ls/local/b", "old").unwrap();
    let request = request.create("/ls/local/a", "new").unwrap();
    let request = request.delete("/ls/local/b").unwrap();
    let results = request.send().await.unwrap();
    assert_eq!(results, vec![NodeResult::Deleted { nodes: 1 }; 2]);
    fake.hears_mutation(|mutation| {
        let Mutation::Transaction(transaction) = mutation else {
            return false;
        };
        let conditions = transaction.compares.iter().map(|it| it.condition.clone());
        let conditions: Vec<_> = conditions.collect();
        let old = Condition::Contents(Contents::from("old"));
        assert_eq!(conditions, [Condition::Absent, old]);
        matches!(
            transaction.operations.as_slice(),
            [NodeOperation::Create(create), NodeOperation::Delete(_)] if create.exclusive
        )
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_no_cell_would_take_is_not_sent() {
    let mut fake = Fake::start();
    let client = connect(&fake).await;
    let empty = client.transaction().send().await;
    let invalid = matches!(empty, Err(ChangeError::Refused(Refusal::Invalid { .. })));
    assert!(invalid, "{empty:?}");
    let mut large = client.transaction();
    for _ in 0..8 {
        let contents = vec![0; CONTENTS_BYTES_MAX];
        large = large.set("/ls/local/a", contents).unwrap();
    }
    let refused = large.send().await;
    let limit = matches!(refused, Err(ChangeError::Refused(Refusal::Limit { .. })));
    assert!(limit, "{refused:?}");
    client.close().await.unwrap();
    let sent = fake.hears(|frame| matches!(frame, ClientFrame::Mutate { .. }));
    let close = Mutation::Close;
    assert!(matches!(sent.await, ClientFrame::Mutate { mutation, .. } if mutation == close));
}
