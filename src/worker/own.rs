//! Our own package: it is updated last, alone, and its new program has to answer.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::plan::Part;
use super::{apply, heal};
use crate::PACKAGE;
use crate::exec::Program;
use crate::host::bus::CALL_LIMIT;
use crate::host::door::{self, Answer};
use crate::host::systemd;
use crate::package::{AllOrNothing, Change, Source, Update};
use crate::request::{Kind, Target};
use crate::state::cache::Cache;
use crate::state::job::{Job, JobStatus};
use crate::state::verification::{Check, CheckKind};
use crate::worker::bookkeeping::context::Context;
use crate::worker::jobs::record;

/// How long the new program has to answer in.
const LIMIT: Duration = Duration::from_secs(90);

/// The least and the most time between two questions.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The D-Bus door.
const DOOR: &str = "patch-agent.service";

/// Serves the queue.
const DRAIN: &str = "patch-apply.service";

/// Whether this worker leaves the queue to the program that has taken its place; not where nobody
/// starts that one.
pub fn gives_way() -> bool {
    door::was_replaced() && systemd::start_unit(DRAIN).is_ok()
}

/// Whether our own package is among the changes.
pub fn is_among(changes: &[Change]) -> bool {
    changes.iter().any(|change| change.package == PACKAGE)
}

/// Whether others are to be changed together with our own package, which belongs after them.
pub fn is_mixed(changes: &[Change]) -> bool {
    is_among(changes) && changes.iter().any(|change| change.package != PACKAGE)
}

/// Whether the job asks for our own package besides others.
pub fn is_asked_for(job: &Job) -> bool {
    let target = job.request.packages.as_ref();
    target.is_some_and(|target| match target {
        Target::All | Target::Security => true,
        Target::Packages(names) => names
            .iter()
            .any(|name| name.as_str().split(':').next() == Some(PACKAGE)),
    })
}

/// What is left of a plan without our own package, when it can be left out: others may need its new
/// version, and some package managers change everything or nothing.
pub fn others_of(
    ctx: &Context,
    selected: &[Update],
    failed: &[&Source],
) -> Result<Option<Vec<Update>>> {
    let others: Vec<Update> = selected
        .iter()
        .filter(|update| update.package != PACKAGE)
        .cloned()
        .collect();
    if others.is_empty() || others.len() == selected.len() {
        return Ok(None);
    }
    let plan = match ctx.packages.plan(&others, failed) {
        Ok(plan) => plan.updates,
        Err(error) if error.is::<AllOrNothing>() => return Ok(None),
        Err(error) => return Err(error),
    };
    let whole = others
        .iter()
        .all(|other| plan.iter().any(|update| update.key() == other.key()));
    let apart = plan.iter().all(|update| update.package != PACKAGE);
    Ok((whole && apart).then_some(plan))
}

/// Our own package, for the jobs that ask for it and that have come to a good end so far.
pub fn last(ctx: &Context, jobs: Vec<Job>) -> Vec<Job> {
    let (going_on, mut ended) = go_on(ctx, jobs);
    // whoever waits for one of these need not wait for more
    if let Err(error) = record::finish(ctx, &mut ended) {
        tracing::error!("{error:#}");
    }
    if !going_on.is_empty() {
        let update = apply::begin(ctx, PACKAGE);
        ended.extend(apply::transact(ctx, going_on, update, Part::Own));
    }
    ended
}

/// Tells the jobs for which our own package follows from those that have ended; those of the first kind
/// go on, with what they have changed already in their record.
pub fn go_on(ctx: &Context, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let follows = |job: &Job| job.status == JobStatus::Succeeded && is_asked_for(job);
    let (mut going_on, mut ended): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(follows);
    for job in &mut going_on {
        job.status = JobStatus::Running;
        job.earlier.push(job.update.clone());
    }
    if let Err(error) = Job::save_all(&ctx.paths, &going_on) {
        for mut job in going_on {
            super::settle::fail(&mut job, &error);
            ended.push(job);
        }
        return (Vec::new(), ended);
    }
    (going_on, ended)
}

/// Whether the last part of the job was about our own package.
pub fn has_updated(job: &Job) -> bool {
    job.request.kind == Kind::Update || !job.earlier.is_empty() || is_among(&job.changes)
}

/// Whether the change list on the disk is that of the part before: the worker died before our own
/// package was let through.
pub fn is_of_the_part_before(jobs: &[Job], changes: &[Change]) -> bool {
    jobs.iter().any(|job| !job.earlier.is_empty()) && !is_among(changes)
}

/// Whether one of the jobs asks for our own package and an update of it is pending.
pub fn is_left(ctx: &Context, jobs: &[Job]) -> bool {
    let cache = Cache::load(&ctx.paths);
    let own = |update: &Update| update.package == PACKAGE;
    jobs.iter().any(is_asked_for)
        && ctx
            .packages
            .pending(&cache.failed_sources())
            .is_ok_and(|pending| pending.updates.iter().any(own))
}

