//! zypper.

mod arguments;
mod explain;
mod listing;
mod marks;
mod output;
mod patches;
mod refresh;
mod removals;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};

use super::rpm::former::Archived;
use super::rpm::repositories::{self, Index, Repository};
use super::rpm::resolved::{self, NO_ADVISORIES};
use super::rpm::{
    below, beside, brings, contents, database, former, gate, held, known, locks, reboot, repair,
    scriptlet, stamp, transaction,
};
use super::{
    Applied, Change, Damaged, Database, Ended, Former, Kept, Key, Observer, PackageManager,
    Pending, Problem, Refreshed, Report, Restore, Script, Source, TakenBack, Transaction, Update,
};
use crate::exec::Process;
use crate::sorted::InOrder;

/// Where it keeps the index of each repository, and the packages.
const INDEXES: &str = "/var/cache/zypp/raw";
const PACKAGES: &str = "/var/cache/zypp/packages";

/// Where repositories are configured (zypper(8), "FILES").
const REPOSITORIES: [&str; 1] = ["/etc/zypp/repos.d"];

/// The files whose change may change what is pending.
const CONFIGURATION: [&str; 7] = [
    "/etc/zypp/repos.d",
    "/etc/zypp/zypp.conf",
    "/etc/zypp/zypp.conf.d",
    "/etc/zypp/multiversion.d",
    "/etc/zypp/vendors.d",
    "/etc/zypp/zypper.conf",
    "/etc/zypp/locks",
];

/// What libzypp leaves when it has installed a package that asks for a reboot (`installhint(reboot-needed)`);
/// `zypper needs-rebooting` looks at nothing else.
const REBOOT_NEEDED: &str = "/run/reboot-needed";

/// zypper on this host.
#[derive(Debug, Default)]
pub struct Zypper {
    archived: Archived,
}

/// What an update is about.
#[derive(Debug, Clone, Default)]
struct Scope {
    /// Exactly these, or everything.
    names: Option<Vec<String>>,
    /// The only repositories that are used; all when it is empty.
    repositories: Vec<String>,
}

impl Scope {
    fn new(updates: Option<&[Update]>, failed: &[&Source]) -> Self {
        let enabled = enabled().into_iter().map(|repository| repository.id);
        Self {
            names: updates.map(arguments::names),
            repositories: arguments::good(enabled, failed),
        }
    }

    /// The same, about exactly these.
    fn naming(&self, names: &[String]) -> Self {
        Self {
            names: Some(names.to_vec()),
            repositories: self.repositories.clone(),
        }
    }
}

fn enabled() -> Vec<Repository> {
    let mut repositories = repositories::configured(&REPOSITORIES);
    repositories.retain(|repository| repository.enabled);
    repositories
}

fn indexes() -> BTreeMap<String, Option<Index>> {
    let index = |directory: &Path| {
        let bytes = fs::read(directory.join("repodata/repomd.xml")).ok()?;
        repositories::index(&String::from_utf8_lossy(&bytes))
    };
    repositories::cached(Path::new(INDEXES))
        .into_iter()
        .map(|(id, directory)| {
            let index = index(&directory);
            (id, index)
        })
        .in_order()
}

struct Quiet;

impl Observer for Quiet {
    fn report(&mut self, _: Report) {}

    fn stop(&mut self) -> bool {
        false
    }
}

impl PackageManager for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        known::read_ahead();
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
        let (resolved, _) = removals::simulate(&scope, &self.installed()?)?;
        let names: Vec<String> = resolved.install.iter().map(arguments::planned).collect();
        if names.is_empty() {
            return Ok(true);
        }
        let program = arguments::download_ahead(&names, &scope.repositories);
        let finished = run::until_unlocked(&program, observer)?;
        // it exits with 0, whatever it could not fetch (measured)
        let errors = output::messages(&finished.document, "error");
        match (&finished.ended, errors.first()) {
            (Ended::Done, Some(error)) => bail!("zypper: {error}"),
            _ => finished.ended.came_to_its_end(self.name()),
        }
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        let scope = Scope::new(None, failed);
        let database = self.installed()?;
        let advised = patches::advised(&scope)?;
        let (resolved, kept_back) = removals::simulate(&scope, &database)?;
        let security = advised.keys(&resolved.install, &database);
        let mut pending = resolved.pending(&database, &security);
        pending.kept_back.extend(kept_back);
        let all = listing::updates(&scope)?;
        listing::keep_back(&mut pending, &all, &scope, failed)?;
        let security = advised.keys(&all, &database);
        pending.kept_back = resolved::marked(pending.kept_back, &security);
        Ok(pending)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!listing::has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        let scope = Scope::new(Some(updates), failed);
        let database = self.installed()?;
        let (resolved, kept_back) = removals::simulate(&scope, &database)?;
        let security = resolved::advisories_of(updates);
        let mut pending = resolved.pending(&database, &security);
        pending.kept_back = resolved::marked(kept_back, &security);
        Ok(pending)
    }

    fn installed(&self) -> Result<Database> {
        let patterns = held::zypper();
        Ok(known::read()?.database(&|name| held::is_held(&patterns, name)))
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        Ok(known::read()?.problems())
    }

    fn is_interrupted(&self) -> Result<bool> {
        Ok(!known::read()?.duplicates().is_empty())
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let _forgets = known::Changing;
        transaction::run(self, transaction, observer)
    }

    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        locks::wait_until_free(observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let _forgets = known::Changing;
        repair::run(changes, None, log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        scriptlet::running(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let parallel = former::parallel(changes, held::Front::Zypp)?;
        let caches = [Path::new(PACKAGES)];
        Ok(former::find(changes, kept, &caches, &parallel, |names| {
            self.archived.or_ask(|| {
                let program = arguments::versions(names);
                let finished = run::until_unlocked(&program, &mut Quiet)?;
                Ok(output::versions(&finished.document).into_iter().in_order())
            })
        }))
    }

    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = known::Changing;
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
        beside::in_use(former)
    }

    fn damaged(&self, back: &[Former], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back)
    }

    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = known::Changing;
        contents::install_again(restore, &[Path::new(PACKAGES)], observer, |former| {
            arguments::install_again(former)
        })
    }

    fn below(&self) -> Option<&'static str> {
        Some(below::TOOL)
    }

    fn roll_back_below(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = known::Changing;
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
        stamp::stamp(failed, &[Path::new(INDEXES)], &CONFIGURATION)
    }
}
