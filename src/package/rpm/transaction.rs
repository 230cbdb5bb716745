//! One transaction of a package manager without a hook for the gate: everything is downloaded first, the
//! gate is asked, and then exactly what it agreed to is installed from what was downloaded.

use anyhow::Result;

use super::gate;
use crate::package::{Applied, Change, Ended, KeptBack, Key, Observer, Report, Transaction};

/// What the download came to.
pub enum Downloaded {
    /// Everything for these changes lies on the disk; none when nothing is due.
    Ready {
        changes: Vec<Change>,
        /// What the resolver has to leave out again, so that nothing goes.
        excluded: Vec<String>,
        kept_back: Vec<KeptBack>,
    },
    /// It failed, or was stopped.
    Not(Ended),
}

/// How the installation ended.
pub struct Changed {
    pub ended: Ended,
    /// Packages whose scripts failed, with the script and how.
    pub failures: Vec<(Key, String)>,
}

/// The two halves of a run, as each package manager does them.
pub trait Tool {
    /// Resolves and downloads.
    fn download(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Downloaded>;

    /// Installs exactly these from what was downloaded; it cannot be stopped any more.
    fn change(
        &self,
        changes: &[Change],
        excluded: &[String],
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Changed>;
}

/// Runs the transaction.
pub fn run(
    tool: &dyn Tool,
    transaction: &Transaction<'_>,
    observer: &mut dyn Observer,
) -> Result<Applied> {
    let (changes, excluded, kept_back) = match tool.download(transaction, observer)? {
        Downloaded::Ready {
            changes,
            excluded,
            kept_back,
        } => (changes, excluded, kept_back),
        Downloaded::Not(ended) => return Ok(applied(ended, Vec::new(), Vec::new())),
    };
    if changes.is_empty() {
        return Ok(applied(Ended::Done, kept_back, Vec::new()));
    }
    if let Some(refusal) = gate::ask(transaction.gate, &changes, transaction.log)? {
        return Ok(applied(Ended::Failed(refusal), kept_back, Vec::new()));
    }
    observer.report(Report::Installing {
        percent: 0,
        action: "starting the transaction".to_owned(),
    });
    let changed = tool.change(&changes, &excluded, transaction, observer)?;
    Ok(applied(changed.ended, kept_back, changed.failures))
}

fn applied(ended: Ended, kept_back: Vec<KeptBack>, failures: Vec<(Key, String)>) -> Applied {
    Applied {
        ended,
        kept_back,
        notes: Vec::new(),
        failures,
    }
}
