//! What zypper lists besides a plan: advisories, what is passed over, what only a failed repository has.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::output::{self, Finished};
use super::{Quiet, Scope, arguments, enabled, indexes, run};
use crate::package::command::Program;
use crate::package::rpm::former::Versions;
use crate::package::rpm::held;
use crate::package::rpm::resolved::{self, Planned, Resolved};
use crate::package::{Ended, KeptBack, KeptBackCause, Key, Pending, Source};
use crate::sorted::InOrder;

/// Whether an enabled repository carries advisories.
pub fn has_advisories() -> bool {
    let indexes = indexes();
    enabled()
        .iter()
        .filter_map(|repository| indexes.get(&repository.id))
        .any(|index| index.as_ref().is_some_and(|index| index.advisories))
}

/// Runs what only reads; a failure is an error.
fn read(program: &Program) -> Result<Finished> {
    let finished = run::until_unlocked(program, &mut Quiet)?;
    match &finished.ended {
        Ended::Done => Ok(finished),
        Ended::Stopped => bail!("zypper was stopped"),
        Ended::Failed(why) | Ended::FetchFailed(why) | Ended::Interrupted(why) => {
            bail!("zypper: {why}")
        }
    }
}

/// Every update there is, also of what is locked or cannot be installed.
pub fn updates(scope: &Scope) -> Result<Vec<Planned>> {
    let listed = read(&arguments::updates(&scope.repositories))?;
    Ok(output::updates(&listed.document))
}

/// The same, and which installed versions a repository has, which is cheaper to ask at once than one after
/// the other. None of those where only some repositories are used, or zypper does not say it.
pub fn updates_and_archived(scope: &Scope) -> Result<(Vec<Planned>, Option<Versions>)> {
    if scope.repositories.is_empty() {
        let document = read(&arguments::updates_and_installed())?.document;
        if document.contains("<update-status") && document.contains("<search-result") {
            let archived = output::versions(&document).into_iter().in_order();
            return Ok((output::updates(&document), Some(archived)));
        }
    }
    Ok((updates(scope)?, None))
}

/// The packages that all needed security patches bring. A run of its own, which is spared where there is
/// nothing to hear.
pub fn advisories(scope: &Scope) -> Result<BTreeSet<Key>> {
    if !has_advisories() {
        return Ok(BTreeSet::new());
    }
    let finished = read(&arguments::security(&scope.repositories))?;
    let packages = finished.resolved.install.into_iter();
    Ok(packages.map(|planned| planned.key).in_order())
}

/// What of `all` updates is not in the plan, and why. zypper passes it over in silence.
pub fn passed_over(
    all: &[Planned],
    pending: &Pending,
    scope: &Scope,
    explain: bool,
) -> Result<Vec<KeptBack>> {
    let patterns = held::zypper();
    let known = |planned: &Planned| held::is_held(&patterns, &planned.key.package);
    let mut left = Resolved {
        skipped: all
            .iter()
            .filter(|planned| !known(planned))
            .cloned()
            .collect(),
        ..Resolved::default()
    };
    let of_plan = |planned: &Planned| pending.updates.iter().any(|u| u.key() == planned.key);
    left.skipped.retain(|planned| !of_plan(planned));
    if explain && !left.skipped.is_empty() {
        let names: Vec<String> = left.skipped.iter().map(arguments::planned).collect();
        let program = arguments::simulate(Some(&names), &scope.repositories);
        let finished = run::until_unlocked(&program, &mut Quiet)?;
        left.problems = output::problems(&finished.document);
    }
    let mut kept_back = left.kept_back();
    let locked = resolved::only_in(pending, all, |planned| {
        let reason = || format!("{} is locked by the administrator", planned.evr);
        known(planned).then(|| (KeptBackCause::Held, reason()))
    });
    kept_back.extend(locked);
    Ok(kept_back)
}

/// What only the failed repositories have.
pub fn only_from_failed(pending: &Pending, failed: &[&Source]) -> Result<Vec<KeptBack>> {
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let all = output::updates(&read(&arguments::updates(&[]))?.document);
    Ok(resolved::only_in(pending, &all, |planned| {
        let from_failed = failed.iter().any(|s| s.suite == planned.repository);
        let why = "comes from a source whose last refresh failed";
        from_failed.then(|| (KeptBackCause::Source, format!("{} {why}", planned.evr)))
    }))
}
