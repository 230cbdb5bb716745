//! What an upgrade would do: all of it, or nothing.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use super::backend::Pacman;
use super::conf::{Conf, in_caches};
use super::{arguments, database, listing};
use crate::exec::{ExitReason, Finished, Line, Program};
use crate::package::{
    Change, Database, KeptBack, KeptBackCause, PackageId, Pending, Source, Update,
};
use crate::sorted::{self, InOrder};

/// What an upgrade would do: [`Pending`], with what pacman needs to know to do it.
pub struct Upgrade {
    /// For others.
    pub pending: Pending,
    /// The same, with the files.
    pub changes: Vec<Change>,
    /// Packages that are left out: their repository's last refresh failed, they have no room, or an installed
    /// package would go for them.
    pub without: Vec<String>,
}

impl Pacman {
    /// Asks pacman, by the databases of our tree, without what only failed sources have and what is to be left
    /// out.
    pub(super) fn upgrade(
        &self,
        conf: &Conf,
        (failed, left_out): (&[&Source], &[String]),
    ) -> Result<Upgrade> {
        let installed = database::installed()?;
        let (mut targets, mut kept_back) = self.everything(conf)?;
        let replacing = self.replacing(&targets, &installed)?;
        let of_failed =
            |target: &listing::UpgradeTarget| failed.iter().any(|s| s.suite == target.repository);
        let stays = |target: &&listing::UpgradeTarget| {
            let replaces = replacing.iter().any(|(new, _)| *new == target.package);
            replaces || of_failed(target) || left_out.contains(&target.package)
        };
        let without: Vec<String> = targets
            .iter()
            .filter(stays)
            .map(|t| t.package.clone())
            .collect();
        for target in targets.iter().filter(stays) {
            if of_failed(target) {
                let why = "comes from a source whose last refresh failed";
                let reason = format!("{} {why}", target.version);
                let kept = KeptBack::new(&target.package, KeptBackCause::Source, reason);
                kept_back.push(kept);
            } else if let Some((new, old)) = replacing.iter().find(|(n, _)| *n == target.package) {
                let is_installed = installed.keys().any(|key| key.package == *new);
                let kept = KeptBack::replacing((new, &target.version), old, is_installed);
                kept_back.extend(kept);
            }
        }
        if !without.is_empty() {
            let program = arguments::simulate(self.tree.path(), &without);
            targets = simulated(&program)?.map_err(|words| anyhow::anyhow!("{words}"))?;
        }
        let update = |target| update_of(conf, target, &installed);
        let updates: Vec<Update> = targets.iter().map(update).collect();
        let cache = conf.caches.first().cloned().unwrap_or_default();
        let changes = updates.iter().zip(&targets).map(|(update, target)| Change {
            file: Some(
                in_caches(&conf.caches, &target.file).unwrap_or_else(|| cache.join(&target.file)),
            ),
            ..Change::from(update)
        });
        let mut changes: Vec<Change> = changes.collect();
        sorted::sort(&mut changes);
        Ok(Upgrade {
            changes,
            pending: Pending { updates, kept_back },
            without,
        })
    }
}

impl Pacman {
    /// What an upgrade of everything would install, and what it keeps back itself.
    fn everything(&self, conf: &Conf) -> Result<(Vec<listing::UpgradeTarget>, Vec<KeptBack>)> {
        let simulation = simulated(&arguments::simulate(self.tree.path(), &[]))?;
        // what is left out it does not name
        let newer = if conf.ignores || simulation.is_err() {
            listing::newer(&none_or(&arguments::updates(self.tree.path()))?)?
        } else {
            Vec::new()
        };
        let (ignored, due): (Vec<_>, Vec<_>) = newer.iter().partition(|newer| newer.ignored);
        let reason = "[ignored]: pacman.conf keeps it (IgnorePkg, IgnoreGroup)";
        let held = |newer: &&listing::NewerPackage| {
            KeptBack::new(&newer.package, KeptBackCause::Held, reason)
        };
        let mut kept_back: Vec<KeptBack> = ignored.iter().map(held).collect();
        let targets = simulation.unwrap_or_else(|words| {
            let reason = format!("pacman cannot upgrade this host as a whole: {words}");
            kept_back
                .extend(due.iter().map(|newer| {
                    KeptBack::new(&newer.package, KeptBackCause::Dependency, &reason)
                }));
            Vec::new()
        });
        Ok((targets, kept_back))
    }

    /// The targets that replace an installed package, each with those: pacman would take them away without another
    /// word, and lists no removal beforehand (FACTS 52).
    fn replacing(
        &self,
        targets: &[listing::UpgradeTarget],
        installed: &Database,
    ) -> Result<Vec<(String, Vec<String>)>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = targets
            .iter()
            .map(|target| format!("{}/{}", target.repository, target.package))
            .collect();
        let described = arguments::described(self.tree.path(), &names).output_checked()?;
        let mut replacing = Vec::new();
        for (new, replaced) in listing::replaces(&described) {
            let mut gone = Vec::new();
            for replaced in replaced.iter().filter(|replaced| **replaced != new) {
                gone.extend(going(replaced, installed)?);
            }
            if !gone.is_empty() {
                replacing.push((new, gone));
            }
        }
        Ok(replacing)
    }
}

