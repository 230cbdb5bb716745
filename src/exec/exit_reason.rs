//! How a child ended.

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ExitReason {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// We ended it because its time was up.
    TimedOut,
    /// We ended it because somebody asked us to stop.
    Stopped,
}

/// An ended child.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Finished {
    /// How it ended.
    pub exit_reason: ExitReason,
    /// The last lines of its standard error.
    pub errors: Vec<String>,
}

impl Finished {
    /// Whether it exited with 0. For a package manager that proves nothing.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit_reason == ExitReason::Exited(0)
    }
}
