//! Waiting for a job: with a bar on a terminal, with lines elsewhere, and across lost connections.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use serde_json::Value;

use super::answers::{JobAnswer, read};
use super::interrupt;
use super::session::{AgentConnection, NotReachable, Session};
use super::terminal::Terminal;
use super::word::Word;
use crate::api::value::{self, Dictionary};
use crate::journal::plain;
use crate::request::Kind;
use crate::state::job::JobStatus;
use crate::state::update::Phase;

/// How often a waiting client looks.
const POLL: Duration = Duration::from_millis(100);

/// How long it goes on when the bus, the service or the link is away: all of them come back when an
/// update has replaced them.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long it waits before it connects again.
pub const RECONNECT: Duration = Duration::from_secs(1);

/// How a job that was waited for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum JobEnd {
    /// It succeeded.
    Succeeded,
    /// It did not.
    Failed,
    /// It waits: for the network, for the end of a shutdown, for a lock of another program; or it has not ended
    /// within the time that it was waited for.
    Deferred,
}

impl JobEnd {
    /// How the job of this record has.
    pub fn of(record: &JobAnswer) -> Self {
        match record.status {
            Word::Known(JobStatus::Succeeded) => Self::Succeeded,
            Word::Known(JobStatus::Deferred | JobStatus::Queued | JobStatus::Running) => {
                Self::Deferred
            }
            _ => Self::Failed,
        }
    }
}

/// The record of a job: for people by its members, for programs as the service gives it.
pub struct JobRecord {
    pub job: JobAnswer,
    pub json: Value,
}

impl JobRecord {
    /// The record that `GetJob` answers.
    pub fn of(answer: &Dictionary) -> Result<Self> {
        let json = value::object(answer);
        let job = read(&json)?;
        Ok(Self { job, json })
    }

    /// Whether the worker has nothing to do for the job any more, or not before something else has happened.
    pub fn is_settled(&self) -> bool {
        matches!(
            self.job.status,
            Word::Known(
                JobStatus::Succeeded
                    | JobStatus::Failed
                    | JobStatus::Cancelled
                    | JobStatus::Deferred
                    | JobStatus::Conflict
            )
        )
    }
}

impl Session {
    /// Waits until nothing is to be done for the job any more, and not longer than `limit`; its record.
    pub fn wait(&self, job: &str, limit: Option<Duration>) -> Result<JobRecord> {
        self.wait_beyond(job, None, limit)
    }

    /// Like [`Session::wait`], for a job that has to leave that status first.
    pub fn wait_beyond(
        &self,
        job: &str,
        first: Option<JobStatus>,
        limit: Option<Duration>,
    ) -> Result<JobRecord> {
        interrupt::say(format!("\n{}", self.goes_on(job)));
        let mut shown = Shown::new(job);
        let record = self.follow(job, first, limit, &mut shown);
        shown.clear();
        interrupt::say_nothing();
        record
    }

    /// What becomes of a job that is not waited for any more.
    pub fn goes_on(&self, job: &str) -> String {
        let there = if self.host().is_some() { " there" } else { "" };
        let again = self.command(&format!("wait {job}"));
        format!("job {job} goes on{there}; ask: {again}")
    }

    fn follow(
        &self,
        job: &str,
        first: Option<JobStatus>,
        limit: Option<Duration>,
        shown: &mut Shown,
    ) -> Result<JobRecord> {
        let begun = Instant::now();
        let (mut agent, mut last_seen) = (None, begun);
        let is_over = || limit.is_some_and(|limit| begun.elapsed() >= limit);
        loop {
            match self.look(&mut agent, job) {
                Ok(record) => {
                    last_seen = Instant::now();
                    shown.update(&record.job);
                    let is_first =
                        first.is_some_and(|first| record.job.status == Word::Known(first));
                    if (record.is_settled() && !is_first) || is_over() {
                        return Ok(record);
                    }
                    thread::sleep(POLL);
                }
                Err(error) => {
                    let patient = last_seen.elapsed() <= PATIENCE && !is_over();
                    agent = None;
                    self.or_try_again(error, patient, job)?;
                }
            }
        }
    }

    /// Waits before the next attempt to connect; the last one ends with how to ask again.
    pub fn or_try_again(&self, error: Error, patient: bool, job: &str) -> Result<()> {
        match error.downcast::<NotReachable>() {
            Ok(_) if patient => {
                thread::sleep(RECONNECT);
                Ok(())
            }
            Ok(lost) => Err(lost.of_job(&self.goes_on(job)).into()),
            Err(other) => Err(other),
        }
    }

