//! The gate: an alpm hook that runs when everything is fetched and checked, before the first file changes
//! (alpm-hooks(5), `PreTransaction` with `AbortOnFail`).

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::conf::{Conf, in_caches};
use super::database_sync::{DatabaseStamp, stamp};
use crate::fs::write_atomically;
use crate::package::{Change, Database};
use crate::sorted;

/// The changes that a run is going to make. pacman gives the hook names only, so the worker writes this first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePlan {
    /// The changes.
    pub changes: Vec<Change>,
    /// By which configuration, which the gate need not ask for again.
    pub conf: Conf,
    /// What the live databases were when they were worked out: no process may have moved them since.
    pub databases: Vec<DatabaseStamp>,
}

/// Where the hook and the plan lie.
#[derive(Debug)]
pub struct Gate(PathBuf);

impl Gate {
    /// Below a directory that only root can write to.
    pub fn below(scratch: &Path) -> Self {
        Self(scratch.join("pacman"))
    }

    /// Writes hook and plan for a run; the directory for `--hookdir`.
    pub fn set_up(&self, plan: &GatePlan, gate: (&Path, &[String])) -> Result<PathBuf> {
        let hooks = self.0.join("hooks");
        fs::create_dir_all(&hooks)
            .with_context(|| format!("failed to create '{}'", hooks.display()))?;
        write_atomically(&self.plan(), &serde_json::to_vec(plan)?, 0o600)?;
        // the first by its name: no other hook may change anything before it
        let file = hooks.join("00-linux-patch-api.hook");
        write_atomically(&file, hook(gate).as_bytes(), 0o644)?;
        Ok(hooks)
    }

    /// The changes that a run announces by the names it gives to the hook, and the configuration it goes by.
    pub fn announced(
        &self,
        input: &mut dyn BufRead,
        installed: &Database,
    ) -> Result<(Vec<Change>, Conf)> {
        let path = self.plan();
        let plan =
            fs::read(&path).with_context(|| format!("failed to read '{}'", path.display()))?;
        let plan: GatePlan = serde_json::from_slice(&plan).context("the plan cannot be read")?;
        if let Some((file, _)) = plan
            .databases
            .iter()
            .find(|(file, then)| stamp(file) != *then)
        {
            bail!("'{}' was changed by another process", file.display());
        }
        let mut names = String::new();
        input
            .read_to_string(&mut names)
            .context("pacman's list is not UTF-8")?;
        let mut changes = announced(&names, &plan.changes, installed)?;
        // where they are, now that they are fetched
        for file in changes.iter_mut().filter_map(|change| change.file.as_mut()) {
            let name = file.file_name().unwrap_or_default();
            if let Some(found) = in_caches(&plan.conf.caches, name) {
                *file = found;
            }
        }
        Ok((changes, plan.conf))
    }

    /// Writes another file for a run of pacman; where it is.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        fs::create_dir_all(&self.0)
            .with_context(|| format!("failed to create '{}'", self.0.display()))?;
        let file = self.0.join(name);
        write_atomically(&file, text.as_bytes(), 0o600)?;
        Ok(file)
    }

    fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }
}

/// The hook's text: one trigger for each operation, because a trigger has but one type.
fn hook((program, arguments): (&Path, &[String])) -> String {
    let trigger = |operation: &str| {
        format!("[Trigger]\nOperation = {operation}\nType = Package\nTarget = *\n\n")
    };
    let triggers: String = ["Install", "Upgrade", "Remove"].map(trigger).concat();
    let words: Vec<String> = std::iter::once(program.display().to_string())
        .chain(arguments.iter().cloned())
        .collect();
    format!(
        "{triggers}[Action]\nDescription = Writing down what is going to change\nWhen = PreTransaction\n\
         Exec = {}\nNeedsTargets\nAbortOnFail\n",
        words.join(" "),
    )
}

/// What the names mean: pure. A name that was not planned is that of a package which another one replaces, or which is
/// not known. What was planned to be taken away comes in a run of its own.
fn announced(names: &str, plan: &[Change], installed: &Database) -> Result<Vec<Change>> {
    let version = |name: &str| {
        installed
            .iter()
            .find(|(key, _)| key.package == name)
            .map(|(key, installed)| (key.architecture.clone(), installed.version.clone()))
    };
    let mut changes: Vec<Change> = plan
        .iter()
        .filter(|change| change.to.is_none())
        .cloned()
        .collect();
    for name in names.lines().filter(|name| !name.is_empty()) {
        let now = version(name);
        if let Some(planned) = plan
            .iter()
            .find(|change| change.package == name && change.to.is_some())
        {
            let (former, from) = now.unzip();
            changes.push(Change {
                from,
                former_architecture: former.filter(|former| *former != planned.architecture),
                ..planned.clone()
            });
        } else if let Some((architecture, version)) = now {
            changes.push(Change {
                package: name.to_owned(),
                architecture,
                from: Some(version),
                to: None,
                file: None,
                ..Change::default()
            });
        } else {
            bail!("pacman is about to install {name}, which was not planned");
        }
    }
    ensure!(!changes.is_empty(), "pacman's list is empty");
    sorted::sort(&mut changes);
    changes.dedup();
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageId, PackageState};

    fn change(package: &str, from: Option<&str>, to: Option<&str>) -> Change {
        Change {
            package: package.into(),
            architecture: "any".into(),
            from: from.map(Into::into),
            to: to.map(Into::into),
            file: None,
            ..Change::default()
        }
    }

    fn installed(packages: &[&str]) -> Database {
        let entry = |name: &&str| {
            let key = PackageId::new(*name, "any");
            let installed = Installed {
                version: "1-1".to_owned(),
                state: PackageState::Good,
                held: false,
                ..Installed::default()
            };
            (key, installed)
        };
        packages.iter().map(entry).collect()
    }

    #[test]
    fn names_are_held_against_the_plan_and_what_is_installed() {
        let plan = [
            change("demo", Some("0-1"), Some("2-1")),
            change("lib", None, Some("1-1")),
        ];
        let database = installed(&["demo", "old"]);
        let changes = announced("demo\nlib\nold\n", &plan, &database).unwrap();
        let expected = [
            change("demo", Some("1-1"), Some("2-1")),
            change("lib", None, Some("1-1")),
            change("old", Some("1-1"), None),
        ];
        assert_eq!(changes, expected);
        assert!(announced("other\n", &plan, &database).is_err());
        assert!(announced("", &plan, &database).is_err());
    }

    #[test]
    fn a_plan_of_other_databases_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let gate = Gate::below(root.path());
        let file = root.path().join("lab.db");
        fs::write(&file, "x").unwrap();
        let plan = GatePlan {
            changes: vec![change("demo", Some("1-1"), Some("2-1"))],
            conf: Conf::default(),
            databases: vec![(file.clone(), stamp(&file))],
        };
        let arguments = ["run".to_owned(), "gate".to_owned()];
        let hooks = gate
            .set_up(&plan, (Path::new("/proc/7/exe"), &arguments))
            .unwrap();
        let text = fs::read_to_string(hooks.join("00-linux-patch-api.hook")).unwrap();
        assert!(text.contains("\nExec = /proc/7/exe run gate\n"), "{text}");
        let database = installed(&["demo"]);
        gate.announced(&mut &b"demo\n"[..], &database).unwrap();
        fs::write(&file, "xy").unwrap();
        assert!(gate.announced(&mut &b"demo\n"[..], &database).is_err());
    }
}
