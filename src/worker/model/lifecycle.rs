//! The life of an update: pure.
//!
//! ```text
//! idle ─► checking ─► downloading ─► staged ─► activated ─► verifying ─► success
//!           │  ▲          │             │                       ├─► rolled_back
//!           │  └── fetch error, once ───┘                       └─► failed
//!           ├─► success (nothing to do)
//!           └─► failed ◄── any step before activation ──► idle (cancelled)
//! ```
//!
//! Two steps lead past the gate at once. An update that a dead worker began is `activated`, from whatever phase was
//! written down: the change list on the disk proves that the gate let it through. A rollback of a job, which downloads
//! and stages nothing of an update, goes from `idle` to `verifying`.
//!
//! A refresh that downloads ahead leads from `idle` and `success` to `staged`, too; from there an update
//! begins with `checking` as always, and `idle` follows when nothing of it is pending any more.

use crate::state::update::Phase;

/// What happens to an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhaseEvent {
    /// A worker takes it.
    Begin,
    /// There is something to install, and the package manager fetches it.
    Download,
    /// Everything is here.
    Stage,
    /// A refresh has downloaded what is pending, for an update that no job has requested yet.
    StageAhead,
    /// What was downloaded ahead is not pending any more.
    Unstage,
    /// Something could not be fetched, for the first time: the index is refreshed again.
    FetchError,
    /// The change list is on disk, and the package manager starts.
    Activate,
    /// The change list on the disk proves that the gate let the update through, whatever was written down.
    Resume,
    /// The administrator has a job undone.
    Undo,
    /// The package manager has ended.
    Verify,
    /// Nothing was to be done.
    NothingToDo,
    /// The host is as it was meant to be.
    Succeed,
    /// The host is as it was before.
    RollBack,
    /// It went wrong.
    Fail,
    /// The administrator or a shutdown stopped it before anything changed.
    Cancel,
}

impl PhaseEvent {
    /// Every event.
    pub const ALL: [Self; 15] = [
        Self::Begin,
        Self::Download,
        Self::Stage,
        Self::StageAhead,
        Self::Unstage,
        Self::FetchError,
        Self::Activate,
        Self::Resume,
        Self::Undo,
        Self::Verify,
        Self::NothingToDo,
        Self::Succeed,
        Self::RollBack,
        Self::Fail,
        Self::Cancel,
    ];
}

/// An event that the phase does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IllegalStep {
    /// The phase the update is in.
    pub phase: Phase,
    /// The event that came.
    pub event: PhaseEvent,
}

impl std::fmt::Display for IllegalStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "an update that is {} cannot take the step {:?}",
            self.phase.as_str(),
            self.event
        )
    }
}

impl std::error::Error for IllegalStep {}

/// The phase that follows.
pub fn next(phase: Phase, event: PhaseEvent) -> Result<Phase, IllegalStep> {
    use Phase as P;
    use PhaseEvent as E;
    Ok(match (phase, event) {
        (P::Idle | P::Staged | P::Success | P::RolledBack | P::Failed, E::Begin)
        | (P::Downloading | P::Staged, E::FetchError) => P::Checking,
        (P::Checking, E::Download) => P::Downloading,
        (P::Downloading, E::Stage) | (P::Idle | P::Success | P::Staged, E::StageAhead) => P::Staged,
        (P::Staged, E::Activate) | (_, E::Resume) => P::Activated,
        (P::Activated, E::Verify) | (P::Idle, E::Undo) => P::Verifying,
        (P::Checking | P::Downloading, E::NothingToDo) | (P::Verifying, E::Succeed) => P::Success,
        (P::Verifying, E::RollBack) => P::RolledBack,
        (P::Checking | P::Downloading | P::Staged | P::Verifying, E::Fail) => P::Failed,
        (P::Checking | P::Downloading | P::Staged, E::Cancel) | (P::Staged, E::Unstage) => P::Idle,
        _ => return Err(IllegalStep { phase, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_full_matrix() {
        use std::fmt::Write;
        let mut matrix = String::new();
        for phase in Phase::ALL {
            let mut steps = String::new();
            for event in PhaseEvent::ALL {
                if let Ok(to) = next(phase, event) {
                    let _ = write!(steps, " {event:?}->{}", to.as_str());
                }
            }
            let _ = writeln!(matrix, "{}:{steps}", phase.as_str());
        }
        expect![[r"
            idle: Begin->checking StageAhead->staged Resume->activated Undo->verifying
            checking: Download->downloading Resume->activated NothingToDo->success Fail->failed Cancel->idle
            downloading: Stage->staged FetchError->checking Resume->activated NothingToDo->success Fail->failed Cancel->idle
            staged: Begin->checking StageAhead->staged Unstage->idle FetchError->checking Activate->activated Resume->activated Fail->failed Cancel->idle
            activated: Resume->activated Verify->verifying
            verifying: Resume->activated Succeed->success RollBack->rolled_back Fail->failed
            success: Begin->checking StageAhead->staged Resume->activated
            rolled_back: Begin->checking Resume->activated
            failed: Begin->checking Resume->activated
        "]]
        .assert_eq(&matrix);
    }
}
