//! The one place that starts programs: environment, locale, process group, time limit, output.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// What a child finds in its environment, and nothing else: a variable like `APT_CONFIG` from the
/// caller's would run hooks of the caller's choice as root (measured).
const ENVIRONMENT: [(&str, &str); 11] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("LANGUAGE", ""),
    ("TERM", "dumb"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("UCF_FORCE_CONFFOLD", "1"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("APT_LISTBUGS_FRONTEND", "none"),
    // it would restart the unit we run in; the run after ours does what is needed
    ("NEEDRESTART_SUSPEND", "1"),
];

/// How long a child has between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);

/// How long output may still come after the child has ended: a daemon that it left behind may hold
/// the pipe open for ever.
const AFTERGLOW: Duration = Duration::from_millis(500);

/// How often a log file is looked at when nothing else wakes us.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// The longest line kept; the rest of a longer one is dropped.
const MAX_LINE: usize = 64 * 1024;

/// The last lines of standard error that an error message quotes.
const TAIL_LINES: usize = 20;

/// How long what may wait for everybody else may take.
const IDLE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// A program to run: absolute path, arguments, limits. Pure value; [`Program::run`] starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: OsString,
    arguments: Vec<OsString>,
    limit: Option<Duration>,
    status_option: Option<&'static str>,
    log: Option<PathBuf>,
    input: Option<Vec<u8>>,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    leashed: bool,
    bare: bool,
}

/// One line a child wrote, without its end; empty lines are left out, bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// To standard output.
    Output(&'a str),
    /// To standard error.
    Error(&'a str),
    /// To the status descriptor.
    Status(&'a str),
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// We ended it because its time was up.
    TimedOut,
    /// We ended it because somebody asked us to stop.
    Stopped,
}

/// An ended child.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// The last lines of its standard error.
    pub errors: Vec<String>,
}

impl Finished {
    /// Whether it exited with 0. For a package manager that proves nothing.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.ending == Ending::Exited(0)
    }
}

/// What [`Program::run`] asks while the child runs.
pub trait Watch {
    /// A line came.
    fn line(&mut self, line: Line<'_>);

    /// Whether the child is to be ended now. Asked after every line and once a second at least.
    fn stop(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(Line<'_>)> Watch for F {
    fn line(&mut self, line: Line<'_>) {
        self(line);
    }
}

impl Program {
    /// A program by its absolute path.
    pub fn new(path: impl Into<OsString>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            limit: None,
            status_option: None,
            log: None,
            input: None,
            directory: "/".into(),
            environment: Vec::new(),
            leashed: false,
            bare: false,
        }
    }

    /// A program that everybody else's work comes before: nice(1), ionice(1). It has an hour: from a mirror
    /// that trickles it would go on for days, and what is left is done another time.
    pub fn idle(path: impl AsRef<OsStr>) -> Self {
        Self::new("/usr/bin/nice")
            .args(["-n", "19", "/usr/bin/ionice", "-c", "3"])
            .arg(path)
            .limit(IDLE_LIMIT)
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments
            .extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// The time after which the whole process group is ended.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Gives the child a pipe for status lines; `-o OPTION=FD` goes in front of its arguments.
    #[must_use]
    pub fn status_pipe(mut self, option: &'static str) -> Self {
        self.status_option = Some(option);
        self
    }

    /// Lets the child write both its outputs to the end of this file, from which they are read back:
    /// unlike a pipe's, its writer survives us.
    #[must_use]
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }

    /// What it reads from its standard input, which is `/dev/null` unless it is said.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// The directory it starts in, `/` unless it is said.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// One more variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        // a NUL would keep the program from being started at all
        self.environment
            .push((name.to_owned(), value.replace('\0', " ")));
        self
    }

    /// Ends the program, and all it has started, when we die, however that happens: for what fetches.
    /// Without it a worker that is killed leaves its `apt-get update` behind, without our limit, holding
    /// apt's lock for as long as a slow mirror likes. What changes packages is never leashed.
    #[must_use]
    pub fn leashed(mut self) -> Self {
        self.leashed = true;
        self
    }

    /// Leaves the program `PATH` of the usual environment, and what was added to it: what is good for a
    /// package manager may not be for a program of the administrator's.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// The arguments, for tests of the builders and for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let words = std::iter::once(&self.path).chain(&self.arguments);
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs the program to its end.
    pub fn run(&self, watch: &mut dyn Watch) -> Result<Finished> {
        let (mut child, mut pipes) = self
            .spawn()
            .with_context(|| format!("failed to start '{}'", self.shown()))?;
        let mut errors = VecDeque::new();
        let mut deliver = |line: Line<'_>, watch: &mut dyn Watch| {
            if let Line::Error(text) = line {
                if errors.len() == TAIL_LINES {
                    errors.pop_front();
                }
                errors.push_back(text.to_owned());
            }
            watch.line(line);
        };
        let ending = supervise(&mut child, &mut pipes, self.limit, watch, &mut deliver)
            .with_context(|| format!("failed to wait for '{}'", self.shown()))?;
        Ok(Finished {
            ending,
            errors: errors.into(),
        })
    }

