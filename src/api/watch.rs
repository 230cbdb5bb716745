//! Files that change: the records of the worker, watched with inotify.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use zruntime::{AsyncIo, Shared, SharedRuntime};

use crate::paths::Paths;

/// Tells when something in the state, the queue or the volatile state was renamed into place or away.
pub struct RecordWatch {
    descriptor: AsyncIo<OwnedFd, Shared>,
}

impl RecordWatch {
    /// Starts to watch.
    pub fn new(runtime: &SharedRuntime, paths: &Paths) -> Result<Self> {
        let descriptor = watch(&[paths.state(), paths.queue(), paths.run()])?;
        Ok(Self {
            descriptor: AsyncIo::new_nonblocking(runtime, descriptor)?,
        })
    }

    /// Waits for the next change; which file it was does not matter.
    pub async fn changed(&self) -> io::Result<()> {
        self.descriptor
            .read_with(|descriptor| {
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut events = inotify::Reader::new(descriptor, &mut buffer);
                events.next().map(|_| ()).map_err(io::Error::from)
            })
            .await
    }

    /// Discards further reported changes: a caller that reads the records now sees all of them.
    pub fn forget(&self) {
        forget(self.descriptor.get_ref());
    }
}

/// A descriptor that can be read when something was renamed into place or away in the records of the
/// host or of its jobs.
pub fn changes(paths: &Paths) -> Result<OwnedFd> {
    watch(&[paths.state(), paths.queue(), paths.run(), paths.jobs()])
}

/// Discards the reported changes; the descriptor can be read again after the next one.
pub fn forget(changes: impl AsFd) {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(changes.as_fd(), &mut buffer);
    while events.next().is_ok() {}
}

fn watch(directories: &[PathBuf]) -> Result<OwnedFd> {
    let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
        .context("failed to watch files")?;
    let flags = WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
    for directory in directories {
        // a host that was never set up has nothing to watch yet
        let _ = inotify::add_watch(&descriptor, directory, flags);
    }
    Ok(descriptor)
}
