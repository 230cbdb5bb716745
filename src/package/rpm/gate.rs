//! The gate, for package managers that have no hook for one: what was downloaded is announced to it by
//! us, and the transaction is started only after it has agreed.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::exec::{Line, Program};
use crate::package::{Change, PackageId};

/// The most that is read: 100 000 packages would be a quarter of it.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Hands the change list, as it is or as it is announced, to the gate. Its words when it refuses; nothing was changed then.
pub fn ask(
    gate: (&Path, &[String]),
    changes: &[impl Serialize],
    log: &Path,
) -> Result<Option<String>> {
    let (path, arguments) = gate;
    let mut words = Vec::new();
    let program = Program::new(path)
        .args(arguments)
        .input(serde_json::to_vec(changes)?)
        .log(log);
    let finished = program.run(&mut |line: Line<'_>| {
        if let Line::Output(text) | Line::Error(text) = line {
            words.push(text.to_owned());
        }
    })?;
    Ok((!finished.succeeded()).then(|| {
        if words.is_empty() {
            program.failure(&finished)
        } else {
            words.join("; ")
        }
    }))
}

/// The versions of packages that repositories have.
pub type ArchivedVersions = BTreeSet<(PackageId, String)>;

/// A change as it is announced.
#[derive(Debug, Serialize, Deserialize)]
pub struct Announced {
    #[serde(flatten)]
    pub change: Change,
    /// Whether a repository has the former version, where the announcing program knows it.
    pub archived: Option<bool>,
}

/// The changes with what is known of the repositories, where that is known.
pub fn announce(changes: &[Change], archived: Option<&ArchivedVersions>) -> Vec<Announced> {
    let announced = |change: &Change| Announced {
        change: change.clone(),
        archived: archived.map(|archived| {
            let former = change.from.clone().map(|from| (change.former_key(), from));
            former.is_some_and(|former| archived.contains(&former))
        }),
    };
    changes.iter().map(announced).collect()
}

/// Parses what [`ask`] hands over, as [`announced`] does; the changes alone.
pub fn parse(input: &mut dyn BufRead) -> Result<Vec<Change>> {
    let announced = announced(input)?;
    Ok(announced.into_iter().map(|a| a.change).collect())
}

/// Parses what [`ask`], or a package manager with the gate in it, hands over. A list that was cut off is an
/// error.
pub fn announced(input: &mut dyn BufRead) -> Result<Vec<Announced>> {
    let mut text = String::new();
    let length = input.take(LIMIT).read_to_string(&mut text)?;
    ensure!((length as u64) < LIMIT, "the change list is too long");
    let changes: Vec<Announced> =
        serde_json::from_slice(text.as_bytes()).context("the change list is broken")?;
    for change in changes.iter().map(|announced| &announced.change) {
        ensure!(
            change.from.is_some() || change.to.is_some(),
            "{} is in the change list and does not change",
            change.key()
        );
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_reads_what_it_is_handed_and_its_words_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let change = Change {
            package: "demo".into(),
            architecture: "noarch".into(),
            from: Some("1.0-1".into()),
            to: Some("1.1-1".into()),
            file: None,
            ..Change::default()
        };
        let copy = directory.path().join("copy");
        let script = format!(
            "cat > {}; test -z \"$1\" || {{ echo no $1; exit 1; }}",
            copy.display()
        );
        let ask_with = |word: &str| {
            let arguments = [
                "-c".to_owned(),
                script.clone(),
                "sh".to_owned(),
                word.to_owned(),
            ];
            ask(
                (Path::new("/bin/sh"), &arguments),
                std::slice::from_ref(&change),
                &log,
            )
            .unwrap()
        };
        assert_eq!(ask_with(""), None);
        let handed = std::fs::read(&copy).unwrap();
        assert_eq!(
            parse(&mut &handed[..]).unwrap(),
            std::slice::from_ref(&change)
        );
        assert!(parse(&mut &handed[..handed.len() - 2]).is_err());
        assert_eq!(ask_with("way").as_deref(), Some("no way"));
    }
}