    /// Runs the program and gives its standard output; an error unless it exits with 0.
    pub fn capture(&self) -> Result<String> {
        let mut output = String::new();
        let finished = self.run(&mut |line: Line<'_>| {
            if let Line::Output(text) = line {
                output.push_str(text);
                output.push('\n');
            }
        })?;
        if !finished.succeeded() {
            bail!("{}", self.failure(&finished));
        }
        Ok(output)
    }

    /// One sentence on how the program failed: the program, its ending, its last words.
    #[must_use]
    pub fn failure(&self, finished: &Finished) -> String {
        let name = std::path::Path::new(&self.path)
            .file_name()
            .unwrap_or(&self.path);
        let name = name.to_string_lossy();
        let how = match finished.ending {
            Ending::Exited(code) => format!("{name} exited with {code}"),
            Ending::Killed(signal) => format!("{name} was killed by signal {signal}"),
            Ending::TimedOut => {
                let seconds = self.limit.unwrap_or_default().as_secs();
                format!("{name} was ended after its limit of {seconds} s")
            }
            Ending::Stopped => format!("{name} was stopped on request"),
        };
        if finished.errors.is_empty() {
            how
        } else {
            format!("{how}: {}", finished.errors.join("; "))
        }
    }

    /// The program itself, or this one, which holds it on its leash (see [`hold`]).
    fn command(&self) -> Command {
        if !self.leashed {
            return Command::new(&self.path);
        }
        // by the link, because the file may have been replaced since we were started
        let mut command = Command::new("/proc/self/exe");
        let parent = std::process::id().to_string();
        command.args(["run", "leashed", &parent]).arg(&self.path);
        command
    }

    /// A file of memory, not a pipe: nobody has to feed it while the child runs.
    fn standard_input(&self) -> io::Result<Stdio> {
        let Some(bytes) = &self.input else {
            return Ok(Stdio::null());
        };
        let memory = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file.into())
    }

    fn spawn(&self) -> io::Result<(Child, Vec<Pipe>)> {
        let mut command = self.command();
        let usual = if self.bare { 1 } else { ENVIRONMENT.len() };
        command
            .env_clear()
            .envs(ENVIRONMENT.into_iter().take(usual))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .current_dir(&self.directory);
        command
            .stdin(self.standard_input()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = &self.log {
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(path)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        // the writing end must stay open until the child has it, and no longer
        let mut pipes = Vec::new();
        let writer = match self.status_option {
            Some(option) => {
                let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                pipes.push(Pipe::new(reader, Kind::Status)?);
                rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty())?;
                command
                    .arg("-o")
                    .arg(format!("{option}={}", writer.as_raw_fd()));
                Some(writer)
            }
            None => None,
        };
        command.args(&self.arguments);
        if let Some(path) = &self.log {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::End(0))?;
            pipes.push(Pipe {
                file,
                kind: Kind::Log,
                partial: Vec::new(),
                open: true,
            });
        }
        let mut child = command.spawn()?;
        drop(writer);
        if let Some(output) = child.stdout.take() {
            pipes.push(Pipe::new(output.into(), Kind::Output)?);
        }
        if let Some(errors) = child.stderr.take() {
            pipes.push(Pipe::new(errors.into(), Kind::Error)?);
        }
        Ok((child, pipes))
    }
}

