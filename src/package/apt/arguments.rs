//! The command lines given to apt: pure builders.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::options::options;
use super::{cache, names};
use crate::exec::Program;
use crate::package::{PackageId, RollbackItem, RollbackSource, Selection, Update};

/// apt's own front end for programs.
pub const APT_GET: &str = "/usr/bin/apt-get";
const APT_MARK: &str = "/usr/bin/apt-mark";

/// Without this, `apt-get update` exits 0 with every mirror unreachable (FACTS 1; the option is
/// there since apt 2.1.16).
const STRICT: &str = "APT::Update::Error-Mode=any";

/// Makes apt show its talk with its download methods, which names every index it asks for, its
/// checksum as served, and every failure: the method interface of apt, not text for people.
const PROTOCOL: &str = "Debug::pkgAcquire::Worker=1";

/// apt-get, printing in the form that is read here and removing nothing, whatever `apt.conf` says.
fn apt_get() -> Program {
    with_parseable_output(Program::new(APT_GET))
}

fn with_parseable_output(apt: Program) -> Program {
    cache::current(apt).arg("-q").args(options(&[
        // versions between the names of what is kept back
        "APT::Get::Show-Versions=0",
        // from 30 on, apt 3 says `Error:` in place of `E:`
        "APT::Output-Version=0",
        "APT::Get::AutomaticRemove=0",
        // apt 3 brings what shares a source package with a dependency of what is asked for to that one's version:
        // a rollback would bring new versions along (findings/apt-upgrades-siblings-of-one-source.sh)
        "APT::Get::Upgrade-By-Source-Package=0",
    ]))
}

/// Fetches every index.
pub fn update() -> Program {
    apt_get()
        .args(options(&[STRICT, PROTOCOL]))
        .arg("update")
        .die_with_parent()
}

/// Leaves out of [`update`] every kind but the lists of packages, by what [`index_kinds`](super::apt_config::index_kinds) tells: a kind without an
/// address is none. Nothing is cleaned up then, because what is left out would be.
pub fn packages_alone(kinds: &str) -> Vec<OsString> {
    let keys = kinds.lines().filter_map(|line| line.split(' ').next());
    // apt's names may be written either way
    let addresses = keys.filter(|key| {
        let key = key.to_ascii_lowercase();
        (key.ends_with("::metakey") || key.ends_with("::flatmetakey"))
            && !key.starts_with("acquire::indextargets::deb::packages::")
    });
    let mut settings: Vec<String> = addresses.map(|key| format!("{key}=")).collect();
    settings.push("APT::Get::List-Cleanup=0".to_owned());
    options(&settings)
}

/// Fetches what an upgrade of everything would install, by the same rules as [`apply`], at idle priority. It does not
/// wait for a lock.
pub fn download(words: &[String], lists: &[OsString]) -> Program {
    with_parseable_output(Program::idle(APT_GET))
        .args(["-y", "--no-remove", "--download-only"])
        .args(lists)
        .args(["upgrade", "--with-new-pkgs"])
        .args(words)
        .die_with_parent()
}

/// Lists the downloaded package indexes, one a line.
pub fn index_targets() -> Program {
    Program::new(APT_GET).args([
        "indextargets",
        "--format",
        "$(CREATED_BY)\t$(REPO_URI)\t$(RELEASE)\t$(FILENAME)",
    ])
}

/// Shows what an upgrade of everything would do. The simulation is the one oracle that knows holds,
/// pins and phasing; `install --only-upgrade` upgrades a phased package all the same (FACTS 9).
///
/// `words` are packages with the versions that are chosen for them, in place of those that apt would choose.
pub fn simulate_upgrade(words: &[String], lists: &[OsString]) -> Program {
    simulation()
        .args(lists)
        .args(["upgrade", "--with-new-pkgs"])
        .args(words)
}

/// A package that is kept back, and the version of it that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedInstall {
    /// Its name, as apt gives it.
    pub name: String,
    /// The name with which apt is asked: with the architecture.
    pub exact: String,
    pub version: String,
}

/// Shows what installing these would do, whatever has to go for it: the reason why one is kept back. A full
/// upgrade does not say it: that of apt 3.3 keeps back what 3.0 removes another package for (FACTS 13).
pub fn simulate_anyway(asked: &[SimulatedInstall], lists: &[OsString]) -> Program {
    let exact = |asked: &SimulatedInstall| format!("{}={}", asked.exact, asked.version);
    simulation()
        .args(lists)
        .args(["install", "--only-upgrade"])
        .args(asked.iter().map(exact))
}

/// Shows which versions of these packages there are, and where.
pub fn policy(names: &[String], lists: &[OsString]) -> Program {
    apt_cache().args(lists).arg("policy").args(names)
}

