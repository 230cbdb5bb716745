//! One rung of a repair: a program that is run to its end, whatever it says.

use std::path::Path;

use anyhow::Result;

use super::{Observer, Report};
use crate::exec::{Line, Program, Watch};

/// Runs a rung to its end; its output goes to the log. Neither its exit code nor its words are believed,
/// and it is never stopped: the database tells what it did.
pub fn climb(program: &Program, log: &Path, observer: &mut dyn Observer) -> Result<()> {
    let program = program.clone().log(log);
    program.run(&mut Rung(observer)).map(drop)
}

struct Rung<'a>(&'a mut dyn Observer);

impl Watch for Rung<'_> {
    fn line(&mut self, line: Line<'_>) {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        self.0.report(Report::Output(text.to_owned()));
    }

    fn stop(&mut self) -> bool {
        // it learns that time passes
        let _ = self.0.stop();
        false
    }
}
