//! dnf 4, dnf 5 and yum.

mod actions;
mod arguments;
mod backend;
mod dialect;
mod listing;
mod marks;
mod output;
mod plugin;
mod refresh;
mod run;
mod simulate;
mod table;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

pub use backend::Dnf;
pub use dialect::Dialect;

use self::listing::listed;
use self::output::Run;
use self::plugin::Plugin;
use super::rpm::resolution::{self, NO_ADVISORIES};
use super::rpm::{
    below, brings, conf, contents, database, database_cache, gate, installonly, locks, reboot,
    repair, rollback, scripts, transaction,
};
use super::{
    Applied, Change, Damaged, Database, Ended, Former, Kept, Key, Observer, PackageManager,
    Pending, Problem, Refreshed, Restore, Script, Source, TakenBack, Transaction, Update,
};
use crate::exec::Process;
use crate::sorted::InOrder;

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.dialect.name()
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        refresh::run(self, observer)
    }

    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let program = arguments::download_ahead(self.dialect, failed);
        let mut run = Run::new(observer);
        let ending = program.run(&mut run)?.ending;
        let ended = run.finish(ending).changed.ended;
        ended.came_to_its_end(self.name())
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        let database = self.installed()?;
        let advisories = self.advisories(failed)?;
        let (resolved, mut kept_back) = self.simulate(None, failed)?;
        let mut pending = resolved.pending(&database, &advisories);
        pending.kept_back.append(&mut kept_back);
        let more = [
            self.locked(&pending, failed)?,
            self.only_from_failed(&pending, failed)?,
        ];
        pending.kept_back.extend(more.concat());
        pending.kept_back = resolution::marked(pending.kept_back, &advisories);
        Ok(pending)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!self.has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        let (resolved, mut kept_back) = self.simulate(Some(updates), failed)?;
        let advisories = resolution::advisories_of(updates);
        let mut pending = resolved.pending(&self.installed()?, &advisories);
        pending.kept_back.append(&mut kept_back);
        Ok(pending)
    }

    fn installed(&self) -> Result<Database> {
        self.database()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        Ok(database_cache::read()?.problems())
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(!database_cache::read()?.duplicates().is_empty())
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let _forgets = database_cache::Changing;
        if let Some(plugin) = Plugin::set_up(self.dialect, &self.scratch, transaction.gate)?
            && let Some(applied) = self.gated(&plugin, transaction, observer)?
        {
            return Ok(applied);
        }
        transaction::run(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = database_cache::Changing;
        let native = arguments::remove_duplicates(self.dialect);
        repair::run(changes, Some(&native), log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        scripts::running(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let parallel = rollback::parallel(changes, conf::Front::Dnf)?;
        let caches = [self.dialect.cache()];
        Ok(rollback::find(changes, kept, &caches, &parallel, |names| {
            self.archived.or_ask(|| {
                let listed = listed(&arguments::versions(self.dialect, names))?;
                let available = listed
                    .split_once("Available")
                    .map_or("", |(_, available)| available);
                let versions = table::list(available).into_iter();
                Ok(versions
                    .map(|planned| (planned.key, planned.evr))
                    .in_order())
            })
        }))
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = database_cache::Changing;
        run::put_back(self.dialect, &self.scratch, restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    /// dnf 4 and yum keep them in a database that only they read.
    fn automatic(&self) -> Option<BTreeSet<String>> {
        let is_read = self.dialect == Dialect::Dnf5;
        is_read.then(marks::automatic).flatten()
    }

    fn mark_automatic(&self, names: &[String], log: &Path) -> Result<()> {
        marks::mark_automatic(self.dialect.program(), names)
            .log(log)
            .capture()
            .map(drop)
    }

    fn in_use(&self, former: &[Former]) -> Result<Vec<(Key, String)>> {
        installonly::in_use(former)
    }

    fn damaged(&self, back: &[Former], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back)
    }

    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = database_cache::Changing;
        contents::install_again(restore, &[self.dialect.cache()], observer, |former| {
            arguments::install_again(self.dialect, former)
        })
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn roll_back_below(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = database_cache::Changing;
        below::put_back(restore, observer)
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        let announced = if actions::asks() {
            actions::announced(input, &mut std::io::stdout(), self.dialect.cache())?
        } else {
            gate::announced(input)?
        };
        Ok(self.archived.heard(announced))
    }

    /// The family checks a file of its cache against the index before it uses it, as it does what it
    /// fetches.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        database::files_of(change)
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        brings::fetched(updates, &[self.dialect.cache()])
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
        self.stamp(failed)
    }
}
