//! Updates that are done in parts, because the worker or the host went away between them.

use anyhow::Result;

use super::conclude::conclude;
use super::settle::{self, Outcome};
use super::update::Update;
use super::verify::Before;
use super::{apply, attempt, heal, progress, reboot};
use crate::package::{Applied, Change, Ended, Former, KeptBack};
use crate::request::JobId;
use crate::state::job::Job;
use crate::worker::bookkeeping::context::Context;

/// What a transaction that was put back has done already: it belongs to the one that does the rest, is
/// judged with it, and undone with it.
#[derive(Debug, Default)]
pub struct Done {
    pub changes: Vec<Change>,
    pub former: Vec<Former>,
}

impl Done {
    /// What these jobs have done. Not what was judged before our own package: that is good.
    pub fn of(jobs: &[Job]) -> Self {
        let mut done = Self::default();
        for job in jobs.iter().filter(|job| is_to_be_judged(job)) {
            settle::add(&mut done.changes, &job.changes);
            settle::add(&mut done.former, &job.former);
        }
        done
    }

    /// The whole transaction: the rest, and what was done before; a package that is changed again goes from
    /// where it was first to where it is now.
    pub fn with(
        &self,
        mut changes: Vec<Change>,
        mut former: Vec<Former>,
    ) -> (Vec<Change>, Vec<Former>) {
        for done in &self.changes {
            match changes.iter_mut().find(|c| c.former_key() == done.key()) {
                Some(change) => since(change, done),
                None => changes.push(done.clone()),
            }
        }
        for done in &self.former {
            let (key, mut done) = (done.change.key(), done.clone());
            let again = former.iter().position(|f| f.change.former_key() == key);
            if let Some(again) = again {
                let mut change = former.remove(again).change;
                since(&mut change, &done.change);
                done.change = change;
            }
            former.push(done);
        }
        (changes, former)
    }
}

/// Makes one change of two: of the second, and of the first before it.
fn since(change: &mut Change, first: &Change) {
    let former = first.former_key().architecture;
    change.former_architecture = Some(former).filter(|former| *former != change.architecture);
    change.from.clone_from(&first.from);
}

/// Everything has gone back: a job that was put back has done nothing any more.
pub fn nothing_is_done(job: &mut Job) {
    if is_to_be_judged(job) {
        job.changes.clear();
        job.former.clear();
    }
}

fn is_to_be_judged(job: &Job) -> bool {
    job.put_back && job.earlier.is_empty()
}

/// Whether something of the job is done that nobody has judged.
pub fn is_unjudged(job: &Job) -> bool {
    is_to_be_judged(job) && !job.changes.is_empty()
}

/// Judges what was done before as all there is, because there is nothing left to do, or for the reason in
/// `unfinished`.
pub fn judge(
    ctx: &Context,
    leader: &JobId,
    done: Done,
    (jobs, kept_back): (&[Job], Vec<KeptBack>),
    unfinished: Option<&str>,
    update: &mut Update<'_>,
) -> Result<Outcome> {
    let before = Before::first_part(ctx, leader, jobs, &done.changes)?;
    let _held_off = reboot::hold_off(ctx, &format!("job {leader} is verified"));
    update.was_activated(&done.changes);
    progress::verifying(ctx, leader);
    let applied = Applied {
        ended: Ended::Done,
        kept_back,
        notes: Vec::new(),
        failures: Vec::new(),
        displaced: false,
        interrupted: true,
    };
    let intent = (&*done.changes, done.former);
    let mut outcome = conclude(ctx, leader, &before, intent, applied, update)?;
    if let Outcome::Changed(concluded) = &mut outcome {
        concluded.unfinished = unfinished.map(str::to_owned);
    }
    Ok(outcome)
}

/// Ends jobs of which no more is done, for the reason `why`: what is done stays on the host, so it has to be
/// good for it.
pub fn end(ctx: &Context, mut jobs: Vec<Job>, why: &str) -> Vec<Job> {
    let Some(leader) = jobs.first().map(|job| job.id().clone()) else {
        return jobs;
    };
    let mut update = apply::begin(ctx, &apply::target_of(&jobs));
    let judged = apply::lead_all(ctx, &mut jobs, &leader).and_then(|()| {
        let done = Done::of(&jobs);
        judge(
            ctx,
            &leader,
            done,
            (&jobs, Vec::new()),
            Some(why),
            &mut update,
        )
    });
    match judged {
        Ok(outcome) => settle::finish(ctx, &mut jobs, &outcome, &mut update, false),
        // the next worker judges it
        Err(error) if error.is::<heal::LeftForBoot>() => {
            tracing::warn!("left to be judged: {error:#}");
            return jobs;
        }
        Err(error) => {
            update.fail(why);
            let why = anyhow::anyhow!("{why}; what was done before could not be judged: {error:#}");
            jobs.iter_mut().for_each(|job| settle::fail(job, &why));
        }
    }
    settle::stamp(&mut jobs, &update);
    attempt::cap_log(ctx, &leader);
    jobs
}