/// The installed package that this word of a `Replaces` means, `old` or `old<2`, if there is one.
fn going(replaced: &str, installed: &Database) -> Result<Option<String>> {
    let is_operator = |c: char| "<>=".contains(c);
    let name = replaced.split(is_operator).next().unwrap_or_default();
    let Some((_, there)) = installed.iter().find(|(key, _)| key.package == name) else {
        return Ok(None);
    };
    let asked = &replaced[name.len()..];
    let version = asked.trim_start_matches(is_operator);
    let meant = asked.is_empty() || {
        let order = arguments::compare(&there.version, version).output_checked()?;
        let operator = &asked[..asked.len() - version.len()];
        match order.trim() {
            "0" => operator.contains('='),
            order if order.starts_with('-') => operator.contains('<'),
            _ => operator.contains('>'),
        }
    };
    Ok(meant.then(|| name.to_owned()))
}

/// A target as an update of what is installed.
fn update_of(conf: &Conf, target: &listing::UpgradeTarget, installed: &Database) -> Update {
    let update = Update {
        package: target.package.clone(),
        architecture: target.architecture.clone(),
        candidate: target.version.clone(),
        origin: target.repository.clone(),
        size: size(conf, target),
        ..Update::default()
    };
    // a name is installed once, in whatever architecture
    let mut of_name = installed.iter();
    update.over(of_name.find(|(key, _)| key.package == target.package))
}

/// Whether `updates` leave out nothing that is pending. What an update newly needs comes by itself.
pub fn is_everything(updates: &[Update], pending: &[Update]) -> bool {
    left_out(updates, pending).is_empty()
}

/// The pending packages that `updates` leave out.
pub fn left_out(updates: &[Update], pending: &[Update]) -> Vec<String> {
    let asked: BTreeSet<PackageId> = updates.iter().map(Update::key).in_order();
    let due = pending.iter().filter(|update| update.installed.is_some());
    due.filter(|update| !asked.contains(&update.key()))
        .map(|update| update.package.clone())
        .collect()
}

/// The bytes of a package file: pacman counts none for one that it has fetched already.
fn size(conf: &Conf, target: &listing::UpgradeTarget) -> Option<u64> {
    let fetched =
        in_caches(&conf.caches, &target.file).and_then(|file| std::fs::metadata(file).ok());
    let length = fetched.map_or(target.missing, |file| file.len());
    (length > 0).then_some(length)
}

/// What `-Qu` prints: it exits with 1 when there is nothing, and also when it could not find out.
fn none_or(program: &Program) -> Result<String> {
    let (finished, output) = program.output()?;
    let none = finished.exit_reason == ExitReason::Exited(1) && output.is_empty();
    ensure!(
        (finished.succeeded() || none) && !has_error(&finished),
        "{}",
        program.failure(&finished)
    );
    Ok(output)
}

/// What `-Sup` prints; inside, pacman's words when it cannot upgrade.
fn simulated(program: &Program) -> Result<Result<Vec<listing::UpgradeTarget>, String>> {
    let (mut output, mut said) = (String::new(), Vec::new());
    let finished = program.run(&mut |line: Line<'_>| match line {
        Line::Output(text) => {
            output.push_str(text);
            output.push('\n');
        }
        Line::Error(text) | Line::Status(text) => said.push(text.to_owned()),
    })?;
    if finished.succeeded() {
        // with a database that it cannot read it exits with 0 (FACTS 49)
        ensure!(!has_error(&finished), "{}", program.failure(&finished));
        return listing::targets(&output).map(Ok);
    }
    let unresolved = said
        .iter()
        .any(|line| line.contains("failed to prepare transaction"));
    ensure!(unresolved, "{}", program.failure(&finished));
    let explained = output.lines().filter(|line| line.starts_with("::"));
    let words: Vec<&str> = said.iter().map(String::as_str).chain(explained).collect();
    Ok(Err(words.join("; ")))
}

fn has_error(finished: &Finished) -> bool {
    finished
        .errors
        .iter()
        .any(|line| line.starts_with("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(package: &str, installed: Option<&str>) -> Update {
        Update {
            package: package.into(),
            architecture: "any".into(),
            installed: installed.map(Into::into),
            candidate: "2-1".into(),
            origin: "core".into(),
            security: false,
            ..Update::default()
        }
    }

    #[test]
    fn only_everything_is_no_partial_upgrade() {
        let due = [
            update("a", Some("1-1")),
            update("b", Some("1-1")),
            update("new", None),
        ];
        assert!(is_everything(&due[..2], &due));
        assert!(!is_everything(&due[..1], &due));
        assert!(
            is_everything(&due[..1], &[due[0].clone(), due[2].clone()]),
            "the only pending one"
        );
    }
}
