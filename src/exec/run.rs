//! Running a program to its end.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::exit_reason::{ExitReason, Finished};
use super::output_handler::{Line, OutputHandler};
use super::program::Program;
use super::supervise;

/// The last lines of standard error that an error message quotes.
const TAIL_LINES: usize = 20;

/// How long a program that only prints something may take; one that takes longer hangs.
pub const READ_LIMIT: Duration = Duration::from_secs(10 * 60);

impl Program {
    /// Runs the program to its end.
    pub fn run(&self, handler: &mut dyn OutputHandler) -> Result<Finished> {
        self.run_within(self.limit, handler)
    }

    fn run_within(
        &self,
        limit: Option<Duration>,
        handler: &mut dyn OutputHandler,
    ) -> Result<Finished> {
        let (mut child, mut pipes) = self
            .spawn()
            .with_context(|| format!("failed to start '{}'", self.shown()))?;
        let mut errors = VecDeque::new();
        let mut deliver = |line: Line<'_>, handler: &mut dyn OutputHandler| {
            if let Line::Error(text) = line {
                if errors.len() == TAIL_LINES {
                    errors.pop_front();
                }
                errors.push_back(text.to_owned());
            }
            handler.line(line);
        };
        let limits = supervise::Limits {
            time: limit,
            signal: self.signal,
        };
        let exit_reason = supervise::run(&mut child, &mut pipes, limits, handler, &mut deliver)
            .with_context(|| format!("failed to wait for '{}'", self.shown()))?;
        Ok(Finished {
            exit_reason,
            errors: errors.into(),
        })
    }

    /// Runs the program, for ten minutes at most unless it has another limit. Returns how it ended and its standard
    /// output.
    pub fn output(&self) -> Result<(Finished, String)> {
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

    /// Runs the program and returns its standard output; an error unless it exits with 0.
    pub fn output_checked(&self) -> Result<String> {
        let (finished, output) = self.output()?;
        if !finished.succeeded() {
            bail!("{}", self.failure(&finished));
        }
        Ok(output)
    }

    /// One sentence on how the program failed: its name, how it ended, and the end of its standard error.
    #[must_use]
    pub fn failure(&self, finished: &Finished) -> String {
        let name = std::path::Path::new(&self.path)
            .file_name()
            .unwrap_or(&self.path);
        let name = name.to_string_lossy();
        let how = match finished.exit_reason {
            ExitReason::Exited(code) => format!("{name} exited with {code}"),
            ExitReason::Killed(signal) => format!("{name} was killed by signal {signal}"),
            ExitReason::TimedOut => {
                let seconds = self.limit.unwrap_or(READ_LIMIT).as_secs();
                format!("{name} was ended after its limit of {seconds} s")
            }
            ExitReason::Stopped => format!("{name} was stopped on request"),
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

    use rustix::process::{Pid, Signal};

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
        assert_eq!(finished.exit_reason, ExitReason::Exited(3));
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
        assert_eq!(finished.exit_reason, ExitReason::TimedOut);
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
        impl OutputHandler for Impatient {
            fn line(&mut self, _: Line<'_>) {}
            fn stop(&mut self) -> bool {
                true
            }
        }
        let finished = shell("sleep 1000").run(&mut Impatient).unwrap();
        assert_eq!(finished.exit_reason, ExitReason::Stopped);
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_open_does_not_hold_us() {
        let finished = shell("sleep 1000 & echo $!").output_checked().unwrap();
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
        let output = shell("seq 1 200000").output_checked().unwrap();
        assert_eq!(output.lines().count(), 200_000);
        assert!(output.ends_with("\n200000\n"));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("/nonexistent").output_checked().unwrap_err();
        assert!(error.to_string().contains("'/nonexistent'"), "{error:#}");
    }
}
