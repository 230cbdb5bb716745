//! One transaction of a package manager without a hook for the gate: everything is downloaded first, the
//! gate is asked, and then exactly what it agreed to is installed from what was downloaded.

use anyhow::Result;

use super::gate::ArchivedVersions;
use super::{gate, locks};
use crate::package::{
    Change, KeptBack, Observer, PackageId, Report, Transaction, TransactionEnd, TransactionReport,
};

/// What the download came to.
pub enum Downloaded {
    /// Everything for these changes lies on the disk; none when nothing is due.
    Ready {
        changes: Vec<Change>,
        /// The installed versions that a repository has, where that is known already.
        archived: Option<ArchivedVersions>,
        /// The arguments with which the tool resolves it again as it did.
        again: Vec<String>,
        kept_back: Vec<KeptBack>,
    },
    /// It failed, or was stopped.
    Not(TransactionEnd),
}

/// How the installation ended.
pub struct ChangeOutcome {
    pub ended: TransactionEnd,
    /// Packages whose scripts failed, with the script and how.
    pub failures: Vec<(PackageId, String)>,
    /// Configuration files that were not merged.
    pub notes: Vec<String>,
}

impl ChangeOutcome {
    /// With what was kept back before.
    pub fn applied(self, kept_back: Vec<KeptBack>) -> TransactionReport {
        TransactionReport {
            ended: self.ended,
            kept_back,
            notes: self.notes,
            failures: self.failures,
            displaced: false,
            interrupted: false,
        }
    }

    /// Nothing was done.
    pub fn nothing(ended: TransactionEnd) -> Self {
        Self {
            ended,
            failures: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// The two halves of a run, as each package manager does them.
pub trait Tool {
    /// A text that changes whenever what the resolver works with does: index, database, configuration.
    fn basis(&self, transaction: &Transaction<'_>) -> String;

    /// Resolves and downloads.
    fn download(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Downloaded>;

    /// Installs exactly these from what was downloaded, by resolving the same request again; it cannot be stopped.
    fn change(
        &self,
        changes: &[Change],
        again: &[String],
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ChangeOutcome>;
}

/// A transaction that was stopped before it began.
pub fn stopped() -> TransactionReport {
    ChangeOutcome::nothing(TransactionEnd::Stopped).applied(Vec::new())
}

/// Runs the transaction.
pub fn run(
    tool: &dyn Tool,
    transaction: &Transaction<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionReport> {
    let basis = tool.basis(transaction);
    let (changes, archived, again, kept_back) = match tool.download(transaction, observer)? {
        Downloaded::Ready {
            changes,
            archived,
            again,
            kept_back,
        } => (changes, archived, again, kept_back),
        Downloaded::Not(ended) => return Ok(ChangeOutcome::nothing(ended).applied(Vec::new())),
    };
    if changes.is_empty() {
        return Ok(ChangeOutcome::nothing(TransactionEnd::Done).applied(kept_back));
    }
    if !locks::wait_for_others(observer)? {
        return Ok(stopped());
    }
    // the resolver gives the same result for the same index and database only
    if tool.basis(transaction) != basis {
        let why = "another process changed the index or the package database meanwhile".to_owned();
        return Ok(ChangeOutcome::nothing(TransactionEnd::FetchFailed(why)).applied(kept_back));
    }
    let announced = gate::announce(&changes, archived.as_ref());
    if let Some(refusal) = gate::ask(transaction.gate, &announced, transaction.log)? {
        return Ok(ChangeOutcome::nothing(TransactionEnd::Failed(refusal)).applied(kept_back));
    }
    observer.report(Report::Installing {
        percent: 0,
        action: "starting the transaction".to_owned(),
    });
    let changed = tool.change(&changes, &again, transaction, observer)?;
    Ok(changed.applied(kept_back))
}
