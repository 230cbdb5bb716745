//! The one place that starts programs: environment, locale, process group, time limit, output.

mod agent;
mod cache;
mod carrier;
mod descend;
mod leash;
mod pipe;
mod start;
mod supervise;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

pub use agent::TtyAgent;
pub use carrier::Carrier;
pub use descend::{Process, deepest};
pub use leash::{end_leftovers, hold};

/// The last lines of standard error that an error message quotes.
const TAIL_LINES: usize = 20;

/// How long what may wait for everybody else may take.
const IDLE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// How long a program that only tells something may take: beyond that it hangs, and whoever waits would for ever.
pub const READ_LIMIT: Duration = Duration::from_secs(10 * 60);

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
    signal: Signal,
    bare: bool,
    cache: Option<cache::Cache>,
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
            signal: Signal::TERM,
            bare: false,
            cache: None,
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

    /// The program keeps what it makes of the file `source` in the file `cache`, and tells whether that is current by
    /// the whole seconds of the source's date. A cache that may be older than the source is removed before the
    /// program is started.
    #[must_use]
    pub fn cache(mut self, cache: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Self {
        self.cache = Some(cache::Cache {
            file: cache.into(),
            source: source.into(),
        });
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

    /// Has the program told to end by INT, not TERM: for one that cleans up after that only.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        self.signal = Signal::INT;
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
        self.run_within(self.limit, watch)
    }

    fn run_within(&self, limit: Option<Duration>, watch: &mut dyn Watch) -> Result<Finished> {
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
        let limits = supervise::Limits {
            time: limit,
            signal: self.signal,
        };
        let ending = supervise::run(&mut child, &mut pipes, limits, watch, &mut deliver)
            .with_context(|| format!("failed to wait for '{}'", self.shown()))?;
        Ok(Finished {
            ending,
            errors: errors.into(),
        })
    }

    /// Runs the program, for ten minutes unless another limit is said; how it ended, and its standard output.
    pub fn heard(&self) -> Result<(Finished, String)> {
        let mut output = String::new();
        let limit = self.limit.or(Some(READ_LIMIT));
        let finished = self.run_within(limit, &mut |line: Line<'_>| {
            if let Line::Output(text) = line {
                output.push_str(text);
                output.push('\n');
            }
        })?;
        Ok((finished, output))
    }

    /// Runs the program and gives its standard output; an error unless it exits with 0.
    pub fn capture(&self) -> Result<String> {
        let (finished, output) = self.heard()?;
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
                let seconds = self.limit.unwrap_or(READ_LIMIT).as_secs();
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
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::process::Pid;

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