/// Lists the package indexes as [`policy`] names them, with what their Release files say they are.
pub fn index_origins(lists: &[OsString]) -> Program {
    Program::new(APT_GET)
        .args(lists)
        .arg("indextargets")
        .args([
            "--format",
            "$(DESCRIPTION)\t$(LABEL)\t$(SUITE)\t$(CODENAME)\t$(RELEASE)",
        ])
        .arg("Created-By: Packages")
}

/// Shows what installing exactly these versions needs.
pub fn simulate_install(updates: &[Update], lists: &[OsString]) -> Program {
    simulation()
        .args(lists)
        .args(["install", "--only-upgrade", "--no-remove"])
        .args(exact(updates))
}

/// Applies the selection. Nothing here weakens authentication, and nothing is ever removed.
pub fn apply(selection: &Selection, gate: (&Path, &[String]), lists: &[OsString]) -> Program {
    let apt = transaction(gate).arg("--no-remove").args(lists);
    match selection {
        Selection::Everything => apt.args(["upgrade", "--with-new-pkgs"]),
        Selection::Exactly(updates) => apt.args(["install", "--only-upgrade"]).args(exact(updates)),
    }
}

/// Puts former versions back. What was newly installed goes again; that nothing else does is for the
/// gate to see.
pub fn rollback(former: &[RollbackItem], gate: (&Path, &[String])) -> Program {
    let apt = transaction(gate);
    let apt = if removes(former) {
        apt
    } else {
        apt.arg("--no-remove")
    };
    apt.args(["install", "--allow-downgrades", "--no-install-recommends"])
        .args(words(former))
}

/// A run of apt that changes packages, unless the gate refuses.
fn transaction(gate: (&Path, &[String])) -> Program {
    let (program, arguments) = gate;
    let program = program.display();
    let hook = format!("DPkg::Pre-Install-Pkgs::={program} {}", arguments.join(" "));
    let protocol = format!("DPkg::Tools::Options::{program}::Version=3");
    apt_get()
        .status_pipe("APT::Status-Fd")
        .arg("-y")
        .args(options(&[
            // all locks are waited for by us
            "DPkg::Lock::Timeout=0",
            // dpkg writes to our log by itself: apt, which would copy it from a terminal of its own, loses
            // what was written last (FACTS 25), in its term.log as well
            "Dpkg::Use-Pty=0",
            // what would have it end well without having done anything (apt-get(8))
            "APT::Get::Simulate=0",
            "APT::Get::Download-Only=0",
            "APT::Get::Print-URIs=0",
            // a changed configuration file is kept, an unchanged one replaced
            "Dpkg::Options::=--force-confdef",
            "Dpkg::Options::=--force-confold",
            &hook,
            &protocol,
        ]))
}

/// Marks packages as being there because others need them.
pub fn mark_automatic(names: &[impl AsRef<OsStr>]) -> Program {
    cache::current(Program::new(APT_MARK))
        .arg("auto")
        .args(names)
}

/// Unpacks and configures one package again in the version it has.
pub fn reinstall(key: &PackageId, version: &str) -> Program {
    healing()
        .args(["install", "--reinstall", "--allow-downgrades"])
        .arg(format!("{key}={version}"))
}

/// Installs exact versions once more, fetched again; nothing else changes.
pub fn install_again(former: &[RollbackItem], gate: (&Path, &[String])) -> Program {
    transaction(gate)
        .args(["--no-remove", "install", "--reinstall"])
        .args(["--allow-downgrades", "--no-install-recommends"])
        .args(words(former))
}

/// Installs what is missing for what is there.
pub fn fix_broken() -> Program {
    healing().args(["-f", "install"])
}

fn healing() -> Program {
    apt_get().args(["-y", "--no-remove"]).args(options(&[
        "DPkg::Lock::Timeout=600",
        "Dpkg::Options::=--force-confdef",
        "Dpkg::Options::=--force-confold",
        "Dpkg::Use-Pty=0",
    ]))
}

/// Shows what autoremove would take away.
pub fn simulate_autoremove() -> Program {
    simulation().arg("autoremove")
}

/// Shows what goes when these are removed.
pub fn simulate_removal(names: &[String]) -> Program {
    simulation()
        .args(["--no-auto-remove", "remove"])
        .args(names)
}

/// Takes these away. It removes no more: what else would go was looked at before.
pub fn remove_exactly(names: &[String]) -> Program {
    apt_get()
        .args(["-y", "--no-auto-remove"])
        .args(options(&["DPkg::Lock::Timeout=600", "Dpkg::Use-Pty=0"]))
        .arg("remove")
        .args(names)
}

/// Fetches a package file into the directory `into`, and checks it against the index.
pub fn fetch(name: &str, into: &Path) -> Program {
    apt_get()
        .args(["download", name])
        .directory(into)
        .die_with_parent()
}

/// What the index says of these packages, each named as `name`, `name:architecture` or with `=version`.
pub fn show(names: &[impl AsRef<OsStr>]) -> Program {
    apt_cache().arg("show").args(names)
}

