//! The command lines given to dnf and yum: pure builders.

use std::path::Path;

use super::gate::Plugin;
use super::variant::Variant;
use crate::exec::{Program, READ_LIMIT};
use crate::package::rpm::{conf, evr, locks};
use crate::package::{Change, PackageId, Source, Update};

/// Fetches the index of every repository, and lists what is pending, which is the cheapest command that fetches all it
/// needs. A repository that fails is passed over, so that dnf refreshes the others and reports on each; the caller has
/// to find the failure: dnf exits with 0 then (FACTS 30). The key that a repository's definition names for its index is
/// taken without a question (`-y`): the author of the definition has confirmed the key, and dnf refuses the index
/// without it.
pub fn refresh(variant: Variant) -> Program {
    let program = Program::new(variant.program());
    match variant {
        // only its verbose output names the repositories that are good
        Variant::Dnf4 => program.args(["check-update", "-y", "-v", "--refresh"]),
        Variant::Dnf5 => program.args(["check-update", "-y", "--refresh"]),
        Variant::Yum => program.args(["makecache", "fast", "-y"]),
    }
    .arg("--setopt=*.skip_if_unavailable=1")
    .args(patience())
    .args(without_copies(variant))
    .die_with_parent()
}

/// Has dnf 5 fetch of a repository what every update depends on, and nothing else, into a cache of its own.
pub fn refresh_packages_alone(id: &str, cache: &Path) -> Program {
    Program::new(Variant::Dnf5.program())
        .args(["check-update", "-y", "--refresh"])
        .arg(format!("--repo={id}"))
        .arg(format!("--setopt=system_cachedir={}", cache.display()))
        .args([
            "--setopt=optional_metadata_types=",
            "--setopt=*.skip_if_unavailable=0",
        ])
        .args(patience())
        .die_with_parent()
}

/// How often to retry, and how long to wait for a mirror, where the administrator has not configured it: dnf's defaults
/// of ten retries and half a minute exceed the limit of a refresh (dnf.conf(5)).
fn patience() -> impl Iterator<Item = String> {
    let unsaid = [("retries", 2), ("timeout", 20)]
        .into_iter()
        .filter(|(setting, _)| !conf::is_set(setting));
    unsaid.map(|(setting, value)| format!("--setopt={setting}={value}"))
}

/// Lists the ids of the enabled repositories, from what is in the cache.
pub fn repositories(variant: Variant) -> Program {
    let program = Program::new(variant.program());
    match variant {
        Variant::Dnf4 | Variant::Yum => program.args(["repolist", "enabled", "-C", "-q"]),
        Variant::Dnf5 => program.args(["repo", "list", "-C", "--json"]),
    }
    .args(without_copies(variant))
}

/// What an upgrade is about: everything, or exactly these, and what it leaves out.
#[derive(Clone, Copy)]
pub struct DnfScope<'a> {
    pub updates: Option<&'a [Update]>,
    pub excluded: &'a [String],
    /// Repositories whose last refresh failed.
    pub failed: &'a [&'a Source],
}

impl DnfScope<'_> {
    /// Whether everything requested is left out: without a name, dnf would upgrade everything.
    pub fn is_empty(self) -> bool {
        let left_out = |update: &Update| self.excluded.contains(&update.package);
        self.updates.is_some_and(|updates| {
            let mut asked = updates.iter().filter(|u| u.installed.is_some());
            asked.all(left_out)
        })
    }
}

/// Shows what the upgrade would do, from the cache alone.
pub fn simulate(variant: Variant, scope: DnfScope<'_>) -> Program {
    upgrade(variant, scope.excluded, scope.failed)
        .args(["-C", "--assumeno"])
        .args(unplugged(variant))
        .args(named(variant, scope))
        .limit(READ_LIMIT)
}

/// Downloads what the upgrade needs, by the index as it was fetched.
pub fn download(variant: Variant, scope: DnfScope<'_>) -> Program {
    download_by(Program::new(variant.program()), variant, scope)
}

/// The same at idle priority.
pub fn download_ahead(variant: Variant, failed: &[&Source]) -> Program {
    let idle = Program::idle(variant.program());
    let scope = DnfScope {
        updates: None,
        excluded: &[],
        failed,
    };
    download_by(idle, variant, scope)
}

fn download_by(program: Program, variant: Variant, scope: DnfScope<'_>) -> Program {
    upgrade_by(program, variant, scope.excluded, scope.failed)
        .args(["-y", "--downloadonly", as_fetched(variant)])
        .args(unplugged(variant))
        .args(patience())
        .args(named(variant, scope))
        .die_with_parent()
}

