//! apt and dpkg.

pub(crate) mod acquire;
mod apt_config;
mod arguments;
mod backend;
mod below;
mod build;
mod cache;
mod contents;
pub(crate) mod database;
mod dependents;
mod explain;
mod files;
mod former;
pub(crate) mod hook;
mod index;
mod kernels;
pub(crate) mod listing;
mod locks;
mod marks;
mod names;
mod options;
mod overwritten;
mod owed;
mod pending;
mod placed;
pub(crate) mod policy;
mod protocol;
mod refresh;
mod relations;
mod remains;
mod repair;
mod run;
mod script;
mod settings;
pub(crate) mod status;
mod words;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use arguments::APT_GET;
pub use backend::Apt;

use crate::checksum;
use crate::exec::Process;
use crate::package::climb::climb;
use crate::package::{
    Applied, Change, Damaged, Database, Ended, Footprint, Former, Kept, Key, Observer,
    PackageManager, Pending, Problem, Refreshed, Restore, Script, Source, TakenBack, Transaction,
    Update, stamp,
};
use crate::sorted;

impl PackageManager for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        refresh::run(self.settings(), observer)
    }

    fn refreshes_in(&self) -> Vec<PathBuf> {
        vec![self.lists()]
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let lists = self.lists_without(failed)?;
        refresh::download(self, &pending::words(self, &lists)?, &lists, observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        pending::everything(self, failed)
    }

    fn must_be_told(&self, list: Option<&Pending>, failed: &[&Source]) -> Result<bool> {
        pending::must_be_told(self, list, failed)
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        pending::exactly(self, updates, &self.lists_without(failed)?)
    }

    fn installed(&self) -> Result<Database> {
        self.database()
    }

    fn build_of(&self, file: &Path) -> Result<Option<String>> {
        let shown = arguments::fields(file).capture()?;
        Ok(Some(build::sum(shown.trim_end_matches('\n').split('\t'))))
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
        climb(&arguments::configure_all(), log, observer)
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let lists = self.lists_without(transaction.failed)?;
        let marks = marks::Marks::read();
        let options = [self.settings().patience(), lists.clone()].concat();
        let outcome = run::transaction(transaction, &options, &self.dpkg, observer)?;
        marks.restore(transaction.log);
        let kept_back = if transaction.failed.is_empty() {
            pending::reasons(self, &outcome.kept, &lists)
        } else {
            // the run was not shown what only the failed sources have
            self.pending(transaction.failed).map(|p| p.kept_back)
        };
        // the update may have broken apt, and is judged all the same
        let mut notes = outcome.notes;
        let kept_back = kept_back.unwrap_or_else(|error| {
            notes.push(format!(
                "what was kept back, and why, could not be found out: {error:#}"
            ));
            Vec::new()
        });
        Ok(Applied {
            ended: outcome.ended,
            kept_back,
            notes,
            failures: Vec::new(),
            displaced: outcome.displaced,
            interrupted: false,
        })
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(&self.dpkg, observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        repair::run(self, changes, log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        script::of(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], scratch: &Path) -> Result<Vec<Former>> {
        former::find(&self.index, changes, kept, scratch)
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        former::put_back(self, restore, observer)
    }

    fn overwritten(&self, former: &[Former], kept: &[Kept]) -> Result<Vec<Former>> {
        overwritten::find(self, former, kept)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        Some(marks::Marks::read().into_names())
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        arguments::mark_automatic(names)
            .log(log)
            .capture()
            .map(drop)
    }

    fn remains(&self) -> Result<BTreeSet<Key>> {
        remains::find(&self.dpkg)
    }

    fn clear_remains(
        &self,
        gone: &[Key],
        is_new: &dyn Fn(&str) -> bool,
        log: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Vec<(Key, String)>> {
        remains::clear(&self.dpkg, gone, is_new, log, observer)
    }

    fn damaged(&self, back: &[Former], store: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(self, back, store)
    }

    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        below::install_again(self, restore, observer)
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn roll_back_below(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        below::put_back(self, restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        hook::parse(input)
    }

    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>> {
        files::remove_damaged(&self.index, changes, since)
    }

    fn footprints(&self, changes: &[Change]) -> Result<Vec<Footprint>> {
        files::footprints(&self.index, changes)
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        files::brings(&self.dpkg, changes, there)
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        files::of(&self.dpkg, change)
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
        if !Path::new("/run/reboot-required").exists() {
            return Vec::new();
        }
        let packages = fs::read_to_string("/run/reboot-required.pkgs").unwrap_or_default();
        let mut reasons: Vec<String> = packages
            .lines()
            .map(|package| format!("{package} was updated"))
            .collect();
        reasons.dedup();
        if reasons.is_empty() {
            reasons.push("/run/reboot-required is there".to_owned());
        }
        reasons
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        let mut text = String::new();
        for source in failed {
            let _ = write!(text, "{source};");
        }
        for path in [
            "/etc/apt/sources.list",
            "/etc/apt/sources.list.d",
            "/etc/apt/preferences",
            "/etc/apt/preferences.d",
            "/etc/apt/apt.conf",
            "/etc/apt/apt.conf.d",
        ] {
            stamp::add_all(&mut text, Path::new(path));
        }
        stamp::add(&mut text, &self.dpkg.join("status"));
        let mut lists: Vec<PathBuf> = fs::read_dir(self.lists())
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        // the dates of the signed files change with every fetch, those of the indexes only when new
        lists.retain(|path| path.to_string_lossy().contains("_Packages"));
        sorted::sort(&mut lists);
        lists.iter().for_each(|path| stamp::add(&mut text, path));
        checksum::sha256(text.as_bytes())
    }
}
