//! Whether an update is good: the package database, the units of the host, the administrator's programs.

mod concern;
mod database;
mod elf;
mod hooks;
mod programs;
mod units;

pub use crate::worker::steps::verify::database::DatabaseDiff;
pub use crate::worker::steps::verify::hooks::Stage;
pub use crate::worker::steps::verify::units::{failing, snapshot as units_snapshot};

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::fs::write_unsynced;
use crate::host::units::Units;
use crate::package::{Change, Database, Installed, PackageId, Problem, sentences};
use crate::paths::{Paths, quoted};
use crate::queue::Decision;
use crate::request::JobId;
use crate::state::job::Job;
use crate::state::verification::{Check, CheckKind};
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown;
use crate::worker::steps::verify::concern::Concern;
use crate::worker::steps::verify::hooks::{HookBaseline, Task};
use crate::worker::steps::{agent_probe, rollback, services};
use crate::{journal, state};

/// The host before a transaction.
#[derive(Debug)]
pub struct Baseline {
    /// The package database.
    pub database: Database,
    /// The rest.
    pub rest: UnitBaseline,
}

/// What is on the disk of the host before a transaction, for a worker that comes after one that died.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct UnitBaseline {
    /// Its units, where they are known.
    pub units: Option<Units>,
    /// What was wrong with the package database; not known after a crash.
    pub problems: Option<Vec<String>>,
    /// What the administrator's programs said, where they were run.
    #[serde(default)]
    pub hooks: Option<Vec<HookBaseline>>,
}

impl Baseline {
    /// Reads the state of the host, and writes it down for a worker that may have to judge in place of this one.
    pub fn snapshot(
        ctx: &Context,
        transaction: &JobId,
        hooks: Option<Vec<HookBaseline>>,
    ) -> Result<Self> {
        let units = std::thread::spawn(units::snapshot);
        let database = ctx.packages.installed()?;
        let units = units
            .join()
            .unwrap_or_else(|_| bail!("the check of them failed"));
        let rest = UnitBaseline {
            units: units.inspect_err(|error| tracing::debug!("{error:#}")).ok(),
            problems: Some(sentences(ctx.packages.problems()?)),
            hooks,
        };
        rest.leave(&ctx.paths, transaction)?;
        Ok(Self { database, rest })
    }

    /// The baseline of the first part of a transaction that was requeued in part; its jobs have a copy.
    pub fn first_part(
        ctx: &Context,
        transaction: &JobId,
        jobs: &[Job],
        done: &[Change],
    ) -> Result<Self> {
        let seen = jobs.iter().filter(|job| job.progress().is_requeued());
        let mut seen =
            seen.filter_map(|job| state::read::<UnitBaseline>(&path(&ctx.paths, job.id())));
        let Some(rest) = seen.next() else {
            return Self::snapshot(ctx, transaction, None);
        };
        rest.leave(&ctx.paths, transaction)?;
        rollback::copy_seen_from_jobs(&ctx.paths, transaction, jobs);
        Self::remembered(ctx, transaction, done)
    }

    /// Copies the baseline of a transaction to each of its jobs, for the worker that serves them next.
    pub fn copy_to_jobs(ctx: &Context, transaction: &JobId, jobs: &[Job]) -> Result<()> {
        if let Some(rest) = state::read::<UnitBaseline>(&path(&ctx.paths, transaction)) {
            for job in jobs {
                rest.leave(&ctx.paths, job.id())?;
            }
        }
        rollback::copy_seen_to_jobs(&ctx.paths, transaction, jobs);
        Ok(())
    }

    /// The host before changes that another worker began: the database as far as the change list tells.
    pub fn remembered(ctx: &Context, transaction: &JobId, changes: &[Change]) -> Result<Self> {
        let mut database = ctx.packages.installed()?;
        for change in changes {
            let now = database.remove(&change.key());
            let Some(version) = &change.from else {
                continue;
            };
            let build = change
                .rebuilt
                .as_ref()
                .and_then(|builds| builds.from.clone());
            let installed = Installed {
                version: version.clone(),
                // what is the same is told by nothing else
                build: build.or(now
                    .and_then(|now| now.build)
                    .filter(|_| change.from == change.to)),
                ..Installed::default()
            };
            database.insert(change.former_key(), installed);
        }
        Ok(Self {
            database,
            rest: state::read(&path(&ctx.paths, transaction)).unwrap_or_default(),
        })
    }

    /// Removes the baseline of a job that has its record.
    pub fn forget(paths: &Paths, job: &JobId) {
        let _ = std::fs::remove_file(path(paths, job));
    }
}

