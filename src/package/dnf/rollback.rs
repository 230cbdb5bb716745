//! Former versions: where dnf's packages can be had from again, and the transaction that puts them back.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::backend::Dnf;
use super::output::DnfRun;
use super::pending::listed;
use super::variant::Variant;
use super::{arguments, rollback_arguments, table};
use crate::package::rpm::conf::Front;
use crate::package::rpm::{gate, installonly, rollback};
use crate::package::{Change, Observer, Restore, RollbackItem, StoredPackage, TransactionEnd};
use crate::sorted::InOrder;

/// Looks each former version up.
pub fn find(dnf: &Dnf, changes: &[Change], kept: &[StoredPackage]) -> Result<Vec<RollbackItem>> {
    let parallel = rollback::parallel(changes, Front::Dnf)?;
    let caches = dnf.variant.caches();
    Ok(rollback::find(changes, kept, &caches, &parallel, |names| {
        dnf.archived.or_ask(|| {
            let listed = listed(&arguments::versions(dnf.variant, names))?;
            let available = listed
                .split_once("Available")
                .map_or("", |(_, available)| available);
            let versions = table::list(available).into_iter();
            Ok(versions
                .map(|planned| (planned.key, planned.evr))
                .in_order())
        })
    }))
}

/// Puts former versions back in one transaction. The files were fetched by the package manager, which
/// checked them then; that they are still the same is checked here.
pub fn run(
    variant: Variant,
    scratch: &Path,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<TransactionEnd> {
    for former in restore.former {
        former.check()?;
    }
    let former = installonly::settled(restore.former)?;
    let script = scratch.join("dnf-shell");
    std::fs::write(&script, rollback_arguments::shell_script(&former))
        .with_context(|| format!("failed to write '{}'", script.display()))?;
    let program = |answer| rollback_arguments::rollback(variant, &former, &script, answer);
    // the resolver may find that more has to go than what we know of
    let mut run = DnfRun::new(observer);
    let exit_reason = program("--assumeno")
        .log(restore.log)
        .run(&mut run)?
        .exit_reason;
    if let Some(more) = run
        .finish(exit_reason)
        .resolved
        .beyond(&installonly::agreed(&former))
    {
        return Ok(TransactionEnd::Failed(more));
    }
    let changes: Vec<Change> = former.iter().map(RollbackItem::undone).collect();
    if let Some(refusal) = gate::ask(restore.gate, &changes, restore.log)? {
        return Ok(TransactionEnd::Failed(refusal));
    }
    let program = program("-y").log(restore.log);
    let mut run = DnfRun::new(observer);
    let exit_reason = program.run(&mut run)?.exit_reason;
    let ended = run.finish(exit_reason).changed.ended;
    let _ = std::fs::remove_file(&script);
    match ended {
        TransactionEnd::Stopped => {
            bail!("a stop was requested while former versions were put back")
        }
        ended => Ok(ended),
    }
}
