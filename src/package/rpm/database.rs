//! The database of installed packages, as `rpm` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Result;

use super::{conf, evr, versionlock};
use crate::exec::Program;
use crate::package::{Change, Database, Installed, PackageId, PackageState, Problem};
use crate::sorted::{self, InOrder};

const RPM: &str = "/usr/bin/rpm";

/// What changes whenever the database does, and not when it is only read.
pub const FILES: [&str; 6] = [
    "/usr/lib/sysimage/rpm/Packages.db",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite-wal",
    "/var/lib/rpm/Packages",
    "/var/lib/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite-wal",
];

/// One installed version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpmEntry {
    pub key: PackageId,
    /// Without an epoch of 0.
    pub evr: String,
    /// The checksum of its header, which names all of its files with theirs; rpm has it since 4.14.
    pub build: Option<String>,
}

/// What the database holds, and which of it may be there in several versions.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    pub entries: Vec<RpmEntry>,
    pub parallel: BTreeSet<String>,
}

/// Reads the whole database.
pub fn read() -> Result<Contents> {
    // that of EL 7 knows no such checksum, and refuses to be asked for it
    let listed = all("\t%{SHA256HEADER}").output_checked();
    let entries = entries(&listed.or_else(|_| all("").output_checked())?)?;
    let several = several(&entries);
    let names: Vec<&str> = several.keys().map(|key| key.package.as_str()).collect();
    let parallel = parallel_among(&names, &conf::parallel())?;
    Ok(Contents { entries, parallel })
}

/// Every installed package, one a line, with more behind it.
fn all(more: &str) -> Program {
    let format = format!("%{{NAME}}\t%{{ARCH}}\t%{{EPOCHNUM}}:%{{VERSION}}-%{{RELEASE}}{more}\n");
    Program::new(RPM).args(["-qa", "--qf", &format])
}

/// Which of these installed packages may be there in several versions, by what is configured.
pub fn parallel_among(names: &[&str], configured: &[String]) -> Result<BTreeSet<String>> {
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    Ok(parallel(&provided(names).output_checked()?, configured))
}

/// The files of an installed version, one a line.
pub fn files(key: &PackageId, evr: &str) -> Result<String> {
    Program::new(RPM)
        .arg("-ql")
        .arg(name(key, evr))
        .output_checked()
}

/// The files of the installed version of a change, or those in the package file of a new package.
pub fn files_of(change: &Change) -> Result<Vec<PathBuf>> {
    let listed = match (&change.from, &change.file) {
        (Some(from), _) => files(&change.former_key(), from)?,
        (None, Some(file)) if file.exists() => {
            let query = Program::new(RPM).args(["-q", "-l", "--nosignature", "-p"]);
            query.arg(file).output_checked()?
        }
        _ => return Ok(Vec::new()),
    };
    // "(contains no files)"
    let files = listed.lines().filter(|line| line.starts_with('/'));
    Ok(files.map(PathBuf::from).collect())
}

/// The one name of an installed version.
fn name(key: &PackageId, evr: &str) -> String {
    format!("{}-{}.{}", key.package, evr::full(evr), key.architecture)
}

/// What these packages provide, each with its name, one a line.
fn provided(names: &[&str]) -> Program {
    Program::new(RPM)
        .args(["-q", "--qf", "[%{=NAME}\t%{PROVIDENAME}\n]"])
        .args(names)
}

/// Installs package files again, their scripts included, and takes away what else of the packages is
/// entered: an interrupted update that is done once more.
pub fn install_again(files: &[PathBuf]) -> Program {
    Program::new(RPM)
        .args(["-U", "--replacepkgs", "--oldpackage"])
        .args(files)
}

/// Compares the files of an installed version with what is entered of them, but for what only the owner of a
/// host or the moment makes of them: dates, owners, modes.
pub fn verify(key: &PackageId, evr: &str) -> Program {
    Program::new(RPM)
        .args(["-V", "--nodeps", "--noscripts", "--nomtime"])
        .args(["--nouser", "--nogroup", "--nomode", "--nordev", "--nocaps"])
        .arg(name(key, evr))
}

/// Shows what speaks against [`rollback`], and changes nothing.
pub fn rehearse(files: &[PathBuf]) -> Program {
    older().arg("--test").args(files)
}

/// Installs older versions over newer ones. What is new and goes afterwards may need the newer ones until then.
pub fn rollback(files: &[PathBuf]) -> Program {
    older().arg("--nodeps").args(files)
}

/// A file of which another package has newer contents is replaced: that package goes afterwards.
fn older() -> Program {
    Program::new(RPM).args(["-U", "--oldpackage", "--replacefiles"])
}

/// Takes exactly these versions away; rpm refuses where another package needs them.
pub fn erase(names: &[String]) -> Program {
    Program::new(RPM).arg("-e").args(names)
}

/// Takes an entry away, with those of its files that no other package has.
pub fn erase_entry(key: &PackageId, evr: &str) -> Program {
    Program::new(RPM)
        .args(["-e", "--nodeps", "--noscripts"])
        .arg(name(key, evr))
}

/// Parses the list of packages. Entries without an architecture are the public keys of repositories
/// (`gpg-pubkey`), which are no packages.
pub fn entries(output: &str) -> Result<Vec<RpmEntry>> {
    let entry = |line: &str| -> Result<Option<RpmEntry>> {
        let mut fields = line.split('\t');
        let mut field = || fields.next().filter(|field| !field.is_empty());
        let (Some(package), Some(architecture), Some(version)) = (field(), field(), field()) else {
            anyhow::bail!("rpm printed an unexpected line: '{line}'");
        };
        if architecture == "(none)" {
            return Ok(None);
        }
        Ok(Some(RpmEntry {
            key: PackageId::new(package, architecture),
            evr: evr::shown(version).to_owned(),
            build: field().filter(|sum| *sum != "(none)").map(str::to_owned),
        }))
    };
    output
        .lines()
        .filter_map(|line| entry(line).transpose())
        .collect()
}

