//! The terminal that is written to: how wide it is, and whether it takes colours.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// How wide lines are where a terminal does not say it.
const USUAL: usize = 80;

/// What is known of where a text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; [`usize::MAX`] where lines may be of any length: in a file, in a pipe.
    pub width: usize,
    /// Whether it shows colours.
    pub colour: bool,
}

/// Whether colours are wanted: `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colours {
    /// Where a terminal is, unless `NO_COLOR` is set (no-color.org) or it is a dumb one.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Terminal {
    /// Standard output.
    pub fn of_output(colours: Colours) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|kind| kind == "dumb");
        let colour = match colours {
            Colours::Always => true,
            Colours::Never => false,
            Colours::Auto => std::io::stdout().is_terminal() && !dumb && !is_set("NO_COLOR"),
        };
        Self {
            width: columns(&std::io::stdout()),
            colour,
        }
    }

    /// Standard error, for the line that is written again and again.
    pub fn of_errors() -> Self {
        Self {
            width: columns(&std::io::stderr()),
            colour: false,
        }
    }
}

/// The columns of a terminal; no limit for a file or a pipe.
fn columns(of: &(impl IsTerminal + AsFd)) -> usize {
    if !of.is_terminal() {
        return usize::MAX;
    }
    let size = rustix::termios::tcgetwinsize(of.as_fd());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { USUAL } else { columns }
}
