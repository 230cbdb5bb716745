//! Words that several views share.

use crate::cli::answers::{ChangeAnswer, UpdateAnswer};

/// So many of something, in English.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// A package with its architecture.
pub trait Named {
    /// The package, its architecture, and the architecture that it had before; empty where it had no other one.
    fn parts(&self) -> [&str; 3];

    /// `package:architecture`, with the former architecture where it was another one.
    fn name(&self) -> String {
        match self.parts() {
            [package, architecture, ""] => format!("{package}:{architecture}"),
            [package, architecture, former] => format!("{package}:{architecture} (was {former})"),
        }
    }
}

impl Named for UpdateAnswer {
    fn parts(&self) -> [&str; 3] {
        [&self.package, &self.architecture, &self.former_architecture]
    }
}

impl Named for ChangeAnswer {
    fn parts(&self) -> [&str; 3] {
        [&self.package, &self.architecture, &self.former_architecture]
    }
}
