//! One repair command, run to completion: its exit status is ignored, the database decides.

use std::path::Path;

use anyhow::Result;

use super::{Observer, Report};
use crate::exec::{Line, OutputHandler, Program};

/// Runs one repair command to completion; its output goes to the log. Its exit status and its words are ignored, and
/// it is never stopped: the package database says what it did.
pub fn run_repair_step(program: &Program, log: &Path, observer: &mut dyn Observer) -> Result<()> {
    let program = program.clone().log(log);
    program.run(&mut StepOutput(observer)).map(drop)
}

struct StepOutput<'a>(&'a mut dyn Observer);

impl OutputHandler for StepOutput<'_> {
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
