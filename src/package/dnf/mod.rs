//! dnf 4, dnf 5 and yum.

mod actions;
mod arguments;
mod dialect;
mod listing;
mod marks;
mod output;
mod plugin;
mod refresh;
mod run;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};

pub use dialect::Dialect;

use self::arguments::Scope;
use self::listing::listed;
use self::output::Run;
use self::plugin::Plugin;
use super::rpm::former::Archived;
use super::rpm::repositories::{self, Repository};
use super::rpm::resolved::{self, NO_ADVISORIES, Resolved, Without};
use super::rpm::{
    below, beside, brings, contents, database, former, gate, held, known, locks, reboot, repair,
    scriptlet, stamp, transaction,
};
use super::{
    Applied, Change, Damaged, Database, Ended, Former, Kept, KeptBack, Key, Observer,
    PackageManager, Pending, Problem, Refreshed, Report, Restore, Script, Source, TakenBack,
    Transaction, Update,
};
use crate::exec::{Ending, Line, Process, Watch};
use crate::sorted::InOrder;

/// The time a refresh may take, its waiting for a lock included.
const REFRESH_LIMIT: Duration = Duration::from_secs(120);

/// `check-update` has found updates, which is a success (dnf(8), "check-update").
const UPDATES_ARE_THERE: i32 = 100;

/// dnf or yum on this host.
#[derive(Debug)]
pub struct Dnf {
    dialect: Dialect,
    /// Where temporary files may lie.
    scratch: PathBuf,
    /// The former versions that the repositories have, where dnf has said so with the change list.
    archived: Archived,
}

impl Dnf {
    /// The member of the family, with a directory of ours for temporary files.
    pub fn new(dialect: Dialect, scratch: impl Into<PathBuf>) -> Self {
        Self {
            dialect,
            scratch: scratch.into(),
            archived: Archived::default(),
        }
    }

    fn configured(&self) -> Vec<Repository> {
        repositories::configured(self.dialect.repositories())
    }

    /// The directories in which a directory of each repository lies: yum has one for each
    /// architecture and release.
    fn caches(&self) -> Vec<PathBuf> {
        let below = |directory: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        match self.dialect {
            Dialect::Dnf4 | Dialect::Dnf5 => vec![self.dialect.cache().to_owned()],
            Dialect::Yum => below(self.dialect.cache())
                .iter()
                .flat_map(|architecture| below(architecture))
                .collect(),
        }
    }

    /// The fetched index of each repository, by id, where there is one.
    fn indexes(&self) -> BTreeMap<String, Option<repositories::Index>> {
        let caches = self.caches();
        let directories = caches.iter().flat_map(|cache| repositories::cached(cache));
        let index = |directory: &Path| {
            let places = ["repodata/repomd.xml", "repomd.xml"];
            let read = |place: &&str| fs::read(directory.join(place)).ok();
            let bytes = places.iter().find_map(read)?;
            repositories::index(&String::from_utf8_lossy(&bytes))
        };
        directories
            .map(|(id, directory)| (id, index(&directory)))
            .in_order()
    }

    /// Resolves without changing anything; which packages are left out is among what is kept back.
    fn simulate(
        &self,
        updates: Option<&[Update]>,
        failed: &[&Source],
    ) -> Result<(Resolved, Vec<KeptBack>)> {
        let (resolved, (), without) = self.without_removals(|excluded| {
            let scope = Scope {
                updates,
                excluded,
                failed,
            };
            if scope.is_empty() {
                return Ok((Resolved::default(), ()));
            }
            let program = arguments::simulate(self.dialect, scope);
            let mut quiet = Quiet;
            let mut run = Run::new(&mut quiet);
            let finished = program.run(&mut run)?;
            // it exits with 1, because it was told to say no
            let resolved = run.finish(finished.ending).resolved;
            let empty = resolved.install.is_empty() && resolved.skipped.is_empty();
            let said_no = finished.ending == Ending::Exited(0)
                || (finished.ending == Ending::Exited(1) && !empty);
            if !said_no {
                bail!("{}", program.failure(&finished));
            }
            Ok((resolved, ()))
        })?;
        Ok((resolved, without.kept_back))
    }

    /// Resolves as often as it takes until no package would go.
    fn without_removals<T>(
        &self,
        resolve: impl FnMut(&[String]) -> Result<(Resolved, T)>,
    ) -> Result<(Resolved, T, Without)> {
        let is_installed = |key: &Key| {
            let installed = self.installed().unwrap_or_default();
            installed.keys().any(|one| one.package == key.package)
        };
        resolved::without_removals(&is_installed, resolve)
    }