impl UnitBaseline {
    /// Written without a sync: it is useful, and recovery does without it.
    fn leave(&self, paths: &Paths, transaction: &JobId) -> Result<()> {
        let path = path(paths, transaction);
        write_unsynced(&path, &serde_json::to_vec(self)?)
            .with_context(|| format!("failed to write {}", quoted(&path)))
    }
}

fn path(paths: &Paths, transaction: &JobId) -> PathBuf {
    paths.jobs().join(format!("{transaction}.before"))
}

/// The judgement on a transaction.
#[derive(Debug, Default)]
pub struct Verification {
    /// What the package database says.
    pub verdict: DatabaseDiff,
    /// Everything that was looked at.
    pub checks: Vec<Check>,
    /// The package database as it was found.
    pub database: Database,
}

impl Verification {
    /// What speaks against the update, one sentence each; none when it is good.
    pub fn failures(&self) -> Vec<&Check> {
        let checks = self.checks.iter();
        checks.filter(|check| check.decides_against()).collect()
    }

    /// Whether a rollback would mend something: it does not mend what another program did to other packages
    /// meanwhile.
    pub fn is_to_be_undone(&self) -> bool {
        self.failures().iter().any(|check| check.name != UNPLANNED)
    }

    /// All that speaks against it, in one line.
    pub fn reason(&self) -> String {
        let sentences: Vec<&str> = self.failures().iter().map(|c| &*c.message).collect();
        sentences.join("; ")
    }
}

/// The check of what was planned.
pub const VERSIONS: &str = "versions";

/// The check for changes that were not planned.
const UNPLANNED: &str = "unplanned";

/// Judges the host: as it was `before`, with the changes that were `intended`, and the `failures` that only the
/// package manager knows of. The package database is checked first; if it is bad, no other check is run.
pub fn judge(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    intended: &[Change],
    stage: Stage,
    failures: &[(PackageId, String)],
) -> Result<Verification> {
    let after = ctx.packages.installed()?;
    let verdict = database::verdict(&before.database, &after, intended).with(failures, intended);
    let mut checks = vec![versions(&verdict, intended.len())];
    if !verdict.unplanned.is_empty() {
        checks.push(database_check(
            UNPLANNED,
            false,
            verdict.unplanned.join("; "),
        ));
    }
    checks.extend(problems(
        before.rest.problems.as_deref(),
        &ctx.packages.problems()?,
        intended,
        &verdict.unrelated_breakage,
    ));
    if !checks.iter().any(Check::decides_against) {
        checks.extend(agent_probe::check(ctx, intended)?);
    }
    if !checks.iter().any(Check::decides_against) {
        // restarted first, so that the units are judged with the new files
        checks.extend(restarts(services::after_update(ctx, transaction)));
        let leaves = || shutdown::bail_if_shutting_down(ctx).is_err();
        let units = before.rest.units.as_ref();
        let concern = Concern::new(&*ctx.packages, intended);
        let concerns = |unit: &str| concern.has(unit);
        let settle = ctx.config.verify.settle;
        checks.extend(units::checks(units, settle, &leaves, &concerns));
        // during a shutdown, units and bus end, which proves nothing
        shutdown::bail_if_shutting_down(ctx)?;
        let task = task(ctx, transaction, intended);
        let hooks = before.rest.hooks.as_deref();
        checks.extend(hooks::checks(&ctx.paths, task, stage, hooks));
    }
    for check in &checks {
        journal::checked(
            transaction,
            check.kind.as_str(),
            &check.name,
            check.required,
            check.passed,
            &check.message,
        );
    }
    Ok(Verification {
        verdict,
        checks,
        database: after,
    })
}

/// Services that did not come back after their restart decide; those that are late do not.
fn restarts(restarts: services::Restarts) -> impl Iterator<Item = Check> {
    let check = |required: bool| {
        move |message: String| Check {
            name: "services".to_owned(),
            kind: CheckKind::Unit,
            required,
            passed: false,
            message,
        }
    };
    let services::Restarts { failed, late } = restarts;
    let failed = failed.into_iter().map(check(true));
    failed.chain(late.into_iter().map(check(false)))
}

