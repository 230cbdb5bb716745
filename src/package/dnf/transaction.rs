//! The transactions of dnf and yum.

use anyhow::Result;

use super::arguments::{self, DnfScope};
use super::backend::Dnf;
use super::database;
use super::fingerprint::fingerprint;
use super::gate::Plugin;
use super::output::DnfRun;
use super::simulate::without_removals;
use crate::package::rpm::advisories;
use crate::package::rpm::resolution::Resolution;
use crate::package::rpm::transaction::{self, ChangeOutcome, Downloaded, Tool};
use crate::package::rpm::{locks, repositories};
use crate::package::{
    Change, Database, KeptBack, Observer, Selection, Source, Transaction, TransactionEnd,
    TransactionReport,
};

/// Fetches what an upgrade of everything would install; whether it came to its end.
pub fn download_ahead(dnf: &Dnf, failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
    let program = arguments::download_ahead(dnf.variant, failed);
    let mut run = DnfRun::new(observer);
    let exit_reason = program.run(&mut run)?.exit_reason;
    let ended = run.finish(exit_reason).changed.ended;
    ended.came_to_its_end(dnf.variant.name())
}

/// Runs one transaction, with the gate in it where dnf can load that.
pub fn apply(
    dnf: &Dnf,
    transaction: &Transaction<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionReport> {
    if let Some(plugin) = Plugin::set_up(dnf.variant, &dnf.scratch, transaction.gate)?
        && let Some(applied) = dnf.gated(&plugin, transaction, observer)?
    {
        return Ok(applied);
    }
    transaction::run(dnf, transaction, observer)
}

impl Tool for Dnf {
    fn basis(&self, transaction: &Transaction<'_>) -> String {
        fingerprint(self, transaction.failed)
    }

    fn download(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Downloaded> {
        let updates = match transaction.selection {
            Selection::Everything => None,
            Selection::Exactly(updates) => Some(&updates[..]),
        };
        let (resolved, ended, without) = without_removals(|excluded| {
            let scope = DnfScope {
                updates,
                excluded,
                failed: transaction.failed,
            };
            if scope.is_empty() {
                return Ok((Resolution::default(), TransactionEnd::Done));
            }
            let program = arguments::download(self.variant, scope).log(transaction.log);
            let mut run = DnfRun::new(observer);
            let exit_reason = program.run(&mut run)?.exit_reason;
            let ran = run.finish(exit_reason);
            Ok((ran.resolved, ran.changed.ended))
        })?;
        if ended != TransactionEnd::Done {
            return Ok(Downloaded::Not(ended));
        }
        let files = repositories::files(&self.variant.caches(), &resolved.file_names());
        let database = database::installed()?;
        let mut kept_back = without.kept_back;
        kept_back.extend(self.kept_back(&resolved, &database, transaction)?);
        let kept_back = self.marked(kept_back, transaction);
        Ok(Downloaded::Ready {
            changes: resolved.changes(&database, &files),
            archived: None,
            again: without.excluded,
            kept_back,
        })
    }

    fn change(
        &self,
        changes: &[Change],
        excluded: &[String],
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ChangeOutcome> {
        let program = arguments::change(self.variant, changes, excluded, transaction.failed)
            .log(transaction.log);
        let mut run = DnfRun::new(observer);
        let exit_reason = program.run(&mut run)?.exit_reason;
        Ok(run.finish(exit_reason).changed)
    }
}

impl Dnf {
    /// The transaction in one run, with the gate in it; none when dnf did not load the gate, and therefore changed
    /// nothing.
    pub(super) fn gated(
        &self,
        plugin: &Plugin,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Option<TransactionReport>> {
        if !locks::wait_for_others(observer)? {
            return Ok(Some(transaction::stopped()));
        }
        let updates = match transaction.selection {
            Selection::Everything => None,
            Selection::Exactly(updates) => Some(&updates[..]),
        };
        let (resolved, ran, without) = without_removals(|excluded| {
            let scope = DnfScope {
                updates,
                excluded,
                failed: transaction.failed,
            };
            if scope.is_empty() {
                let nothing = ChangeOutcome::nothing(TransactionEnd::Done);
                return Ok((Resolution::default(), (true, nothing)));
            }
            let program = arguments::gated(self.variant, scope, plugin).log(transaction.log);
            let mut run = DnfRun::new(observer);
            let exit_reason = program.run(&mut run)?.exit_reason;
            let mut ran = run.finish(exit_reason);
            // dnf does not ask the gate where packages would be removed
            if !ran.resolved.remove.is_empty()
                && matches!(ran.changed.ended, TransactionEnd::Failed(_))
            {
                ran.changed.ended = TransactionEnd::Done;
            }
            Ok((ran.resolved, (ran.gated, ran.changed)))
        })?;
        let (loaded, mut changed) = ran;
        if !loaded && !plugin.is_loaded() {
            return Ok(None);
        }
        let mut kept_back = without.kept_back;
        if changed.ended == TransactionEnd::Done {
            // the update may have broken dnf, and is judged all the same
            match self.kept_back(&resolved, &Database::new(), transaction) {
                Ok(kept) => kept_back.extend(kept),
                Err(error) => changed.notes.push(format!(
                    "what was kept back, and why, could not be found out: {error:#}"
                )),
            }
        }
        let kept_back = self.marked(kept_back, transaction);
        Ok(Some(changed.applied(kept_back)))
    }

    /// Marks those that are for security, unless the update has broken dnf, which has to be asked.
    fn marked(&self, kept_back: Vec<KeptBack>, transaction: &Transaction<'_>) -> Vec<KeptBack> {
        if kept_back.is_empty() {
            return kept_back;
        }
        let security = match transaction.selection {
            Selection::Everything => self.advisories(transaction.failed).unwrap_or_default(),
            Selection::Exactly(updates) => advisories::of_updates(updates),
        };
        advisories::marked(kept_back, &security)
    }

    /// What an upgrade of everything leaves as it is.
    fn kept_back(
        &self,
        resolved: &Resolution,
        database: &crate::package::Database,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<KeptBack>> {
        if *transaction.selection != Selection::Everything {
            return Ok(Vec::new());
        }
        let pending = resolved.pending(database, &advisories::Advisories::new());
        let mut kept_back = pending.kept_back.clone();
        kept_back.extend(self.locked(&pending, transaction.failed)?);
        kept_back.extend(self.only_from_failed(&pending, transaction.failed)?);
        Ok(kept_back)
    }
}
