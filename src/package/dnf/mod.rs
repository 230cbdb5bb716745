//! dnf 4, dnf 5 and yum.

mod arguments;
mod auto_marks;
mod backend;
mod confirmed;
mod database;
mod directories;
mod fingerprint;
mod gate;
mod output;
mod pending;
mod refresh;
mod refresh_output;
mod rollback;
mod rollback_arguments;
mod simulate;
mod table;
mod transaction;
mod variant;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use backend::Dnf;
pub use variant::Variant;

use super::rpm::advisories::NO_ADVISORIES;
use super::rpm::{
    self, below, brings, contents, database_cache, installonly, locks, reboot, repair, scripts,
};
use super::{
    Change, Damaged, Database, Observer, PackageId, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, SpaceNeeds, StoredPackage, TakenBack,
    Transaction, TransactionEnd, TransactionReport, Update,
};
use crate::exec::ProcessInfo;

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.variant.name()
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(self, observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        self.variant.writes_to()
    }

    /// dnf 4 and yum lock their cache.
    fn looks_up_in(&self) -> Vec<PathBuf> {
        match self.variant {
            Variant::Dnf4 | Variant::Yum => self.variant.writes_to(),
            Variant::Dnf5 => Vec::new(),
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

    fn database_files(&self) -> Vec<&'static str> {
        rpm::DATABASE_FILES.to_vec()
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
        let native = rollback_arguments::remove_duplicates(self.variant);
        repair::run(changes, Some(&native), log, observer)
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
        rollback::find(self, changes, kept)
    }

    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        rollback::run(self.variant, &self.scratch, restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    /// dnf 4 and yum keep them in a database that only they read.
    fn automatic(&self) -> Option<BTreeSet<String>> {
        let is_read = self.variant == Variant::Dnf5;
        is_read.then(auto_marks::automatic).flatten()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        auto_marks::mark_automatic(self.variant.program(), names)
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
        contents::install_again(restore, &self.variant.caches(), observer, |former| {
            rollback_arguments::install_again(self.variant, former)
        })
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn rollback_below(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        below::rollback(restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        let announced = gate::announced(self.variant, input)?;
        Ok(self.archived.remember(announced))
    }

    /// The family checks a file of its cache against the index before it uses it, as it does what it
    /// fetches.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn space_needs(&self) -> SpaceNeeds {
        rpm::space_needs::NEEDS
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        rpm::database::files_of(change)
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        brings::fetched(updates, &self.variant.caches())
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