    fn look(&self, agent: &mut Option<AgentConnection>, job: &str) -> Result<JobRecord> {
        let agent = match agent {
            Some(agent) => agent,
            None => agent.insert(self.agent()?),
        };
        JobRecord::of(&self.ask_at(agent, "GetJob", &(job,))?)
    }
}

/// What is shown while waiting.
struct Shown {
    job: String,
    percent: u64,
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

    fn update(&mut self, record: &JobAnswer) {
        let phase = phase(record);
        let action = plain(&record.action);
        // it begins again with each transaction of a job
        self.percent = self.percent.max(record.progress.min(100));
        let waits = action.starts_with("waiting: ");
        let next = match action.as_str() {
            _ if self.terminal => bar(
                &self.job,
                self.percent,
                &phase,
                &action,
                Terminal::of_errors().width,
            ),
            // each package would be a line of its own
            action if waits => format!("{phase}, {action}"),
            _ => phase,
        };
        if next == self.last {
            return;
        }
        // a closed standard error is no reason to wait no longer
        let _ = if self.terminal {
            write!(std::io::stderr(), "{CLEAR}{next}")
        } else {
            writeln!(std::io::stderr(), "job {}: {next}", self.job)
        };
        self.last = next;
    }

    /// Takes the bar away.
    fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }
}

/// What a job is at, in one word.
fn phase(record: &JobAnswer) -> String {
    if record.status != Word::Known(JobStatus::Running) {
        return record.status.to_string();
    }
    match (&record.update.phase, &record.request.kind) {
        // a refresh has no phases, and an update that is not begun yet is in none
        (Word::Known(Phase::Idle), Word::Known(Kind::Refresh)) => "refreshing".to_owned(),
        (Word::Known(Phase::Idle), _) => "running".to_owned(),
        (phase, _) => phase.to_string(),
    }
}

/// To the start of the line, and nothing on it (ECMA-48, `EL`).
const CLEAR: &str = "\r\x1b[K";

/// The bar's width; on a narrow terminal a part of it.
const WIDTH: usize = 30;

/// One line that is shorter than the terminal is wide: pure. What the package manager does at the moment says more
/// than the phase, as soon as there is something.
fn bar(job: &str, percent: u64, phase: &str, action: &str, columns: usize) -> String {
    let percent = usize::try_from(percent).unwrap_or(100);
    let width = if columns < 80 { WIDTH / 3 } else { WIDTH };
    let full = percent * width / 100;
    let (full, rest) = ("#".repeat(full), "-".repeat(width - full));
    let doing = if action.is_empty() { phase } else { action };
    let line = format!("{job} [{full}{rest}] {percent} % {doing}");
    let room = columns.saturating_sub(1);
    if line.chars().count() <= room {
        return line;
    }
    line.chars()
        .take(room.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fits_into_a_line() {
        let job = "18ea03ea376e8b21-fe27df";
        let half = bar(job, 50, "activated", "", 80);
        assert_eq!(
            half,
            "18ea03ea376e8b21-fe27df [###############---------------] 50 % activated"
        );
        let unpacking = bar(job, 50, "activated", "unpacking libssl3t64 (amd64)", 120);
        assert!(
            unpacking.ends_with("] 50 % unpacking libssl3t64 (amd64)"),
            "{unpacking}"
        );
        let waits = "waiting: /var/lib/dpkg/lock-frontend is held by process 812 (unattended-upgr)";
        for columns in [20, 40, 79, 80, 100] {
            for percent in 0..=100 {
                let line = bar(job, percent, "rolled_back", waits, columns);
                assert!(line.chars().count() < columns, "{columns}: {line}");
            }
        }
    }

    #[test]
    fn a_job_that_goes_on_is_asked_for_again_where_it_is() {
        let words = |host: Option<&str>| {
            Session::new(host.map(|host| host.parse().unwrap())).goes_on("x-y")
        };
        assert_eq!(words(None), "job x-y goes on; ask: patchctl wait x-y");
        assert_eq!(
            words(Some("root@web:22")),
            "job x-y goes on there; ask: patchctl -H root@web:22 wait x-y"
        );
    }
}
