//! The gate between staged and activated: the change list is on disk before the first file changes.
//!
//! The package manager hands the list to a process of ours and waits for its answer. Whoever creates
//! the intent file first decides: the gate, and the transaction goes on; or the worker that was told
//! to stop, and nothing is changed.

use std::io::BufRead;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::own;
use crate::fs::create_atomically;
use crate::package::{Change, PackageManager};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::{self, job};

/// What stands in the intent file of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Intent {
    /// The package manager was let through, to make exactly these changes.
    Activated {
        /// The changes.
        changes: Vec<Change>,
    },
    /// The gate stayed shut.
    Refused {
        /// Why.
        reason: String,
        /// Whether another attempt, with a new refresh, may go through.
        again: bool,
    },
    /// The gate stayed shut: our own package was among others, after which it belongs.
    Mixed,
    /// A stop came before the package manager did.
    Stopped,
}

impl Intent {
    /// The intent of a transaction, if it has one.
    pub fn load(paths: &Paths, job: &JobId) -> Result<Option<Self>, String> {
        state::try_read(&job::intent(paths, job))
    }

    /// Creates the intent file; `false` when another intent was first.
    pub fn create(&self, path: &Path) -> Result<bool> {
        create_atomically(path, &serde_json::to_vec(self)?, 0o640)
    }
}

/// What the gate holds the change list against.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// When the transaction began: package files older than this were not checked by anybody.
    pub since: Option<SystemTime>,
    /// Exactly these changes are due; none when whatever is due may go through.
    pub plan: Option<Vec<Change>>,
}

/// Reads the change list from `input` and decides. An error, and the package manager stops before it
/// changed anything.
pub fn run(
    paths: &Paths,
    packages: &dyn PackageManager,
    job: &JobId,
    input: &mut dyn BufRead,
) -> Result<()> {
    let changes = packages.change_list(input)?;
    let expectation: Expectation = state::try_read(&expectation(paths, job))
        .map_err(|why| anyhow::anyhow!("what is expected cannot be read: {why}"))?
        .unwrap_or_default();
    let damaged = match expectation.since {
        Some(since) => packages.remove_damaged(&changes, since)?,
        None => Vec::new(),
    };
    let intent = match refusal(&changes, expectation.plan.as_deref()) {
        Some(reason) => Intent::Refused {
            reason,
            again: false,
        },
        None if !damaged.is_empty() => Intent::Refused {
            reason: format!("damaged in the cache, removed: {}", damaged.join(", ")),
            again: true,
        },
        None if expectation.plan.is_none() && own::is_mixed(&changes) => Intent::Mixed,
        None => Intent::Activated { changes },
    };
    let first = intent.create(&job::intent(paths, job))?;
    match intent {
        Intent::Activated { .. } if first => Ok(()),
        Intent::Refused { reason, .. } => bail!("refused: {reason}"),
        Intent::Mixed => bail!("our own package is updated after the others"),
        _ => bail!("stopped on request before anything was changed"),
    }
}

/// Why the list may not go through: pure.
fn refusal(changes: &[Change], plan: Option<&[Change]>) -> Option<String> {
    if let Some(removed) = changes.iter().find(|change| change.to.is_none()) {
        return Some(format!("{} would be removed", removed.package));
    }
    let plan = plan?;
    let essence = |change: &Change| {
        (
            change.package.clone(),
            change.architecture.clone(),
            change.to.clone(),
        )
    };
    let (mut planned, mut actual): (Vec<_>, Vec<_>) = (
        plan.iter().map(essence).collect(),
        changes.iter().map(essence).collect(),
    );
    planned.sort();
    actual.sort();
    let other = actual.iter().find(|change| !planned.contains(change));
    match (other, planned == actual) {
        (_, true) => None,
        (Some((package, _, to)), _) => Some(format!(
            "{package} {} was not planned",
            to.as_deref().unwrap_or("removed"),
        )),
        (None, _) => Some("less would be changed than was planned".to_owned()),
    }
}

/// Where the expectation of a transaction lies.
#[must_use]
pub fn expectation(paths: &Paths, job: &JobId) -> std::path::PathBuf {
    paths.run().join(format!("{job}.expectation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(package: &str, to: Option<&str>) -> Change {
        Change {
            package: package.into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: to.map(Into::into),
            file: None,
        }
    }

    #[test]
    fn only_what_was_planned_goes_through_and_no_removal() {
        let plan = [change("a", Some("2")), change("b", Some("2"))];
        assert_eq!(refusal(&plan, Some(&plan)), None);
        assert_eq!(refusal(&plan, None), None);
        assert!(refusal(&plan[..1], Some(&plan)).unwrap().contains("less"));
        assert!(
            refusal(&plan, Some(&plan[..1]))
                .unwrap()
                .contains("b 2 was not planned")
        );
        assert!(
            refusal(&[change("a", Some("3"))], Some(&plan[..1]))
                .unwrap()
                .contains("a 3")
        );
        let removal = [change("a", None)];
        for plan in [None, Some(&removal[..])] {
            assert_eq!(refusal(&removal, plan).unwrap(), "a would be removed");
        }
    }

    #[test]
    fn the_first_intent_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.intent");
        assert!(Intent::Stopped.create(&path).unwrap());
        assert!(!Intent::Activated { changes: vec![] }.create(&path).unwrap());
        let read: Intent = state::try_read(&path).unwrap().unwrap();
        assert_eq!(read, Intent::Stopped);
    }
}
