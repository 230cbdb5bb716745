//! Waiting for a job: with a bar on a terminal, with lines elsewhere, and across lost connections.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::session::{Agent, NotReachable, Session, from_bus};
use super::show::text;
use crate::doors::value::{self, Dictionary};

/// How often a waiting client looks.
const POLL: Duration = Duration::from_millis(100);

/// How long it goes on when the bus, the door or the link is away: all of them come back when an
/// update has replaced them.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long it waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

/// How a job that was waited for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// It succeeded.
    Succeeded,
    /// It did not.
    Failed,
    /// It waits: for the network, for the end of a shutdown, for a lock of somebody else.
    Deferred,
}

impl Ended {
    /// How the job of this record has.
    pub fn of(record: &Value) -> Self {
        match text(record, "status") {
            "succeeded" => Self::Succeeded,
            "deferred" => Self::Deferred,
            _ => Self::Failed,
        }
    }
}

impl Session {
    /// Waits until nothing is to be done for the job any more; its record.
    pub fn wait(&self, job: &str) -> Result<Value> {
        self.wait_beyond(job, "")
    }

    /// Like [`Session::wait`], for a job that has to leave that status first.
    pub fn wait_beyond(&self, job: &str, first: &str) -> Result<Value> {
        let mut shown = Shown::new(job);
        let record = self.follow(job, first, &mut shown);
        shown.clear();
        record
    }

    fn follow(&self, job: &str, first: &str, shown: &mut Shown) -> Result<Value> {
        let (mut agent, mut last_seen) = (None, Instant::now());
        loop {
            match self.look(&mut agent, job) {
                Ok((record, percent)) => {
                    last_seen = Instant::now();
                    shown.update(&record, percent);
                    let status = text(&record, "status");
                    let settled = ["succeeded", "failed", "cancelled", "deferred", "conflict"];
                    if settled.contains(&status) && status != first {
                        return Ok(record);
                    }
                    thread::sleep(POLL);
                }
                Err(error) if !error.is::<NotReachable>() || last_seen.elapsed() > PATIENCE => {
                    return Err(error);
                }
                Err(_) => {
                    agent = None;
                    thread::sleep(RECONNECT);
                }
            }
        }
    }

    fn look(&self, agent: &mut Option<Agent>, job: &str) -> Result<(Value, u32)> {
        let agent = match agent {
            Some(agent) => agent,
            None => agent.insert(self.agent()?),
        };
        let record: Dictionary = agent.ask("GetJob", &(job,)).map_err(lost)?;
        let percent = agent.progress().unwrap_or(0);
        Ok((value::object(&record), percent))
    }
}

/// A connection that broke is one that may come back.
fn lost(error: zbus::fdo::Error) -> anyhow::Error {
    match error {
        zbus::fdo::Error::ZBus(error @ zbus::Error::InputOutput(_)) => {
            NotReachable::new(format!("the connection was lost: {error}")).into()
        }
        zbus::fdo::Error::Disconnected(why) | zbus::fdo::Error::TimedOut(why) => {
            NotReachable::new(format!("the connection was lost: {why}")).into()
        }
        other => from_bus(other),
    }
}

/// What is shown while waiting.
struct Shown {
    job: String,
    percent: u32,
    /// What was shown last: on a terminal the bar, elsewhere the phase.
    last: String,
    terminal: bool,
}

impl Shown {
    fn new(job: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        Self {
            job: job.to_owned(),
            percent: 0,
            last: String::new(),
            terminal: std::io::stderr().is_terminal() && !dumb,
        }
    }

    fn update(&mut self, record: &Value, percent: u32) {
        let kind = text(&record["request"], "kind");
        let phase = match text(record, "status") {
            "running" => match (text(&record["update"], "phase"), kind) {
                // a refresh has no phases, and an update that is not begun yet is in none
                ("idle", "refresh") => "refreshing",
                ("idle", _) => "running",
                (phase, _) => phase,
            },
            status => status,
        };
        // the number is the host's: of another job while this one waits, and of each transaction in turn
        if text(record, "status") == "running" {
            self.percent = self.percent.max(percent.min(100));
        }
        let next = if self.terminal {
            bar(&self.job, self.percent, phase)
        } else {
            phase.to_owned()
        };
        if next != self.last {
            // a closed standard error is no reason to wait no longer
            let _ = if self.terminal {
                write!(std::io::stderr(), "{CLEAR}{next}")
            } else {
                writeln!(std::io::stderr(), "job {}: {phase}", self.job)
            };
            self.last = next;
        }
    }

    /// Takes the bar away.
    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }
}

/// To the start of the line, and nothing on it (ECMA-48, `EL`).
const CLEAR: &str = "\r\x1b[K";

/// The bar's width.
const WIDTH: usize = 30;

/// One line, shorter than the narrowest terminal: pure.
fn bar(job: &str, percent: u32, phase: &str) -> String {
    let full = percent as usize * WIDTH / 100;
    let (full, rest) = ("#".repeat(full), "-".repeat(WIDTH - full));
    format!("{job} [{full}{rest}] {percent} % {phase}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_into_a_line() {
        let job = "18ea03ea376e8b21-fe27df";
        let half = bar(job, 50, "activated");
        assert_eq!(
            half,
            "18ea03ea376e8b21-fe27df [###############---------------] 50 % activated"
        );
        for percent in 0..=100 {
            assert!(bar(job, percent, "rolled_back").len() < 80);
        }
    }
}