/// Runs the administrator's programs before anything changes; what they say, or none when a stop of one of
/// these jobs was asked for meanwhile. An error when one that decides could not be run, unless the job is a
/// rollback, which may be what mends it.
pub fn baseline(
    ctx: &Context,
    jobs: &[Job],
    changes: &[Change],
    is_rollback: bool,
) -> Result<Option<Vec<HookBaseline>>> {
    let transaction = jobs.first().map(|job| &job.transaction);
    let transaction = transaction.context("no job is served")?;
    let is_cancelled = |job: &Job| Decision::Cancel.is_left(&ctx.paths, job.id());
    let stop = || !is_rollback && (ctx.stopping() || jobs.iter().any(is_cancelled));
    let task = task(ctx, transaction, changes);
    hooks::baseline(&ctx.paths, task, is_rollback, &stop)
}

fn task<'a>(ctx: &Context, job: &'a JobId, changes: &'a [Change]) -> Task<'a> {
    Task {
        job,
        changes,
        limit: ctx.config.verify.timeout,
    }
}

fn versions(verdict: &DatabaseDiff, planned: usize) -> Check {
    let wrong: Vec<&str> = verdict.wrong.iter().map(|(_, why)| &**why).collect();
    let message = match (wrong.is_empty(), planned) {
        (false, _) => wrong.join("; "),
        (true, 1) => "1 package has its planned version".to_owned(),
        (true, count) => format!("{count} packages have their planned versions"),
    };
    database_check(VERSIONS, wrong.is_empty(), message)
}

/// The check of the package database as a whole.
pub const DATABASE: &str = "database";

/// What is wrong with the database: new problems decide; old ones are only reported, and so are those of packages
/// that were no part of the transaction. A problem of an `unrelated` package has the same sentence as that package,
/// so that the notes of the record have it once.
fn problems(
    before: Option<&[String]>,
    after: &[Problem],
    intended: &[Change],
    unrelated: &[(PackageId, String)],
) -> Vec<Check> {
    let mut told: BTreeMap<&str, bool> = BTreeMap::new();
    let is_unrelated = |name: &String| intended.iter().all(|change| change.package != *name);
    for problem in after {
        let is_new = before.is_some_and(|before| !before.contains(&problem.text));
        let decides = is_new && !problem.package.as_ref().is_some_and(is_unrelated);
        let mut named = unrelated.iter();
        let unrelated = named.find(|(key, _)| problem.package.as_ref() == Some(&key.package));
        let sentence = unrelated.filter(|_| !decides).map(|(_, sentence)| sentence);
        told.insert(sentence.unwrap_or(&problem.text), decides);
    }
    let check = |(problem, required): (&str, bool)| Check {
        required,
        ..database_check(DATABASE, false, problem.to_owned())
    };
    told.into_iter().map(check).collect()
}

fn database_check(name: &str, passed: bool, message: String) -> Check {
    Check {
        name: name.to_owned(),
        kind: CheckKind::Database,
        required: true,
        passed,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_problem_is_told_and_a_new_one_decides_unless_it_is_a_stranger_s() {
        let after: Vec<Problem> = ["a", "b", "c"]
            .map(|name| Problem::of(name, format!("{name} is broken")))
            .into();
        let whole = Problem::from("dpkg was interrupted".to_owned());
        let after = [after, vec![whole]].concat();
        let planned = ["a", "b"].map(|name| Change {
            package: name.into(),
            ..Change::default()
        });
        let decided = |before: Option<&[String]>| -> Vec<bool> {
            let checks = problems(before, &after, &planned, &[]);
            checks.iter().map(Check::decides_against).collect()
        };
        let before = ["a is broken".to_owned()];
        assert_eq!(decided(Some(&before)), [false, true, false, true]);
        assert_eq!(decided(None), [false; 4], "nothing is known of before");
        assert!(problems(None, &[], &planned, &[]).is_empty());

        let key = PackageId {
            package: "c".into(),
            architecture: "all".into(),
        };
        let sentence = "c:all is broken and was not part of this update";
        let unrelated = [(key, sentence.to_owned())];
        let checks = problems(Some(&before), &after, &planned, &unrelated);
        let messages: Vec<&str> = checks.iter().map(|check| &*check.message).collect();
        let whole = "dpkg was interrupted";
        assert_eq!(messages, ["a is broken", "b is broken", sentence, whole]);
    }

    #[test]
    fn what_others_did_is_not_put_right_by_going_back() {
        let judgement = |names: &[&str]| Verification {
            verdict: DatabaseDiff::default(),
            database: Database::new(),
            checks: names
                .iter()
                .map(|name| database_check(name, false, String::new()))
                .collect(),
        };
        assert!(!judgement(&[]).is_to_be_undone());
        assert!(!judgement(&[UNPLANNED]).is_to_be_undone());
        assert!(judgement(&[UNPLANNED, "versions"]).is_to_be_undone());
    }
}
