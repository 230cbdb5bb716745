//! The transactions of zypper.
//!
//! It downloads in one run and installs in another, because nothing of it may refuse in between (libzypp 17.36):
//! its commit plugins are told before the download and only listened to, and an `rpm` without a terminal fails at
//! once where another holds its lock, so that this cannot keep it waiting for the gate (FACTS 47). What that costs
//! is the second resolving, and that the packages are checked twice: 6 ms for one of 1.6 MB.

use std::thread;

use anyhow::{Result, bail};

use super::backend::Zypper;
use super::directories::ZyppDirectories;
use super::fingerprint::fingerprint;
use super::locks::until_unlocked;
use super::scope::ZypperScope;
use super::simulate::{self, ReducedRun};
use super::{arguments, database, document, patches, pending};
use crate::package::rpm::advisories;
use crate::package::rpm::repositories;
use crate::package::rpm::transaction::{ChangeOutcome, Downloaded, Tool};
use crate::package::{Change, Observer, Selection, Source, Transaction, TransactionEnd};

/// Fetches what an upgrade of everything would install; whether it came to its end. What it has fetched zypper checks
/// against the index again before it installs it.
pub fn download_ahead(failed: &[&Source], observer: &mut dyn Observer) -> Result<bool> {
    let scope = ZypperScope::new(None, failed);
    let (resolved, _) = simulate::simulate(&scope, &database::installed()?)?;
    let names: Vec<String> = resolved.install.iter().map(arguments::planned).collect();
    if names.is_empty() {
        return Ok(true);
    }
    let program = arguments::download_ahead(&names, &scope.repositories);
    let finished = until_unlocked(&program, observer)?;
    // it exits with 0, whatever it could not fetch (FACTS 41)
    let errors = document::messages(&finished.document, "error");
    match (&finished.ended, errors.first()) {
        (TransactionEnd::Done, Some(error)) => bail!("zypper: {error}"),
        _ => finished.ended.came_to_its_end("zypper"),
    }
}

impl Tool for Zypper {
    fn basis(&self, transaction: &Transaction<'_>) -> String {
        fingerprint(transaction.failed)
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
        let scope = ZypperScope::new(updates, transaction.failed);
        let database = database::installed()?;
        // what is listed is the same meanwhile
        let everything = updates.is_none().then(|| scope.clone());
        let (downloaded, listed) = thread::scope(|threads| {
            let listed = everything
                .clone()
                .map(|scope| threads.spawn(move || pending::updates_and_archived(&scope)));
            let downloaded = simulate::without(scope, &database, |scope| {
                let program = arguments::download(scope.names.as_deref(), &scope.repositories);
                until_unlocked(&program.log(transaction.log), observer)
            });
            let listed = listed.map(|thread| {
                let listed = thread.join();
                listed.unwrap_or_else(|_| bail!("listing the updates failed"))
            });
            (downloaded, listed)
        });
        let ReducedRun {
            finished,
            names: again,
            mut kept_back,
        } = downloaded?;
        if finished.ended != TransactionEnd::Done {
            return Ok(Downloaded::Not(finished.ended));
        }
        let resolved = finished.resolved;
        let files = repositories::files(&[ZyppDirectories::now().packages], &resolved.file_names());
        let mut archived = None;
        if let (Some(listed), Some(scope)) = (listed, everything) {
            let mut pending = resolved.pending(&database, &advisories::Advisories::new());
            pending.kept_back = kept_back;
            let (all, installed) = listed?;
            archived = installed;
            pending::keep_back(&mut pending, &all, &scope, transaction.failed)?;
            kept_back = pending.kept_back;
            if !kept_back.is_empty() {
                let advised = patches::advised(&scope)?.keys(&all, &database);
                kept_back = advisories::marked(kept_back, &advised);
            }
        }
        Ok(Downloaded::Ready {
            changes: resolved.changes(&database, &files),
            archived,
            again: again.unwrap_or_default(),
            kept_back,
        })
    }

    fn change(
        &self,
        _: &[Change],
        again: &[String],
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ChangeOutcome> {
        let scope = ZypperScope::new(None, transaction.failed);
        let names = (!again.is_empty()).then_some(again);
        let program = arguments::change(names, &scope.repositories).log(transaction.log);
        let finished = until_unlocked(&program, observer)?;
        Ok(ChangeOutcome {
            ended: finished.ended,
            failures: finished.failures,
            notes: finished.notes,
        })
    }
}
