//! Former versions: where zypper's packages can be had from again, and the transaction that puts them back.

use anyhow::{Result, bail};

use super::backend::Zypper;
use super::directories::ZyppDirectories;
use super::locks::until_unlocked;
use super::{arguments, document};
use crate::package::rpm::conf::Front;
use crate::package::rpm::{gate, installonly, rollback};
use crate::package::transaction::IgnoreReports;
use crate::package::{Change, Observer, Restore, RollbackItem, StoredPackage, TransactionEnd};
use crate::sorted::InOrder;

/// Looks each former version up.
pub fn find(
    zypper: &Zypper,
    changes: &[Change],
    kept: &[StoredPackage],
) -> Result<Vec<RollbackItem>> {
    let parallel = rollback::parallel(changes, Front::Zypp)?;
    let caches = [ZyppDirectories::now().packages];
    Ok(rollback::find(changes, kept, &caches, &parallel, |names| {
        zypper.archived.or_ask(|| {
            let program = arguments::versions(names);
            let finished = until_unlocked(&program, &mut IgnoreReports)?;
            Ok(document::versions(&finished.document)
                .into_iter()
                .in_order())
        })
    }))
}

/// Puts former versions back in one transaction.
pub fn run(restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<TransactionEnd> {
    for former in restore.former {
        former.check()?;
    }
    let former = installonly::settled(restore.former)?;
    // the resolver may find that more has to go than what we know of
    let rehearsal = arguments::rollback(&former, true).log(restore.log);
    if let Some(more) = until_unlocked(&rehearsal, observer)?
        .resolved
        .beyond(&installonly::agreed(&former))
    {
        return Ok(TransactionEnd::Failed(more));
    }
    let changes: Vec<Change> = former.iter().map(RollbackItem::undone).collect();
    if let Some(refusal) = gate::ask(restore.gate, &changes, restore.log)? {
        return Ok(TransactionEnd::Failed(refusal));
    }
    let program = arguments::rollback(&former, false).log(restore.log);
    match until_unlocked(&program, observer)?.ended {
        TransactionEnd::Stopped => {
            bail!("a stop was requested while former versions were put back")
        }
        ended => Ok(ended),
    }
}
