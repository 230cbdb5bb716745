//! A running child: reading what it writes, and ending it at its time limit or on request.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::exit_reason::ExitReason;
use super::output_handler::{Line, OutputHandler};
use super::pipe::{Pipe, StreamKind};

/// How long a child has between the first signal and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// How long output may still come after the child has ended: a daemon that it left behind may hold
/// the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// How often a log file is read when no other output arrives.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// Why and when this process sent the child a signal to end.
#[derive(Clone, Copy)]
struct Signalled {
    exit_reason: ExitReason,
    at: Instant,
    killed: bool,
}

/// When this process ends a child, and by which signal.
#[derive(Clone, Copy)]
pub struct Limits {
    /// The time limit.
    pub time: Option<Duration>,
    /// The first signal; KILL follows.
    pub signal: Signal,
}

/// Runs a child that was started to its end, and hands on what it writes.
pub fn run(
    child: &mut Child,
    pipes: &mut [Pipe],
    limits: Limits,
    handler: &mut dyn OutputHandler,
    deliver: &mut dyn FnMut(Line<'_>, &mut dyn OutputHandler),
) -> Result<ExitReason> {
    let group = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let handle = rustix::process::pidfd_open(group, PidfdFlags::empty())?;
    let (started, limit) = (Instant::now(), limits.time);
    let signal_group = |exit_reason| signal_group(group, limits.signal, exit_reason);
    let mut signalled: Option<Signalled> = None;
    loop {
        let ended = wait(handle.as_fd(), pipes, deadline(started, limit, signalled))?;
        for pipe in pipes.iter_mut().filter(|pipe| pipe.open) {
            pipe.read(&mut |line| deliver(line, handler))?;
        }
        if ended {
            break;
        }
        signalled = match signalled {
            None if limit.is_some_and(|limit| started.elapsed() >= limit) => {
                Some(signal_group(ExitReason::TimedOut))
            }
            None if handler.stop() => Some(signal_group(ExitReason::Stopped)),
            Some(signalled) if !signalled.killed && signalled.at.elapsed() >= GRACE => {
                // the group may end between the check and the signal
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                Some(Signalled {
                    killed: true,
                    ..signalled
                })
            }
            other => other,
        };
    }
    let status = child.wait()?;
    if signalled.is_some() {
        // no process of the group may survive, not even one that ignores TERM
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    drain(pipes, handler, deliver)?;
    Ok(signalled.map_or_else(|| exit_reason(status), |signalled| signalled.exit_reason))
}

fn signal_group(group: Pid, signal: Signal, exit_reason: ExitReason) -> Signalled {
    let _ = rustix::process::kill_process_group(group, signal);
    Signalled {
        exit_reason,
        at: Instant::now(),
        killed: false,
    }
}

/// How long to wait at most, even if the child writes nothing.
fn deadline(started: Instant, limit: Option<Duration>, signalled: Option<Signalled>) -> Duration {
    let next = match (signalled, limit) {
        (Some(signalled), _) => GRACE.saturating_sub(signalled.at.elapsed()),
        (None, Some(limit)) => limit.saturating_sub(started.elapsed()),
        (None, None) => Duration::MAX,
    };
    next.clamp(Duration::from_millis(1), Duration::from_secs(1))
}

/// Waits until the child ends or writes, at most `time`; whether it ended.
fn wait(handle: BorrowedFd<'_>, pipes: &[Pipe], time: Duration) -> Result<bool> {
    let mut polled = vec![PollFd::from_borrowed_fd(handle, PollFlags::IN)];
    polled.extend(waitable(pipes).map(|pipe| PollFd::new(&pipe.file, PollFlags::IN)));
    let time = if pipes
        .iter()
        .any(|pipe| matches!(pipe.kind, StreamKind::Log))
    {
        time.min(LOG_INTERVAL)
    } else {
        time
    };
    let time = Timespec::try_from(time).context("time out of range")?;
    match rustix::event::poll(&mut polled, Some(&time)) {
        Ok(_) => {}
        // a signal, perhaps the one that asks us to stop: let the caller look
        Err(rustix::io::Errno::INTR) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    Ok(polled
        .first()
        .is_some_and(|handle| handle.revents().contains(PollFlags::IN)))
}

/// The pipes that something may still come from.
fn waitable(pipes: &[Pipe]) -> impl Iterator<Item = &Pipe> {
    pipes
        .iter()
        .filter(|pipe| pipe.open && !matches!(pipe.kind, StreamKind::Log))
}

/// Reads what the ended child left in its pipes.
fn drain(
    pipes: &mut [Pipe],
    handler: &mut dyn OutputHandler,
    deliver: &mut dyn FnMut(Line<'_>, &mut dyn OutputHandler),
) -> Result<()> {
    let until = Instant::now() + OUTPUT_GRACE;
    loop {
        for pipe in pipes.iter_mut().filter(|pipe| pipe.open) {
            pipe.read(&mut |line| deliver(line, handler))?;
        }
        let left = until.saturating_duration_since(Instant::now());
        let mut polled: Vec<_> = waitable(pipes)
            .map(|pipe| PollFd::new(&pipe.file, PollFlags::IN))
            .collect();
        if polled.is_empty() || left.is_zero() {
            break;
        }
        let time = Timespec::try_from(left).context("time out of range")?;
        match rustix::event::poll(&mut polled, Some(&time)) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for pipe in pipes.iter_mut().filter(|pipe| !pipe.partial.is_empty()) {
        pipe.flush(&mut |line| deliver(line, handler));
    }
    Ok(())
}

fn exit_reason(status: ExitStatus) -> ExitReason {
    match status.code() {
        Some(code) => ExitReason::Exited(code),
        None => ExitReason::Killed(status.signal().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::exec::Program;

    /// Asks for a stop as soon as this file is there.
    struct Until(PathBuf);

    impl OutputHandler for Until {
        fn line(&mut self, _: Line<'_>) {}

        fn stop(&mut self) -> bool {
            self.0.exists()
        }
    }

    #[test]
    fn a_program_that_wants_to_be_interrupted_can_clean_up() {
        let directory = tempfile::tempdir().unwrap();
        let ready = directory.path().join("ready");
        let script = "trap 'rm \"$0\"; exit' INT; echo >\"$0\"; while :; do sleep 0.1; done";
        // a shell cannot trap what was ignored when it started, as INT is in the background of another
        let program = Program::new("/usr/bin/env")
            .args(["--default-signal=INT", "/bin/sh", "-c", script])
            .arg(&ready);
        let mut stop = Until(ready.clone());
        let finished = program.clone().interrupted().run(&mut stop).unwrap();
        assert_eq!(finished.exit_reason, ExitReason::Stopped);
        assert!(!ready.exists());
        let finished = program.run(&mut stop).unwrap();
        assert_eq!(finished.exit_reason, ExitReason::Stopped);
        assert!(ready.exists(), "it was not asked for");
    }
}
