//! What apk would do: resolved without changing anything.

use anyhow::{Result, bail};

use super::backend::Apk;
use super::listing::{self, Step};
use crate::exec::{ExitReason, Line};
use crate::package::Change;
use crate::sorted;

impl Apk {
    /// What an upgrade of these packages, or of everything, would change.
    pub(super) fn simulate(&self, names: &[String]) -> Result<Result<Vec<Step>, String>> {
        let (mut output, mut said) = (String::new(), Vec::new());
        let program = self.apk.simulate(names);
        let finished = program.run(&mut |line: Line<'_>| {
            let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
            if text.starts_with("ERROR: ") || (text.starts_with("  ") && !said.is_empty()) {
                said.push(text.trim().to_owned());
            }
            output.push_str(text);
            output.push('\n');
        })?;
        match finished.exit_reason {
            // where a package was broken before, it exits with the number of those
            ExitReason::Exited(_) if said.is_empty() => listing::simulated(&output).map(Ok),
            ExitReason::Exited(_) => Ok(Err(said.join("; "))),
            _ => bail!("{}", program.failure(&finished)),
        }
    }

    /// The changes of these steps that change something, in order.
    pub(super) fn changes(&self, steps: Vec<Step>) -> Result<Vec<Change>> {
        let installed = self.read_database()?;
        let native = installed
            .keys()
            .map(|key| &key.architecture)
            .find(|a| *a != "noarch");
        let native = native.cloned().unwrap_or_else(|| "noarch".to_owned());
        let change = |step: Step| {
            let known = installed.keys().find(|key| key.package == step.package);
            Change {
                architecture: known.map_or_else(|| native.clone(), |key| key.architecture.clone()),
                package: step.package,
                from: step.from,
                to: step.to,
                file: None,
                ..Change::default()
            }
        };
        let mut changes: Vec<Change> = steps.into_iter().map(change).collect();
        changes.retain(|change| change.from != change.to);
        sorted::sort(&mut changes);
        Ok(changes)
    }
}
