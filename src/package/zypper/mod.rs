//! zypper.

mod arguments;
mod auto_marks;
mod backend;
mod database;
mod directories;
mod document;
mod explain;
mod fingerprint;
mod locks;
mod output;
mod patches;
mod pending;
mod reboot;
mod refresh;
mod rollback;
mod scope;
mod simulate;
mod transaction;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use backend::Zypper;

use self::directories::ZyppDirectories;
use super::rpm::advisories::NO_ADVISORIES;
use super::rpm::{
    self, below, brings, contents, database_cache, gate, installonly, repair, scripts,
};
use super::{
    Change, Damaged, Database, Observer, PackageId, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, SpaceNeeds, StoredPackage, TakenBack,
    Transaction, TransactionEnd, TransactionReport, Update,
};
use crate::exec::ProcessInfo;

impl PackageManager for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        let places = ZyppDirectories::now();
        vec![places.indexes, places.solver]
    }

    fn looks_up_in(&self) -> Vec<PathBuf> {
        vec![ZyppDirectories::now().solver]
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        transaction::download_ahead(failed, observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(failed)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!scope::has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::exactly(updates, failed)
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
        rpm::transaction::run(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        rpm::locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = database_cache::Changing;
        repair::run(changes, None, log, observer)
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
        rollback::run(restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        auto_marks::automatic()
    }

    fn mark_automatic(&self, names: &[String], _: &Path) -> Result<()> {
        auto_marks::mark_automatic(names)
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
        contents::install_again(
            restore,
            &[ZyppDirectories::now().packages],
            observer,
            |former| arguments::install_again(former),
        )
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
        Ok(self.archived.remember(gate::announced(input)?))
    }

    /// zypper checks a file of its cache against the index before it uses it, as it does what it fetches.
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
        brings::fetched(updates, &[ZyppDirectories::now().packages])
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
        fingerprint::fingerprint(failed)
    }
}
