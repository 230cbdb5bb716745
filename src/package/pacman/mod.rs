//! pacman.

mod arguments;
mod backend;
mod conf;
mod contents;
mod former;
mod hook;
mod listing;
mod local;
mod locks;
mod reboot;
mod refresh;
mod repair;
mod run;
mod sync;
mod transaction;
mod upgrade;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail, ensure};

pub use backend::Pacman;

use crate::checksum;
use crate::exec::Process;
use crate::package::boot;
use crate::package::{
    AllOrNothing, Applied, Change, Damaged, Database, Ended, Former, Kept, Key, Observer,
    PackageManager, Pending, Problem, Refreshed, Restore, Script, Selection, Source, TakenBack,
    Transaction, Update, stamp,
};
use conf::Conf;
use local::DATABASE;
use locks::{Held, LOCK};
use upgrade::{is_everything, left_out};

/// Why anything but everything is refused.
const PARTIAL: &str = "partial upgrades are unsupported on Arch Linux: only all pending updates together \
    can be applied, or the only pending one";

impl PackageManager for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        self.fetch(observer)
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let upgrade = self.upgrade(&self.conf()?, (failed, &[]))?;
        let program = arguments::download_ahead(self.tree.path(), &upgrade.without);
        let outcome = run::run(&program, upgrade.changes.len(), observer)?;
        match outcome.ended {
            Ended::Done => Ok(true),
            Ended::Stopped => Ok(false),
            Ended::FetchFailed(why) | Ended::Failed(why) | Ended::Interrupted(why) => {
                bail!("{why}")
            }
        }
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        Ok(self.upgrade(&self.conf()?, (failed, &[]))?.pending)
    }

    fn no_security(&self) -> Result<Option<String>> {
        let why = "pacman's repositories do not say it; apply all updates instead";
        Ok(Some(why.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        self.plan_without(&[], updates, failed)
    }

    fn plan_without(
        &self,
        left_out: &[String],
        updates: &[Update],
        failed: &[&Source],
    ) -> Result<Pending> {
        let upgrade = self.upgrade(&self.conf()?, (failed, left_out))?;
        let pending = upgrade.pending;
        ensure!(
            is_everything(updates, &pending.updates),
            AllOrNothing(PARTIAL)
        );
        Ok(pending)
    }

    fn installed(&self) -> Result<Database> {
        backend::database()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        let mut problems = local::problems(&Path::new(DATABASE).join("local"))?;
        let before_start = || {
            let started = boot::started(Path::new("/"));
            let locked = fs::metadata(LOCK).map(|lock| lock.mtime()).ok();
            locked
                .zip(started)
                .is_some_and(|(lock, start)| lock < start)
        };
        match locks::held(Path::new(LOCK)) {
            Held::Stale => problems.push(locks::stale().into()),
            Held::Unknown if before_start() => problems.push(locks::stale().into()),
            Held::No | Held::By(_) | Held::Unknown => {}
        }
        Ok(problems)
    }

    fn sees_problems(&self) -> bool {
        locks::held(Path::new(LOCK)) != Held::Unknown
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(locks::held(Path::new(LOCK)) == Held::Stale)
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let conf = self.conf()?;
        // what somebody else is changing at this moment cannot be planned with
        transaction::free(observer)?;
        let mut upgrade = self.upgrade(&conf, (transaction.failed, &[]))?;
        if let Selection::Exactly(updates) = transaction.selection {
            // that this may be is known from its plan
            let left_out = left_out(updates, &upgrade.pending.updates);
            if !left_out.is_empty() {
                upgrade = self.upgrade(&conf, (transaction.failed, &left_out))?;
            }
        }
        let kept_back = upgrade.pending.kept_back.clone();
        let done = |ended| Applied {
            ended,
            kept_back,
            notes: Vec::new(),
            failures: Vec::new(),
            displaced: false,
            interrupted: false,
        };
        if upgrade.changes.is_empty() {
            return Ok(done(Ended::Done));
        }
        let outcome = self.transact(&conf, &upgrade, transaction, observer)?;
        let key = |package: &str| {
            let change = upgrade
                .changes
                .iter()
                .find(|change| change.package == package);
            change.map(Change::key)
        };
        let failures: Vec<(Key, String)> = outcome
            .failed
            .into_iter()
            .filter_map(|(package, why)| Some((key(&package)?, why)))
            .collect();
        Ok(Applied {
            notes: outcome.notes,
            failures,
            ..done(outcome.ended)
        })
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait(observer, None).map(drop)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(&self.tree, changes, log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        hook::install_script(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let conf = self.conf().unwrap_or_else(|error| {
            tracing::warn!("{error:#}");
            Conf::default_directories()
        });
        Ok(former::find(changes, kept, &conf.caches))
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        self.put_back(&self.conf()?, None, restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        local::automatic(&Path::new(DATABASE).join("local")).ok()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        arguments::mark_automatic(names)
            .log(log)
            .capture()
            .map(drop)
    }

    fn damaged(&self, back: &[Former], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back, &self.plain_configuration()?)
    }

    /// pacman is told the same as when they came back.
    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        match self.roll_back(restore, observer) {
            Ok(Ended::Done) => Ok(Ended::Done),
            _ => self.roll_back_below(restore, observer),
        }
    }

    /// There is none, but pacman itself with a configuration of ours installs files where that of the host is
    /// what keeps it from running.
    fn below(&self) -> Option<&'static str> {
        Some("pacman with a plain configuration")
    }

    fn roll_back_below(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let configuration = self.plain_configuration()?;
        let conf = Conf::default_directories();
        self.put_back(&conf, Some(&configuration), restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        let (changes, conf) = self.gate.announced(input, &backend::database()?)?;
        self.remember(conf);
        Ok(changes)
    }

    /// pacman checks every file that it finds in its cache, and removes a damaged one (measured).
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        Ok(local::files(&Path::new(DATABASE).join("local"), change))
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        let upgrade = self.conf().and_then(|conf| self.upgrade(&conf, (&[], &[])));
        let mut changes = upgrade.map_or(Vec::new(), |upgrade| upgrade.changes);
        changes.retain(|change| updates.iter().any(|update| update.key() == change.key()));
        changes
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        local::brings(&Path::new(DATABASE).join("local"), changes, there)
    }

    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String> {
        let database = Path::new(DATABASE).join("local");
        reboot::reasons(Path::new("/"), &database, taken_back)
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        let mut text = self.tree.fingerprint();
        for source in failed {
            let _ = write!(text, "{source};");
        }
        stamp::add_all(&mut text, Path::new("/etc/pacman.d"));
        for path in ["/etc/pacman.conf", "/var/lib/pacman/local"] {
            text.push_str(&sync::stamp(Path::new(path)));
        }
        checksum::sha256(text.as_bytes())
    }
}
