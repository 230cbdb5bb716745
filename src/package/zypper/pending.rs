//! What is pending, and what zypper lists besides a plan: what is passed over, what only a failed repository has.

use anyhow::Result;

use super::locks::read;
use super::scope::ZypperScope;
use super::{arguments, database, document, explain, patches, simulate};
use crate::package::rpm::advisories;
use crate::package::rpm::gate::ArchivedVersions;
use crate::package::rpm::resolution::{self, Planned};
use crate::package::rpm::versionlock;
use crate::package::{KeptBack, KeptBackCause, Pending, Source, Update};
use crate::sorted::InOrder;

/// What an upgrade of everything would do, and what it leaves as it is.
pub fn everything(failed: &[&Source]) -> Result<Pending> {
    let scope = ZypperScope::new(None, failed);
    let database = database::installed()?;
    let advised = patches::advised(&scope)?;
    let (resolved, kept_back) = simulate::simulate(&scope, &database)?;
    let security = advised.keys(&resolved.install, &database);
    let mut pending = resolved.pending(&database, &security);
    pending.kept_back.extend(kept_back);
    let all = updates(&scope)?;
    keep_back(&mut pending, &all, &scope, failed)?;
    let security = advised.keys(&all, &database);
    pending.kept_back = advisories::marked(pending.kept_back, &security);
    Ok(pending)
}

/// What installing exactly these updates needs.
pub fn exactly(updates: &[Update], failed: &[&Source]) -> Result<Pending> {
    let scope = ZypperScope::new(Some(updates), failed);
    let database = database::installed()?;
    let (resolved, kept_back) = simulate::simulate(&scope, &database)?;
    let security = advisories::of_updates(updates);
    let mut pending = resolved.pending(&database, &security);
    pending.kept_back = advisories::marked(kept_back, &security);
    Ok(pending)
}

/// Every update there is, also of what is locked or cannot be installed.
pub fn updates(scope: &ZypperScope) -> Result<Vec<Planned>> {
    let listed = read(&arguments::updates(&scope.repositories))?;
    Ok(document::updates(&listed.document))
}

/// The same, and which installed versions a repository has, which is cheaper to ask at once than one after
/// the other. None of those where only some repositories are used, or zypper does not say it.
pub fn updates_and_archived(
    scope: &ZypperScope,
) -> Result<(Vec<Planned>, Option<ArchivedVersions>)> {
    if scope.repositories.is_empty() {
        let document = read(&arguments::updates_and_installed())?.document;
        if document.contains("<update-status") && document.contains("<search-result") {
            let archived = document::versions(&document).into_iter().in_order();
            return Ok((document::updates(&document), Some(archived)));
        }
    }
    Ok((updates(scope)?, None))
}

/// Adds what of `all` updates is not in the plan, and why: zypper passes it over in silence.
pub fn keep_back(
    pending: &mut Pending,
    all: &[Planned],
    scope: &ZypperScope,
    failed: &[&Source],
) -> Result<()> {
    let patterns = versionlock::zypper();
    let is_locked = |planned: &Planned| versionlock::is_held(&patterns, &planned.key.package);
    let is_known = |planned: &Planned| {
        pending.updates.iter().any(|u| u.key() == planned.key)
            || pending
                .kept_back
                .iter()
                .any(|kept| kept.package == planned.key.package)
    };
    let left = all.iter().filter(|p| !is_locked(p) && !is_known(p));
    let left: Vec<Planned> = left.cloned().collect();
    let locked = resolution::only_in(pending, all, |planned| {
        let reason = || format!("{} is locked by the administrator", planned.evr);
        is_locked(planned).then(|| (KeptBackCause::Held, reason()))
    });
    pending.kept_back.extend(explain::reasons(left, scope)?);
    pending.kept_back.extend(locked);
    let of_failed = only_from_failed(pending, failed)?;
    pending.kept_back.extend(of_failed);
    Ok(())
}

/// What only the failed repositories have.
fn only_from_failed(pending: &Pending, failed: &[&Source]) -> Result<Vec<KeptBack>> {
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let all = document::updates(&read(&arguments::updates(&[]))?.document);
    Ok(resolution::only_in(pending, &all, |planned| {
        let from_failed = failed.iter().any(|s| s.suite == planned.repository);
        let why = "comes from a source whose last refresh failed";
        from_failed.then(|| (KeptBackCause::Source, format!("{} {why}", planned.evr)))
    }))
}
