//! Ends downloads when the worker that started them dies.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// Runs `program` in the process group of this process, and ends the whole group when `parent` ends before it does. A
/// signal at the parent's death (prctl(2), `PR_SET_PDEATHSIG`) would not do: the kernel forgets it when apt changes its
/// user for a moment, and apt's helpers never had it. The caller exits with the code of the program, or by the signal
/// that ended it.
pub fn run_guarded(parent: u32, program: &[OsString]) -> Result<u8> {
    let pid = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
    let parent = pid(parent).context("the parent is no process")?;
    let parent_handle =
        rustix::process::pidfd_open(parent, PidfdFlags::empty()).context("the parent has ended")?;
    // checked once the handle exists: before that, another process might have got the number
    ensure!(
        rustix::process::getppid() == Some(parent),
        "the parent has ended"
    );
    // TERM goes to the whole group; the program decides what becomes of it
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, told)
        .context("failed to prepare for a signal")?;
    let (path, arguments) = program.split_first().context("no program is named")?;
    let mut child = Command::new(path)
        .args(arguments)
        .spawn()
        .with_context(|| format!("failed to start '{}'", path.display()))?;
    let child_pid = pid(child.id()).context("no process id")?;
    let child_handle = rustix::process::pidfd_open(child_pid, PidfdFlags::empty())?;
    loop {
        let mut handles = [&child_handle, &parent_handle].map(|h| PollFd::new(h, PollFlags::IN));
        match rustix::event::poll(&mut handles, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if !handles[0].revents().is_empty() {
            break;
        }
        if !handles[1].revents().is_empty() {
            // ends this process, too
            rustix::process::kill_process_group(rustix::process::getpgrp(), Signal::KILL)?;
        }
    }
    let status = child.wait()?;
    if let Some(signal) = status.signal() {
        signal_hook::low_level::emulate_default_handler(signal)?;
    }
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Ends root's processes, with their groups, that have `words` in their command line or their environment: programs
/// that a dead worker has left behind and that must not finish. Returns how many were ended.
pub fn end_leftovers(words: &str) -> Result<usize> {
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc").context("failed to read '/proc'")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        // a process may end by itself at any of these steps, which is as good
        let of_root = entry.metadata().is_ok_and(|metadata| metadata.uid() == 0);
        let says = |file: &str| {
            let text = std::fs::read(entry.path().join(file)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).replace('\0', " ");
            text.contains(words)
        };
        let named = ["cmdline", "environ"].into_iter().any(says);
        if !of_root || !named || pid == rustix::process::getpid() {
            continue;
        }
        let killed = if rustix::process::getpgid(Some(pid)) == Ok(pid) {
            rustix::process::kill_process_group(pid, Signal::KILL)
        } else {
            rustix::process::kill_process(pid, Signal::KILL)
        };
        ended += usize::from(killed.is_ok());
    }
    Ok(ended)
}
