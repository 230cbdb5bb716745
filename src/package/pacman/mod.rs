//! pacman.

mod arguments;
mod backend;
mod conf;
mod contents;
mod database;
mod database_sync;
mod failure;
mod fingerprint;
mod gate;
mod listing;
mod locks;
mod output;
mod reboot;
mod refresh;
mod repair;
mod rollback;
mod scripts;
mod simulate;
mod transaction;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, ensure};

pub use backend::Pacman;
pub use database::FILES as DATABASE_FILES;

use self::conf::Conf;
use self::database::DATABASE;
use self::locks::{LOCK, LockState};
use self::simulate::is_everything;
use super::{
    AllOrNothing, Change, Damaged, Database, Observer, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, StoredPackage, TakenBack, Transaction,
    TransactionEnd, TransactionReport, Update,
};
use crate::exec::ProcessInfo;

/// Why anything but everything is refused.
const PARTIAL: &str = "partial upgrades are unsupported on Arch Linux: only all pending updates together \
    can be applied, or the only pending one";

impl PackageManager for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        self.fetch(observer)
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        self.download_ahead(failed, observer)
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
        database::installed()
    }

    fn database_files(&self) -> Vec<&'static str> {
        database::FILES.to_vec()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        repair::problems()
    }

    fn sees_problems(&self) -> bool {
        locks::held(Path::new(LOCK)) != LockState::Unknown
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(locks::held(Path::new(LOCK)) == LockState::Stale)
    }

    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        self.upgrade_host(transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait(observer, None).map(drop)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(&self.tree, changes, log, observer)
    }

    fn script(&self, process: &ProcessInfo) -> Option<Script> {
        scripts::running(process)
    }

    fn rollback_items(
        &self,
        changes: &[Change],
        kept: &[StoredPackage],
        _: &Path,
    ) -> Result<Vec<RollbackItem>> {
        let conf = self.conf().unwrap_or_else(|error| {
            tracing::warn!("{error:#}");
            Conf::default_directories()
        });
        Ok(rollback::find(changes, kept, &conf.caches))
    }

    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        self.rollback_with(&self.conf()?, None, restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        database::automatic(&Path::new(DATABASE).join("local")).ok()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        arguments::mark_automatic(names)
            .log(log)
            .output_checked()
            .map(drop)
    }

    fn damaged(&self, back: &[RollbackItem], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back, &self.plain_configuration()?)
    }

    /// pacman is told the same as when they came back.
    fn install_again(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        match self.rollback(restore, observer) {
            Ok(TransactionEnd::Done) => Ok(TransactionEnd::Done),
            _ => self.rollback_below(restore, observer),
        }
    }

    /// There is none, but pacman itself with a plain configuration installs files where that of the host is what keeps
    /// it from running.
    fn below(&self) -> Option<&'static str> {
        Some("pacman with a plain configuration")
    }

    fn rollback_below(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let configuration = self.plain_configuration()?;
        let conf = Conf::default_directories();
        self.rollback_with(&conf, Some(&configuration), restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        let (changes, conf) = self.gate.announced(input, &database::installed()?)?;
        self.remember(conf);
        Ok(changes)
    }

    /// pacman checks every file that it finds in its cache, and removes a damaged one (FACTS 54).
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        Ok(database::files(&Path::new(DATABASE).join("local"), change))
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
        database::brings(&Path::new(DATABASE).join("local"), changes, there)
    }

    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String> {
        let database = Path::new(DATABASE).join("local");
        reboot::reasons(Path::new("/"), &database, taken_back)
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(self, failed)
    }
}
