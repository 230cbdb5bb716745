//! The trait over the package managers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Result, bail};

use super::boot::TakenBack;
use super::damaged::Damaged;
use super::rollback_source::{Restore, RollbackItem, StoredPackage};
use super::script::Script;
use super::source::{RefreshReport, Source};
use super::space_needs::SpaceNeeds;
use super::transaction::{Observer, Transaction, TransactionEnd, TransactionReport};
use super::values::{Change, Database, Footprint, PackageId, Pending, Problem, Update};
use crate::exec::ProcessInfo;

/// A package manager. Everything but `refresh` and `apply` only reads, and works unprivileged.
pub trait PackageManager: Send + Sync {
    /// Its name, as `backend =` gives it.
    fn name(&self) -> &'static str;

    /// Fetches the index of every enabled source. An error is a failure to run at all; what failed
    /// about a source is in the answer.
    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport>;

    /// The directories a refresh writes to, where the administrator may have moved them.
    fn refreshes_in(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The same of the directories without writing to which it looks nothing up.
    fn looks_up_in(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Fetches what an update of everything would install, at idle priority, and installs nothing; whether
    /// it came to its end. An error when this package manager cannot do that.
    fn download(&self, _failed: &[&Source], _observer: &mut dyn Observer) -> Result<bool> {
        bail!("{} cannot download ahead", self.name())
    }

    /// What an update of everything would do, without what comes from `failed` sources.
    fn pending(&self, failed: &[&Source]) -> Result<Pending>;

    /// Why nobody can tell which updates are for security, where the sources do not say it: a request for
    /// those alone is an error then, and not nothing to do. Only such a request asks.
    fn no_security(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether an update of everything has to be told exactly what to install, because by itself the package
    /// manager would stop, or pass over a security update. It is looked up in the list of what is pending, where
    /// that is known.
    fn must_be_told(&self, _list: Option<&Pending>, _failed: &[&Source]) -> Result<bool> {
        Ok(false)
    }

    /// The exact changes that installing `updates` needs, newly needed packages included. What would
    /// need a removal is not among them, but among the kept back. The error is
    /// [`AllOrNothing`](super::AllOrNothing) where a part cannot be had.
    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending>;

    /// The same of everything but what is left out, for a package manager that changes everything or nothing:
    /// as if the administrator ignored that.
    fn plan_without(
        &self,
        _left_out: &[String],
        updates: &[Update],
        failed: &[&Source],
    ) -> Result<Pending> {
        self.plan(updates, failed)
    }

    /// The package database.
    fn installed(&self) -> Result<Database>;

    /// The files that change whenever the package database does: the database itself, its journal, a lock that may be
    /// left behind. None of them changes when it is only read.
    fn database_files(&self) -> Vec<&'static str>;

    /// What is wrong with the package database; empty when it is in order.
    fn problems(&self) -> Result<Vec<Problem>>;

    /// Whether everything that could be wrong with it can be seen by whoever asks. What the unprivileged
    /// doors cannot see, they have to be told by the worker.
    fn sees_problems(&self) -> bool {
        true
    }

    /// Whether somebody was killed while changing packages, so that nothing works any more before the
    /// database is repaired.
    fn is_interrupted(&self) -> Result<bool> {
        Ok(false)
    }

    /// Whether a package is installed and not configured, or still waits for a script of another one, so that
    /// [`configure`](Self::configure) may end that.
    fn is_unconfigured(&self) -> Result<bool> {
        Ok(false)
    }

    /// Runs the scripts that have not run to their end, of all packages; the package database tells what came
    /// of it. Output goes to the log. It is never stopped.
    fn configure(&self, _log: &Path, _observer: &mut dyn Observer) -> Result<()> {
        Ok(())
    }

    /// Runs one transaction.
    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport>;

    /// Waits until nobody changes packages: a run that outlived the worker that started it may still
    /// be at work. An error when a stop was asked for first.
    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()>;

    /// Heals what an interrupted transaction with this change list left behind, if anything; what
    /// cannot be healed is named in the error. Output goes to the log. It is never stopped.
    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()>;

    /// The package's script that a process below a transaction runs, if it runs one: told by what the
    /// process says of itself.
    fn script(&self, _process: &ProcessInfo) -> Option<Script> {
        None
    }

    /// Where the version that each change is about to replace could be had from: the packages we keep,
    /// the package manager's cache, its archive, a package made of the installed files. Asked before
    /// the first file changes, so it has to be quick; files that it makes go into `scratch`.
    fn rollback_items(
        &self,
        changes: &[Change],
        kept: &[StoredPackage],
        scratch: &Path,
    ) -> Result<Vec<RollbackItem>>;

    /// Undoes changes in one transaction: exactly the former versions come back, what was newly
    /// installed goes, and nothing else is touched. Files are checked right before they are used. Once
    /// it has begun it cannot be stopped.
    fn rollback(
        &self,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd>;

    /// Those of the changes that cannot be undone though their former version is there, each with why: the new
    /// version is the kernel that runs.
    fn in_use(&self, _former: &[RollbackItem]) -> Result<Vec<(PackageId, String)>> {
        Ok(Vec::new())
    }

    /// Packages that are no part of what is undone and of which files now belong to one that is, each in the
    /// version that it has and keeps: going back takes these files along. Asked before the first file changes
    /// back.
    fn overwritten(
        &self,
        _former: &[RollbackItem],
        _kept: &[StoredPackage],
    ) -> Result<Vec<RollbackItem>> {
        Ok(Vec::new())
    }

    /// Which of these packages, each installed in its former version, lack files of their package file or
    /// have other ones. Files that are fetched for that go into `store`, and are there no more afterwards.
    fn damaged(&self, _back: &[RollbackItem], _store: &Path) -> Result<Vec<Damaged>> {
        Ok(Vec::new())
    }

    /// Installs packages again in their former version, which they have, so that all of their files are
    /// there.
    fn install_again(
        &self,
        _restore: &Restore<'_>,
        _: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        bail!("{} does not install a package again", self.name())
    }

    /// Whether [`damaged`](Self::damaged) compares the files of packages.
    fn compares_files(&self) -> bool {
        false
    }

    /// The packages that are there only because others need them, as `name:architecture`, or as a name alone
    /// where it is marked for all architectures; none where only the package manager itself can tell.
    fn automatic(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// Marks packages again as being there only because others need them, named as in
    /// [`automatic`](Self::automatic).
    fn mark_automatic(&self, _names: &[String], _log: &Path) -> Result<()> {
        bail!("{} marks no packages", self.name())
    }

    /// The packages that are gone but for their configuration, where the package database keeps such entries.
    fn remains(&self) -> Result<BTreeSet<PackageId>> {
        Ok(BTreeSet::new())
    }

    /// Takes away what these packages, which are gone, have left of their configuration, as far as no other
    /// package has it, it is unchanged, and `is_new` says that it was not there before they came. No
    /// script of theirs is run. Those of which something stays, each with why.
    fn clear_remains(
        &self,
        _gone: &[PackageId],
        _is_new: &dyn Fn(&str) -> bool,
        _log: &Path,
        _observer: &mut dyn Observer,
    ) -> Result<Vec<(PackageId, String)>> {
        Ok(Vec::new())
    }

    /// The tool below the package manager that can put former versions back where that cannot run any more.
    fn below(&self) -> Option<&'static str> {
        None
    }

    /// As [`rollback`](Self::rollback), by the tool below alone: every former version has to be in a file
    /// on this host. The gate is not asked, because no run of it can be held up by others on its way there.
    fn rollback_below(
        &self,
        _restore: &Restore<'_>,
        _: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        bail!("there is no tool below {}", self.name())
    }

    /// What tells the package in this file from another build of its version, as the database will once it is
    /// installed (see [`Installed::build`](super::Installed::build)); none where the database tells nothing.
    fn build_of(&self, _file: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    /// Parses the change list that the package manager hands to the gate.
    fn change_list(&self, input: &mut dyn std::io::BufRead) -> Result<Vec<Change>>;

    /// Those package files of the list that were there before `since` and are not what the index
    /// says they are; they are removed, so that the next attempt fetches them.
    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>>;

    /// How much each change takes once it is installed, by what the index or the package file says at once. By
    /// default four times the package file, which is what they are compressed to at least (measured).
    fn footprints(&self, changes: &[Change]) -> Result<Vec<Footprint>> {
        let footprint = |change: &Change| Footprint {
            new: change.file_size().saturating_mul(4),
            old: 0,
        };
        Ok(changes.iter().map(footprint).collect())
    }

    /// The changes of these updates, each with its package file where that is in a cache.
    fn fetched(&self, updates: &[Update]) -> Vec<Change> {
        updates.iter().map(Change::from).collect()
    }

    /// How many bytes the files of each new version take where they lie `there`, by its package file; none where
    /// that cannot be told. It reads every package file that may have some there, so it is asked only where
    /// room is short. A package that is installed and has no file there may be taken to bring none.
    fn brings(
        &self,
        changes: &[Change],
        _there: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Option<u64>>> {
        Ok(vec![None; changes.len()])
    }

    /// What it needs on disk besides the files of packages, and which packages may bring a kernel.
    fn space_needs(&self) -> SpaceNeeds {
        SpaceNeeds::default()
    }

    /// The files that the package has, and those of its new version where it is new: where the change would write.
    /// Empty where nobody can tell.
    fn files(&self, _change: &Change) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// Where the scripts of packages have to be run from as programs, where they are not given to a shell.
    fn runs_scripts_from(&self) -> Option<&Path> {
        None
    }

    /// Takes away kernels that nothing needs any more, as the package manager's own command for that does, but
    /// never those of the releases in `keep`, one that is held, or one that was installed for its own sake; what
    /// went. Nothing where the package manager sees to old kernels itself when it installs one.
    fn remove_old_kernels(
        &self,
        _keep: &[String],
        _log: &Path,
        _: &mut dyn Observer,
    ) -> Result<Vec<Change>> {
        Ok(Vec::new())
    }

    /// Why the host should be rebooted, one reason each; empty when it need not. A reason that was `taken_back`
    /// holds again for what was replaced later.
    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String>;

    /// A text that changes whenever the index, the package database or the `failed` sources do.
    fn fingerprint(&self, failed: &[&Source]) -> String;
}
