//! apt's auto marks, which a transaction of the worker leaves as they were.

use std::collections::BTreeSet;
use std::path::Path;

use super::arguments;
use crate::exec::Line;
use crate::sorted::InOrder;

/// Where apt keeps them (apt-mark(8), "FILES").
const FILE: &str = "/var/lib/apt/extended_states";

/// The marked packages, as `name:architecture`.
#[derive(Debug, PartialEq, Eq)]
pub struct Marks(BTreeSet<String>);

impl Marks {
    /// The present marks. A host without the file has none.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(FILE).unwrap_or_default();
        Self(parse(&text))
    }

    /// The marked packages, as `name:architecture`.
    pub fn into_names(self) -> BTreeSet<String> {
        self.0
    }

    /// The marks without those of packages that are to go.
    pub fn without(mut self, gone: &BTreeSet<&str>) -> Self {
        let name = |marked: &str| marked.split(':').next().unwrap_or_default().to_owned();
        self.0.retain(|marked| !gone.contains(&*name(marked)));
        self
    }

    /// Restores the marks: the worker names packages with their exact versions, and apt marks a named package as
    /// manually installed (FACTS 26). If this fails, for instance because the update has broken apt, the verification
    /// goes on.
    pub fn restore(&self, log: &Path) {
        let now = Self::read();
        let lost: Vec<&String> = self.0.difference(&now.0).collect();
        if lost.is_empty() {
            return;
        }
        let program = arguments::mark_automatic(&lost).log(log);
        match program.run(&mut |_: Line<'_>| {}) {
            Ok(finished) if finished.succeeded() => {}
            Ok(finished) => tracing::warn!("{}", program.failure(&finished)),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }
}

fn parse(text: &str) -> BTreeSet<String> {
    let record = |record: &str| {
        let field = |name: &str| {
            let mut lines = record.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let (package, architecture) = (field("Package")?, field("Architecture")?);
        (field("Auto-Installed")? == "1").then(|| format!("{package}:{architecture}"))
    };
    text.split("\n\n").filter_map(record).in_order()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_file() {
        let text = "Package: dbus-bin\nArchitecture: amd64\nAuto-Installed: 1\n\n\
            Package: own\nArchitecture: amd64\nAuto-Installed: 0\n\n\
            Package: libx\nArchitecture: i386\nAuto-Installed: 1\n";
        let marked: Vec<String> = parse(text).into_iter().collect();
        assert_eq!(marked, ["dbus-bin:amd64", "libx:i386"]);
        assert!(parse("").is_empty());
    }
}