/// Downloads and installs, with the gate in it (see [`gate`](super::gate)): without that dnf says no by
/// itself. The index is used as it was fetched.
pub fn gated(variant: Variant, scope: DnfScope<'_>, plugin: &Plugin) -> Program {
    let program = upgrade(variant, scope.excluded, scope.failed)
        .arg(as_fetched(variant))
        .args(patience())
        .args(mark(variant))
        .args(named(variant, scope));
    plugin.given_to(program)
}

/// Installs exactly these from what was downloaded. What they newly need is not named: it would be
/// marked as wanted for its own sake, and the resolver finds it as it did before.
pub fn change(
    variant: Variant,
    changes: &[Change],
    excluded: &[String],
    failed: &[&Source],
) -> Program {
    let name = |change: &Change| {
        change.from.as_ref()?;
        let is_other = change.former_architecture.is_some();
        Some(upgraded(
            variant,
            change.key(),
            change.to.as_deref()?,
            is_other,
        ))
    };
    upgrade(variant, excluded, failed)
        .args(["-y", "-C"])
        .args(mark(variant))
        .args(changes.iter().filter_map(name))
}

/// Lists the security advisories of pending updates.
pub fn advisories(variant: Variant, failed: &[&Source]) -> Program {
    let program = Program::new(variant.program());
    match variant {
        Variant::Dnf4 => program.args(["updateinfo", "list", "--security", "--updates", "-q"]),
        Variant::Dnf5 => program.args(["advisory", "list", "--security", "--updates", "--json"]),
        Variant::Yum => program.args(["updateinfo", "list", "security", "-q"]),
    }
    .arg("-C")
    .args(without_copies(variant))
    .args(without(failed))
}

/// Lists what would be pending if nothing were locked or excluded.
pub fn updates_without_locks(variant: Variant, failed: &[&Source]) -> Program {
    let unlocked: &[&str] = match variant {
        Variant::Dnf4 | Variant::Yum => &["--disableexcludes=all", "--disableplugin=versionlock"],
        Variant::Dnf5 => &["--setopt=disable_excludes=*"],
    };
    updates(variant, failed).args(unlocked)
}

/// Lists what is pending, without resolving a transaction, which dnf lets only root do.
pub fn updates(variant: Variant, failed: &[&Source]) -> Program {
    Program::new(variant.program())
        .args(["check-update", "-C", "-q"])
        .args(without_copies(variant))
        .args(without(failed))
}

/// Lists every version of these packages that a repository has.
pub fn versions(variant: Variant, names: &[String]) -> Program {
    Program::new(variant.program())
        .args(["list", "--showduplicates", "-C", "-q"])
        .args(without_copies(variant))
        .args(names)
}

/// Nothing goes that is not named, and an update that cannot be installed is left out and listed,
/// instead of failing all others. Nothing here weakens the check of signatures.
pub const STEADY: [&str; 2] = ["--setopt=clean_requirements_on_remove=0", "--setopt=best=0"];

fn upgrade(variant: Variant, excluded: &[String], failed: &[&Source]) -> Program {
    upgrade_by(Program::new(variant.program()), variant, excluded, failed)
}

fn upgrade_by(
    program: Program,
    variant: Variant,
    excluded: &[String],
    failed: &[&Source],
) -> Program {
    // yum 3 has no 'best', and leaves out what is broken only when it is told to
    let steady: &[&str] = match variant {
        Variant::Dnf4 | Variant::Dnf5 => &STEADY,
        Variant::Yum => &["--setopt=clean_requirements_on_remove=0", "--skip-broken"],
    };
    program
        .arg("upgrade")
        .args(steady)
        .args(disabled(variant))
        .args(excluded.iter().map(|name| format!("--exclude={name}")))
        .args(without(failed))
}

/// Leaves out the repository in which dnf's own plugin `local` keeps copies of what was installed, which no
/// administrator has configured: where there is no such repository, this changes nothing (FACTS 39).
fn without_copies(variant: Variant) -> Option<&'static str> {
    disabled(variant).or(unplugged(variant))
}

/// With dnf 4 (4.23) the plugin adds it before it has an index, and dnf fails on it.
pub fn disabled(variant: Variant) -> Option<&'static str> {
    (variant == Variant::Dnf4).then_some("--disablerepo=_dnf_local")
}

/// dnf 5 (5.4) names it as the origin of what it has a copy of. A run that changes packages keeps the plugin,
/// which makes the copies then.
fn unplugged(variant: Variant) -> Option<&'static str> {
    (variant == Variant::Dnf5).then_some("--disable-plugin=local")
}

