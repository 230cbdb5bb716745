//! `patchctl rollback JOB`: the last update of these packages is undone because the administrator asks for it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use crate::package::{Change, Database, RollbackItem};
use crate::request::Kind;
use crate::state::job::{self, Job};
use crate::state::verification::{Rollback, Undone};
use crate::worker::bookkeeping::blocked::{self, By};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::job_result::{fail, log_change, succeed};
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::bookkeeping::{errors, package_store};
use crate::worker::jobs::reboot;
use crate::worker::model::lifecycle::PhaseEvent;
use crate::worker::steps::refresh;
use crate::worker::steps::rollback::{self, Parts};
use crate::worker::steps::verify::{self, Baseline};

/// Serves a request to undo a job, and returns its job.
pub fn serve(ctx: &Context, mut job: Job) -> Job {
    job.transaction = job.id().clone();
    match prepare(ctx, &job) {
        Err(error) => fail(&mut job, &error),
        Ok((undone, parts)) => {
            match undo(ctx, &mut job, &undone, parts) {
                // its intent is on the disk: the next boot finishes it
                Err(error) if error.is::<errors::DeferredToNextBoot>() => return job,
                Err(error) => fail(&mut job, &error),
                Ok(()) => {}
            }
        }
    }
    if let Err(error) = refresh::list_pending(ctx) {
        tracing::warn!("pending updates could not be listed: {error:#}");
    }
    job
}

/// The job that is to be undone, and where each former version comes from.
fn prepare(ctx: &Context, job: &Job) -> Result<(Job, Parts)> {
    let id = job.request.job.as_ref().context("no job is named")?;
    let undone = Job::load(&ctx.paths, id)?.with_context(|| format!("there is no job {id}"))?;
    ensure!(
        undone.status.is_final() && !undone.changes.is_empty(),
        "job {id} has changed no package, there is nothing to undo"
    );
    let now = ctx.packages.installed()?;
    if let Some(other) = undone.changes.iter().find_map(|change| other(change, &now)) {
        anyhow::bail!("{other} since job {id}; only the last change of a package can be undone");
    }
    let undone = without_room(undone);
    let former = package_store::aside(
        &ctx.paths,
        ctx.packages.as_ref(),
        &undone.changes,
        &undone.former,
    );
    let parts = rollback::part(ctx, &former)?;
    if let Some(why) = parts.why() {
        ensure!(
            job.request.partial,
            "{why}; 'patchctl rollback --partial {id}' leaves that as it is and brings back the others"
        );
        ensure!(
            !parts.back.is_empty(),
            "nothing of job {id} can go back: {why}"
        );
    }
    Ok((undone, parts))
}

/// The job without the old kernels that an update removed to make room: they do not come back. What a rollback
/// removed was new, and is installed again: pure.
fn without_room(mut undone: Job) -> Job {
    if undone.request.kind != Kind::Rollback {
        undone.changes.retain(|change| change.to.is_some());
    }
    undone
}

/// What has become of a package since it was changed, if anything: pure.
fn other(change: &Change, now: &Database) -> Option<String> {
    let key = change.key();
    let now = now.get(&key);
    let other_build = now.and_then(|now| change.other_build(now));
    let now = now.map(|installed| &installed.version);
    if now == change.to.as_ref() && other_build.is_none() {
        return None;
    }
    Some(match now {
        Some(now) if other_build.is_some() => {
            format!("{key} has been changed to another build of {now}")
        }
        Some(now) => format!("{key} has been changed to {now}"),
        None => format!("{key} has been removed"),
    })
}

