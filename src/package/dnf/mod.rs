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

use anyhow::Result;

pub use backend::Dnf;
pub use variant::Variant;

use super::rpm::gate::Announced;
use super::rpm::manager::RpmManager;
use super::rpm::reboot;
use super::rpm::rollback::Archived;
use super::{
    Change, Database, Observer, Pending, RefreshReport, Restore, RollbackItem, Source,
    StoredPackage, TakenBack, Transaction, TransactionEnd, TransactionReport, Update,
};
use crate::exec::Program;

impl RpmManager for Dnf {
    fn tool(&self) -> &'static str {
        self.variant.name()
    }

    fn fetch_indexes(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(self, observer)
    }

    fn index_directories(&self) -> Vec<PathBuf> {
        self.variant.writes_to()
    }

    /// dnf 4 and yum lock their cache.
    fn lookup_directories(&self) -> Vec<PathBuf> {
        match self.variant {
            Variant::Dnf4 | Variant::Yum => self.variant.writes_to(),
            Variant::Dnf5 => Vec::new(),
        }
    }

    fn caches(&self) -> Vec<PathBuf> {
        self.variant.caches()
    }

    fn download_ahead(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        transaction::download_ahead(self, failed, observer)
    }

    fn everything(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(self, failed)
    }

    fn exactly(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::exactly(self, updates, failed)
    }

    fn has_advisories(&self) -> bool {
        pending::has_advisories(self)
    }

    fn database(&self) -> Result<Database> {
        database::installed()
    }

    fn transact(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        transaction::apply(self, transaction, observer)
    }

    fn remove_duplicates(&self) -> Option<Program> {
        Some(rollback_arguments::remove_duplicates(self.variant))
    }

    fn find_former(&self, changes: &[Change], kept: &[StoredPackage]) -> Result<Vec<RollbackItem>> {
        rollback::find(self, changes, kept)
    }

    fn go_back(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        rollback::run(self.variant, &self.scratch, restore, observer)
    }

    fn reinstall(&self, former: &[RollbackItem]) -> Program {
        rollback_arguments::install_again(self.variant, former)
    }

    /// dnf 4 and yum keep them in a database that only they read.
    fn auto_marks(&self) -> Option<BTreeSet<String>> {
        let is_read = self.variant == Variant::Dnf5;
        is_read.then(auto_marks::automatic).flatten()
    }

    fn add_auto_marks(&self, names: &[String], log: &Path) -> Result<()> {
        auto_marks::mark_automatic(self.variant.program(), names)
            .log(log)
            .output_checked()
            .map(drop)
    }

    fn announced(&self, input: &mut dyn BufRead) -> Result<Vec<Announced>> {
        gate::announced(self.variant, input)
    }

    fn archived(&self) -> &Archived {
        &self.archived
    }

    fn reasons_to_reboot(&self, taken_back: &TakenBack) -> Vec<String> {
        reboot::reasons(taken_back)
    }

    fn state(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(self, failed)
    }
}