/// Uses the index as it was fetched, however old it is.
fn as_fetched(variant: Variant) -> &'static str {
    match variant {
        Variant::Dnf4 | Variant::Yum => "--setopt=*.metadata_expire=-1",
        Variant::Dnf5 => "--setopt=cacheonly=metadata",
    }
}

/// A mark in dnf's history and in the list of processes; yum 3 has no such option.
pub fn mark(variant: Variant) -> Option<String> {
    (variant != Variant::Yum).then(|| format!("--comment={}", locks::MARK))
}

/// Leaves out the repositories whose last refresh failed.
fn without(failed: &[&Source]) -> impl Iterator<Item = String> {
    failed
        .iter()
        .map(|source| format!("--disablerepo={}", source.suite))
}

/// Updates by their exact names. New packages are not named: the resolver finds what the others need. Nor is what
/// is left out: dnf fails where it has no package of a name (FACTS 33).
fn named(variant: Variant, scope: DnfScope<'_>) -> Vec<String> {
    let updates = scope.updates.unwrap_or_default().iter();
    updates
        .filter(|update| update.installed.is_some())
        .filter(|update| !scope.excluded.contains(&update.package))
        .map(|update| {
            let is_other = update.former_architecture.is_some();
            upgraded(variant, update.key(), &update.candidate, is_other)
        })
        .collect()
}

/// The exact name of what is upgraded. Where it has another architecture than what is installed, dnf 5 refuses
/// each name that says more than the package's (`available, but installed for a different architecture`).
fn upgraded(variant: Variant, key: PackageId, version: &str, is_other: bool) -> String {
    match variant {
        Variant::Dnf5 if is_other => key.package,
        _ => nevra(&key.package, version, &key.architecture),
    }
}

/// `name-epoch:version-release.architecture`: the one form that dnf takes literally.
pub fn nevra(package: &str, version: &str, architecture: &str) -> String {
    format!("{package}-{}.{architecture}", evr::full(version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::dnf::rollback_arguments::{install_again, remove_duplicates, rollback};
    use expect_test::expect;

    const EVERYTHING: DnfScope<'_> = DnfScope {
        updates: None,
        excluded: &[],
        failed: &[],
    };

    fn demo(installed: Option<&str>) -> Update {
        Update {
            package: "demo".into(),
            architecture: "noarch".into(),
            installed: installed.map(Into::into),
            candidate: "1.1-1".into(),
            origin: "lab".into(),
            security: false,
            ..Update::default()
        }
    }

    #[test]
    fn only_exact_names_are_given() {
        let updates = [demo(Some("1.0-1")), demo(None)];
        let changes = updates.each_ref().map(Change::from);
        let scope = DnfScope {
            updates: Some(&updates),
            excluded: &["x".to_owned()],
            failed: &[],
        };
        expect!["/usr/bin/dnf upgrade --setopt=clean_requirements_on_remove=0 --setopt=best=0 --disablerepo=_dnf_local --exclude=x -C --assumeno demo-0:1.1-1.noarch"]
            .assert_eq(&simulate(Variant::Dnf4, scope).shown());
        expect!["/usr/bin/dnf5 upgrade --setopt=clean_requirements_on_remove=0 --setopt=best=0 --exclude=x -y -C --comment=linux-patch-api demo-0:1.1-1.noarch"]
            .assert_eq(&change(Variant::Dnf5, &changes, &["x".to_owned()], &[]).shown());
        expect!["/usr/bin/yum upgrade --setopt=clean_requirements_on_remove=0 --skip-broken -y --downloadonly --setopt=*.metadata_expire=-1 --setopt=retries=2 --setopt=timeout=20"]
            .assert_eq(&download(Variant::Yum, EVERYTHING).shown());
    }

    #[test]
    fn nothing_weakens_the_check_of_signatures() {
        for variant in [Variant::Dnf4, Variant::Dnf5, Variant::Yum] {
            let programs = [
                refresh(variant),
                simulate(variant, EVERYTHING),
                download(variant, EVERYTHING),
                gated(variant, EVERYTHING, &Plugin::default()),
                change(variant, &[], &[], &[]),
                rollback(variant, &[], Path::new("/s"), "-y"),
                install_again(variant, &[]),
                remove_duplicates(variant),
            ];
            for program in programs {
                let shown = program.shown().to_lowercase();
                for word in ["gpg", "sslverify", "nosignature", "allowerasing"] {
                    assert!(!shown.contains(word), "{shown}");
                }
            }
        }
    }
}
