//! `cotter.v1.Cell/History`: what happened, as the replica that is asked remembers it.
//!
//! Every replica answers from its own history, whether or not there is a master: the order of events is
//! the same everywhere, so a page of one replica may be followed by a page of another. What an answer
//! does not hold it does not claim: its coverage says so. The owner of the replica is not asked.

use super::{Unary, malformed};
use crate::history::HistoryTrouble;
use cotter_proto::status::{No, status};
use cotter_proto::v1;
use cotter_types::{HistoryQuery, Refusal};
use tonic::Status;

impl Unary {
    /// Answers one question.
    pub(super) async fn tell_history(
        &self,
        request: v1::HistoryRequest,
    ) -> Result<v1::HistoryResponse, Status> {
        let refused = |no| status(&no);
        let mut query =
            HistoryQuery::try_from(request).map_err(|error| refused(malformed(error)))?;
        query.path = self
            .edge
            .local(&query.path)
            .map_err(|refusal: Refusal| refused(No::Refused(refusal)))?;
        let page = self.history.ask(query).await.map_err(troubled)?;
        Ok(page.into())
    }
}

fn troubled(trouble: HistoryTrouble) -> Status {
    let why = trouble.to_string();
    match trouble {
        HistoryTrouble::Off => Status::failed_precondition(why),
        HistoryTrouble::Failed(_) | HistoryTrouble::Late => Status::unavailable(why),
        HistoryTrouble::Busy => Status::resource_exhausted(why),
    }
}
