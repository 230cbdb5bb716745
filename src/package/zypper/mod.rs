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

use anyhow::Result;

pub use backend::Zypper;

use self::directories::ZyppDirectories;
use super::rpm::gate::{self, Announced};
use super::rpm::manager::RpmManager;
use super::rpm::rollback::Archived;
use super::{
    Change, Database, Observer, Pending, RefreshReport, Restore, RollbackItem, Source,
    StoredPackage, TakenBack, Transaction, TransactionEnd, TransactionReport, Update, rpm,
};
use crate::exec::Program;

impl RpmManager for Zypper {
    fn tool(&self) -> &'static str {
        "zypper"
    }

    fn fetch_indexes(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(observer)
    }

    fn index_directories(&self) -> Vec<PathBuf> {
        let directories = ZyppDirectories::now();
        vec![directories.indexes, directories.solver]
    }

    fn lookup_directories(&self) -> Vec<PathBuf> {
        vec![ZyppDirectories::now().solver]
    }

    fn caches(&self) -> Vec<PathBuf> {
        vec![ZyppDirectories::now().packages]
    }

    fn download_ahead(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        transaction::download_ahead(failed, observer)
    }

    fn everything(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(failed)
    }

    fn exactly(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::exactly(updates, failed)
    }

    fn has_advisories(&self) -> bool {
        scope::has_advisories()
    }

    fn database(&self) -> Result<Database> {
        database::installed()
    }

    fn transact(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        rpm::transaction::run(self, transaction, observer)
    }

    fn remove_duplicates(&self) -> Option<Program> {
        None
    }

    fn find_former(&self, changes: &[Change], kept: &[StoredPackage]) -> Result<Vec<RollbackItem>> {
        rollback::find(self, changes, kept)
    }

    fn go_back(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        rollback::run(restore, observer)
    }

    fn reinstall(&self, former: &[RollbackItem]) -> Program {
        arguments::install_again(former)
    }

    fn auto_marks(&self) -> Option<BTreeSet<String>> {
        auto_marks::automatic()
    }

    fn add_auto_marks(&self, names: &[String], _: &Path) -> Result<()> {
        auto_marks::mark_automatic(names)
    }

    fn announced(&self, input: &mut dyn BufRead) -> Result<Vec<Announced>> {
        gate::announced(input)
    }

    fn archived(&self) -> &Archived {
        &self.archived
    }

    fn reasons_to_reboot(&self, taken_back: &TakenBack) -> Vec<String> {
        reboot::reasons(taken_back)
    }

    fn state(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(failed)
    }
}
