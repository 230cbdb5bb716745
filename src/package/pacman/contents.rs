//! The files of installed packages, as pacman's database has them, and those that move back to a former package
//! from one that goes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::{arguments, database};
use crate::exec::{ExitReason, Line};
use crate::package::{Damaged, RollbackItem, RollbackSource};
use crate::sorted::InOrder;

/// Which of these packages, each in its former version, lack files, or have others. `plain` is a configuration of this
/// program.
pub fn damaged(back: &[RollbackItem], plain: &Path) -> Result<Vec<Damaged>> {
    let of_former = |former: &RollbackItem| {
        let version = former.change.from.as_deref()?;
        let comes = former.source != RollbackSource::NewlyInstalled;
        comes.then(|| Damaged::none(former.change.former_key(), version))
    };
    let mut packages: Vec<Damaged> = back.iter().filter_map(of_former).collect();
    let names: Vec<&str> = packages
        .iter()
        .map(|damaged| &*damaged.key.package)
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // a configuration that cannot be read keeps pacman from this, too, and what it leaves out is in none of ours
    let lines = match check(&names, None) {
        Ok(lines) => lines,
        Err(_) => check(&names, Some(plain))?,
    };
    for (package, path, reason) in lines.iter().filter_map(|line| checked(line)) {
        let mut of_name = packages.iter_mut().filter(|d| d.key.package == package);
        let Some(damaged) = of_name.next() else {
            continue;
        };
        match reason {
            "No such file or directory" => damaged.missing.push(path.to_owned()),
            reason if is_other(reason) => damaged.differing.push(path.to_owned()),
            _ => {}
        }
    }
    Ok(packages.into_iter().filter_map(Damaged::if_any).collect())
}

/// What pacman says of these packages: it exits with 1 when something differs, and when it could not look.
fn check(names: &[&str], configuration: Option<&Path>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let finished = arguments::check(names, configuration).run(&mut |line: Line<'_>| {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        lines.push(text.to_owned());
    })?;
    let error = lines.iter().find(|line| line.starts_with("error: "));
    if let Some(error) = error {
        bail!("pacman: {error}");
    }
    ensure!(
        matches!(finished.exit_reason, ExitReason::Exited(0 | 1)),
        "pacman did not finish"
    );
    Ok(lines)
}

/// Package, path and what is wrong, in a line such as `warning: lib-n: /usr/lib/x (Size mismatch)` (pacman 7.0);
/// nothing for configuration files, whose lines begin with `backup file`.
fn checked(line: &str) -> Option<(&str, &str, &str)> {
    let (package, rest) = line.strip_prefix("warning: ")?.split_once(": ")?;
    let (path, reason) = rest.rsplit_once(" (")?;
    Some((package, path, reason.strip_suffix(')')?))
}

/// Whether the contents are others; dates, owners and modes are the owner's of the host.
fn is_other(reason: &str) -> bool {
    ["Size", "Symlink path", "File type"]
        .iter()
        .any(|what| reason.starts_with(what))
        || reason.contains("checksum mismatch")
}

/// The files that a package which goes has now, and a former version will have: pacman refuses to install over
/// the one before the other is gone, and has no transaction that does both.
pub fn moving_back(
    database: &Path,
    going: &[&RollbackItem],
    files: &[PathBuf],
    configuration: Option<&Path>,
) -> Result<Vec<String>> {
    if going.is_empty() || files.is_empty() {
        return Ok(Vec::new());
    }
    let entered = |former: &&RollbackItem| entered(database, former);
    let theirs: BTreeSet<String> = going.iter().flat_map(entered).in_order();
    let listed = arguments::contents(files, configuration).output_checked()?;
    let path = |line: &str| {
        let (_, path) = line.split_once(" /")?;
        (!path.ends_with('/') && theirs.contains(path)).then(|| path.to_owned())
    };
    Ok(listed.lines().filter_map(path).collect())
}

/// The files that the database has of a package that goes, without their first slash.
fn entered(database: &Path, former: &RollbackItem) -> Vec<String> {
    let files = database::files(database, &former.undone());
    let plain = |file: PathBuf| file.to_string_lossy().trim_start_matches('/').to_owned();
    files.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        let line = "warning: lib-n: /usr/share/a (b)/moved (No such file or directory)";
        let expected = (
            "lib-n",
            "/usr/share/a (b)/moved",
            "No such file or directory",
        );
        assert_eq!(checked(line), Some(expected));
        assert_eq!(checked("lib-n: 5 total files, 1 altered file"), None);
        assert_eq!(
            checked("backup file: a: /etc/a.conf (SHA256 checksum mismatch)"),
            None
        );
        assert!(is_other("SHA256 checksum mismatch") && is_other("Size mismatch"));
        assert!(!is_other("Modification time mismatch") && !is_other("Permissions mismatch"));
    }
}
