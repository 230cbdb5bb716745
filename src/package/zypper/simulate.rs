//! Updates for which an installed package would go, because a new one replaces it. zypper does not say which update
//! that is: it is found, and only it is kept back.

use anyhow::{Result, bail};

use super::arguments;
use super::document;
use super::locks::until_unlocked;
use super::output::ZypperOutcome;
use super::scope::ZypperScope;
use crate::package::rpm::removals;
use crate::package::rpm::resolution::{Planned, Resolution};
use crate::package::transaction::IgnoreReports;
use crate::package::{Database, KeptBack, KeptBackCause, TransactionEnd, replaced};

/// A run that removes no package.
pub struct ReducedRun {
    pub finished: ZypperOutcome,
    /// The exact names that it was asked for; none for everything.
    pub names: Option<Vec<String>>,
    /// What was left out of it.
    pub kept_back: Vec<KeptBack>,
}

/// Why a run cannot go ahead, as far as packages are the reason.
type Wrong = (KeptBackCause, String);

/// Resolves without changing anything.
pub fn simulate(scope: &ZypperScope, database: &Database) -> Result<(Resolution, Vec<KeptBack>)> {
    let without = without(scope.clone(), database, simulated)?;
    match without.finished.ended {
        TransactionEnd::Done => Ok((without.finished.resolved, without.kept_back)),
        TransactionEnd::Stopped => bail!("zypper was stopped"),
        TransactionEnd::Failed(why)
        | TransactionEnd::FetchFailed(why)
        | TransactionEnd::Interrupted(why) => {
            bail!("zypper: {why}")
        }
    }
}

/// One run that changes nothing.
pub fn simulated(scope: &ZypperScope) -> Result<ZypperOutcome> {
    let program = arguments::simulate(scope.names.as_deref(), &scope.repositories);
    until_unlocked(&program, &mut IgnoreReports)
}

/// Runs, and runs again without updates that would remove packages or cannot be installed. The repositories say what an
/// update replaces; an update that needs such a replacement is found by halving the list.
pub fn without(
    mut scope: ZypperScope,
    database: &Database,
    mut run: impl FnMut(&ZypperScope) -> Result<ZypperOutcome>,
) -> Result<ReducedRun> {
    let mut kept_back = Vec::new();
    loop {
        if scope.names.as_ref().is_some_and(Vec::is_empty) {
            return Ok(ReducedRun::nothing(kept_back));
        }
        let mut finished = run(&scope)?;
        let is_left_as_it_is = scope.names.is_none() && finished.resolved.remove.is_empty();
        if is_left_as_it_is || wrong(&finished).is_none() {
            return Ok(ReducedRun {
                finished,
                names: scope.names,
                kept_back,
            });
        }
        let replacing = replacing(&finished.resolved, &scope)?;
        if let Some(names) = narrower(&scope, &finished.resolved, database, &replacing) {
            for (new, old) in &replacing {
                let is_installed = replaced(database, &new.key).is_some();
                kept_back.extend(removals::replacing(new, old, is_installed));
            }
            scope.names = Some(names);
            continue;
        }
        let names = scope.names.clone().unwrap_or_default();
        let (free, kept) = parts(&names, &mut |names| {
            Ok(wrong(&simulated(&scope.naming(names))?))
        })?;
        kept_back.extend(kept);
        if free.len() < names.len() {
            scope.names = Some(free);
            continue;
        }
        kept_back.extend(removals::all_kept_back(&mut finished.resolved));
        return Ok(ReducedRun::nothing(kept_back));
    }
}

impl ReducedRun {
    /// Nothing is left to ask for: without a name zypper would update everything.
    fn nothing(kept_back: Vec<KeptBack>) -> Self {
        Self {
            finished: ZypperOutcome::nothing(),
            names: Some(Vec::new()),
            kept_back,
        }
    }
}

/// What of a plan replaces packages that would go, each with those.
fn replacing(resolved: &Resolution, scope: &ZypperScope) -> Result<Vec<(Planned, Vec<String>)>> {
    let mut replacing: Vec<(Planned, Vec<String>)> = Vec::new();
    for removal in &resolved.remove {
        let program = arguments::obsoleting(&removal.package, &scope.repositories);
        // where none is found, it fails
        let listed = until_unlocked(&program, &mut IgnoreReports)?.document;
        let obsoleting = document::versions(&listed);
        let is_it = |planned: &&Planned| {
            let mut found = obsoleting.iter();
            found.any(|(key, evr)| *key == planned.key && *evr == planned.evr)
        };
        for new in resolved.install.iter().filter(is_it) {
            match replacing.iter_mut().find(|(known, _)| known == new) {
                Some((_, gone)) => gone.push(removal.package.clone()),
                None => replacing.push((new.clone(), vec![removal.package.clone()])),
            }
        }
    }
    Ok(replacing)
}

