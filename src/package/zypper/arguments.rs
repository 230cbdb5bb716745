//! The command lines given to zypper: pure builders.

use std::path::PathBuf;

use crate::exec::{Program, READ_LIMIT};
use crate::package::rpm::locks;
use crate::package::rpm::resolution::Planned;
use crate::package::{RollbackItem, RollbackSource, Source, Update};

/// zypper.
pub const ZYPPER: &str = "/usr/bin/zypper";

/// Fetches the index of every enabled repository; each is tried, whatever the others say.
pub fn refresh() -> Program {
    Program::new(ZYPPER)
        .args(["--non-interactive", "--xmlout", "refresh"])
        .die_with_parent()
}

/// Shows what an update of everything, or of exactly these, would do.
pub fn simulate(names: Option<&[String]>, repositories: &[String]) -> Program {
    reading(update("--dry-run", names, repositories))
}

/// Downloads what it needs.
pub fn download(names: Option<&[String]>, repositories: &[String]) -> Program {
    update("--download-only", names, repositories).die_with_parent()
}

/// Downloads exactly these at idle priority. `update --download-only` would do it too, but refuses where it could not
/// install (FACTS 46), as in our sandbox.
pub fn download_ahead(names: &[String], repositories: &[String]) -> Program {
    zypper_by(Program::idle(ZYPPER))
        .arg("download")
        .args(only(repositories))
        .args(names)
        .die_with_parent()
}

/// Installs what was downloaded, by the same words: an update of everything, or of exactly these. What they newly need
/// the resolver finds as it did before, and marks as automatically installed.
pub fn change(names: Option<&[String]>, repositories: &[String]) -> Program {
    let zypper = zypper().arg(format!("--userdata={}", locks::MARK));
    zypper
        .arg(verb(names))
        .args(only(repositories))
        .args(names.unwrap_or_default())
}

/// Lists the needed patches.
pub fn patches(repositories: &[String]) -> Program {
    reader()
        .args(["list-patches", "--category=security"])
        .args(only(repositories))
}

/// Shows what these patches are about: their list does not say it.
pub fn patch_contents(names: &[String], repositories: &[String]) -> Program {
    reader()
        .args(["info", "--type=patch"])
        .args(only(repositories))
        .args(names)
}

/// Lists what replaces this package, by what it says itself.
pub fn obsoleting(name: &str, repositories: &[String]) -> Program {
    let search = ["search", "--details", "--type=package", "--match-exact"];
    reader()
        .args(search)
        .args(only(repositories))
        .args(["--obsoletes", name])
}

/// Shows what an update of everything would do if it did not matter whose packages they are.
pub fn any_vendor(repositories: &[String]) -> Program {
    reader()
        .args(["update", "--dry-run", "--allow-vendor-change"])
        .args(only(repositories))
}

/// Lists every update there is, also of what is locked or cannot be installed.
pub fn updates(repositories: &[String]) -> Program {
    reader()
        .args(["list-updates", "--all"])
        .args(only(repositories))
}

/// Both lists every update and shows of every installed version in which repository it is: by zypper's
/// shell, which reads the repositories once. It would remember the lines in the home directory.
pub fn updates_and_installed() -> Program {
    let lines = "list-updates --all\nsearch --details --installed-only --type=package\n";
    reader().arg("shell").env("HOME", "/dev/null").input(lines)
}

/// Lists every version of these packages.
pub fn versions(names: &[String]) -> Program {
    reader()
        .args(["search", "--details", "--match-exact", "--type=package"])
        .args(names)
}

/// Puts former versions back and takes away what was new, in one transaction. The files are those that
/// were put aside, checked against their SHA-256: where a repository has no signatures, theirs cannot
/// be asked for either. A rehearsal only shows what it would do.
pub fn rollback(former: &[RollbackItem], rehearsal: bool) -> Program {
    let word = |former: &RollbackItem| {
        let change = &former.change;
        match (&former.source, former.source.file()) {
            (RollbackSource::NewlyInstalled, _) => {
                PathBuf::from(format!("!{}.{}", change.package, change.architecture))
            }
            // of two installed versions exactly this one
            (RollbackSource::Installonly, _) => {
                let version = change.to.as_deref().unwrap_or_default();
                let name = exact(&change.package, &change.architecture, version);
                PathBuf::from(format!("!{name}"))
            }
            (_, Some(file)) => file.to_owned(),
            (_, None) => {
                let version = change.from.as_deref().unwrap_or_default();
                exact(&change.package, &change.former_key().architecture, version).into()
            }
        }
    };
    zypper()
        .arg(format!("--userdata={}", locks::MARK))
        .args(["install", "--oldpackage", "--allow-unsigned-rpm"])
        .args(rehearsal.then_some("--dry-run"))
        .args(former.iter().map(word))
}