/// After changes of our own package: whether the program that is installed now answers, and with the
/// version that it is to have. Nothing is to be said of other changes. An error when the
/// host goes down: then nothing answers, and that proves nothing.
pub fn check(ctx: &Context, changes: &[Change]) -> Result<Option<Check>> {
    let mut own = changes.iter().filter(|change| change.package == PACKAGE);
    let Some(to) = own.find_map(|change| change.to.as_deref()) else {
        return Ok(None);
    };
    let expected = upstream(to);
    let answer = answers(&expected, &|| heal::or_leave(ctx).is_err());
    if answer.is_err() {
        heal::or_leave(ctx)?;
    }
    Ok(Some(Check {
        name: PACKAGE.to_owned(),
        kind: CheckKind::Agent,
        required: true,
        passed: answer.is_ok(),
        message: answer.map_or_else(|wrong| wrong, |()| format!("agent reports {expected}")),
    }))
}

/// Asks until the installed program has answered, or its time is up.
fn answers(expected: &str, stopping: &dyn Fn() -> bool) -> Result<(), String> {
    systemd::status("waiting for the new version to answer");
    // the maintainer scripts do that, too, unless they are what is broken
    if let Err(error) = systemd::try_restart_unit(DOOR) {
        tracing::debug!("{DOOR} was not asked to leave: {error:#}");
    }
    let (begun, mut pause, mut heard) = (Instant::now(), PAUSE.0, None);
    let reports = |version: &str| Err(format!("agent reports {version}, expected {expected}"));
    loop {
        let left = LIMIT.saturating_sub(begun.elapsed());
        match door::ask(left.min(CALL_LIMIT)) {
            Answer::Installed(version) if version == expected => return Ok(()),
            Answer::Installed(version) => return reports(&version),
            Answer::Shut(why) => return answers_by_itself(expected, &why),
            Answer::Former(version) => heard = Some(version),
            Answer::Silence(why) => tracing::debug!("the door is silent: {why}"),
        }
        if stopping() || begun.elapsed() + pause >= LIMIT {
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
    match heard {
        Some(version) if version != expected => reports(&version),
        _ => Err(format!("agent did not answer within {} s", LIMIT.as_secs())),
    }
}

/// Where there is no door to ask at, the program is asked by itself.
fn answers_by_itself(expected: &str, why: &str) -> Result<(), String> {
    tracing::info!("{} is asked by itself: {why}", door::PROGRAM);
    let program = Program::new(door::PROGRAM).arg("--version").limit(LIMIT);
    let said = program
        .capture()
        .map_err(|error| format!("agent did not answer: {error:#}"))?;
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    if version == expected {
        return Ok(());
    }
    Err(format!("agent reports {version}, expected {expected}"))
}

/// The version that the program itself has in a package of this version: without the epoch and the
/// revision, which number packages of the same program, and without the marks of a rebuild or a
/// backport (deb-version(7); `+b1`, `+deb13u1`, `~bpo12+1`). What is before a release, and sorts so by
/// a `~` in packages, is after a `-` in the program's own version.
fn upstream(package: &str) -> String {
    let version = package
        .split_once(':')
        .map_or(package, |(_, version)| version);
    let version = version
        .rsplit_once('-')
        .map_or(version, |(version, _)| version);
    let end = ["+", "~bpo", "~deb"]
        .iter()
        .filter_map(|mark| version.find(mark))
        .min();
    version[..end.unwrap_or(version.len())].replace('~', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_version_is_in_the_packages() {
        for (package, program) in [
            ("2.0.1", "2.0.1"),
            ("1:2.0.1-3", "2.0.1"),
            ("2.0.1-1.fc43", "2.0.1"),
            ("2.0.1-r0", "2.0.1"),
            ("2.0.1+b1", "2.0.1"),
            ("2.0.1-1~bpo12+1", "2.0.1"),
            ("2.0.1~bpo12+1", "2.0.1"),
            ("2.0.1~deb12u1", "2.0.1"),
            ("2.1.0~rc.1-1", "2.1.0-rc.1"),
        ] {
            assert_eq!(upstream(package), program, "{package}");
        }
    }

    #[test]
    fn it_is_told_from_the_others() {
        let change = |package: &str| Change {
            package: package.to_owned(),
            architecture: "amd64".to_owned(),
            from: Some("1".to_owned()),
            to: Some("2".to_owned()),
            file: None,
            ..Change::default()
        };
        let (own, other) = (change(PACKAGE), change("demo"));
        assert!(is_mixed(&[other.clone(), own.clone()]));
        assert!(!is_mixed(std::slice::from_ref(&own)) && !is_mixed(std::slice::from_ref(&other)));
    }
}
