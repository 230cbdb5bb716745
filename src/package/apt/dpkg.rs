//! The command lines given to dpkg and its tools: pure builders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::build;
use crate::exec::Program;
use crate::package::PackageId;

const DPKG: &str = "/usr/bin/dpkg";

const DPKG_QUERY: &str = "/usr/bin/dpkg-query";

/// Makes a package of what is installed; not on every host.
pub const DPKG_REPACK: &str = "/usr/bin/dpkg-repack";

/// Makes a package of what is installed, in `directory`.
pub fn repack(key: &PackageId, directory: &Path) -> Program {
    Program::new(DPKG_REPACK)
        .arg(key.to_string())
        .directory(directory)
}

/// Finishes what is unpacked and not configured.
pub fn configure_all() -> Program {
    plain().args(["--configure", "-a"])
}

/// Installs package files that apt had verified when it fetched them.
pub fn install_files(files: &[PathBuf]) -> Program {
    plain().arg("-i").args(files)
}

/// Unpacks package files and configures none, so that their order does not matter: together with the removals they
/// restore the former state, in which all dependencies were met.
pub fn unpack_all(files: &[PathBuf]) -> Program {
    plain()
        .args([
            "--force-depends",
            "--force-breaks",
            "--force-conflicts",
            "--auto-deconfigure",
            "--unpack",
        ])
        .args(files)
}

/// Takes packages away; dpkg refuses where another one needs them.
pub fn remove(keys: &[PackageId]) -> Program {
    let names = keys.iter().map(ToString::to_string);
    plain().arg("--remove").args(names)
}

/// Takes away what is left of packages that are gone.
pub fn purge(keys: &[PackageId]) -> Program {
    let names = keys.iter().map(ToString::to_string);
    plain().arg("--purge").args(names)
}

/// dpkg, keeping a changed configuration file and replacing an unchanged one.
fn plain() -> Program {
    Program::new(DPKG).args(["--force-confdef", "--force-confold"])
}

/// Lists what is in a package file.
pub fn contents(file: &Path) -> Program {
    Program::new("/usr/bin/dpkg-deb")
        .arg("--contents")
        .arg(file)
}

/// Every package of the database, one a line.
pub fn query_database() -> Program {
    let fields = build::format();
    let format = format!("${{Package}}\t${{Architecture}}\t${{Version}}\t${{Status}}\t{fields}\n");
    Program::new(DPKG_QUERY).args(["-W", "-f", &format])
}

/// The fields that distinguish the build of the package in a file.
pub fn fields(file: &Path) -> Program {
    let format = format!("--showformat={}\n", build::format());
    Program::new("/usr/bin/dpkg-deb")
        .args(["--show", &format])
        .arg(file)
}

/// What dpkg has entered of these packages, each behind a line with its name: its paths, and behind a dash its
/// configuration files.
pub fn query_contents(keys: &[PackageId]) -> Program {
    let format = "=${Package}:${Architecture}\n${db-fsys:Files}\n-\n${Conffiles}\n";
    let names = keys.iter().map(ToString::to_string);
    Program::new(DPKG_QUERY)
        .args(["-W", "-f", format])
        .args(names)
}

/// The fields in which a package speaks of others.
const RELATIONS: &str = "${Package}\t${Architecture}\t${Version}\t${Replaces}\t\
    ${Provides}\t${Pre-Depends}, ${Depends}\t${Breaks}, ${Conflicts}\n";

/// Names and states of all packages, with what each says of others.
pub fn query_relations() -> Program {
    let format = format!("${{db:Status-Status}}\t{RELATIONS}");
    Program::new(DPKG_QUERY).args(["-W", "-f", &format])
}

/// The same of the package in a file, as if it were installed.
pub fn file_relations(file: &Path) -> Program {
    let format = format!("--showformat=installed\t{RELATIONS}");
    Program::new("/usr/bin/dpkg-deb")
        .args(["--show", &format])
        .arg(file)
}

/// Compares the files of these packages with their sums as they were unpacked.
pub fn verify(keys: &[PackageId]) -> Program {
    let names = keys.iter().map(ToString::to_string);
    Program::new(DPKG).arg("--verify").args(names)
}

/// Finds the packages that own these files. What would be a pattern in a path is escaped.
pub fn search(paths: impl IntoIterator<Item = impl AsRef<str>>) -> Program {
    let escaped = |path: &str| -> String {
        let special = |c| matches!(c, '*' | '?' | '[' | '\\');
        let signs = path
            .chars()
            .flat_map(|c| special(c).then_some('\\').into_iter().chain([c]));
        signs.collect()
    };
    let paths = paths.into_iter().map(|path| escaped(path.as_ref()));
    Program::new(DPKG_QUERY).arg("-S").args(paths)
}

/// Whether one version and another are in this order.
pub fn compare(one: &str, order: &str, other: &str) -> Program {
    Program::new(DPKG).args(["--compare-versions", one, order, other])
}

/// The MD5 sums of files.
pub fn md5sums(paths: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    Program::new("/usr/bin/md5sum").arg("--").args(paths)
}
