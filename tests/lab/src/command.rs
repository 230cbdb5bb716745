//! Programs inside a host: started in all its namespaces and in a control group below its own, so that they die with it.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cgroup::Cgroup;
use crate::scratch::Scratch;

/// Joins the control group named first, then becomes the program.
pub(crate) const ENTER_CGROUP: &str = r#"echo 0 >"$1"; shift; exec "$@""#;

/// What a program may take at most; real upgrades over a slow mirror are the longest.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(600);

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended, and everything it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status, or 128 plus the signal that ended it.
    pub status: i32,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether the exit status is 0.
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// A program that is still running inside a host. It is killed, with all its children, when this is dropped.
pub struct Spawned {
    child: Child,
    cgroup: Cgroup,
    files: PathBuf,
    finished: bool,
}

impl Spawned {
    /// Starts `arguments` inside the host whose PID 1 is `pid1`.
    pub(crate) fn start(scratch: &Scratch, pid1: u32, arguments: &[&str]) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("command-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let files = scratch.directory().join(&name);
        fs::create_dir(&files)
            .with_context(|| format!("failed to create '{}'", files.display()))?;
        let cgroup = scratch.cgroup()?.leaf(&name)?;
        let child = inside(&cgroup, pid1, "LC_ALL=C")
            .args(arguments)
            .stdin(Stdio::null())
            // files, not pipes: a daemon that a script leaves behind would keep a pipe open
            .stdout(File::create_new(files.join("stdout"))?)
            .stderr(File::create_new(files.join("stderr"))?)
            .spawn()
            .with_context(|| format!("failed to start {arguments:?}"))?;
        Ok(Self {
            child,
            cgroup,
            files,
            finished: false,
        })
    }

    /// Waits for the end of the program.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        self.wait_until(TIME_LIMIT)
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Standard output and standard error up to now.
    pub fn output_so_far(&self) -> String {
        self.text("stdout") + &self.text("stderr")
    }

    /// SIGKILL to the program and everything it started, at once.
    #[track_caller]
    pub fn kill(mut self) -> Output {
        self.cgroup
            .kill()
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.wait_until(TIME_LIMIT)
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    pub(crate) fn wait_until(&mut self, limit: Duration) -> Result<Output> {
        let Some(status) = wait(&mut self.child, limit)? else {
            bail!("no end after {limit:?}; so far:\n{}", self.output_so_far());
        };
        self.finished = true;
        Ok(Output {
            status: status_code(status),
            stdout: self.text("stdout"),
            stderr: self.text("stderr"),
        })
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.files.join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.cgroup.kill();
            let _ = self.child.wait();
        }
        self.cgroup.remove();
        let _ = fs::remove_dir_all(&self.files);
    }
}

/// Runs a program inside the host on the caller's own standard input, output and error, for as long as it takes.
pub(crate) fn run_attached(scratch: &Scratch, pid1: u32, arguments: &[&str]) -> Result<i32> {
    let cgroup = scratch.cgroup()?.leaf("attached")?;
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let status = inside(&cgroup, pid1, "LC_ALL=C.UTF-8")
        .arg(format!("TERM={terminal}"))
        .args(arguments)
        .status()
        .with_context(|| format!("failed to start {arguments:?}"))?;
    cgroup.kill()?;
    cgroup.remove();
    Ok(status_code(status))
}

/// The command that enters the control group and the host's namespaces; a program and its arguments follow.
fn inside(cgroup: &Cgroup, pid1: u32, locale: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", ENTER_CGROUP, "sh"])
        .arg(cgroup.entrance())
        .args(["nsenter", "-m", "-u", "-i", "-n", "-p", "-C", "-t"])
        .arg(pid1.to_string())
        .args(["--", "env", "-i", PATH, "HOME=/root", locale])
        .arg("DEBIAN_FRONTEND=noninteractive")
        .current_dir("/");
    command
}

/// Waits for a child's end without polling; `None` when the limit passes first.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    // one that was looked at before may be reaped already: then there is nothing left to watch
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
        .context("failed to watch a process")?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let timeout = Timespec::try_from(left).context("a time limit out of range")?;
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout));
    }
}

/// The exit status as a shell would say it.
pub(crate) fn status_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