fn apt_cache() -> Program {
    cache::current(Program::new("/usr/bin/apt-cache"))
}

/// Reads indexes from another directory, with caches of its own so that apt's stay right.
pub fn other_lists(directory: &Path) -> Vec<OsString> {
    options(&[
        &format!("Dir::State::Lists={}", directory.display()),
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
    ])
}

fn simulation() -> Program {
    apt_get().arg("-s")
}

/// `name:arch=version` disarms what apt reads into a name: a trailing `-`, a regular expression. New
/// packages are not named: apt finds them as what the others need.
fn exact(updates: &[Update]) -> impl Iterator<Item = String> {
    updates
        .iter()
        .filter(|u| u.installed.is_some())
        .map(|u| format!("{}:{}={}", u.package, u.architecture, u.candidate))
}

/// The words that name what is to be put back: files, exact versions, and a trailing dash for what is
/// to go (apt-get(8), "install").
fn words(former: &[RollbackItem]) -> Vec<PathBuf> {
    let word = |former: &RollbackItem| match &former.source {
        RollbackSource::NewlyInstalled => format!("{}-", former.change.key()).into(),
        source => source.file().map_or_else(
            || {
                names::former_name(&former.change)
                    .unwrap_or_default()
                    .into()
            },
            Path::to_owned,
        ),
    };
    former.iter().map(word).collect()
}

/// Whether something has to go.
fn removes(former: &[RollbackItem]) -> bool {
    former
        .iter()
        .any(|f| f.source == RollbackSource::NewlyInstalled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn demo() -> Update {
        Update {
            package: "demo".into(),
            architecture: "amd64".into(),
            installed: Some("1.0".into()),
            candidate: "2:1.1-1".into(),
            origin: String::new(),
            security: false,
            ..Update::default()
        }
    }

    #[test]
    fn an_apply_names_exact_versions_and_keeps_conffiles() {
        let arguments = ["worker".to_owned(), "gate".to_owned()];
        let gate = (Path::new("/usr/bin/patchctl"), &arguments[..]);
        let program = apply(&Selection::Exactly(vec![demo()]), gate, &[]);
        expect!["/usr/bin/apt-get -q -o APT::Get::Show-Versions=0 -o APT::Output-Version=0 -o APT::Get::AutomaticRemove=0 -o APT::Get::Upgrade-By-Source-Package=0 -y -o DPkg::Lock::Timeout=0 -o Dpkg::Use-Pty=0 -o APT::Get::Simulate=0 -o APT::Get::Download-Only=0 -o APT::Get::Print-URIs=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o DPkg::Pre-Install-Pkgs::=/usr/bin/patchctl worker gate -o DPkg::Tools::Options::/usr/bin/patchctl::Version=3 --no-remove install --only-upgrade demo:amd64=2:1.1-1"].assert_eq(&program.shown());
    }

    #[test]
    fn every_kind_of_index_but_packages_is_left_out() {
        let kinds = r#"Acquire::IndexTargets::deb::Packages::MetaKey "$(COMPONENT)/binary-$(ARCHITECTURE)/Packages";
Acquire::IndexTargets::deb::Packages::flatMetaKey "Packages";
Acquire::IndexTargets::deb::Contents-deb::MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)";
Acquire::IndexTargets::deb::Contents-deb::flatMetaKey "Contents-$(ARCHITECTURE)";
Acquire::IndexTargets::deb::Contents-deb::PDiffs "true";
Acquire::IndexTargets::deb-src::Sources::MetaKey "$(COMPONENT)/source/Sources";
"#;
        let left_out = update().args(packages_alone(kinds)).shown();
        expect![[r"/usr/bin/apt-get -q -o APT::Get::Show-Versions=0 -o APT::Output-Version=0 -o APT::Get::AutomaticRemove=0 -o APT::Get::Upgrade-By-Source-Package=0 -o APT::Update::Error-Mode=any -o Debug::pkgAcquire::Worker=1 update -o Acquire::IndexTargets::deb::Contents-deb::MetaKey= -o Acquire::IndexTargets::deb::Contents-deb::flatMetaKey= -o Acquire::IndexTargets::deb-src::Sources::MetaKey= -o APT::Get::List-Cleanup=0"]]
            .assert_eq(&left_out);
    }

    #[test]
    fn nothing_weakens_authentication() {
        let gate = (Path::new("/usr/bin/patchctl"), &[][..]);
        let programs = [
            update(),
            download(&[], &[]),
            simulate_upgrade(&[], &[]),
            simulate_anyway(&[], &[]),
            simulate_install(&[demo()], &[]),
            apply(&Selection::Everything, gate, &other_lists(Path::new("/x"))),
        ];
        for program in programs {
            let shown = program.shown().to_lowercase();
            for word in [
                "unauthenticated",
                "force-yes",
                "insecure",
                "trusted",
                "valid-until",
            ] {
                assert!(!shown.contains(word), "{shown}");
            }
        }
    }
}
