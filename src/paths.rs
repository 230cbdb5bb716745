//! Every path that the program reads or writes.

use std::path::{Path, PathBuf};

/// The host's directories, relative to a root that is `/` except in unit tests.
#[derive(Debug, Clone)]
pub struct Paths {
    root: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self::below("/")
    }
}

impl Paths {
    /// All paths below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Any absolute path of the host, below the root.
    #[must_use]
    pub fn host(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Durable state; its subdirectories are on one file system, so that renames are atomic.
    #[must_use]
    pub fn lib(&self) -> PathBuf {
        self.host("/var/lib/linux_patch_api")
    }

    /// Volatile state: locks and progress.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.host("/run/linux_patch_api")
    }

    /// Where front ends prepare an entry before they rename it into the queue.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.lib().join("tmp")
    }

    /// The program that a package manager runs as its gate; only root may write to it. Not in `/run`, from which nothing
    /// is executed on hosts with initramfs-tools (mounted `noexec`); package managers run scripts from
    /// `/var` themselves.
    #[must_use]
    pub fn gate(&self) -> PathBuf {
        self.lib().join("gate")
    }

    /// Requests that wait for the worker.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.lib().join("queue")
    }

    /// The jobs that a worker has begun, for the next one.
    #[must_use]
    pub fn running(&self) -> PathBuf {
        self.state().join("running.json")
    }

    /// Questions of the front ends to the planner.
    #[must_use]
    pub fn inquiries(&self) -> PathBuf {
        self.lib().join("inquiries")
    }

    /// The planner's answers; volatile.
    #[must_use]
    pub fn findings(&self) -> PathBuf {
        self.run().join("findings")
    }

    /// Queue entries that were not valid requests.
    #[must_use]
    pub fn refused(&self) -> PathBuf {
        self.lib().join("refused")
    }

    /// Jobs that wait for the network.
    #[must_use]
    pub fn deferred(&self) -> PathBuf {
        self.lib().join("deferred")
    }

    /// Jobs whose preconditions no longer hold.
    #[must_use]
    pub fn conflicts(&self) -> PathBuf {
        self.lib().join("conflicts")
    }

    /// Which job an idempotency key stands for.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.lib().join("keys")
    }

    /// One record and one log for each job.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.lib().join("jobs")
    }

    /// The state of the index, the pending updates and the latest update.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.lib().join("state")
    }

    /// The package store: package files kept for rolling back the next update.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.lib().join("packages")
    }

    /// The lock that a worker takes before its refresh and releases after it has written its record.
    #[must_use]
    pub fn worker_lock(&self) -> PathBuf {
        self.run().join("worker.lock")
    }

    /// The progress of the running job; volatile.
    #[must_use]
    pub fn progress(&self) -> PathBuf {
        self.run().join("progress.json")
    }

    /// The directories of a job's own files, which a process of root creates if missing.
    #[must_use]
    pub fn directories(&self) -> [PathBuf; 13] {
        [
            self.lib(),
            self.run(),
            self.tmp(),
            self.queue(),
            self.inquiries(),
            self.findings(),
            self.refused(),
            self.deferred(),
            self.conflicts(),
            self.keys(),
            self.jobs(),
            self.state(),
            self.packages(),
        ]
    }
}

/// The name of `path` for a message, quoted.
#[must_use]
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
