//! Stalls: a package manager that reports nothing for too long. The process that hangs is named, once, and never
//! killed.
//!
//! The loop that waits for the package manager asks its observer at least once a second whether to stop. The silence
//! is measured there, so that no other timer is needed. Processes are read once for each stall.

use std::thread;
use std::time::{Duration, Instant};

use crate::exec::{ProcessInfo, deepest_descendant};
use crate::host::{clock, systemd};
use crate::journal;
use crate::request::JobId;
use crate::state::alert::Cause;
use crate::state::job::Job;
use crate::state::stall::Stall;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::{alerts, in_flight};

/// The longest command line that is shown.
const SHOWN: usize = 200;

/// Measures the silence of one run of the package manager.
pub struct StallDetector<'a> {
    ctx: &'a Context,
    transaction: &'a JobId,
    limit: Option<Duration>,
    /// When the package manager last reported something.
    last_activity: Instant,
    /// What it was doing then, in its words.
    action: Option<String>,
    /// The present stall.
    hang: Option<Stall>,
}

impl<'a> StallDetector<'a> {
    pub fn new(ctx: &'a Context, transaction: &'a JobId) -> Self {
        Self {
            ctx,
            transaction,
            limit: ctx.config.stuck_after,
            last_activity: Instant::now(),
            action: None,
            hang: None,
        }
    }

    /// The package manager has reported something: a stall is over.
    pub fn activity(&mut self, action: Option<&str>) {
        self.last_activity = Instant::now();
        if let Some(action) = action {
            self.action = Some(journal::plain(action));
        }
        self.over();
    }

    /// Whether it has been silent for too long, and the stall is not reported yet.
    pub fn is_exhausted(&self) -> bool {
        self.hang.is_none()
            && self
                .limit
                .is_some_and(|limit| self.last_activity.elapsed() >= limit)
    }

    /// Reports the stall in the journal, as an alert and in the records; the sentence for the status.
    pub fn report_stall(&mut self) -> String {
        let silence = self.last_activity.elapsed();
        let hang = name(
            &deepest_descendant(),
            |process| self.ctx.packages.script(process),
            self.action.clone(),
            clock::now() - silence,
        );
        let text = format!("{}; silent for {} s", hang.sentence(), silence.as_secs());
        journal::stuck(
            self.transaction,
            &hang_fields(&hang),
            silence.as_secs(),
            &text,
        );
        alerts::raise(self.ctx, Cause::UpdateStuck, &text, Some(self.transaction));
        self.write_down(&hang);
        self.hang = Some(hang);
        // nothing here waits for it
        thread::spawn(systemd::wake_agent);
        text
    }

    /// Ends the stall, if there is one.
    fn over(&mut self) {
        if let Some(hang) = self.hang.take() {
            self.write_down(&Stall {
                until: Some(clock::now()),
                ..hang
            });
            alerts::resolve(self.ctx, Cause::UpdateStuck);
            thread::spawn(systemd::wake_agent);
        }
    }

    /// Writes it into the records of the jobs that it holds up.
    fn write_down(&self, hang: &Stall) {
        let seen = &self.ctx.stalls;
        let mut jobs = in_flight::jobs_of(self.ctx, self.transaction);
        for job in &mut jobs {
            seen.add(job.id(), hang);
            job.stalls.retain(|known| known.since != hang.since);
            job.stalls.push(hang.clone());
        }
        if let Err(error) = Job::save_all(&self.ctx.paths, &jobs) {
            tracing::warn!("the stall could not be recorded: {error:#}");
        }
    }
}

impl Drop for StallDetector<'_> {
    fn drop(&mut self) {
        self.over();
    }
}

fn hang_fields(hang: &Stall) -> journal::StalledScript<'_> {
    journal::StalledScript {
        package: hang.package.as_deref(),
        script: hang.script.as_deref(),
        pid: hang.pid,
        command: hang.command.as_deref(),
    }
}

/// Names what hangs, on the path from the package manager to its deepest descendant: the script nearest to that, or
/// else the descendant itself.
fn name(
    way: &[ProcessInfo],
    script: impl Fn(&ProcessInfo) -> Option<crate::package::Script>,
    action: Option<String>,
    since: chrono::DateTime<chrono::Utc>,
) -> Stall {
    let mut upwards = way.iter().rev();
    let found = upwards.find_map(|process| Some((process.pid, script(process)?)));
    let (running, script) = found.map_or((None, None), |(pid, script)| (Some(pid), Some(script)));
    let deepest = way.last();
    let shown = |process: &ProcessInfo| {
        let command = journal::plain(&process.arguments.join(" "));
        command.chars().take(SHOWN).collect()
    };
    let plain = |text: &str| journal::plain(text);
    Stall {
        package: script
            .as_ref()
            .and_then(|script| script.package.as_deref())
            .map(plain),
        script: script.as_ref().map(|script| plain(&script.name)),
        pid: running.or(deepest.map(|process| process.pid)),
        command: deepest.map(shown),
        action,
        since,
        until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Script;

    fn process(pid: u32, command: &str) -> ProcessInfo {
        ProcessInfo {
            pid,
            arguments: command.split(' ').map(str::to_owned).collect(),
            environment: Vec::new(),
        }
    }

    #[test]
    fn the_script_is_named_and_what_it_waits_for() {
        let is_script = |process: &ProcessInfo| {
            let name = process.arguments.get(1)?;
            let package = Some("demo".to_owned());
            let name = name.ends_with(".postinst").then(|| name.clone())?;
            Some(Script { package, name })
        };
        let now = clock::now();
        let way = [
            process(2, "apt-get install"),
            process(3, "sh demo.postinst configure"),
            process(4, "cat /run/fi\x1bfo"),
        ];
        let hang = name(&way, is_script, Some("Setting up demo".into()), now);
        assert_eq!(
            hang.sentence(),
            "the script demo.postinst of demo hangs, process 3, in 'cat /run/fi fo', \
             after 'Setting up demo'"
        );
        let hang = name(&way[..1], is_script, None, now);
        assert_eq!(
            hang.sentence(),
            "the package manager hangs, process 2, in 'apt-get install'"
        );
        let hang = name(&[], is_script, None, now);
        assert_eq!(hang.sentence(), "the package manager hangs");
    }
}
