//! The planner: answers the read-only questions of the doors with what only root may read, and changes nothing
//! but our own records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::fs::Lock;
use crate::host::{clock, systemd};
use crate::package::{Database, Pending, Source, Update};
use crate::paths::Paths;
use crate::queue;
use crate::queue::inquiry::{self, Inquiry};
use crate::request::Target;
use crate::sorted::InOrder;
use crate::state::blocked::Blocked;
use crate::state::cache::Cache;
use crate::state::findings::{self, Findings, Found, Outcome};
use crate::state::installed::Names;
use crate::state::pending::PendingList;
use crate::worker::bookkeeping::context::{Context, FAILURE_PAUSE, STOP_INTERVAL};
use crate::worker::bookkeeping::in_flight::WORKER;
use crate::worker::jobs::sandbox;
use crate::worker::model::selection;
use crate::worker::steps::refresh;
use crate::worker::transaction::plan;

/// How long questions are left to the worker: less than a caller waits for a question to be taken.
const LEFT_FOR: Duration = Duration::from_secs(15);

/// Answers every question that waits.
pub fn answer(paths: &Paths) -> Result<()> {
    let result = answer_all(paths);
    if result.is_err() {
        // the path unit starts this again at once while the question is there
        thread::sleep(FAILURE_PAUSE);
    }
    result
}

fn answer_all(paths: &Paths) -> Result<()> {
    queue::prepare(paths)?;
    // a worker may be using the package manager's temporary files in the usual place
    let ctx = Context::new(paths.clone(), Arc::default(), &std::env::temp_dir());
    let left = sandbox::keeps_from_looking(&ctx);
    let is_picked = |inquiry: &Inquiry| !left || *inquiry == Inquiry::Installed;
    let begun = Instant::now();
    loop {
        while let Some(inquiry) = Inquiry::take_of(paths, is_picked)? {
            find(&ctx, &inquiry).save(paths, &inquiry.name())?;
        }
        if inquiry::waiting(paths) == 0 {
            break;
        }
        if begun.elapsed() >= LEFT_FOR {
            give_up(paths)?;
            break;
        }
        inquiry::leave_to_worker(paths)?;
        if let Err(error) = systemd::start_unit_soon(WORKER.to_owned()) {
            tracing::debug!("{WORKER} was not asked for: {error:#}");
        }
        thread::sleep(STOP_INTERVAL);
    }
    findings::prune(paths)
}

/// Answers the questions that the worker has not come to: their callers wait no longer.
fn give_up(paths: &Paths) -> Result<()> {
    while let Some(inquiry) = Inquiry::take(paths)? {
        let findings = Findings {
            began_usec: findings::uptime_usec(),
            at: clock::now(),
            fingerprint: String::new(),
            outcome: Outcome::Failed(format!(
                "the package manager keeps files where only the worker can use them, and {WORKER} has not answered this question within {} s; ask again when no job runs, or see 'systemctl status {WORKER}'",
                LEFT_FOR.as_secs()
            )),
        };
        findings.save(paths, &inquiry.name())?;
    }
    Ok(())
}

/// The worker answers what the planner has left to it: as many questions as may wait at once, and no more that
/// callers ask meanwhile.
pub fn answer_left(paths: &Paths) -> Result<()> {
    if !inquiry::were_left(paths) {
        return Ok(());
    }
    let ctx = Context::new(paths.clone(), Arc::default(), &std::env::temp_dir());
    for _ in 0..inquiry::MAX_WAITING {
        let Some(inquiry) = Inquiry::take(paths)? else {
            break;
        };
        find(&ctx, &inquiry).save(paths, &inquiry.name())?;
    }
    Ok(())
}

