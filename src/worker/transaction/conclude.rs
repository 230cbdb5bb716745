//! After the package manager has ended: what it brought is kept, judged, and undone when it is bad.

use anyhow::Result;

use crate::package::TransactionReport;
use crate::request::JobId;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::package_store::{keep, make_room};
use crate::worker::bookkeeping::phase::CurrentUpdate;
use crate::worker::bookkeeping::shutdown;
use crate::worker::model::lifecycle::PhaseEvent;
use crate::worker::model::partial::Approved;
use crate::worker::steps::verify::{self, Baseline, Stage};
use crate::worker::steps::{files, rollback};
use crate::worker::transaction::outcome::{Concluded, TransactionOutcome};

/// Judges an activated transaction, and undoes it when it is bad and that is possible.
pub fn conclude(
    ctx: &Context,
    transaction: &JobId,
    before: &Baseline,
    approved: Approved,
    mut applied: TransactionReport,
    update: &mut CurrentUpdate<'_>,
) -> Result<TransactionOutcome> {
    update.step(PhaseEvent::Verify)?;
    let Approved { changes, former } = approved;
    keep(&ctx.paths, &changes);
    let noted = files::after_update(ctx, transaction, &changes, &applied);
    applied.notes.extend(noted.unwrap_or_else(|error| {
        vec![format!(
            "the files of the packages could not be checked: {error:#}"
        )]
    }));
    let mut judgement = verify::judge(
        ctx,
        transaction,
        before,
        &changes,
        Stage::After,
        &applied.failures,
    )?;
    let rollback = if judgement.is_to_be_undone() {
        shutdown::bail_if_shutdown_explains()?;
        rollback::after(ctx, transaction, before, &former, &judgement.checks)?
    } else {
        None
    };
    let now = match rollback {
        None => Ok(std::mem::take(&mut judgement.database)),
        Some(_) => ctx.packages.installed(),
    };
    make_room(ctx, now, &changes, &former);
    Ok(TransactionOutcome::Changed(Box::new(Concluded {
        judgement,
        applied,
        former,
        rollback,
        unfinished: None,
        removed: Vec::new(),
    })))
}