/// The packages of which several versions are entered, each with its versions, the newest last.
fn several(entries: &[RpmEntry]) -> BTreeMap<PackageId, Vec<String>> {
    let mut versions: BTreeMap<PackageId, Vec<String>> = BTreeMap::new();
    for entry in entries {
        versions
            .entry(entry.key.clone())
            .or_default()
            .push(entry.evr.clone());
    }
    versions.retain(|_, versions| versions.len() > 1);
    for versions in versions.values_mut() {
        sorted::sort_by(versions, |one, other| evr::compare(one, other));
    }
    versions
}

/// The names that may be there in several versions, by what they provide and what is configured.
fn parallel(provided: &str, configured: &[String]) -> BTreeSet<String> {
    let name = |line: &str| {
        let (name, provides) = line.split_once('\t')?;
        let may =
            versionlock::is_held(configured, provides) || versionlock::is_held(configured, name);
        may.then(|| name.to_owned())
    };
    provided.lines().filter_map(name).in_order()
}

impl Contents {
    /// Packages that are entered in several versions and may not be: an update was killed between the
    /// entry of the new and the removal of the old one, and dnf calls that "Nothing to do" (FACTS 34).
    pub fn duplicates(&self) -> BTreeMap<PackageId, Vec<String>> {
        let mut several = several(&self.entries);
        several.retain(|key, _| !self.parallel.contains(&key.package));
        several
    }

    /// The database as the rest of the program knows it: of each package the newest version.
    pub fn database(&self, held: &dyn Fn(&str) -> bool) -> Database {
        let mut database = Database::new();
        for entry in &self.entries {
            let newest = database
                .get(&entry.key)
                .is_none_or(|known: &Installed| evr::compare(&known.version, &entry.evr).is_lt());
            if newest {
                let installed = Installed {
                    version: entry.evr.clone(),
                    state: PackageState::Good,
                    held: held(&entry.key.package),
                    build: entry.build.clone(),
                };
                database.insert(entry.key.clone(), installed);
            }
        }
        for (key, versions) in self.duplicates() {
            if let Some(installed) = database.get_mut(&key) {
                installed.state =
                    PackageState::Broken(format!("entered twice, as {},", versions.join(" and ")));
            }
        }
        database
    }

    /// Its problems.
    pub fn problems(&self) -> Vec<Problem> {
        let problem = |(key, versions): (&PackageId, &Vec<String>)| {
            let text = format!(
                "the package {key} is in the database twice, as {}: an update was interrupted",
                versions.join(" and ")
            );
            Problem::of(&key.package, text)
        };
        self.duplicates().iter().map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(output: &str, parallel: &str) -> Contents {
        Contents {
            entries: entries(output).unwrap(),
            parallel: super::parallel(
                parallel,
                &[
                    "own-driver*".to_owned(),
                    "installonlypkg(kernel)".to_owned(),
                ],
            ),
        }
    }

    /// As `rpm -qa` printed it on a host whose dnf was killed in the middle (rpm 4.20).
    const KILLED: &str = "demo\tnoarch\t0:1.0-1\t(none)\ntool\tnoarch\t2:1.0-1\t1143910d\ndemo\tnoarch\t0:1.1-1\n\
        gpg-pubkey\t(none)\t0:a15b79cc-63d04c2c\n";

    #[test]
    fn a_duplicate_is_broken_and_named() {
        let contents = contents(KILLED, "");
        let database = contents.database(&|name| name == "tool");
        let of = |name: &str| {
            let key = PackageId::new(name, "noarch");
            database.get(&key).unwrap()
        };
        assert_eq!(database.len(), 2);
        assert_eq!(of("demo").version, "1.1-1");
        assert!(
            matches!(&of("demo").state, PackageState::Broken(why) if why.contains("1.0-1 and 1.1-1"))
        );
        assert_eq!(of("tool").version, "2:1.0-1");
        assert!(of("tool").held && !of("demo").held);
        assert_eq!(of("tool").build.as_deref(), Some("1143910d"));
        assert_eq!(of("demo").build, None);
        assert_eq!(contents.problems().len(), 1);
        assert!(entries("no tabs").is_err());
    }

    #[test]
    fn kernels_may_be_there_side_by_side() {
        let kernels = "kernel-core\tx86_64\t0:6.9.1-1\nkernel-core\tx86_64\t0:6.10.0-1\n";
        let contents = contents(
            kernels,
            "kernel-core\tinstallonlypkg(kernel)\nkernel-core\tx\n",
        );
        let database = contents.database(&|_| false);
        let kernel = database.values().next().unwrap();
        assert_eq!(kernel.version, "6.10.0-1", "the newest");
        assert_eq!(kernel.state, PackageState::Good);
        assert!(contents.problems().is_empty());
    }

    #[test]
    fn what_the_administrator_allows_side_by_side_is_in_order() {
        let drivers = "own-driver\tnoarch\t0:1-1\nown-driver\tnoarch\t0:2-1\n";
        assert!(contents(drivers, "own-driver\tx\n").problems().is_empty());
    }

    #[test]
    fn an_entry_is_erased_alone() {
        let key = PackageId::new("demo", "noarch");
        assert_eq!(
            erase_entry(&key, "1.0-1").shown(),
            "/usr/bin/rpm -e --nodeps --noscripts demo-0:1.0-1.noarch"
        );
    }
}
