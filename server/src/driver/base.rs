//! What the log of a restored cell begins with, looked for before anything is applied to it.
//!
//! A cell that was born begins empty, so a replica without a checkpoint starts from the empty state. A
//! restored cell begins from a checkpoint that its certificate names. If that and every later one is
//! gone, the empty state would be taken for the cell, with the tokens of a new one: the replica must
//! not start (I-STORE-9).

use super::keeper::Found;
use crate::storage::checkpoint::checkpoint_name;
use crate::storage::{CellState, FIRST_CHAPTER, Identity};

/// Tells whether a replica must fetch all of its state from the others: it joined a restored cell, whose
/// certificate it has and whose first state it has not.
pub(super) fn must_be_fetched(identity: &Identity, found: &Found) -> bool {
    let joined = identity.state == CellState::Joined;
    joined && identity.certificate.base.is_some() && found.start.is_none()
}

/// Says why a replica must not start from what was found, if so.
pub(super) fn refusal(identity: &Identity, found: &Found) -> Option<String> {
    let certificate = &identity.certificate;
    let own = certificate.cell_id;
    let first = checkpoint_name(FIRST_CHAPTER);
    let Some(start) = &found.start else {
        return certificate.base.map(|base| {
            format!(
                "the cell was restored, and begins from the state with digest {:032x}, but neither \
                 {first} nor a later checkpoint can be read: the logs mean nothing without \
                 it, and the replica does not start; if a majority of the others is whole, fetch the \
                 state from them with cotterd run --rebuild",
                base.state
            )
        });
    };
    if start.cell_id() != own {
        return Some(format!(
            "its newest checkpoint is of the cell with id {}, not {own}",
            start.cell_id()
        ));
    }
    let base = certificate.base?;
    // A later checkpoint was made of this one and the log; it makes this one dispensable.
    (start.chapter().number == FIRST_CHAPTER && start.digest() != base.state).then(|| {
        format!(
            "{first} holds the state with digest {:032x}, but the cell was restored as the \
             one with digest {:032x}",
            start.digest(),
            base.state
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{Found, must_be_fetched, refusal};
    use crate::storage::{CellState, CertifiedBase, Identity};
    use cotter_cell::{Cell, Genesis};
    use cotter_types::CellId;

    fn cell(id: u64) -> Cell {
        Cell::born(&Genesis {
            cell_id: CellId(id),
            cell: "west".to_owned(),
            token_floor: 5,
            voters: Vec::new(),
        })
    }

    fn identity(base: Option<u128>) -> Identity {
        let base = base.map(|state| CertifiedBase { source: 1, state });
        Identity::of_test(CellState::Born, base)
    }

    fn found(start: Option<Cell>) -> Found {
        Found {
            start,
            state_from: None,
            durable: Vec::new(),
        }
    }

    #[test]
    fn a_restored_cell_does_not_start_without_its_base() {
        let digest = cell(7).digest();
        assert_eq!(refusal(&identity(None), &found(None)), None);
        let why = refusal(&identity(Some(digest)), &found(None)).unwrap();
        assert!(why.contains("checkpoint-00000001"), "{why}");
        let whole = refusal(&identity(Some(digest)), &found(Some(cell(7))));
        assert_eq!(whole, None);
    }

    #[test]
    fn who_joined_a_restored_cell_fetches_what_it_began_with() {
        let digest = cell(7).digest();
        let joined = |base| Identity {
            state: CellState::Joined,
            ..identity(base)
        };
        assert!(must_be_fetched(&joined(Some(digest)), &found(None)));
        assert!(!must_be_fetched(&joined(None), &found(None)));
        assert!(!must_be_fetched(&identity(Some(digest)), &found(None)));
        let whole = found(Some(cell(7)));
        assert!(!must_be_fetched(&joined(Some(digest)), &whole));
    }

    #[test]
    fn a_base_that_differs_and_a_checkpoint_of_another_cell_are_refused() {
        let digest = cell(7).digest();
        let why = refusal(&identity(Some(digest ^ 1)), &found(Some(cell(7)))).unwrap();
        assert!(why.contains(&format!("{digest:032x}")), "{why}");
        for base in [None, Some(cell(8).digest())] {
            let why = refusal(&identity(base), &found(Some(cell(8)))).unwrap();
            assert!(why.contains("0000000000000008"), "{why}");
        }
    }
}
