//! The transactions of zypper.
//!
//! It downloads in one run and installs in another, because nothing of it may refuse in between (libzypp 17.36):
//! its commit plugins are told before the download and only listened to, and an `rpm` without a terminal fails at
//! once where another holds its lock, so that this cannot keep it waiting for the gate (measured). What that costs
//! is the second resolving, and that the packages are checked twice: 6 ms for one of 1.6 MB.

use std::path::Path;
use std::thread;

use anyhow::{Result, bail};

use super::backend::{self, Zypper};
use super::locks::until_unlocked;
use super::removals::{self, Without};
use super::scope::{PACKAGES, Scope};
use super::{arguments, listing, patches};
use crate::package::rpm::resolution;
use crate::package::rpm::transaction::{Changed, Downloaded, Tool};
use crate::package::rpm::{gate, installonly, repositories};
use crate::package::{Change, Ended, Former, Observer, Restore, Selection, Transaction};

impl Tool for Zypper {
    fn basis(&self, transaction: &Transaction<'_>) -> String {
        backend::stamp(transaction.failed)
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
        let scope = Scope::new(updates, transaction.failed);
        let database = backend::database()?;
        // what is listed is the same meanwhile
        let everything = updates.is_none().then(|| scope.clone());
        let (downloaded, listed) = thread::scope(|threads| {
            let listed = everything
                .clone()
                .map(|scope| threads.spawn(move || listing::updates_and_archived(&scope)));
            let downloaded = removals::without(scope, &database, |scope| {
                let program = arguments::download(scope.names.as_deref(), &scope.repositories);
                until_unlocked(&program.log(transaction.log), observer)
            });
            let listed = listed.map(|thread| {
                let listed = thread.join();
                listed.unwrap_or_else(|_| bail!("listing the updates failed"))
            });
            (downloaded, listed)
        });
        let Without {
            finished,
            names: again,
            mut kept_back,
        } = downloaded?;
        if finished.ended != Ended::Done {
            return Ok(Downloaded::Not(finished.ended));
        }
        let resolved = finished.resolved;
        let names: Vec<String> = resolved
            .install
            .iter()
            .map(|planned| resolution::file_name(&planned.key, &planned.evr))
            .collect();
        let files = repositories::files([Path::new(PACKAGES)], &names);
        let mut archived = None;
        if let (Some(listed), Some(scope)) = (listed, everything) {
            let mut pending = resolved.pending(&database, &resolution::Advisories::new());
            pending.kept_back = kept_back;
            let (all, installed) = listed?;
            archived = installed;
            listing::keep_back(&mut pending, &all, &scope, transaction.failed)?;
            kept_back = pending.kept_back;
            if !kept_back.is_empty() {
                let advised = patches::advised(&scope)?.keys(&all, &database);
                kept_back = resolution::marked(kept_back, &advised);
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
    ) -> Result<Changed> {
        let scope = Scope::new(None, transaction.failed);
        let names = (!again.is_empty()).then_some(again);
        let program = arguments::change(names, &scope.repositories).log(transaction.log);
        let finished = until_unlocked(&program, observer)?;
        Ok(Changed {
            ended: finished.ended,
            failures: finished.failures,
            notes: finished.notes,
        })
    }
}

/// Puts former versions back in one transaction.
pub fn put_back(restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
    for former in restore.former {
        former.check()?;
    }
    let former = installonly::settled(restore.former)?;
    // the resolver may find that more has to go than what we know of
    let rehearsal = arguments::put_back(&former, true).log(restore.log);
    if let Some(more) = until_unlocked(&rehearsal, observer)?
        .resolved
        .beyond(&installonly::agreed(&former))
    {
        return Ok(Ended::Failed(more));
    }
    let changes: Vec<Change> = former.iter().map(Former::undone).collect();
    if let Some(refusal) = gate::ask(restore.gate, &changes, restore.log)? {
        return Ok(Ended::Failed(refusal));
    }
    let program = arguments::put_back(&former, false).log(restore.log);
    match until_unlocked(&program, observer)?.ended {
        Ended::Stopped => bail!("a stop was asked for while former versions were put back"),
        ended => Ok(ended),
    }
}
