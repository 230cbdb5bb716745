//! What the package manager printed in a job: all that is there, or as it comes.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::client::{Client, print_json};
use super::schema::Schema;
use super::session::{AgentConnection, TooOld};
use super::wait::{JobEnd, JobRecord, PATIENCE};
use super::{interrupt, render};
use crate::api::value::Dictionary;
use crate::journal::plain;
use crate::request::JobId;

/// How often more is asked for.
const POLL: Duration = Duration::from_millis(200);

impl Client {
    /// `patchctl log JOB`.
    pub fn log(&self, job: &JobId, as_json: bool) -> Result<()> {
        let record = self.record(job)?;
        if as_json {
            return print_json(record.json, Schema::Job);
        }
        self.show(&render::job(&record.job, &self.view))?;
        self.show(&render::asked(&record.job, &self.view))?;
        let agent = self.session.agent()?;
        let mut follower = Follower::default();
        loop {
            match self.read_more(&agent, job, &mut follower) {
                Ok(false) => {}
                Ok(true) => return follower.end_line(),
                // a host of an older version has it in one piece
                Err(error) if error.is::<TooOld>() => {
                    let log: String = self.session.ask_at(&agent, "GetJobLog", &(job.as_str(),))?;
                    return self.show(log.trim_end());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// `patchctl log -f JOB`: until the job has ended, and then how it did.
    pub fn follow_log(&self, job: &JobId) -> Result<JobEnd> {
        interrupt::say(format!("\n{}", self.session.goes_on(job.as_str())));
        let mut follower = Follower::default();
        let (mut agent, mut last_seen): (Option<AgentConnection>, _) = (None, Instant::now());
        loop {
            let connected = match agent.take() {
                Some(agent) => Ok(agent),
                None => self.session.agent(),
            };
            let read = connected.and_then(|connected| {
                // asked before the output is: nothing is printed after the end of the job
                let record: Dictionary =
                    self.session
                        .ask_at(&connected, "GetJob", &(job.as_str(),))?;
                let at_end = self.read_more(&connected, job, &mut follower)?;
                follower.ended = at_end && JobRecord::of(&record)?.is_settled();
                agent = Some(connected);
                Ok(at_end)
            });
            match read {
                Ok(_) if follower.reader_gone => return Ok(JobEnd::Succeeded),
                Ok(_) if follower.ended => break,
                Ok(at_end) => {
                    last_seen = Instant::now();
                    if at_end {
                        thread::sleep(POLL);
                    }
                }
                Err(error) => {
                    let patient = last_seen.elapsed() <= PATIENCE;
                    self.session.or_try_again(error, patient, job.as_str())?;
                }
            }
        }
        follower.end_line()?;
        interrupt::say_nothing();
        let record = self.session.wait(job.as_str(), None)?;
        self.show(&render::job(&record.job, &self.view))?;
        Ok(JobEnd::of(&record.job))
    }

    /// Prints the next part; whether there is no more for now.
    fn read_more(
        &self,
        agent: &AgentConnection,
        job: &JobId,
        follower: &mut Follower,
    ) -> Result<bool> {
        let asked = (job.as_str(), follower.next);
        let (text, next): (String, u64) = self.session.ask_at(agent, "ReadJobLog", &asked)?;
        follower.print(&text)?;
        follower.next = next;
        Ok(text.is_empty() || follower.reader_gone)
    }

    pub(super) fn record(&self, job: &JobId) -> Result<JobRecord> {
        JobRecord::of(&self.session.ask("GetJob", &(job.as_str(),))?)
    }
}

/// How much of a log was shown.
#[derive(Default)]
struct Follower {
    next: u64,
    ended: bool,
    /// Whether what was shown last ends within a line.
    in_line: bool,
    /// Whether the program that reads our output has seen enough.
    reader_gone: bool,
}

impl Follower {
    /// Prints a part, which may begin and end within a line; a line does nothing to the terminal.
    fn print(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.in_line = !text.ends_with('\n');
        let lines: Vec<String> = text.split('\n').map(plain).collect();
        let mut output = std::io::stdout();
        let written = output
            .write_all(lines.join("\n").as_bytes())
            .and_then(|()| output.flush());
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.reader_gone = true;
                Ok(())
            }
            Err(error) => bail!("failed to write to standard output: {error}"),
        }
    }

    /// Ends the line that was shown last.
    fn end_line(&mut self) -> Result<()> {
        if self.in_line {
            self.print("\n")
        } else {
            Ok(())
        }
    }
}
