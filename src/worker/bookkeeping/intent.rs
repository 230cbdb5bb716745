//! What the gate is to hold a change list against, and what it let through.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::ForeignShutdown;
use crate::fs::create_atomically;
use crate::journal;
use crate::package::{Change, KeptBack, KeptBackCause, RollbackItem, Update};
use crate::paths::Paths;
use crate::request::JobId;
use crate::state::{self, job};
use crate::worker::bookkeeping::context::Context;

/// What stands in the intent file of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Intent {
    /// The package manager was let through, to make exactly these changes.
    Activated {
        /// The changes.
        changes: Vec<Change>,
        /// Where each former version could be had from.
        #[serde(default)]
        former: Vec<RollbackItem>,
    },
    /// The gate stayed shut.
    Refused {
        /// Why.
        reason: String,
        /// Whether another attempt, with a new refresh, may go through.
        again: bool,
        /// Whether the jobs wait: a shutdown is scheduled.
        #[serde(default)]
        postponed: bool,
    },
    /// The gate stayed shut: these have no room, and others may have.
    NoRoom {
        /// Those that have none.
        without: Vec<NoRoom>,
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
    /// When the transaction began: package files older than this were not verified when they were downloaded.
    pub since: Option<SystemTime>,
    /// Exactly these changes are due; none when whatever is due may go through.
    pub plan: Option<Vec<Change>>,
    /// Whether what could not be undone is refused.
    #[serde(default)]
    pub require_rollback: bool,
    /// What to do if another program has scheduled a shutdown.
    #[serde(default)]
    pub foreign_shutdown: ForeignShutdown,
}

/// Where the expectation of a transaction lies.
#[must_use]
pub fn expectation(paths: &Paths, job: &JobId) -> PathBuf {
    paths.run().join(format!("{job}.expectation"))
}

/// A change for which a file system has no room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoom {
    /// The change.
    pub change: Change,
    /// What it needs, where, and what is free there.
    pub reason: String,
}

impl NoRoom {
    /// Whether this update is the change.
    pub fn is(&self, update: &Update) -> bool {
        let change = &self.change;
        (&change.package, &change.architecture) == (&update.package, &update.architecture)
            && change.to.as_ref() == Some(&update.candidate)
    }

    /// The update as one that is kept back.
    pub fn kept_back(&self) -> KeptBack {
        KeptBack::new(&self.change.package, KeptBackCause::Space, &self.reason)
    }
}

/// What the gate let through. One that cannot be read cannot be judged: the job is requeued, with a plan
/// of what is installed then.
pub fn intent_of(ctx: &Context, transaction: &JobId) -> Option<Intent> {
    Intent::load(&ctx.paths, transaction).unwrap_or_else(|why| {
        journal::state_unusable(&job::intent(&ctx.paths, transaction), &why);
        None
    })
}
