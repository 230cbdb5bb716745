//! polkit's agent that asks for a password on the terminal.

use std::io::Read;
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use super::start;

/// Where polkit installs it, pkttyagent(1).
const PROGRAM: &str = "/usr/bin/pkttyagent";

/// The running agent of this process, which is ended when this value is dropped.
pub struct TtyAgent(Child);

impl TtyAgent {
    /// Starts the agent, and waits until polkit knows it; none where it is not installed or does not start. An agent
    /// that the session already has is asked first.
    #[must_use]
    pub fn start() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            return None;
        }
        let (child, mut ready) =
            start::spawn_notifying(PROGRAM, "--notify-fd", &["--fallback"]).ok()?;
        let agent = Self(child);
        // it closes the pipe when it is registered, and when it ends
        let _ = ready.read_to_end(&mut Vec::new());
        Some(agent)
    }
}

impl Drop for TtyAgent {
    fn drop(&mut self) {
        // by TERM, so that it leaves the terminal as it was
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::CONT);
        }
        let _ = self.0.wait();
    }
}
