//! apk.

mod arguments;
mod backend;
mod database;
mod fingerprint;
mod listing;
mod locks;
mod output;
mod pending;
mod reboot;
mod refresh;
mod repair;
mod rollback;
mod scripts;
mod simulate;
mod transaction;
mod world;

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

pub use backend::Apk;
pub use database::FILES as DATABASE_FILES;

use self::backend::CACHE;
use super::rpm::gate;
use super::{
    Change, Database, Observer, PackageManager, Pending, Problem, RefreshReport, Restore,
    RollbackItem, Script, Source, StoredPackage, TakenBack, Transaction, TransactionEnd,
    TransactionReport, Update,
};
use crate::exec::ProcessInfo;

impl PackageManager for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        self.fetch(observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        pending::plan(self, &[], failed)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok(Some(
            "apk's repositories do not say it; apply all updates instead".to_owned(),
        ))
    }

    /// What needs a removal, or cannot be done at all, is kept back: one bad package makes apk refuse an
    /// upgrade of everything (FACTS 59).
    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::plan(self, updates, failed)
    }

    fn installed(&self) -> Result<Database> {
        self.read_database()
    }

    fn database_files(&self) -> Vec<&'static str> {
        database::FILES.to_vec()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        repair::problems(self)
    }

    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        transaction::apply(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        self.wait(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(self, changes, log, observer)
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
        let caches = [PathBuf::from(CACHE), "/etc/apk/cache".into()];
        Ok(rollback::find(changes, kept, &caches))
    }

    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        rollback::run(self, restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        gate::parse(input)
    }

    /// apk checks what it takes out of its cache.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn runs_scripts_from(&self) -> Option<&Path> {
        self.database.parent()
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        let text = fs::read(&self.database)
            .with_context(|| format!("failed to read '{}'", self.database.display()))?;
        Ok(database::files(
            &String::from_utf8_lossy(&text),
            &change.package,
        ))
    }

    fn reboot_reasons(&self, _: &TakenBack) -> Vec<String> {
        reboot::reasons()
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(self, failed)
    }
}
