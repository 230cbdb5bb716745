//! What one host owns on the machine: a directory, an overlay, a control group, a network namespace. All gone at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::cgroup::Cgroup;
use crate::{cache, machine};

/// The writable side of one host. Its name carries the process that owns it, so that a dead owner's can be swept.
pub(crate) struct Scratch {
    id: String,
    private_network: bool,
}

impl Scratch {
    /// A fresh overlay over `lower` (the uppermost first), and a network namespace of its own if it is to be private.
    pub(crate) fn create(lower: &[PathBuf], private_network: bool) -> Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let scratch = Self {
            id: next_id()?,
            private_network,
        };
        scratch.mount(lower)?;
        if private_network {
            // the first one ever also prepares /run/netns, which two at once cannot do
            let _lock = cache::lock("netns")?;
            machine::run("ip", &["netns", "add", &scratch.id])?;
            machine::run("ip", &["-n", &scratch.id, "link", "set", "lo", "up"])?;
        }
        Ok(scratch)
    }

    /// Unique on the machine: the name of the container, of the control group and of the network namespace.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Where sockets, logs and repositories of the host are kept, outside its tree.
    pub(crate) fn directory(&self) -> PathBuf {
        directory_of(&self.id)
    }

    /// The tree the host sees as `/`.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory().join("root")
    }

    pub(crate) fn cgroup(&self) -> Result<Cgroup> {
        Cgroup::named(&self.id)
    }

    /// The file that stands for the network namespace, which outlives every boot of the host.
    pub(crate) fn network_namespace(&self) -> Option<PathBuf> {
        self.private_network
            .then(|| Path::new("/run/netns").join(&self.id))
    }

    /// Turns what the host has written into a layer for other hosts.
    pub(crate) fn give_away_upper(&self, destination: &Path) -> Result<()> {
        machine::run("umount", &[self.root()])?;
        fs::rename(self.directory().join("upper"), destination)
            .with_context(|| format!("failed to move the layer to '{}'", destination.display()))
    }

    fn mount(&self, lower: &[PathBuf]) -> Result<()> {
        let directory = self.directory();
        for name in ["root", "upper", "work"] {
            let path = directory.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("failed to create '{}'", path.display()))?;
        }
        let lower: Vec<String> = lower
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        // volatile: nothing is synced to this disk, a "power cut" here is the death of every process
        // redirect_dir: a directory of a lower layer can be renamed, as on a real disk
        let options = format!(
            "lowerdir={},upperdir={}/upper,workdir={}/work,volatile,redirect_dir=on",
            lower.join(":"),
            directory.display(),
            directory.display(),
        );
        machine::run(
            "mount",
            &[
                "-t",
                "overlay",
                "-o",
                &options,
                &self.id,
                &self.root().display().to_string(),
            ],
        )
        .map(drop)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("LAB_KEEP").is_some() {
            let _ = self.cgroup().and_then(|cgroup| cgroup.kill());
            eprintln!("lab: kept '{}'", self.root().display());
        } else if let Err(error) = clean(&self.id) {
            eprintln!("lab: failed to clean up {}: {error:#}", self.id);
        }
    }
}

/// Removes everything that carries this name; what is already gone is no error.
fn clean(id: &str) -> Result<()> {
    let cgroup = Cgroup::named(id)?;
    cgroup.end()?;
    let directory = directory_of(id);
    if is_mounted(&directory.join("root")) {
        machine::run("umount", &[directory.join("root")])?;
    }
    if Path::new("/run/netns").join(id).exists() {
        machine::run("ip", &["netns", "del", id])?;
    }
    for left in [
        Path::new("/run/systemd/nspawn/propagate").join(id),
        Path::new("/run/systemd/nspawn/unix-export").join(id),
    ] {
        let _ = fs::remove_dir(left);
    }
    cache::remove(&directory)
}

/// Cleans up after test processes that died without doing it themselves. Kept trees go with the next run.
fn sweep() {
    if std::env::var_os("LAB_KEEP").is_some() {
        return;
    }
    let Ok(_lock) = cache::lock("sweep") else {
        return;
    };
    let entries = fs::read_dir(cache::root().join("hosts"))
        .into_iter()
        .flatten()
        .flatten();
    for id in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        if !is_owner_alive(&id)
            && let Err(error) = clean(&id)
        {
            eprintln!("lab: failed to sweep {id}: {error:#}");
        }
    }
}

/// Whether a layer or base below this path is part of a mounted host, of whatever process.
pub(crate) fn is_in_use(layer: &Path) -> bool {
    let layer = layer.display().to_string();
    mounts().lines().any(|line| line.contains(&layer))
}

fn is_mounted(path: &Path) -> bool {
    let path = path.display().to_string();
    mounts()
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&path))
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mounts").unwrap_or_default()
}

fn directory_of(id: &str) -> PathBuf {
    cache::root().join("hosts").join(id)
}

/// `lab-PID-STARTTIME-NUMBER`: a process id alone may belong to another process by the time of the sweep.
fn next_id() -> Result<String> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id();
    let started = start_time(pid).context("failed to read this process's start time")?;
    Ok(format!(
        "lab-{pid}-{started}-{}",
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ))
}

fn is_owner_alive(id: &str) -> bool {
    let mut parts = id
        .split('-')
        .skip(1)
        .filter_map(|part| part.parse::<u64>().ok());
    let (Some(pid), Some(started)) = (parts.next(), parts.next()) else {
        return false;
    };
    u32::try_from(pid).ok().and_then(start_time) == Some(started)
}

/// The 22nd field of `stat`, counted behind the program's name, which may contain anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}