/// Fetches packages again in the version that they have, and installs them once more.
pub fn install_again(former: &[RollbackItem]) -> Program {
    let name = |former: &RollbackItem| {
        let change = &former.change;
        let version = change.from.as_deref().unwrap_or_default();
        exact(&change.package, &change.former_key().architecture, version)
    };
    zypper()
        .arg(format!("--userdata={}", locks::MARK))
        .args(["install", "--force"])
        .args(former.iter().map(name))
}

/// The exact name of what a plan would install.
pub fn planned(planned: &Planned) -> String {
    exact(
        &planned.key.package,
        &planned.key.architecture,
        &planned.evr,
    )
}

/// The package of such a name.
pub fn package_of(exact: &str) -> &str {
    let (name, _) = exact.split_once('=').unwrap_or((exact, ""));
    name.rsplit_once('.').map_or(name, |(package, _)| package)
}

/// Exact names of installed packages with the versions they are to have.
pub fn names(updates: &[Update]) -> Vec<String> {
    updates
        .iter()
        .filter(|update| update.installed.is_some())
        .map(|update| exact(&update.package, &update.architecture, &update.candidate))
        .collect()
}

/// The aliases of all enabled repositories but the failed ones; none when none failed.
pub fn good(enabled: impl Iterator<Item = String>, failed: &[&Source]) -> Vec<String> {
    if failed.is_empty() {
        return Vec::new();
    }
    enabled
        .filter(|alias| !failed.iter().any(|source| source.suite == *alias))
        .collect()
}

fn zypper() -> Program {
    zypper_by(Program::new(ZYPPER))
}

/// What only lists needs no lock, and is not kept waiting by another zypper (libzypp, `zypp_readonly_hack`).
fn reader() -> Program {
    reading(zypper())
}

fn reading(zypper: Program) -> Program {
    zypper.env("ZYPP_READONLY_HACK", "1").limit(READ_LIMIT)
}

fn zypper_by(program: Program) -> Program {
    program.args(["--non-interactive", "--no-refresh", "--xmlout"])
}

/// Options come before names: behind one, `--dry-run` is the removal of a package `-dry-run` (FACTS 43).
fn update(option: &str, names: Option<&[String]>, repositories: &[String]) -> Program {
    zypper()
        .arg(verb(names))
        .arg(option)
        .args(only(repositories))
        .args(names.unwrap_or_default())
}

fn verb(names: Option<&[String]>) -> &'static str {
    if names.is_some() { "install" } else { "update" }
}

fn only(repositories: &[String]) -> impl Iterator<Item = String> {
    repositories.iter().map(|alias| format!("--repo={alias}"))
}

/// `name.architecture=version`: a plain name may also be a pattern or a capability, and one with a
/// leading `-` or `!` removes (FACTS 43).
fn exact(package: &str, architecture: &str, version: &str) -> String {
    format!("{package}.{architecture}={version}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Change;
    use expect_test::expect;

    fn change(from: Option<&str>) -> Change {
        Change {
            package: "demo".into(),
            architecture: "noarch".into(),
            from: from.map(Into::into),
            to: Some("2:1.1-1".into()),
            file: None,
            ..Change::default()
        }
    }

    #[test]
    fn only_exact_names_are_given() {
        let changes = [change(Some("2:1.0-1")), change(None)];
        let updates = changes.each_ref().map(|change| Update {
            package: change.package.clone(),
            architecture: change.architecture.clone(),
            installed: change.from.clone(),
            candidate: "2:1.1-1".into(),
            origin: "lab".into(),
            security: false,
            ..Update::default()
        });
        expect!["/usr/bin/zypper --non-interactive --no-refresh --xmlout --userdata=linux-patch-api install demo.noarch=2:1.1-1"]
            .assert_eq(&super::change(Some(&names(&updates)), &[]).shown());
        expect!["/usr/bin/zypper --non-interactive --no-refresh --xmlout --userdata=linux-patch-api update"]
            .assert_eq(&super::change(None, &[]).shown());
        expect!["/usr/bin/zypper --non-interactive --no-refresh --xmlout update --download-only --repo=good"]
            .assert_eq(&download(None, &["good".to_owned()]).shown());
        let former = |change: &Change, source| RollbackItem {
            change: change.clone(),
            source,
        };
        let former = [
            former(&changes[0], RollbackSource::Archive),
            former(&changes[1], RollbackSource::NewlyInstalled),
        ];
        expect!["/usr/bin/zypper --non-interactive --no-refresh --xmlout --userdata=linux-patch-api install --oldpackage --allow-unsigned-rpm demo.noarch=2:1.0-1 !demo.noarch"]
            .assert_eq(&rollback(&former, false).shown());
    }

    #[test]
    fn nothing_weakens_the_check_of_signatures() {
        let programs = [
            refresh(),
            simulate(None, &[]),
            download(None, &[]),
            download_ahead(&[], &[]),
            super::change(None, &[]),
            any_vendor(&[]),
        ];
        for program in programs {
            let shown = program.shown();
            for word in ["gpg", "unsigned", "force"] {
                assert!(!shown.contains(word), "{shown}");
            }
        }
    }
}
