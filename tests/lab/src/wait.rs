//! Waiting for what happens by itself, and reading what the journal says about it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::host::Host;

/// Generous, as the machine may be busy with other tests; short enough that a hopeless test ends.
const LIMIT: Duration = Duration::from_secs(180);

/// The pause between two looks. A condition that runs programs on the host takes processor time from what it waits
/// for: the pause is twice as long as the look itself, within these limits.
const POLL: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];

impl Host {
    /// Waits until `condition` holds; panics with `what` was awaited and the end of the journal when it does not.
    #[track_caller]
    pub fn wait_for(&self, what: &str, condition: impl FnMut() -> bool) {
        self.wait_at_most(LIMIT, what, condition);
    }

    /// As [`wait_for`](Self::wait_for), with a limit of the caller's.
    #[track_caller]
    pub fn wait_at_most(&self, limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + limit;
        loop {
            let begin = Instant::now();
            if condition() {
                return;
            }
            if Instant::now() >= end {
                let log = self.log_tail();
                // a summary of a failed run may show the first line alone
                let last = log.lines().last().unwrap_or_default();
                panic!(
                    "waited {limit:?} in vain for: {what}; the last that was said: {last}\n{log}"
                );
            }
            std::thread::sleep((begin.elapsed() * 2).clamp(POLL[0], POLL[1]));
        }
    }

    /// The journal's entries of every boot, filtered by arguments of `journalctl`, the oldest first.
    #[track_caller]
    pub fn journal(&self, filter: &[&str]) -> Vec<Value> {
        let script =
            r#"journalctl --sync; exec journalctl --quiet --no-pager --merge --all -o json "$@""#;
        let output = self
            .run(&[&["sh", "-c", script, "sh"], filter].concat())
            .unwrap_or_else(|error| panic!("{error:#}"));
        output
            .stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The messages of [`journal`](Self::journal) alone.
    #[track_caller]
    pub fn messages(&self, filter: &[&str]) -> Vec<String> {
        let entries = self.journal(filter);
        entries
            .iter()
            .filter_map(|entry| entry["MESSAGE"].as_str().map(str::to_owned))
            .collect()
    }
}
