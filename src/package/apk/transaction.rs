//! One transaction: fetched, put through the gate, made.

use anyhow::Result;

use super::backend::Apk;
use super::output::run;
use crate::package::rpm::gate;
use crate::package::{Observer, Selection, Transaction, TransactionEnd, TransactionReport};

/// Runs one transaction.
pub fn apply(
    apk: &Apk,
    transaction: &Transaction<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionReport> {
    let names: Vec<String> = match transaction.selection {
        Selection::Everything => Vec::new(),
        Selection::Exactly(updates) => updates.iter().map(|u| u.package.clone()).collect(),
    };
    let done = |ended, kept_back| TransactionReport {
        ended,
        kept_back,
        notes: Vec::new(),
        failures: Vec::new(),
        displaced: false,
        interrupted: false,
    };
    let changes = match apk.simulate(&names)? {
        Ok(steps) => apk.changes(steps)?,
        Err(words) => return Ok(done(TransactionEnd::Failed(words), Vec::new())),
    };
    if changes.is_empty() {
        return Ok(done(TransactionEnd::Done, Vec::new()));
    }
    let coming: Vec<String> = changes
        .iter()
        .filter_map(|change| Some(format!("{}={}", change.package, change.to.as_deref()?)))
        .collect();
    // apk waits, too, and says nothing of it
    apk.wait(observer)?;
    let program = apk.apk.download(&coming).log(transaction.log);
    let fetched = run(&program, true, observer)?;
    if fetched != TransactionEnd::Done {
        return Ok(done(fetched, Vec::new()));
    }
    if observer.stop() {
        return Ok(done(TransactionEnd::Stopped, Vec::new()));
    }
    if let Some(words) = gate::ask(transaction.gate, &changes, transaction.log)? {
        return Ok(done(TransactionEnd::Failed(words), Vec::new()));
    }
    let program = apk.apk.upgrade(&names).log(transaction.log);
    Ok(done(run(&program, false, observer)?, Vec::new()))
}
