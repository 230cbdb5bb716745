//! What dnf, yum and zypper answer alike as package managers.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use super::advisories::NO_ADVISORIES;
use super::gate::Announced;
use super::rollback::Archived;
use super::{
    below, brings, contents, database, database_cache, installonly, locks, repair, scripts,
    space_needs,
};
use crate::exec::{ProcessInfo, Program};
use crate::package::{
    Change, Damaged, Database, Observer, PackageId, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, SpaceNeeds, StoredPackage, TakenBack,
    Transaction, TransactionEnd, TransactionReport, Update,
};

/// A package manager above rpm, as far as it differs from the others. All of them are a [`PackageManager`] by that,
/// whose documentation says what is asked.
pub trait RpmManager: Send + Sync {
    /// See [`PackageManager::name`].
    fn tool(&self) -> &'static str;

    /// See [`PackageManager::refresh`].
    fn fetch_indexes(&self, observer: &mut dyn Observer) -> Result<RefreshReport>;

    /// See [`PackageManager::refreshes_in`].
    fn index_directories(&self) -> Vec<PathBuf>;

    /// See [`PackageManager::looks_up_in`].
    fn lookup_directories(&self) -> Vec<PathBuf>;

    /// Where the package files lie that were fetched.
    fn caches(&self) -> Vec<PathBuf>;

    /// See [`PackageManager::download`].
    fn download_ahead(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool>;

    /// See [`PackageManager::pending`].
    fn everything(&self, failed: &[&Source]) -> Result<Pending>;

    /// See [`PackageManager::plan`].
    fn exactly(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending>;

    /// Whether an enabled repository carries advisories.
    fn has_advisories(&self) -> bool;

    /// See [`PackageManager::installed`].
    fn database(&self) -> Result<Database>;

    /// See [`PackageManager::apply`].
    fn transact(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport>;

    /// Its own command that removes the older of two entries of a package, where it has one.
    fn remove_duplicates(&self) -> Option<Program>;

    /// See [`PackageManager::rollback_items`].
    fn find_former(&self, changes: &[Change], kept: &[StoredPackage]) -> Result<Vec<RollbackItem>>;

    /// See [`PackageManager::rollback`].
    fn go_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer)
    -> Result<TransactionEnd>;

    /// The command that installs packages again in the version that they have.
    fn reinstall(&self, former: &[RollbackItem]) -> Program;

    /// See [`PackageManager::automatic`].
    fn auto_marks(&self) -> Option<BTreeSet<String>>;

    /// See [`PackageManager::mark_automatic`].
    fn add_auto_marks(&self, names: &[String], log: &Path) -> Result<()>;

    /// The changes that are announced to the gate.
    fn announced(&self, input: &mut dyn BufRead) -> Result<Vec<Announced>>;

    /// The former versions that its repositories have, where that was announced.
    fn archived(&self) -> &Archived;

    /// See [`PackageManager::reboot_reasons`].
    fn reasons_to_reboot(&self, taken_back: &TakenBack) -> Vec<String>;

    /// See [`PackageManager::fingerprint`].
    fn state(&self, failed: &[&Source]) -> String;
}

impl<T: RpmManager> PackageManager for T {
    fn name(&self) -> &'static str {
        self.tool()
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        self.fetch_indexes(observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        self.index_directories()
    }

    fn looks_up_in(&self) -> Vec<PathBuf> {
        self.lookup_directories()
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        self.download_ahead(failed, observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        self.everything(failed)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!self.has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        self.exactly(updates, failed)
    }

    fn installed(&self) -> Result<Database> {
        self.database()
    }

    fn database_files(&self) -> Vec<&'static str> {
        database::FILES.to_vec()
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
        self.transact(transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = database_cache::Changing;
        repair::run(changes, self.remove_duplicates().as_ref(), log, observer)
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
        self.find_former(changes, kept)
    }

    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        let _forgets = database_cache::Changing;
        self.go_back(restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        self.auto_marks()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        self.add_auto_marks(names, log)
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
        contents::install_again(restore, &self.caches(), observer, |former| {
            self.reinstall(former)
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
        Ok(self.archived().remember(self.announced(input)?))
    }

    /// dnf, yum and zypper check a file of their cache against the index before they use it, as they do what they
    /// fetch.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn space_needs(&self) -> SpaceNeeds {
        space_needs::NEEDS
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        database::files_of(change)
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        brings::fetched(updates, &self.caches())
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        brings::brings(changes, there)
    }

    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String> {
        self.reasons_to_reboot(taken_back)
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        self.state(failed)
    }
}