    /// One run of the refresh.
    fn update(
        &self,
        configured: &[Repository],
        observer: &mut dyn Observer,
    ) -> Result<(refresh::Heard, bool)> {
        let program = arguments::refresh(self.dialect).limit(REFRESH_LIMIT);
        let mut watch = Refresh {
            reader: refresh::Reader::new(self.dialect, configured),
            observer,
            waiting: String::new(),
        };
        let finished = program.run(&mut watch)?;
        let failed = match finished.ending {
            Ending::Exited(0 | UPDATES_ARE_THERE) => false,
            Ending::Exited(_) => true,
            Ending::TimedOut if !watch.waiting.is_empty() => bail!("{}", watch.waiting),
            Ending::TimedOut => bail!(
                "{} was ended after {} s; a repository does not answer, or too slowly",
                self.dialect.name(),
                REFRESH_LIMIT.as_secs(),
            ),
            Ending::Killed(_) | Ending::Stopped => bail!("{}", program.failure(&finished)),
        };
        let mut reader = watch.reader;
        if !reader.is_complete()
            && let Ok(listed) = listed(&arguments::repositories(self.dialect))
        {
            reader.enabled(&listed);
        }
        let mut heard = reader.finish();
        if failed && heard.errors.is_empty() && heard.repositories.values().all(Option::is_none) {
            heard.errors.push(program.failure(&finished));
        }
        Ok((heard, failed))
    }
}

struct Quiet;

impl Observer for Quiet {
    fn report(&mut self, _: Report) {}

    fn stop(&mut self) -> bool {
        false
    }
}

struct Refresh<'a> {
    reader: refresh::Reader<'a>,
    observer: &'a mut dyn Observer,
    /// Whom it waits for.
    waiting: String,
}

impl Watch for Refresh<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.reader.line(text);
        let text = repositories::without_credentials(text);
        if output::is_waiting(&text) && self.waiting != text {
            self.waiting.clone_from(&text);
            self.observer.report(Report::Waiting(text.clone()));
        }
        self.observer.report(Report::Output(text));
    }

    fn stop(&mut self) -> bool {
        self.observer.stop()
    }
}

impl PackageManager for Dnf {
    fn name(&self) -> &'static str {
        self.dialect.name()
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        known::read_ahead();
        let configured = self.configured();
        let (heard, _) = self.update(&configured, observer)?;
        let mut errors = heard.errors;
        if heard.repositories.is_empty() && errors.is_empty() {
            errors.push("no package repository is enabled; see dnf.conf(5)".to_owned());
        }
        let indexes = self.indexes();
        let sources: Vec<Source> = heard
            .repositories
            .into_iter()
            .map(|(id, error)| {
                let configured = configured.iter().find(|repository| repository.id == id);
                repositories::source(&id, configured, error, &indexes)
            })
            .collect();
        Ok(Refreshed::of(sources, errors, refresh::is_network_error))
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
        pending.kept_back = resolved::marked(pending.kept_back, &advisories);
        Ok(pending)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok((!self.has_advisories()).then(|| NO_ADVISORIES.to_owned()))
    }

    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        let (resolved, mut kept_back) = self.simulate(Some(updates), failed)?;
        let advisories = resolved::advisories_of(updates);
        let mut pending = resolved.pending(&self.installed()?, &advisories);
        pending.kept_back.append(&mut kept_back);
        Ok(pending)
    }

    fn installed(&self) -> Result<Database> {
        let patterns = held::dnf();
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
        let _forgets = known::Changing;
        let native = arguments::remove_duplicates(self.dialect);
        repair::run(changes, Some(&native), log, observer)
    }

    fn script(&self, process: &Process) -> Option<Script> {
        scriptlet::running(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let parallel = former::parallel(changes, held::Front::Dnf)?;
        let caches = [self.dialect.cache()];
        Ok(former::find(changes, kept, &caches, &parallel, |names| {
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
        let _forgets = known::Changing;
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
        beside::in_use(former)
    }

    fn damaged(&self, back: &[Former], _: &Path) -> Result<Vec<Damaged>> {
        contents::damaged(back)
    }

    fn install_again(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        let _forgets = known::Changing;
        contents::install_again(restore, &[self.dialect.cache()], observer, |former| {
            arguments::install_again(self.dialect, former)
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
        let caches = self.caches();
        let caches: Vec<&Path> = caches.iter().map(PathBuf::as_path).collect();
        stamp::stamp(failed, &caches, self.dialect.configuration())
    }
}
