//! dnf 4, dnf 5 and yum.

mod arguments;
mod auto_marks;
mod backend;
mod confirmed;
mod database;
mod dialect;
mod fingerprint;
mod gate;
mod output;
mod pending;
mod places;
mod refresh;
mod rollback;
mod simulate;
mod table;
mod transaction;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use backend::Dnf;
pub use dialect::Dialect;

use super::rpm::resolution::NO_ADVISORIES;
use super::rpm::{
    self, below, brings, contents, database_cache, installonly, locks, reboot, repair, scripts,
};
use super::{
    Change, Damaged, Database, Observer, PackageId, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, StoredPackage, TakenBack, Transaction,
    TransactionEnd, TransactionReport, Update,
};
use crate::exec::ProcessInfo;

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.dialect.name()
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(self, observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        self.dialect.writes_to()
    }

    /// dnf 4 and yum lock their cache.
    fn looks_up_in(&self) -> Vec<PathBuf> {
        match self.dialect {
            Dialect::Dnf4 | Dialect::Yum => self.dialect.writes_to(),
            Dialect::Dnf5 => Vec::new(),
        }
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        transaction::download_ahead(self, failed, observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(self, failed)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!self.has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::exactly(self, updates, failed)
    }

    fn installed(&self) -> Result<Database> {
        database::installed()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        Ok(database_cache::read()?.problems())
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(!database_cache::read()?.duplicates().is_empty())
    }

    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        let _forgets = database_cache::Changing;
        transaction::apply(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = database_cache::Changing;
        let native = arguments::remove_duplicates(self.dialect);
        repair::run(changes, Some(&native), log, observer)
    }

    fn script(&self, process: &ProcessInfo) -> Option<Script> {
        scripts::running(process)
    }

    fn former(
        &self,
        changes: &[Change],
        kept: &[StoredPackage],
        _: &Path,
    ) -> Result<Vec<RollbackItem>> {
        rollback::find(self, changes, kept)
    }

    fn roll_back(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        rollback::put_back(self.dialect, &self.scratch, restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    /// dnf 4 and yum keep them in a database that only they read.
    fn automatic(&self) -> Option<BTreeSet<String>> {
        let is_read = self.dialect == Dialect::Dnf5;
        is_read.then(auto_marks::automatic).flatten()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        auto_marks::mark_automatic(self.dialect.program(), names)
            .log(log)
            .output_checked()
            .map(drop)
    }

    fn in_use(&self, former: &[RollbackItem]) -> Result<Vec<(PackageId, String)>> {
        installonly::in_use(former)
    }

    fn damaged(&self, back: &[RollbackItem], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back)
    }

    fn install_again(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        contents::install_again(restore, &self.dialect.caches(), observer, |former| {
            arguments::install_again(self.dialect, former)
        })
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn roll_back_below(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        below::put_back(restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        let announced = gate::announced(self.dialect, input)?;
        Ok(self.archived.heard(announced))
    }

    /// The family checks a file of its cache against the index before it uses it, as it does what it
    /// fetches.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        rpm::database::files_of(change)
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        brings::fetched(updates, &self.dialect.caches())
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        brings::brings(changes, there)
    }

    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String> {
        reboot::reasons(taken_back)
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(self, failed)
    }
}
