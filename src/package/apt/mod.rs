//! apt and dpkg.

pub(crate) mod acquire;
mod apt_config;
mod archives;
mod arguments;
mod auto_marks;
mod backend;
mod below;
mod build;
mod cache;
mod coexistence;
mod contents;
pub(crate) mod database;
mod dpkg;
mod explain;
mod fingerprint;
pub(crate) mod gate;
mod index;
mod index_request;
mod kernels;
mod locks;
mod names;
mod options;
mod output;
mod overwritten;
mod owed;
mod pending;
mod placed;
mod plan;
pub(crate) mod policy;
mod protocol;
mod reboot;
mod refresh;
mod relations;
pub(crate) mod release_file;
mod remains;
mod repair;
mod rollback;
mod scripts;
mod settings;
pub(crate) mod simulate;
mod source_report;
mod space_needs;
pub(crate) mod status;
mod transaction;
mod words;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use arguments::APT_GET;
pub use backend::Apt;
pub use database::FILES as DATABASE_FILES;

use crate::exec::ProcessInfo;
use crate::package::repair_step::run_repair_step;
use crate::package::{
    Change, Damaged, Database, Footprint, Observer, PackageId, PackageManager, Pending, Problem,
    RefreshReport, Restore, RollbackItem, Script, Source, SpaceNeeds, StoredPackage, TakenBack,
    Transaction, TransactionEnd, TransactionReport, Update,
};

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport> {
        refresh::run(self.settings(), observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        vec![self.lists()]
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let lists = self.lists_without(failed)?;
        refresh::download(self, &pending::words(&lists)?, &lists, observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(self, failed)
    }

    fn must_be_told(&self, list: Option<&Pending>, failed: &[&Source]) -> Result<bool> {
        pending::must_be_told(self, list, failed)
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        plan::exactly(self, updates, &self.lists_without(failed)?)
    }

    fn installed(&self) -> Result<Database> {
        database::installed()
    }

    fn build_of(&self, file: &Path) -> Result<Option<String>> {
        let shown = dpkg::fields(file).output_checked()?;
        Ok(Some(build::sum(shown.trim_end_matches('\n').split('\t'))))
    }

    fn database_files(&self) -> Vec<&'static str> {
        database::FILES.to_vec()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        database::problems(&self.dpkg)
    }

    fn is_interrupted(&self) -> Result<bool> {
        database::needs_repair(&self.dpkg)
    }

    fn is_unconfigured(&self) -> Result<bool> {
        database::is_unconfigured(&self.dpkg)
    }

    fn configure(&self, log: &Path, observer: &mut dyn Observer) -> Result<()> {
        run_repair_step(&dpkg::configure_all(), log, observer)
    }

    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport> {
        transaction::apply(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(&self.dpkg, observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(self, changes, log, observer)
    }

    fn script(&self, process: &ProcessInfo) -> Option<Script> {
        scripts::of(process)
    }

    fn rollback_items(
        &self,
        changes: &[Change],
        kept: &[StoredPackage],
        scratch: &Path,
    ) -> Result<Vec<RollbackItem>> {
        rollback::find(&self.index, changes, kept, scratch)
    }

    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        rollback::run(self, restore, observer)
    }

    fn overwritten(
        &self,
        former: &[RollbackItem],
        kept: &[StoredPackage],
    ) -> Result<Vec<RollbackItem>> {
        overwritten::find(self, former, kept)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        Some(auto_marks::Marks::read().into_names())
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        arguments::mark_automatic(names)
            .log(log)
            .output_checked()
            .map(drop)
    }

    fn remains(&self) -> Result<BTreeSet<PackageId>> {
        remains::find(&self.dpkg)
    }

    fn clear_remains(
        &self,
        gone: &[PackageId],
        is_new: &dyn Fn(&str) -> bool,
        log: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Vec<(PackageId, String)>> {
        remains::clear(&self.dpkg, gone, is_new, log, observer)
    }

    fn damaged(&self, back: &[RollbackItem], store: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(self, back, store)
    }

    fn install_again(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        below::install_again(self, restore, observer)
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn rollback_below(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        below::rollback(self, restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        gate::parse(input)
    }

    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>> {
        archives::remove_damaged(&self.index, changes, since)
    }

    fn footprints(&self, changes: &[Change]) -> Result<Vec<Footprint>> {
        archives::footprints(&self.index, changes)
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        archives::brings(&self.dpkg, changes, there)
    }

    fn space_needs(&self) -> SpaceNeeds {
        space_needs::NEEDS
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        archives::of(&self.dpkg, change)
    }

    fn runs_scripts_from(&self) -> Option<&Path> {
        Some(&self.dpkg)
    }

    fn remove_old_kernels(
        &self,
        keep: &[String],
        log: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Change>> {
        kernels::remove(self, keep, log, observer)
    }

    fn reboot_reasons(&self, _: &TakenBack) -> Vec<String> {
        reboot::reasons()
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        fingerprint::fingerprint(self, failed)
    }
}