fn undo(ctx: &Context, job: &mut Job, undone: &Job, parts: Parts) -> Result<()> {
    let id = job.id().clone();
    let mut update = CurrentUpdate::begin(ctx, &format!("rollback of job {}", undone.id()));
    update.state.set_versions(
        &parts
            .back
            .iter()
            .map(RollbackItem::undone)
            .collect::<Vec<_>>(),
    );
    update.step(PhaseEvent::Undo)?;
    // the units are compared with the present, the packages with the time before the update
    let back: Vec<Change> = parts.back.iter().map(RollbackItem::undone).collect();
    let hooks = verify::baseline(ctx, std::slice::from_ref(job), &back, true)?;
    rollback::remember(ctx, &id, false, || Baseline::snapshot(ctx, &id, hooks))?;
    let made: Vec<Change> = parts.back.iter().map(|f| f.change.clone()).collect();
    let before = Baseline::remembered(ctx, &id, &made)?;
    let door = &job.request.requester.door;
    let reason = format!("asked for by {door}, to undo job {}", undone.id());
    let done = rollback::undo(ctx, &id, &before, parts, (&reason, &[]))?;
    Baseline::forget(&ctx.paths, &id);
    finish(ctx, job, undone, done, &mut update);
    Ok(())
}

/// Finishes a rollback that a worker began and did not finish.
pub fn resumed(ctx: &Context, job: &mut Job, done: Rollback, update: &mut CurrentUpdate<'_>) {
    let id = job.request.job.as_ref();
    match id.and_then(|id| Job::taken(&ctx.paths, id)) {
        Some(undone) => finish(ctx, job, &without_room(undone), done, update),
        None => fail(job, &anyhow::anyhow!("the job that was undone is gone")),
    }
}

fn finish(
    ctx: &Context,
    job: &mut Job,
    undone: &Job,
    done: Rollback,
    update: &mut CurrentUpdate<'_>,
) {
    job.verification.clone_from(&done.verification);
    if done.outcome == Undone::RolledBack {
        let mut made = undone.changes.clone();
        made.retain(|change| !done.has_left(change));
        job.changes = made.iter().map(Change::undone).collect();
        for change in &job.changes {
            log_change(job.id(), change);
        }
        let reason = "an administrator has asked for that";
        blocked::set(ctx, undone.id(), made, By::Hand, reason);
        reboot::not_after(ctx, undone);
    }
    match &done.error {
        None if done.outcome == Undone::RolledBack => {
            succeed(job);
            if !done.as_before {
                job.notes.push(done.summary.clone());
            }
            update.succeed();
        }
        error => {
            let mut why = error.clone().unwrap_or_default();
            if let Some(larger) = larger(ctx, undone) {
                let id = larger.id();
                let _ = write!(
                    why,
                    "; job {id} has changed more in the same transaction: 'patchctl rollback {id}' \
                     takes all of it back"
                );
            }
            update.fail(&why);
            fail(job, &anyhow::anyhow!("{why}"));
        }
    }
    job.rollback = Some(done);
    job.update = update.state.clone();
}

/// The job with the most changes of those that were served in one transaction with this one, and made all of its
/// changes and more: without them, what this one made may not be able to go back.
fn larger(ctx: &Context, undone: &Job) -> Option<Job> {
    let ids = job::ids(&ctx.paths.jobs());
    let jobs = ids.iter().filter_map(|id| Job::taken(&ctx.paths, id));
    let is_larger = |job: &Job| {
        let has = |change: &Change| job.changes.contains(change);
        job.transaction == undone.transaction
            && job.changes.len() > undone.changes.len()
            && undone.changes.iter().all(has)
    };
    jobs.filter(is_larger).max_by_key(|job| job.changes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageState};

    #[test]
    fn only_the_last_change_of_a_package_is_undone() {
        let change = |to: Option<&str>| Change {
            package: "a".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: to.map(Into::into),
            file: None,
            ..Change::default()
        };
        let installed = Installed {
            version: "2".into(),
            state: PackageState::Good,
            held: false,
            ..Installed::default()
        };
        let now = Database::from([(change(None).key(), installed)]);
        assert_eq!(other(&change(Some("2")), &now), None);
        assert_eq!(
            other(&change(Some("3")), &now).unwrap(),
            "a:all has been changed to 2"
        );
        assert!(other(&change(Some("2")), &Database::new()).is_some());
    }
}
