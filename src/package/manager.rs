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

    /// Fetches the index of every enabled source. An error means that it could not run at all; the report says which
    /// sources failed.
    fn refresh(&self, observer: &mut dyn Observer) -> Result<RefreshReport>;

    /// The directories that a refresh writes to, where the configuration can move them.
    fn refreshes_in(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The same of the directories that it has to write to for a query.
    fn looks_up_in(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Downloads what an update of everything would install, at idle priority. Returns whether it ran to its end. An
    /// error when this package manager cannot do that.
    fn download(&self, _failed: &[&Source], _observer: &mut dyn Observer) -> Result<bool> {
        bail!("{} cannot download ahead", self.name())
    }

    /// What an update of everything would do, without what comes from `failed` sources.
    fn pending(&self, failed: &[&Source]) -> Result<Pending>;

    /// Why the security updates cannot be told from the others, where the sources do not say it: a request for those
    /// alone is an error then. Only such a request asks.
    fn no_security(&self) -> Result<Option<String>> {
        Ok(None)
    }

    /// Whether an update of everything has to name its packages, because without names the package manager would stop
    /// or pass over a security update. The pending list answers it, where there is one.
    fn must_be_told(&self, _list: Option<&Pending>, _failed: &[&Source]) -> Result<bool> {
        Ok(false)
    }

    /// The exact changes that installing `updates` needs, newly needed packages included. What would
    /// need a removal is not among them, but among the kept back. The error is
    /// [`AllOrNothing`](super::AllOrNothing) where a part cannot be had.
    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending>;

    /// The same without the packages that are left out, for a package manager that changes everything or nothing: as if
    /// the administrator ignored them.
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

    /// Whether the caller can read the package database completely, so that `problems` is exhaustive. Where the
    /// unprivileged front ends cannot, the worker publishes the problems.
    fn sees_problems(&self) -> bool {
        true
    }

    /// Whether a package manager was killed while it changed packages, so that the database has to be repaired before
    /// anything else.
    fn is_interrupted(&self) -> Result<bool> {
        Ok(false)
    }

    /// Whether a package is installed and not configured, or still waits for a script of another one, so that
    /// [`configure`](Self::configure) may end that.
    fn is_unconfigured(&self) -> Result<bool> {
        Ok(false)
    }

    /// Runs the scripts of all packages that have not run to their end; the package database says which succeeded.
    /// Output goes to the log. It is never stopped.
    fn configure(&self, _log: &Path, _observer: &mut dyn Observer) -> Result<()> {
        Ok(())
    }

    /// Runs one transaction.
    fn apply(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionReport>;

    /// Waits until no process changes packages: a run that outlived its worker may still be at work. An error when a
    /// stop was asked for first.
    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()>;

    /// Repairs what an interrupted transaction with this change list left behind, if anything; the error names what
    /// cannot be repaired. Output goes to the log. It is never stopped.
    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()>;

    /// The package's script that a process below a transaction runs, if it runs one: from its command line and
    /// environment.
    fn script(&self, _process: &ProcessInfo) -> Option<Script> {
        None
    }

    /// Where the former version of each change can be had from: the package store, the package manager's cache, its
    /// archive, a package made of the installed files. The gate asks it before the first file changes, so it has to be
    /// quick; files that it makes go into `scratch`.
    fn rollback_items(
        &self,
        changes: &[Change],
        kept: &[StoredPackage],
        scratch: &Path,
    ) -> Result<Vec<RollbackItem>>;

    /// Undoes changes in one transaction: it installs exactly the former versions, removes what was newly installed,
    /// and changes nothing else. Files are checked right before they are used. It cannot be stopped once it has begun.
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

    /// Packages outside of a rollback that lose files to it, because a package of the rollback has taken these files
    /// over; each in the version that it has and keeps. The worker asks before the first file changes.
    fn overwritten(
        &self,
        _former: &[RollbackItem],
        _kept: &[StoredPackage],
    ) -> Result<Vec<RollbackItem>> {
        Ok(Vec::new())
    }

    /// Which of these packages, each installed in its former version, lack files of their package file or have other
    /// ones. Files that are fetched for that go into `store`, and are removed afterwards.
    fn damaged(&self, _back: &[RollbackItem], _store: &Path) -> Result<Vec<Damaged>> {
        Ok(Vec::new())
    }

    /// Reinstalls packages in their former version, which they have, to restore their files.
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

    /// The packages with an auto mark, as `name:architecture`, or as a name alone where it is marked for all
    /// architectures; none where only the package manager itself can tell.
    fn automatic(&self) -> Option<BTreeSet<String>> {
        None
    }

    /// Sets the auto mark of packages again, named as in [`automatic`](Self::automatic).
    fn mark_automatic(&self, _names: &[String], _log: &Path) -> Result<()> {
        bail!("{} marks no packages", self.name())
    }

    /// The packages that are gone but for their configuration, where the package database keeps such entries.
    fn remains(&self) -> Result<BTreeSet<PackageId>> {
        Ok(BTreeSet::new())
    }

    /// Removes the configuration files that these removed packages have left, as far as no other package owns them,
    /// they are unchanged, and `is_new` says that they did not exist before. It runs no script of theirs. Returns the
    /// packages of which something stays, each with why.
    fn clear_remains(
        &self,
        _gone: &[PackageId],
        _is_new: &dyn Fn(&str) -> bool,
        _log: &Path,
        _observer: &mut dyn Observer,
    ) -> Result<Vec<(PackageId, String)>> {
        Ok(Vec::new())
    }

    /// The tool below the package manager that can install former versions where the package manager cannot run any
    /// more.
    fn below(&self) -> Option<&'static str> {
        None
    }

    /// As [`rollback`](Self::rollback), by the tool below alone: every former version has to be in a file on this host.
    /// It asks no gate: other package managers cannot delay it on its way there.
    fn rollback_below(
        &self,
        _restore: &Restore<'_>,
        _: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        bail!("there is no tool below {}", self.name())
    }

    /// What distinguishes the package in this file from another build of its version, as the database will show it once
    /// it is installed (see [`Installed::build`](super::Installed::build)); none where the database shows nothing.
    fn build_of(&self, _file: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    /// Parses the change list that the package manager hands to the gate.
    fn change_list(&self, input: &mut dyn std::io::BufRead) -> Result<Vec<Change>>;

    /// Those package files of the list that were there before `since` and are not what the index
    /// says they are; they are removed, so that the next attempt fetches them.
    fn remove_damaged(&self, changes: &[Change], since: SystemTime) -> Result<Vec<String>>;

    /// How much each change takes once it is installed, by the index or the package file. By default four times the
    /// package file, which is what they are compressed to at least (measured).
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

    /// How many bytes the files of each new version take where they lie `there`, by its package file; none where that
    /// is not known. It reads every package file that may have some there, so the worker asks only where space is
    /// short. A package that is installed and has no file there may be taken to bring none.
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
    /// Empty where that is not known.
    fn files(&self, _change: &Change) -> Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    /// The directory from which package scripts are executed as programs, where they are not given to a shell.
    fn runs_scripts_from(&self) -> Option<&Path> {
        None
    }

    /// Removes kernels that nothing needs any more, as the package manager's own command for that does, but never those
    /// of the releases in `keep`, a held one, or a manually installed one. Returns what was removed; nothing where the
    /// package manager removes old kernels itself.
    fn remove_old_kernels(
        &self,
        _keep: &[String],
        _log: &Path,
        _: &mut dyn Observer,
    ) -> Result<Vec<Change>> {
        Ok(Vec::new())
    }

    /// Why the host should be rebooted; empty when it need not. A reason that was `taken_back` holds again for what was
    /// replaced later.
    fn reboot_reasons(&self, taken_back: &TakenBack) -> Vec<String>;

    /// A text that changes whenever the index, the package database or the `failed` sources do.
    fn fingerprint(&self, failed: &[&Source]) -> String;
}
