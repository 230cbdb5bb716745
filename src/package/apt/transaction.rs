//! One transaction of apt, and what it has kept back.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use super::auto_marks::Marks;
use super::backend::Apt;
use super::output::{AptOutcome, supervised};
use super::{arguments, pending};
use crate::package::{Observer, Transaction, TransactionReport};

/// Runs the transaction.
pub fn apply(
    apt: &Apt,
    transaction: &Transaction<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionReport> {
    let lists = apt.lists_without(transaction.failed)?;
    let marks = Marks::read();
    let options = [apt.settings().patience(), lists.clone()].concat();
    let outcome = run(transaction, &options, &apt.dpkg, observer)?;
    marks.restore(transaction.log);
    let kept_back = if transaction.failed.is_empty() {
        pending::reasons(&outcome.kept, &lists)
    } else {
        // the run was not shown what only the failed sources have
        pending::everything(apt, transaction.failed).map(|p| p.kept_back)
    };
    // the update may have broken apt, and is judged all the same
    let mut notes = outcome.notes;
    let kept_back = kept_back.unwrap_or_else(|error| {
        notes.push(format!(
            "what was kept back, and why, could not be found out: {error:#}"
        ));
        Vec::new()
    });
    Ok(TransactionReport {
        ended: outcome.ended,
        kept_back,
        notes,
        failures: Vec::new(),
        displaced: outcome.displaced,
        interrupted: false,
    })
}

fn run(
    transaction: &Transaction<'_>,
    options: &[OsString],
    dpkg: &Path,
    observer: &mut dyn Observer,
) -> Result<AptOutcome> {
    let program = arguments::apply(transaction.selection, transaction.gate, options);
    supervised(&program.log(transaction.log), dpkg, observer)
}
