//! What is pending, and what dnf and yum list besides a plan: advisories, what is locked, what only a failed repository
//! has.

use anyhow::{Context, Result, bail};

use super::backend::Dnf;
use super::variant::Variant;
use super::{arguments, database, table};
use crate::exec::{ExitReason, Program};
use crate::package::rpm::advisories::{self, Advisories};
use crate::package::rpm::resolution;
use crate::package::rpm::versionlock;
use crate::package::{KeptBack, KeptBackCause, PackageId, Pending, Source, Update};

/// `check-update` has found updates, which is a success (dnf(8), "check-update").
pub const UPDATES_ARE_THERE: i32 = 100;

/// What an upgrade of everything would do, and what it leaves as it is.
pub fn everything(dnf: &Dnf, failed: &[&Source]) -> Result<Pending> {
    let database = database::installed()?;
    let advisories = dnf.advisories(failed)?;
    let (resolved, mut kept_back) = dnf.simulate(None, failed)?;
    let mut pending = resolved.pending(&database, &advisories);
    pending.kept_back.append(&mut kept_back);
    let more = [
        dnf.locked(&pending, failed)?,
        dnf.only_from_failed(&pending, failed)?,
    ];
    pending.kept_back.extend(more.concat());
    pending.kept_back = advisories::marked(pending.kept_back, &advisories);
    Ok(pending)
}

/// What installing exactly these updates needs.
pub fn exactly(dnf: &Dnf, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
    let (resolved, mut kept_back) = dnf.simulate(Some(updates), failed)?;
    let advisories = advisories::of_updates(updates);
    let mut pending = resolved.pending(&database::installed()?, &advisories);
    pending.kept_back.append(&mut kept_back);
    Ok(pending)
}

/// Whether an enabled repository carries advisories.
pub fn has_advisories(dnf: &Dnf) -> bool {
    let indexes = dnf.indexes();
    dnf.configured()
        .iter()
        .filter(|repository| repository.enabled)
        .filter_map(|repository| indexes.get(&repository.id))
        .any(|index| index.as_ref().is_some_and(|index| index.advisories))
}

impl Dnf {
    /// The packages for which a security advisory is pending, with those. A run of its own, which is spared where
    /// there is nothing to hear.
    pub(super) fn advisories(&self, failed: &[&Source]) -> Result<Advisories> {
        if !has_advisories(self) {
            return Ok(Advisories::new());
        }
        let listed = arguments::advisories(self.variant, failed).output_checked()?;
        advised(self.variant, &listed)
    }

    /// What is pending and locked or excluded: asked for only where something is.
    pub(super) fn locked(&self, pending: &Pending, failed: &[&Source]) -> Result<Vec<KeptBack>> {
        let patterns = versionlock::dnf();
        if patterns.is_empty() {
            return Ok(Vec::new());
        }
        let program = arguments::updates_without_locks(self.variant, failed);
        let all = table::list(&listed(&program)?);
        Ok(resolution::only_in(pending, &all, |planned| {
            let held = versionlock::is_held(&patterns, &planned.key.package);
            let reason = || format!("{} is locked or excluded by the administrator", planned.evr);
            held.then(|| (KeptBackCause::Held, reason()))
        }))
    }

    /// What only the failed repositories have.
    pub(super) fn only_from_failed(
        &self,
        pending: &Pending,
        failed: &[&Source],
    ) -> Result<Vec<KeptBack>> {
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let all = table::list(&listed(&arguments::updates(self.variant, &[]))?);
        Ok(resolution::only_in(pending, &all, |planned| {
            let why = "comes from a source whose last refresh failed";
            let from_failed = failed.iter().any(|s| s.suite == planned.repository);
            from_failed.then(|| (KeptBackCause::Source, format!("{} {why}", planned.evr)))
        }))
    }
}

/// The output of a command that lists something; yum and dnf exit with 100 where updates are there.
pub fn listed(program: &Program) -> Result<String> {
    let (finished, output) = program.output()?;
    match finished.exit_reason {
        ExitReason::Exited(0 | UPDATES_ARE_THERE) => Ok(output),
        // no version of it is in any repository
        ExitReason::Exited(1) if output.is_empty() && program.shown().contains(" list ") => {
            Ok(output)
        }
        _ => bail!("{}", program.failure(&finished)),
    }
}

/// The packages of security advisories: `LAB-1 Important/Sec. demo-1.1-1.noarch` (dnf 4, yum) or a JSON
/// list with `name` and `nevra` (dnf 5). They are of versions that are newer than the installed ones, so a candidate
/// that is newer still brings them along.
fn advised(variant: Variant, listed: &str) -> Result<Advisories> {
    let mut advised = Advisories::new();
    let mut add = |nevra: &str, advisory: &str| {
        let Some((nevr, architecture)) = nevra.rsplit_once('.') else {
            return;
        };
        let mut parts = nevr.rsplitn(3, '-');
        if let (Some(_release), Some(_version), Some(name)) =
            (parts.next(), parts.next(), parts.next())
        {
            let key = PackageId::new(name, architecture);
            advised.entry(key).or_default().push(advisory.to_owned());
        }
    };
    if variant != Variant::Dnf5 {
        for line in listed.lines().filter(|line| line.contains("/Sec.")) {
            let mut words = line.split_whitespace();
            if let (Some(advisory), Some(nevra)) = (words.next(), words.next_back()) {
                add(nevra, advisory);
            }
        }
    } else if !listed.trim().is_empty() {
        let entries: Vec<serde_json::Value> = serde_json::from_slice(listed.as_bytes())
            .context("dnf5 lists its advisories in another form")?;
        for entry in entries.iter().filter(|entry| entry["type"] == "security") {
            if let Some(nevra) = entry["nevra"].as_str() {
                add(nevra, entry["name"].as_str().unwrap_or_default());
            }
        }
    }
    Ok(advised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advisories_are_read() {
        // dnf 4.23, dnf 5.4
        let dnf4 = "LAB-2026-1 Important/Sec. demo-1.1-1.noarch\nLAB-2026-2 bugfix         tool-2:1.2-1.noarch\n";
        let dnf5 = r#"[{"name":"LAB-2026-1","type":"security","severity":"Important","nevra":"demo-1.1-1.noarch","buildtime":1795132800}]"#;
        for (variant, listed) in [
            (Variant::Dnf4, dnf4),
            (Variant::Dnf5, dnf5),
            (Variant::Yum, dnf4),
        ] {
            let advised = advised(variant, listed).unwrap();
            let shown = advised
                .iter()
                .map(|(key, names)| format!("{key} {names:?}"));
            let shown: Vec<String> = shown.collect();
            assert_eq!(shown, [r#"demo:noarch ["LAB-2026-1"]"#]);
        }
        assert!(advised(Variant::Dnf5, "").unwrap().is_empty());
        assert!(advised(Variant::Dnf5, "no list").is_err());
    }
}
