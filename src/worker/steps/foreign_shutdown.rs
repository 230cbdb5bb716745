//! A shutdown that another program has scheduled: an update waits for it, is refused, or ignores it.

use chrono::{DateTime, Utc};

use crate::config::ForeignShutdown;
use crate::host::clock;
use crate::paths::Paths;
use crate::queue::parked;
use crate::request::Kind;
use crate::state::job::{Job, WaitsFor};
use crate::state::shutdown::{self, Shutdown};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::job_result;
use crate::worker::bookkeeping::phase::{self, CurrentUpdate};
use crate::worker::model::{partial, selection};

/// What a scheduled shutdown means for a job that has changed nothing yet.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing.
    GoOn,
    /// It goes on, and an administrator should know of it.
    Note(String),
    /// It waits until the host is up again, or the shutdown is cancelled.
    Wait(String),
    /// It fails.
    Refuse(String),
}

/// Pure.
fn decide(policy: ForeignShutdown, shutdown: Option<&Shutdown>, now: DateTime<Utc>) -> Verdict {
    let Some(shutdown) = shutdown else {
        return Verdict::GoOn;
    };
    match policy {
        ForeignShutdown::Ignore => Verdict::Note(format!("{shutdown}, which is ignored")),
        _ if !shutdown.is_near(now) => Verdict::Note(shutdown.to_string()),
        ForeignShutdown::Wait => Verdict::Wait(format!(
            "{shutdown}; nothing is changed until the host is up again, or 'shutdown -c' has cancelled it"
        )),
        ForeignShutdown::Refuse => Verdict::Refuse(format!(
            "{shutdown}; nothing is changed while it is ([reboot] foreign = \"refuse\")"
        )),
    }
}

fn verdict(paths: &Paths, policy: ForeignShutdown) -> Verdict {
    decide(policy, shutdown::foreign(paths).as_ref(), clock::now())
}

/// Whether jobs that wait for a shutdown still have to.
pub fn keeps_back(ctx: &Context) -> bool {
    let policy = ctx.config.reboot.foreign;
    matches!(verdict(&ctx.paths, policy), Verdict::Wait(_))
}

/// What holds for these jobs: one of which a part is done goes on, which leaves the host in a better state.
pub fn policy(ctx: &Context, jobs: &[Job]) -> ForeignShutdown {
    if jobs.iter().any(Job::is_done_in_part) {
        ForeignShutdown::Ignore
    } else {
        ctx.config.reboot.foreign
    }
}

/// Before a job begins: those that go on, and those that are held back or have failed.
pub fn set_aside(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let changes = |job: &Job| job.request.kind != Kind::Refresh && !job.is_done_in_part();
    let verdict = verdict(&ctx.paths, ctx.config.reboot.foreign);
    if verdict == Verdict::GoOn || !jobs.iter().any(changes) {
        return (jobs, Vec::new());
    }
    let (mut concerned, mut others): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(changes);
    match verdict {
        Verdict::GoOn => {}
        Verdict::Note(why) => {
            for job in &mut concerned {
                partial::add(&mut job.notes, std::slice::from_ref(&why));
            }
            others.append(&mut concerned);
        }
        Verdict::Wait(why) => concerned.iter_mut().for_each(|job| wait(ctx, job, &why)),
        Verdict::Refuse(why) => refuse(ctx, &mut concerned, &why),
    }
    (others, concerned)
}

/// Holds a job back until the shutdown is over.
pub fn wait(ctx: &Context, job: &mut Job, why: &str) {
    if let Err(error) = parked::defer(&ctx.paths, job, WaitsFor::Shutdown, why) {
        job_result::fail(job, &error);
    }
}

fn refuse(ctx: &Context, jobs: &mut [Job], why: &str) {
    let mut update: CurrentUpdate<'_> = phase::begin(ctx, &selection::target_of(jobs));
    update.fail(why);
    let error = anyhow::anyhow!("{why}");
    jobs.iter_mut()
        .for_each(|job| job_result::fail(job, &error));
    job_result::stamp(jobs, &update);
}

/// At the gate, before the first file changes: it may have been scheduled since the job began. Why the gate
/// stays shut, and whether the job waits for that.
pub fn at_the_gate(paths: &Paths, policy: ForeignShutdown) -> Option<(String, bool)> {
    match verdict(paths, policy) {
        Verdict::GoOn | Verdict::Note(_) => None,
        Verdict::Wait(why) => Some((why, true)),
        Verdict::Refuse(why) => Some((why, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn what_somebody_else_has_scheduled_is_minded_as_configured() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let decide = |policy, ahead: Option<TimeDelta>| {
            let shutdown = ahead.map(|ahead| Shutdown {
                mode: "poweroff".into(),
                at: now + ahead,
                uid: Some(0),
                ours: false,
            });
            decide(policy, shutdown.as_ref(), now)
        };
        let (soon, far) = (TimeDelta::minutes(5), TimeDelta::days(3));
        for policy in [
            ForeignShutdown::Wait,
            ForeignShutdown::Refuse,
            ForeignShutdown::Ignore,
        ] {
            assert_eq!(decide(policy, None), Verdict::GoOn);
            assert!(matches!(decide(policy, Some(far)), Verdict::Note(_)));
        }
        let waits = decide(ForeignShutdown::Wait, Some(soon));
        assert!(matches!(waits, Verdict::Wait(why) if why.contains("a poweroff of the host")));
        let refused = decide(ForeignShutdown::Refuse, Some(soon));
        assert!(matches!(refused, Verdict::Refuse(_)));
        let ignored = decide(ForeignShutdown::Ignore, Some(soon));
        assert!(matches!(ignored, Verdict::Note(_)));
    }
}
