//! rpm by itself: it puts packages back where its front end cannot run any more.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{database, evr, installonly, locks};
use crate::exec::Line;
use crate::package::repair_step::run_repair_step;
use crate::package::{Observer, PackageId, Restore, RollbackItem, RollbackSource, TransactionEnd};

/// Its name, for records.
pub const TOOL: &str = "rpm";

/// Puts former versions back, all of whose files are on this host, and takes away what was new afterwards:
/// both have some files then, and these stay.
pub fn rollback(restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<TransactionEnd> {
    let former = installonly::settled(restore.former)?;
    let (files, going) = split(&former)?;
    if !locks::wait_for_others(observer)? {
        bail!("a stop was requested while waiting for another rpm");
    }
    if !files.is_empty() {
        let mut said = Vec::new();
        let finished = database::rehearse(&files).run(&mut |line: Line<'_>| {
            let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
            said.push(text.to_owned());
        })?;
        if !finished.succeeded()
            && let Some(why) = refusal(&said, &going)
        {
            bail!("{why}, so that rpm was not used");
        }
        run_repair_step(&database::rollback(&files), restore.log, observer)?;
    }
    if !going.is_empty() {
        run_repair_step(&database::erase(&going), restore.log, observer)?;
    }
    Ok(TransactionEnd::Done)
}

/// The package files of what comes back, and the exact names of what goes; an error when rpm would lack a file.
fn split(former: &[RollbackItem]) -> Result<(Vec<PathBuf>, Vec<String>)> {
    let (mut files, mut going) = (Vec::new(), Vec::new());
    for former in former {
        former.check()?;
        let change = &former.change;
        let name = |key: PackageId, version: &Option<String>| {
            let version = evr::full(version.as_deref().unwrap_or_default());
            format!("{}-{version}.{}", key.package, key.architecture)
        };
        match (&former.source, former.source.file()) {
            (RollbackSource::NewlyInstalled | RollbackSource::Installonly, _) => {
                going.push(name(change.key(), &change.to));
            }
            (_, Some(file)) => files.push(file.to_owned()),
            (_, None) => bail!(
                "{} would have to be fetched, which rpm does not do",
                name(change.former_key(), &change.from)
            ),
        }
    }
    Ok((files, going))
}

/// The first problem that a rehearsal names and that the removals afterwards do not end, such as
/// `other >= 1.1 is needed by (installed) stranger-1-1.noarch` (rpm 4.20 and 6.1); a rehearsal that failed and
/// names none is one itself. Pure.
fn refusal(said: &[String], going: &[String]) -> Option<String> {
    // the names there have no epoch of 0
    let is_going = |name: &str| going.iter().any(|g| g.replace("-0:", "-") == name);
    let of_going = |line: &&str| {
        let installed = line.rsplit_once("(installed) ");
        installed.is_some_and(|(_, name)| is_going(name))
    };
    let is_problem = |line: &&str| {
        let is_heading = line.ends_with(':') || line.starts_with("warning:");
        !line.is_empty() && !is_heading
    };
    let lines = said.iter().map(|line| line.trim());
    let problems: Vec<&str> = lines.filter(is_problem).collect();
    if problems.is_empty() {
        return Some("its test run failed without an error message".to_owned());
    }
    let other = problems.iter().find(|line| !of_going(line));
    other.map(|line| (*line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_removals_end_is_passed_over() {
        let going = ["lib-n-data-0:1.1-1.noarch".to_owned()];
        let refused = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            refusal(&lines, &going)
        };
        let head = "error: Failed dependencies:";
        let ours = "\tlib-n = 1.1 is needed by (installed) lib-n-data-1.1-1.noarch";
        assert_eq!(refused(&[head, ours]), None);
        let stranger = "\tother >= 1.1 is needed by (installed) stranger-1-1.noarch";
        assert_eq!(refused(&[head, ours, stranger]).unwrap(), stranger.trim());
        let unread = "error: /kept/a.rpm: not an rpm package (or package manifest)";
        assert_eq!(refused(&[unread]).unwrap(), unread);
        assert!(refused(&[head]).is_some() && refused(&[]).is_some());
    }
}