/// Runs `program` in the process group of this process, and ends the whole group when `parent` ends
/// before it does. A signal at the parent's death (prctl(2), `PR_SET_PDEATHSIG`) would not do: the kernel
/// forgets it when apt changes its user for a moment, and apt's helpers never had it. The exit code of the
/// program is the caller's, and so is the signal that ended it.
pub fn hold(parent: u32, program: &[OsString]) -> Result<u8> {
    let pid = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
    let parent = pid(parent).context("the parent is no process")?;
    let parent_handle =
        rustix::process::pidfd_open(parent, PidfdFlags::empty()).context("the parent has ended")?;
    // asked after the handle is there: until then, the number might have become another process's
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

/// Ends root's processes, with their groups, that have `words` in their command line: what a worker has
/// started that died, and what is not to come to its end. How many there were.
pub fn end_leftovers(words: &str) -> Result<usize> {
    let mut ended = 0;
    for entry in std::fs::read_dir("/proc").context("failed to read '/proc'")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        // a process may end at any of these steps, which is all that is wanted
        let of_root = entry.metadata().is_ok_and(|metadata| metadata.uid() == 0);
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if !of_root || !line.contains(words) || pid == rustix::process::getpid() {
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

#[derive(Debug, Clone, Copy)]
enum Kind {
    Output,
    Error,
    Status,
    /// A file that grows: it has no end and cannot be waited for.
    Log,
}

/// The reading end of one of the child's pipes, and the line that is not whole yet.
struct Pipe {
    file: File,
    kind: Kind,
    partial: Vec<u8>,
    open: bool,
}

impl Pipe {
    fn new(descriptor: OwnedFd, kind: Kind) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self {
            file: File::from(descriptor),
            kind,
            partial: Vec::new(),
            open: true,
        })
    }

    /// Reads all there is now and hands on whole lines; the last one also without its end at EOF.
    fn read(&mut self, deliver: &mut dyn FnMut(Line<'_>)) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) if matches!(self.kind, Kind::Log) => return Ok(()),
                Ok(0) => {
                    self.open = false;
                    if !self.partial.is_empty() {
                        self.flush(deliver);
                    }
                    return Ok(());
                }
                Ok(count) => self.take(&buffer[..count], deliver),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(Line<'_>)) {
        for &byte in bytes {
            // a carriage return ends a line, too: progress on a terminal is written that way
            if byte == b'\n' || byte == b'\r' {
                if !self.partial.is_empty() {
                    self.flush(deliver);
                }
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(byte);
            }
        }
    }

    fn flush(&mut self, deliver: &mut dyn FnMut(Line<'_>)) {
        let text = String::from_utf8_lossy(&self.partial);
        deliver(match self.kind {
            Kind::Output | Kind::Log => Line::Output(&text),
            Kind::Error => Line::Error(&text),
            Kind::Status => Line::Status(&text),
        });
        drop(text);
        self.partial.clear();
    }
}

/// Why and when the child was told to end.
#[derive(Clone, Copy)]
struct Told {
    ending: Ending,
    at: Instant,
    killed: bool,
}

fn supervise(
    child: &mut Child,
    pipes: &mut [Pipe],
    limit: Option<Duration>,
    watch: &mut dyn Watch,
    deliver: &mut dyn FnMut(Line<'_>, &mut dyn Watch),
) -> Result<Ending> {
    let group = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no process id")?;
    let handle = rustix::process::pidfd_open(group, PidfdFlags::empty())?;
    let started = Instant::now();
    let mut told: Option<Told> = None;
    loop {
        let ended = wait(handle.as_fd(), pipes, deadline(started, limit, told))?;
        for pipe in pipes.iter_mut().filter(|pipe| pipe.open) {
            pipe.read(&mut |line| deliver(line, watch))?;
        }
        if ended {
            break;
        }
        told = match told {
            None if limit.is_some_and(|limit| started.elapsed() >= limit) => {
                Some(tell(group, Ending::TimedOut))
            }
            None if watch.stop() => Some(tell(group, Ending::Stopped)),
            Some(told) if !told.killed && told.at.elapsed() >= GRACE => {
                // the group may be gone between the look and the blow
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
                Some(Told {
                    killed: true,
                    ..told
                })
            }
            other => other,
        };
    }
    let status = child.wait()?;
    if told.is_some() {
        // nothing of a group that was told to end may live on, whoever of it ignored TERM
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    drain(pipes, watch, deliver)?;
    Ok(told.map_or_else(|| ending(status), |told| told.ending))
}

fn tell(group: Pid, ending: Ending) -> Told {
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    Told {
        ending,
        at: Instant::now(),
        killed: false,
    }
}

/// The time until something has to be looked at again, output or not.
fn deadline(started: Instant, limit: Option<Duration>, told: Option<Told>) -> Duration {
    let next = match (told, limit) {
        (Some(told), _) => GRACE.saturating_sub(told.at.elapsed()),
        (None, Some(limit)) => limit.saturating_sub(started.elapsed()),
        (None, None) => Duration::MAX,
    };
    next.clamp(Duration::from_millis(1), Duration::from_secs(1))
}

/// Waits until the child ends or writes, at most `time`; whether it ended.
fn wait(handle: BorrowedFd<'_>, pipes: &[Pipe], time: Duration) -> Result<bool> {
    let mut polled = vec![PollFd::from_borrowed_fd(handle, PollFlags::IN)];
    polled.extend(waitable(pipes).map(|pipe| PollFd::new(&pipe.file, PollFlags::IN)));
    let time = if pipes.iter().any(|pipe| matches!(pipe.kind, Kind::Log)) {
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
        .filter(|pipe| pipe.open && !matches!(pipe.kind, Kind::Log))
}

/// Reads what the ended child left in its pipes.
fn drain(
    pipes: &mut [Pipe],
    watch: &mut dyn Watch,
    deliver: &mut dyn FnMut(Line<'_>, &mut dyn Watch),
) -> Result<()> {
    let until = Instant::now() + AFTERGLOW;
    loop {
        for pipe in pipes.iter_mut().filter(|pipe| pipe.open) {
            pipe.read(&mut |line| deliver(line, watch))?;
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
        pipe.flush(&mut |line| deliver(line, watch));
    }
    Ok(())
}

fn ending(status: ExitStatus) -> Ending {
    match status.code() {
        Some(code) => Ending::Exited(code),
        None => Ending::Killed(status.signal().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn lines_come_with_their_stream_and_the_environment_is_ours() {
        let mut lines = Vec::new();
        let program = shell("echo \"$LC_ALL $CARGO\"; printf 'a\\r\\nb' >&2; cat; exit 3");
        let finished = program
            .run(&mut |line: Line<'_>| lines.push(format!("{line:?}")))
            .unwrap();
        lines.sort();
        assert_eq!(
            lines,
            [r#"Error("a")"#, r#"Error("b")"#, r#"Output("C.UTF-8 ")"#]
        );
        assert_eq!(finished.ending, Ending::Exited(3));
        assert_eq!(program.failure(&finished), "sh exited with 3: a; b");
    }

    #[test]
    fn the_limit_ends_the_whole_group_also_a_child_that_ignores_term() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        // the grandchild ignores TERM; the child, too
        let script = format!(
            "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > {}; wait; wait",
            pid.display()
        );
        let program = shell(&script).limit(Duration::from_millis(300));
        let finished = program.run(&mut |_: Line<'_>| {}).unwrap();
        assert_eq!(finished.ending, Ending::TimedOut);
        let child: u32 = std::fs::read_to_string(&pid)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let gone = |text: String| text.is_empty() || text.contains(") Z ");
        // the kernel may take a moment to bury it
        let until = Instant::now() + Duration::from_secs(60);
        while !gone(state()) && Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(gone(state()), "{}", state());
    }

    #[test]
    fn a_request_to_stop_ends_the_child() {
        struct Impatient;
        impl Watch for Impatient {
            fn line(&mut self, _: Line<'_>) {}
            fn stop(&mut self) -> bool {
                true
            }
        }
        let finished = shell("sleep 1000").run(&mut Impatient).unwrap();
        assert_eq!(finished.ending, Ending::Stopped);
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_does_not_hold_us() {
        let finished = shell("sleep 1000 & echo $!").capture().unwrap();
        let pid = Pid::from_raw(finished.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn a_log_is_appended_to_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        std::fs::write(&log, "before\n").unwrap();
        let mut lines = Vec::new();
        let program = shell("echo one; echo two >&2; printf three").log(&log);
        let finished = program
            .run(&mut |line: Line<'_>| lines.push(format!("{line:?}")))
            .unwrap();
        assert!(finished.succeeded());
        assert_eq!(
            lines,
            [r#"Output("one")"#, r#"Output("two")"#, r#"Output("three")"#]
        );
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "before\none\ntwo\nthree"
        );
    }

    #[test]
    fn much_output_is_read_to_its_end() {
        let output = shell("seq 1 200000").capture().unwrap();
        assert_eq!(output.lines().count(), 200_000);
        assert!(output.ends_with("\n200000\n"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("/nonexistent").capture().unwrap_err();
        assert!(error.to_string().contains("'/nonexistent'"), "{error:#}");
    }
}
