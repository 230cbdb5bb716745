//! A control group per host: with it a stop ends that host's processes and no other's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// One group of the unified hierarchy, with whatever is below it.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// The group of that name directly below the top of the hierarchy, whether it exists or not.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(Self {
            path: hierarchy()?.join(name),
        })
    }

    /// A group below this one, created. Processes go into such leaves only: a unified machine wants it so.
    pub(crate) fn leaf(&self, name: &str) -> Result<Self> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("failed to create '{}'", path.display()))?;
        Ok(Self { path })
    }

    /// The file a process writes `0` to in order to join.
    pub(crate) fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// SIGKILL to everything in it and below, at once; returns when nothing is left alive.
    pub(crate) fn kill(&self) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        let file = self.path.join("cgroup.kill");
        fs::write(&file, "1").with_context(|| format!("failed to write '{}'", file.display()))?;
        let limit = Instant::now() + Duration::from_secs(20);
        while self.is_populated()? {
            if Instant::now() > limit {
                bail!("processes in '{}' outlive SIGKILL", self.path.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Kills what is left, and the group with it: in a group that was killed once, Linux 6.18 kills what systemd
    /// forks into it later, so every boot needs a new one.
    pub(crate) fn end(&self) -> Result<()> {
        self.kill()?;
        self.remove();
        Ok(())
    }

    fn is_populated(&self) -> Result<bool> {
        let file = self.path.join("cgroup.events");
        let events = fs::read_to_string(&file)
            .with_context(|| format!("failed to read '{}'", file.display()))?;
        Ok(events.lines().any(|line| line == "populated 1"))
    }

    /// Removes the group, its children, and the copies systemd-nspawn made in the hierarchy of version 1.
    pub(crate) fn remove(&self) {
        remove_tree(&self.path);
        if let Some(name) = self.path.file_name() {
            remove_tree(&Path::new("/sys/fs/cgroup/systemd").join(name));
        }
    }
}

/// Control groups go by rmdir, the innermost first; one that is still in use stays, and is swept later.
fn remove_tree(path: &Path) {
    let children = fs::read_dir(path).into_iter().flatten().flatten();
    for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    let _ = fs::remove_dir(path);
}

/// Where version 2 is mounted: alone, or beside version 1 on a hybrid machine.
fn hierarchy() -> Result<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.join("cgroup.controllers").exists())
        .context("no cgroup version 2 hierarchy is mounted below /sys/fs/cgroup")
}