/// The answer to one question: the last one, where nothing that it depends on has changed since.
fn find(ctx: &Context, inquiry: &Inquiry) -> Findings {
    let began_usec = findings::uptime_usec();
    let (cache, at) = (Cache::load(&ctx.paths), clock::now());
    let failed = cache.failed_sources();
    let fingerprint = ctx.packages.fingerprint(&failed);
    let basis = findings::basis(&ctx.paths, &fingerprint);
    let known = Findings::load(&ctx.paths, &inquiry.name());
    if let Some(known) = known.filter(|known| known.is_valid(&basis, at)) {
        return known.confirmed(began_usec);
    }
    let host = HostQuery {
        ctx,
        failed: &failed,
        fingerprint: &fingerprint,
    };
    let outcome = match inquiry {
        Inquiry::Installed => ctx.packages.installed().map(|database| {
            let versions = database.iter();
            let versions = versions.map(|(key, is)| (key.to_string(), is.version.clone()));
            Outcome::Found(Found {
                installed: versions.in_order(),
                ..Found::default()
            })
        }),
        Inquiry::Pending => host.pending().map(|pending| {
            Outcome::Found(Found {
                pending,
                ..Found::default()
            })
        }),
        Inquiry::Plan(target) => host.plan(target),
    };
    Findings {
        began_usec,
        at,
        fingerprint: basis,
        outcome: outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}"))),
    }
}

/// What is asked about.
struct HostQuery<'a> {
    ctx: &'a Context,
    failed: &'a [&'a Source],
    fingerprint: &'a str,
}

impl HostQuery<'_> {
    /// What is pending, as last worked out where that still holds. It is written down unless a worker is at
    /// work, which writes it down itself when it has ended.
    fn pending(&self) -> Result<Pending> {
        let (ctx, paths) = (self.ctx, &self.ctx.paths);
        let lock = Lock::try_take(&paths.worker_lock())?;
        let stored = PendingList::load(paths).unwrap_or_default();
        if stored.is_valid(self.fingerprint, clock::now()) {
            return Ok(stored.pending);
        }
        if lock.is_some() {
            return refresh::pending(ctx, self.failed);
        }
        let pending = ctx.packages.pending(self.failed)?;
        let mut blocked = Blocked::load(paths);
        // the worker writes down what has lapsed
        blocked.lapse(&pending);
        Ok(stored.seen(blocked.offered(pending), clock::now()))
    }

    /// What an apply of this target would do, by the same judgement as an apply.
    fn plan(&self, target: &Target) -> Result<Outcome> {
        let ctx = self.ctx;
        let named = matches!(target, Target::Packages(_));
        let database = named.then(|| ctx.packages.installed()).transpose()?;
        let database = database.unwrap_or_default();
        if let Err(unknown) = Names::of(&database).judge(target) {
            return Ok(Outcome::Refused(unknown.to_string()));
        }
        let pending = self.pending()?;
        if *target == Target::Security
            && let Some(why) = ctx.packages.no_security()?
        {
            anyhow::bail!("it is not known which updates are for security: {why}");
        }
        let selected = selection::covered(target, &pending);
        let installed = installed(target, &selected, &database);
        let mut planned = Pending {
            kept_back: selection::kept_back(target, &pending.kept_back),
            updates: selected,
        };
        if *target != Target::All && !planned.updates.is_empty() {
            let exact = plan::with_room(ctx, &planned.updates, self.failed, &[])?;
            planned.updates = known(exact.updates, &pending);
            planned.kept_back.extend(exact.kept_back);
        }
        Ok(Outcome::Found(Found {
            pending: planned,
            installed,
        }))
    }
}

/// The updates of a plan, each with what the list says of it, and a plan does not: how large it is, since when it is
/// pending and which advisories ask for it.
fn known(planned: Vec<Update>, listed: &Pending) -> Vec<Update> {
    let known = |mut update: Update| {
        let mut listed = listed.updates.iter();
        let is_it = |l: &&Update| l.key() == update.key() && l.candidate == update.candidate;
        if let Some(listed) = listed.find(is_it) {
            update.size = update.size.or(listed.size);
            update.first_seen = listed.first_seen;
            update.advisories.clone_from(&listed.advisories);
        }
        update
    };
    planned.into_iter().map(known).collect()
}

/// The installed versions of the packages that are named, or of those that are covered.
fn installed(target: &Target, covered: &[Update], database: &Database) -> BTreeMap<String, String> {
    let named = database
        .iter()
        .filter(|(key, _)| target.covers(&key.package, &key.architecture, false))
        .map(|(key, installed)| (key.to_string(), installed.version.clone()));
    let covered = covered
        .iter()
        .filter_map(|update| Some((update.former_key().to_string(), update.installed.clone()?)));
    named.chain(covered).in_order()
}
