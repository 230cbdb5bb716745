//! While packages change the host stays up: shutdown and sleep are inhibited, and no reboot of ours is scheduled.

use anyhow::{Context as _, Result, bail};

use crate::host::logind::{self, Inhibitor};
use crate::journal;
use crate::state::reboot::Reboot;
use crate::worker::bookkeeping::context::Context;
use crate::worker::bookkeeping::shutdown::{cancel_scheduled, is_scheduled};

/// Keeps the host up until it is dropped, as far as logind does that.
pub struct HeldOff {
    _inhibitor: Option<Inhibitor>,
    taken_back: Result<()>,
}

impl HeldOff {
    /// An error when a reboot of ours could still come in the middle.
    pub fn ensured(self) -> Result<Self> {
        match self.taken_back {
            Ok(()) => Ok(self),
            Err(error) => bail!("nothing is changed, because a reboot is due: {error:#}"),
        }
    }
}

/// Holds off shutdown and sleep, and takes back a reboot of ours that is scheduled: the lock of an inhibitor
/// stops none that was scheduled before (FACTS 61). The worker asks for it again
/// when nothing is left to do.
#[must_use]
pub fn hold_off(ctx: &Context, why: &str) -> HeldOff {
    let inhibitor = logind::inhibit_shutdown(why);
    let taken_back = take_back(ctx, "packages are changing");
    if let Err(error) = &taken_back {
        tracing::warn!("{error:#}");
    }
    HeldOff {
        _inhibitor: inhibitor,
        taken_back,
    }
}

/// Takes back a reboot of ours that is scheduled, which then waits for the reason `why`. That is on the disk
/// before: a worker that dies in between leaves a reboot that is either scheduled or asked for again.
pub fn take_back(ctx: &Context, why: &str) -> Result<()> {
    if !is_scheduled(ctx) {
        return Ok(());
    }
    let Some(mut reboot) = Reboot::load_to_change(&ctx.paths) else {
        return Ok(());
    };
    let Some(at) = reboot.at.or(reboot.planned) else {
        return Ok(());
    };
    (reboot.at, reboot.planned) = (None, Some(at));
    reboot.waits = Some(why.to_owned());
    reboot.save(&ctx.paths)?;
    cancel_scheduled().context("the scheduled reboot could not be cancelled")?;
    journal::reboot_postponed(reboot.job.as_ref(), at, why);
    Ok(())
}
