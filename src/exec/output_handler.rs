//! What receives the output of a running child, and may ask for its end.

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

/// What [`Program::run`](super::Program::run) calls while the child runs.
pub trait OutputHandler {
    /// The child wrote a line.
    fn line(&mut self, line: Line<'_>);

    /// Whether the child is to be ended now. Asked after every line and once a second at least.
    fn stop(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(Line<'_>)> OutputHandler for F {
    fn line(&mut self, line: Line<'_>) {
        self(line);
    }
}
