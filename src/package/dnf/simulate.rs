//! What dnf or yum would do: resolved without changing anything.

use anyhow::{Result, bail};

use super::arguments::{self, DnfScope};
use super::backend::Dnf;
use super::database;
use super::output::DnfRun;
use crate::exec::ExitReason;
use crate::package::rpm::removals::{self, LeftOut};
use crate::package::rpm::resolution::Resolution;
use crate::package::transaction::IgnoreReports;
use crate::package::{KeptBack, PackageId, Source, Update};

impl Dnf {
    /// Resolves without changing anything; which packages are left out is among what is kept back.
    pub(super) fn simulate(
        &self,
        updates: Option<&[Update]>,
        failed: &[&Source],
    ) -> Result<(Resolution, Vec<KeptBack>)> {
        let (resolved, (), without) = without_removals(|excluded| {
            let scope = DnfScope {
                updates,
                excluded,
                failed,
            };
            if scope.is_empty() {
                return Ok((Resolution::default(), ()));
            }
            let program = arguments::simulate(self.variant, scope);
            let mut quiet = IgnoreReports;
            let mut run = DnfRun::new(&mut quiet);
            let finished = program.run(&mut run)?;
            // it exits with 1, because it was told to say no
            let resolved = run.finish(finished.exit_reason).resolved;
            let empty = resolved.install.is_empty() && resolved.skipped.is_empty();
            let said_no = finished.exit_reason == ExitReason::Exited(0)
                || (finished.exit_reason == ExitReason::Exited(1) && !empty);
            if !said_no {
                bail!("{}", program.failure(&finished));
            }
            Ok((resolved, ()))
        })?;
        Ok((resolved, without.kept_back))
    }
}

/// Resolves as often as it takes until no package would go.
pub fn without_removals<T>(
    resolve: impl FnMut(&[String]) -> Result<(Resolution, T)>,
) -> Result<(Resolution, T, LeftOut)> {
    let is_installed = |key: &PackageId| {
        let installed = database::installed().unwrap_or_default();
        installed.keys().any(|one| one.package == key.package)
    };
    removals::without_removals(&is_installed, resolve)
}
