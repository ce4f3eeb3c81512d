//! The changes of `nodes.proto`. Their request ids and sequencers are read apart.

use super::operation::sequential;
use crate::v1;
use crate::wire::WireError;
use cotter_types::NodeChange;

impl TryFrom<v1::CreateRequest> for NodeChange {
    type Error = WireError;

    fn try_from(message: v1::CreateRequest) -> Result<Self, WireError> {
        let v1::CreateRequest {
            path,
            contents,
            lifetime,
            ttl_ms,
            parents,
            exclusive,
            sequential: numbered,
            request_id: _,
            sequencer: _,
        } = message;
        let create = v1::Create {
            path,
            contents,
            lifetime: match lifetime {
                0 => v1::Lifetime::Permanent.into(),
                number => number,
            },
            parents,
            exclusive,
            sequential: numbered,
            ttl_ms,
        };
        Ok(if numbered {
            Self::CreateSequential(sequential(create)?)
        } else {
            Self::Create(create.try_into()?)
        })
    }
}

impl TryFrom<v1::SetRequest> for NodeChange {
    type Error = WireError;

    fn try_from(message: v1::SetRequest) -> Result<Self, WireError> {
        let v1::SetRequest {
            path,
            contents,
            if_content_generation,
            if_instance,
            request_id: _,
            sequencer: _,
        } = message;
        let set = v1::Set {
            path,
            contents,
            if_content_generation,
            if_instance,
        };
        Ok(Self::Set(set.try_into()?))
    }
}

impl TryFrom<v1::DeleteRequest> for NodeChange {
    type Error = WireError;

    fn try_from(message: v1::DeleteRequest) -> Result<Self, WireError> {
        let v1::DeleteRequest {
            path,
            recursive,
            if_content_generation,
            if_instance,
            request_id: _,
            sequencer: _,
        } = message;
        let delete = v1::Delete {
            path,
            recursive,
            if_content_generation,
            if_instance,
        };
        Ok(Self::Delete(delete.try_into()?))
    }
}

impl TryFrom<v1::TransactionRequest> for NodeChange {
    type Error = WireError;

    fn try_from(message: v1::TransactionRequest) -> Result<Self, WireError> {
        let v1::TransactionRequest {
            compares,
            operations,
            request_id: _,
            sequencer: _,
        } = message;
        let transaction = v1::Transaction {
            compares,
            operations,
        };
        Ok(Self::Transaction(transaction.try_into()?))
    }
}
