//! The files of installed packages, as rpm's database has them. Several packages may have a file there, and it
//! stays until the last of them goes (FACTS 36), so that what moves between packages
//! is not lost; what a script removes, or a power cut tears, is.

use std::path::PathBuf;

use anyhow::Result;

use super::{database, repositories, resolution};
use crate::exec::Program;
use crate::package::damaged::{FileDifference, verified};
use crate::package::repair_step::run_repair_step;
use crate::package::{Damaged, Observer, Restore, RollbackItem, RollbackSource, TransactionEnd};

/// Which of these packages, each in its former version, lack files, or have others.
pub fn damaged(back: &[RollbackItem]) -> Result<Vec<Damaged>> {
    let mut found = Vec::new();
    for former in back {
        let Some(version) = former.change.from.as_deref() else {
            continue;
        };
        if matches!(
            former.source,
            RollbackSource::NewlyInstalled | RollbackSource::Installonly
        ) {
            continue;
        }
        let mut damaged = Damaged::none(former.change.former_key(), version);
        // it exits with 1 when something differs; what it cannot do it says in lines of another form
        let (_, output) = database::verify(&damaged.key, version).output()?;
        for line in output.lines() {
            match verified(line) {
                Some(FileDifference::Missing(path)) => damaged.missing.push(path.to_owned()),
                Some(FileDifference::Differs(path)) => damaged.differing.push(path.to_owned()),
                None => {}
            }
        }
        found.extend(damaged.if_any());
    }
    Ok(found)
}

/// Installs packages again in the version that they have: by rpm where their files are on this host, and by
/// `fetched`, which is given the others, where they have to be fetched once more.
pub fn install_again(
    restore: &Restore<'_>,
    caches: &[PathBuf],
    observer: &mut dyn Observer,
    fetched: impl Fn(&[RollbackItem]) -> Program,
) -> Result<TransactionEnd> {
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for former in restore.former {
        former.check()?;
        match file(former, caches) {
            Some(file) => files.push(file),
            None => others.push(former.clone()),
        }
    }
    if !files.is_empty() {
        let program = database::install_again(&files);
        run_repair_step(&program, restore.log, observer)?;
    }
    if !others.is_empty() {
        run_repair_step(&fetched(&others), restore.log, observer)?;
    }
    Ok(TransactionEnd::Done)
}

/// The path of the package file of a former version.
fn file(former: &RollbackItem, caches: &[PathBuf]) -> Option<PathBuf> {
    if let Some(file) = former.source.file() {
        return Some(file.to_owned());
    }
    let version = former.change.from.as_deref()?;
    let name = resolution::file_name(&former.change.former_key(), version);
    let mut found = repositories::files(caches, std::slice::from_ref(&name));
    found.remove(&name)
}
