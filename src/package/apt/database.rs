//! dpkg's database: what is installed, in which state, and whether it is in order.

use std::path::Path;

use anyhow::{Context, Result};

use super::{build, dpkg};
use crate::package::{Database, Installed, PackageId, PackageState, Problem};

/// What changes whenever the database does, and not when it is only read.
pub const FILES: [&str; 2] = ["/var/lib/dpkg/status", "/var/lib/dpkg/updates"];

/// What is installed.
pub fn installed() -> Result<Database> {
    parse(&dpkg::query_database().output_checked()?)
}

/// Parses the output of [`super::dpkg::query_database`]. A package that is gone but for its
/// configuration files is left out; every other state than `ok installed` is broken, `reinstreq`
/// among them, which a look at the version alone would pass (dpkg(1), "Package states").
pub fn parse(output: &str) -> Result<Database> {
    let mut database = Database::new();
    for line in output.lines() {
        database.extend(entry(line)?);
    }
    Ok(database)
}

fn entry(line: &str) -> Result<Option<(PackageId, Installed)>> {
    let parts = || -> Option<_> {
        let mut fields = line.split('\t');
        let (package, architecture) = (fields.next()?, fields.next()?);
        let (version, status) = (fields.next()?, fields.next()?);
        let mut words = status.split(' ');
        let (want, flag, state) = (words.next()?, words.next()?, words.next()?);
        (!state.is_empty()).then_some((package, architecture, version, want, flag, state, fields))
    };
    let (package, architecture, version, want, flag, state, fields) =
        parts().with_context(|| format!("dpkg-query printed an unexpected line: '{line}'"))?;
    if matches!(state, "not-installed" | "config-files") {
        return Ok(None);
    }
    let good = flag == "ok" && state == "installed";
    let key = PackageId::new(package, architecture);
    Ok(Some((
        key,
        Installed {
            version: version.to_owned(),
            state: if good {
                PackageState::Good
            } else {
                let flag = if flag == "ok" {
                    ""
                } else {
                    ", reinstallation required"
                };
                PackageState::Broken(format!("{state}{flag}"))
            },
            held: want == "hold",
            build: Some(build::sum(fields)),
        },
    )))
}

/// What is wrong with the database in `directory` (`/var/lib/dpkg`), read without starting dpkg:
/// a journal of an interrupted run (apt then refuses to work until `dpkg --configure -a`), and
/// packages between two states.
pub fn problems(directory: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    if is_interrupted(directory) {
        let text = "dpkg was interrupted; run 'dpkg --configure -a'".to_owned();
        problems.push(text.into());
    }
    problems.extend(broken(&read(directory)?));
    Ok(problems)
}

/// Whether apt refuses to work before the database in `directory` is repaired: dpkg left its journal, or a
/// package has to be installed again.
pub fn needs_repair(directory: &Path) -> Result<bool> {
    let status = read(directory)?;
    let torn = |(_, flag, _): (&str, &str, &str)| flag == "reinstreq";
    Ok(is_interrupted(directory) || states(&status).any(torn))
}

/// Whether an interrupted run left its journal in `directory` (`/var/lib/dpkg`): dpkg keeps it in files
/// named by a number, and removes them when it ends well.
pub fn is_interrupted(directory: &Path) -> bool {
    std::fs::read_dir(directory.join("updates")).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            !name.is_empty() && name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
    })
}

/// Whether a package in `directory` (`/var/lib/dpkg`) is there and not configured, or a trigger waits to be
/// processed: what `dpkg --configure -a` tries to end.
pub fn is_unconfigured(directory: &Path) -> Result<bool> {
    let status = read(directory)?;
    let mut states = states(&status);
    Ok(states.any(|(_, _, state)| {
        matches!(
            state,
            "unpacked" | "half-configured" | "triggers-pending" | "triggers-awaited"
        )
    }))
}

fn read(directory: &Path) -> Result<String> {
    let path = directory.join("status");
    let status =
        std::fs::read(&path).with_context(|| format!("failed to read '{}'", path.display()))?;
    Ok(String::from_utf8_lossy(&status).into_owned())
}

/// Name, flag and state of each package.
fn states(status: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut package = "";
    status.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("Package: ") {
            package = name;
            return None;
        }
        let mut words = line.strip_prefix("Status: ")?.split(' ').skip(1);
        let (flag, state) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        Some((package, flag, state))
    })
}

fn broken(status: &str) -> Vec<Problem> {
    // waiting for a trigger is a state dpkg passes through and heals by itself
    let resting = |state: &str| {
        matches!(
            state,
            "installed"
                | "config-files"
                | "not-installed"
                | "triggers-pending"
                | "triggers-awaited"
        )
    };
    states(status)
        .filter(|(_, flag, state)| !resting(state) || *flag != "ok")
        .map(|(package, _, state)| {
            Problem::of(package, format!("the package {package} is {state}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        let output = "zlib1g\tamd64\t1:1.3\tinstall ok installed\n\
            held\tall\t1.0\thold ok installed\n\
            half\tall\t1.1\tinstall ok half-configured\n\
            reinst\tall\t1.1\tinstall reinstreq installed\n\
            gone\tall\t1.0\tdeinstall ok config-files\n";
        let database = parse(output).unwrap();
        let state = |name: &str| {
            database
                .iter()
                .find(|(key, _)| key.package == name)
                .map(|(_, i)| (i.state.clone(), i.held))
        };
        assert_eq!(state("zlib1g"), Some((PackageState::Good, false)));
        assert_eq!(state("held"), Some((PackageState::Good, true)));
        assert_eq!(
            state("half"),
            Some((PackageState::Broken("half-configured".into()), false))
        );
        assert!(matches!(
            state("reinst"),
            Some((PackageState::Broken(_), false))
        ));
        assert_eq!(state("gone"), None);
        assert!(parse("no tabs").is_err());
    }

    #[test]
    fn problems_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let status = "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok half-configured\n";
        std::fs::write(directory.path().join("status"), status).unwrap();
        std::fs::create_dir(directory.path().join("updates")).unwrap();
        assert_eq!(
            problems(directory.path()).unwrap(),
            [Problem::of("b", "the package b is half-configured".into())]
        );
        std::fs::write(directory.path().join("updates/0001"), "").unwrap();
        assert_eq!(problems(directory.path()).unwrap().len(), 2);
        assert!(needs_repair(directory.path()).unwrap());
    }

    #[test]
    fn what_is_only_not_configured_is_not_interrupted() {
        let directory = tempfile::tempdir().unwrap();
        let interrupted = |status: &str| {
            std::fs::write(directory.path().join("status"), status).unwrap();
            needs_repair(directory.path()).unwrap()
        };
        assert!(!interrupted(
            "Package: b\nStatus: install ok half-configured\n"
        ));
        assert!(interrupted(
            "Package: b\nStatus: install reinstreq half-installed\n"
        ));
        let unconfigured = |state: &str| {
            let text = format!("Package: b\nStatus: hold ok {state}\n");
            std::fs::write(directory.path().join("status"), text).unwrap();
            is_unconfigured(directory.path()).unwrap()
        };
        assert!(unconfigured("half-configured") && unconfigured("triggers-pending"));
        assert!(!unconfigured("installed") && !unconfigured("config-files"));
    }
}