/// The exact names that are left without what replaces something; none where that would be the same question. Of
/// an update of everything the new versions of what is installed are named: what else they need, zypper finds.
fn narrower(
    scope: &ZypperScope,
    resolved: &Resolution,
    database: &Database,
    replacing: &[(Planned, Vec<String>)],
) -> Option<Vec<String>> {
    let left_out: Vec<String> = replacing
        .iter()
        .map(|(new, _)| arguments::planned(new))
        .collect();
    let stays = |name: &String| !left_out.contains(name);
    if let Some(names) = &scope.names {
        let left: Vec<String> = names.iter().filter(|n| stays(n)).cloned().collect();
        return (left.len() < names.len()).then_some(left);
    }
    let install = resolved.install.iter();
    let updates = install.filter(|planned| replaced(database, &planned.key).is_some());
    Some(updates.map(arguments::planned).filter(stays).collect())
}

/// Why a run cannot be done as it is: packages would go, or something cannot be had.
pub fn wrong(finished: &ZypperOutcome) -> Option<Wrong> {
    let gone: Vec<&str> = finished
        .resolved
        .remove
        .iter()
        .map(|removal| removal.package.as_str())
        .collect();
    if !gone.is_empty() {
        let reason = format!("{} would be removed", gone.join(", "));
        return Some((KeptBackCause::Removal, reason));
    }
    let problems = document::problems(&finished.document).into_iter();
    let problem = problems.flatten().next()?;
    matches!(finished.ended, TransactionEnd::Failed(_)).then(|| (cause(&problem), problem))
}

/// What the words of the resolver mean: `the to be installed rm1-1.1-1.noarch conflicts with 'victim' provided by
/// the installed victim-1.0-1.noarch` (libzypp 17.36).
pub fn cause(problem: &str) -> KeptBackCause {
    let goes = problem.contains("conflicts with") && problem.contains("provided by the installed")
        || problem.contains("deleted providers");
    if goes {
        KeptBackCause::Removal
    } else {
        KeptBackCause::Dependency
    }
}

/// The names that can be had together, and the others: halves are tried until each is one or the other.
fn parts(
    names: &[String],
    wrong: &mut dyn FnMut(&[String]) -> Result<Option<Wrong>>,
) -> Result<(Vec<String>, Vec<KeptBack>)> {
    if names.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let Some((cause, reason)) = wrong(names)? else {
        return Ok((names.to_vec(), Vec::new()));
    };
    if let [name] = names {
        let kept = KeptBack::new(arguments::package_of(name), cause, reason);
        return Ok((Vec::new(), vec![kept]));
    }
    let (first, second) = names.split_at(names.len() / 2);
    let (mut free, mut kept_back) = parts(first, wrong)?;
    let (more, kept) = parts(second, wrong)?;
    free.extend(more);
    kept_back.extend(kept);
    Ok((free, kept_back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_a_package_go_is_left_out() {
        let names: Vec<String> = ["a", "bad", "c", "d", "worse"]
            .map(|name| format!("{name}.noarch=1.1-1"))
            .into();
        let mut runs = 0;
        let (free, kept) = parts(&names, &mut |names| {
            runs += 1;
            let bad = |name: &&String| ["bad", "worse"].contains(&arguments::package_of(name));
            let found = names.iter().find(bad);
            Ok(found.map(|name| (KeptBackCause::Removal, format!("x for {name}"))))
        })
        .unwrap();
        assert_eq!(free, [&*names[0], &names[2], &names[3]]);
        let kept: Vec<&str> = kept.iter().map(|kept| &*kept.package).collect();
        assert_eq!(kept, ["bad", "worse"]);
        assert_eq!(runs, 9);
    }

    #[test]
    fn the_resolver_s_words_are_read() {
        let conflict = "the to be installed rm1-1.1-1.noarch conflicts with 'victim' provided by the installed victim-1.0-1.noarch";
        assert_eq!(cause(conflict), KeptBackCause::Removal);
        let missing =
            "nothing provides 'nothing-there' needed by the to be installed unsat-1.1-1.noarch";
        assert_eq!(cause(missing), KeptBackCause::Dependency);
    }
}
