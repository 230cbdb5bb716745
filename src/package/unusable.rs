//! The stand-in for a package manager that cannot be used: every call fails with the reason.

use std::io::BufRead;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Result, bail};

use super::detect::all_database_files;
use super::{
    Change, Database, Observer, PackageManager, Pending, Problem, RefreshReport, Restore,
    RollbackItem, Source, StoredPackage, TakenBack, Transaction, TransactionEnd, TransactionReport,
    Update,
};

/// Stands in for the package manager, so that requests are answered instead of waiting for ever.
#[derive(Debug)]
pub struct Unusable(
    /// Why there is none.
    pub String,
);

impl Unusable {
    fn refuse<T>(&self) -> Result<T> {
        bail!("{}", self.0)
    }
}

impl PackageManager for Unusable {
    fn name(&self) -> &'static str {
        ""
    }

    fn refresh(&self, _: &mut dyn Observer) -> Result<RefreshReport> {
        self.refuse()
    }

    fn pending(&self, _: &[&Source]) -> Result<Pending> {
        self.refuse()
    }

    fn plan(&self, _: &[Update], _: &[&Source]) -> Result<Pending> {
        self.refuse()
    }

    fn installed(&self) -> Result<Database> {
        self.refuse()
    }

    /// Which package manager the host has is not known, so the database may be that of any of them.
    fn database_files(&self) -> Vec<&'static str> {
        all_database_files()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        self.refuse()
    }

    fn apply(&self, _: &Transaction<'_>, _: &mut dyn Observer) -> Result<TransactionReport> {
        self.refuse()
    }

    fn wait_until_idle(&self, _: &mut dyn Observer) -> Result<()> {
        self.refuse()
    }

    fn repair(&self, _: &[Change], _: &Path, _: &mut dyn Observer) -> Result<()> {
        self.refuse()
    }

    fn rollback_items(
        &self,
        _: &[Change],
        _: &[StoredPackage],
        _: &Path,
    ) -> Result<Vec<RollbackItem>> {
        self.refuse()
    }

    fn rollback(&self, _: &Restore<'_>, _: &mut dyn Observer) -> Result<TransactionEnd> {
        self.refuse()
    }

    fn change_list(&self, _: &mut dyn BufRead) -> Result<Vec<Change>> {
        self.refuse()
    }

    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        self.refuse()
    }

    fn reboot_reasons(&self, _: &TakenBack) -> Vec<String> {
        Vec::new()
    }

    fn fingerprint(&self, _: &[&Source]) -> String {
        String::new()
    }
}
