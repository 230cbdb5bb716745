//! How a child ended.

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum ExitReason {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that this process did not send.
    Killed(i32),
    /// This process ended it at its time limit.
    TimedOut,
    /// This process ended it because the caller requested a stop.
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
