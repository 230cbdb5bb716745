//! zypper.

mod arguments;
mod backend;
mod explain;
mod listing;
mod locks;
mod marks;
mod output;
mod patches;
mod refresh;
mod removals;
mod run;
mod scope;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};

pub use backend::Zypper;

use self::locks::until_unlocked;
use self::scope::{PACKAGES, Scope, enabled, indexes};
use super::rpm::repositories;
use super::rpm::resolution::{self, NO_ADVISORIES};
use super::rpm::{
    below, brings, conf, contents, database, database_cache, gate, installonly, reboot, repair,
    rollback, scripts, transaction,
};
use super::transaction::Quiet;
use super::{
    Applied, Change, Damaged, Database, Ended, Former, Kept, Key, Observer, PackageManager,
    Pending, Problem, Refreshed, Restore, Script, Source, TakenBack, Transaction, Update, rpm,
};
use crate::exec::Process;
use crate::sorted::InOrder;

/// What libzypp leaves when it has installed a package that asks for a reboot (`installhint(reboot-needed)`);
/// `zypper needs-rebooting` looks at nothing else.
const REBOOT_NEEDED: &str = "/run/reboot-needed";

impl PackageManager for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        database_cache::read_ahead();
        let heard = refresh::run(observer)?;
        let (enabled, indexes) = (enabled(), indexes());
        let mut errors = heard.errors;
        if enabled.is_empty() && errors.is_empty() {
            errors.push("no repository is enabled; see 'zypper repos'".to_owned());
        }
        let sources: Vec<Source> = enabled
            .iter()
            .map(|repository| {
                let error = heard.repositories.get(&repository.id).cloned();
                repositories::source(&repository.id, Some(repository), error, &indexes)
            })
            .collect();
        Ok(Refreshed::of(sources, errors, refresh::is_network_error))
    }

    /// What it has fetched it checks against the index again before it installs it.
    fn download(&self, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
        let scope = Scope::new(None, failed);
        let (resolved, _) = removals::simulate(&scope, &backend::database()?)?;
        let names: Vec<String> = resolved.install.iter().map(arguments::planned).collect();
        if names.is_empty() {
            return Ok(true);
        }
        let program = arguments::download_ahead(&names, &scope.repositories);
        let finished = until_unlocked(&program, observer)?;
        // it exits with 0, whatever it could not fetch (measured)
        let errors = output::messages(&finished.document, "error");
        match (&finished.ended, errors.first()) {
            (Ended::Done, Some(error)) => bail!("zypper: {error}"),
            _ => finished.ended.came_to_its_end(self.name()),
        }
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        let scope = Scope::new(None, failed);
        let database = backend::database()?;
        let advised = patches::advised(&scope)?;
        let (resolved, kept_back) = removals::simulate(&scope, &database)?;
        let security = advised.keys(&resolved.install, &database);
        let mut pending = resolved.pending(&database, &security);
        pending.kept_back.extend(kept_back);
        let all = listing::updates(&scope)?;
        listing::keep_back(&mut pending, &all, &scope, failed)?;
        let security = advised.keys(&all, &database);
        pending.kept_back = resolution::marked(pending.kept_back, &security);
        Ok(pending)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!listing::has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        let scope = Scope::new(Some(updates), failed);
        let database = backend::database()?;
        let (resolved, kept_back) = removals::simulate(&scope, &database)?;
        let security = resolution::advisories_of(updates);
        let mut pending = resolved.pending(&database, &security);
        pending.kept_back = resolution::marked(kept_back, &security);
        Ok(pending)
    }

    fn installed(&self) -> Result<Database> {
        backend::database()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        Ok(database_cache::read()?.problems())
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(!database_cache::read()?.duplicates().is_empty())
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let _forgets = database_cache::Changing;
        transaction::run(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        rpm::locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = database_cache::Changing;
        repair::run(changes, None, log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        scripts::running(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let parallel = rollback::parallel(changes, conf::Front::Zypp)?;
        let caches = [Path::new(PACKAGES)];
        Ok(rollback::find(changes, kept, &caches, &parallel, |names| {
            self.archived.or_ask(|| {
                let program = arguments::versions(names);
                let finished = until_unlocked(&program, &mut Quiet)?;
                Ok(output::versions(&finished.document).into_iter().in_order())
            })
        }))
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = database_cache::Changing;
        run::put_back(restore, observer)
    }

    fn compares_files(&self) -> bool {
        true
    }

    fn automatic(&self) -> Option<BTreeSet<String>> {
        marks::automatic()
    }

    fn mark_automatic(&self, names: &[String], _: &Path) -> Result<()> {
        marks::mark_automatic(names)
    }

    fn in_use(&self, former: &[Former]) -> Result<Vec<(Key, String)>> {
        installonly::in_use(former)
    }

    fn damaged(&self, back: &[Former], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back)
    }

    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = database_cache::Changing;
        contents::install_again(restore, &[Path::new(PACKAGES)], observer, |former| {
            arguments::install_again(former)
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
        Ok(self.archived.heard(gate::announced(input)?))
    }

    /// zypper checks a file of its cache against the index before it uses it, as it does what it fetches.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        database::files_of(change)
    }

    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        brings::fetched(updates, &[Path::new(PACKAGES)])
    }

    fn brings(
        &self,
        changes: &[Change],
        there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        brings::brings(changes, there)
    }

    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String> {
        let mut reasons = reboot::reasons(taken_back);
        if reasons.is_empty() && Path::new(REBOOT_NEEDED).exists() {
            reasons.push(format!("{REBOOT_NEEDED} is there"));
        }
        reasons
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        backend::stamp(failed)
    }
}
