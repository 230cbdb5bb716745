//! How one transaction ended.

use crate::package::{Change, KeptBack, RollbackItem, TransactionReport};
use crate::state::verification::{Rollback, Undone};
use crate::worker::steps::verify::Verification;

/// How one transaction ended.
pub enum TransactionOutcome {
    /// There was nothing to install.
    Nothing { kept_back: Vec<KeptBack> },
    /// Packages were changed; the judgement says how well.
    Changed(Box<Concluded>),
    /// It was stopped before anything changed.
    Cancelled,
}

/// A transaction that changed packages.
pub struct Concluded {
    pub judgement: Verification,
    pub applied: TransactionReport,
    pub former: Vec<RollbackItem>,
    pub rollback: Option<Rollback>,
    /// Why not everything that was asked for was tried.
    pub unfinished: Option<String>,
    /// What was removed before it to make room, and stays so.
    pub removed: Vec<Change>,
}

impl Concluded {
    /// Whether a change has stayed.
    pub fn has_left(&self, change: &Change) -> bool {
        let rollback = self.rollback.as_ref();
        !self.is_undone() || rollback.is_some_and(|rollback| rollback.has_left(change))
    }

    /// Whether it was undone, and nothing of it stayed.
    pub fn is_wholly_undone(&self) -> bool {
        let rollback = self.rollback.as_ref();
        self.is_undone() && rollback.and_then(Rollback::what_stayed).is_none()
    }

    /// Whether it was undone; a package may have stayed all the same.
    pub fn is_undone(&self) -> bool {
        let outcome = self.rollback.as_ref().map(|rollback| rollback.outcome);
        outcome == Some(Undone::RolledBack)
    }
}
