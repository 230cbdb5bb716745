//! A program that carries a connection over its standard input and output, such as ssh.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::start;

/// How long to wait for the end of a program that has lost its connection.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// A running program, which is killed when this value is dropped.
pub struct Transport {
    child: Child,
    /// The last line of its standard error, sent when that ends.
    last_error: Receiver<String>,
}

impl Transport {
    /// Starts the program, found on the caller's `PATH` and with the caller's environment and terminal: ssh has its
    /// agent there, and may ask for a password. Returns the other end of its standard input and output as well.
    pub fn start(program: &str, arguments: &[String]) -> Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair().context("failed to make a socket")?;
        let input = OwnedFd::from(theirs);
        let output = input.try_clone().context("failed to copy a socket")?;
        let mut child = start::spawn_transport(program, arguments, input, output)
            .with_context(|| format!("'{program}' cannot be run"))?;
        let (tell, last_error) = mpsc::channel();
        if let Some(errors) = child.stderr.take() {
            thread::spawn(move || tell.send(last_line(errors)));
        }
        Ok((Self { child, last_error }, ours))
    }

    /// The last line on standard error of a program whose connection has failed; none where there is none.
    #[must_use]
    pub fn last_error(&mut self) -> Option<String> {
        let until = Instant::now() + ENDS_WITHIN;
        while let Ok(None) = self.child.try_wait()
            && Instant::now() < until
        {
            thread::sleep(Duration::from_millis(10));
        }
        let said = self.last_error.recv_timeout(ENDS_WITHIN).ok();
        said.filter(|line| !line.is_empty())
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        // ssh on a dead connection would wait for its timeout
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the program is never held up by a full pipe.
fn last_line(errors: ChildStderr) -> String {
    let mut last = String::new();
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            line.trim().clone_into(&mut last);
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_of_the_program() {
        let script = "echo first >&2; echo 'no way there' >&2; exit 255";
        let (mut transport, _socket) =
            Transport::start("sh", &["-c".into(), script.into()]).unwrap();
        assert_eq!(transport.last_error().as_deref(), Some("no way there"));
        let (mut silent, _socket) = Transport::start("true", &[]).unwrap();
        assert_eq!(silent.last_error(), None);
        assert!(Transport::start("/nowhere/ssh", &[]).is_err());
    }
}
