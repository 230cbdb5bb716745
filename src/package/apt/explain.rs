//! Why apt keeps packages back that are not held: which packages would have to be removed, or which dependencies are
//! missing. apt simulates their installation.

use std::collections::BTreeMap;
use std::ffi::OsString;

use anyhow::Result;

use super::arguments::{self, SimulatedInstall};
use super::simulate;
use crate::package::KeptBackCause;

/// The most runs of apt for this: with many packages, all get the reason that was found for some.
const RUNS: usize = 12;

/// The reasons by name; none for a package that could be installed.
pub type Reasons = BTreeMap<String, (KeptBackCause, String)>;

/// Asks apt.
pub fn explain(asked: Vec<SimulatedInstall>, lists: &[OsString]) -> Result<Reasons> {
    let simulate = |asked: &[SimulatedInstall]| {
        let program = arguments::simulate_anyway(asked, lists);
        let (finished, output) = program.output()?;
        Ok(if finished.succeeded() {
            SolverAnswer::Possible(simulate::parse(&output)?.removals)
        } else {
            SolverAnswer::Impossible(unmet(&output))
        })
    };
    found_out(asked, simulate)
}

/// What apt says of installing some packages together.
enum SolverAnswer {
    /// It can be done, and these would go.
    Possible(Vec<String>),
    /// It cannot: what is wrong with each package, as far as apt says it.
    Impossible(BTreeMap<String, Unmet>),
}

/// What is wrong with a package, in apt's words.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Unmet {
    words: String,
    /// Whether it would have another package removed, and lacks nothing.
    is_conflict: bool,
}

impl Unmet {
    fn new(words: &str) -> Self {
        Self {
            words: words.to_owned(),
            is_conflict: ["Conflicts: ", "Breaks: "]
                .iter()
                .any(|c| words.starts_with(c)),
        }
    }

    fn reason(&self) -> (KeptBackCause, String) {
        let (cause, reason) = if self.is_conflict {
            let removal = "it would need packages to be removed";
            (KeptBackCause::Removal, removal)
        } else {
            let dependency = "what it needs is not available";
            (KeptBackCause::Dependency, dependency)
        };
        let reason = match self.words.as_str() {
            "" => reason.to_owned(),
            words => format!("{reason}: {words}"),
        };
        (cause, reason)
    }
}

/// Simulates all together, takes out what cannot be installed, and simulates the others again; then finds out one by
/// one which of them need removals. Pure but for `simulate`.
fn found_out(
    mut asked: Vec<SimulatedInstall>,
    mut simulate: impl FnMut(&[SimulatedInstall]) -> Result<SolverAnswer>,
) -> Result<Reasons> {
    let mut reasons = Reasons::new();
    let mut runs = 0;
    let removals = loop {
        if asked.is_empty() {
            return Ok(reasons);
        }
        runs += 1;
        match simulate(&asked)? {
            SolverAnswer::Possible(removals) => break removals,
            SolverAnswer::Impossible(mut unmet) => {
                // apt 3.3 also names what it would remove another package for, if the rest could be had
                let lacks = |asked: &SimulatedInstall| {
                    unmet.get(&asked.name).is_some_and(|w| !w.is_conflict)
                };
                if asked.iter().any(lacks) {
                    unmet.retain(|_, words| !words.is_conflict);
                }
                let before = asked.len();
                asked.retain(|asked| match unmet.get(&asked.name) {
                    None => true,
                    Some(words) => {
                        reasons.insert(asked.name.clone(), words.reason());
                        false
                    }
                });
                if asked.len() == before || runs == RUNS {
                    let unnamed = Unmet::default();
                    let rest = asked
                        .iter()
                        .map(|asked| (asked.name.clone(), unnamed.reason()));
                    reasons.extend(rest);
                    return Ok(reasons);
                }
            }
        }
    };
    if removals.is_empty() {
        return Ok(reasons);
    }
    let alone = asked.len() > 1 && runs + asked.len() <= RUNS;
    for one in &asked {
        let removals = match alone.then(|| simulate(std::slice::from_ref(one))) {
            None => removals.clone(),
            Some(answer) => match answer? {
                SolverAnswer::Possible(removals) => removals,
                SolverAnswer::Impossible(_) => removals.clone(),
            },
        };
        if !removals.is_empty() {
            let names = removals.join(", ");
            let reason = format!("it would need packages to be removed: {names}");
            reasons.insert(one.name.clone(), (KeptBackCause::Removal, reason));
        }
    }
    Ok(reasons)
}

/// What is wrong with each package, from the block that apt 2.6, 3.0 and 3.3 print alike, the packages at one column
/// and their further relations below one another:
/// ```text
/// The following packages have unmet dependencies:
///  demo : Depends: libdemo (>= 2) but it is not installable
///         Breaks: tool but 1.0 is to be installed
/// ```
fn unmet(output: &str) -> BTreeMap<String, Unmet> {
    let heading = "The following packages have unmet dependencies:";
    let lines = output.lines().skip_while(|line| *line != heading).skip(1);
    let mut unmet = BTreeMap::new();
    for line in lines.take_while(|line| line.starts_with(' ')) {
        if let Some((name, words)) = line.trim_start().split_once(" : ") {
            unmet.insert(name.to_owned(), Unmet::new(words.trim()));
        }
    }
    unmet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> SimulatedInstall {
        SimulatedInstall {
            name: name.into(),
            exact: format!("{name}:all"),
            version: "2".into(),
        }
    }

    #[test]
    fn what_cannot_be_had_is_told_from_what_would_remove_something() {
        // apt 3.3
        let output = "Solving dependencies...\n\
            The following packages have unmet dependencies:\n \
            big : Conflicts: victim but 1.0 is to be installed\n \
            lacks : Depends: nothere (>= 3) but it is not installable\n         \
            Breaks: x\nE: Unable to satisfy dependencies. Reached two conflicting assignments:\n";
        let mut runs = Vec::new();
        let reasons = found_out(
            ["lacks", "big", "free"].map(asked).to_vec(),
            |asked: &[SimulatedInstall]| {
                runs.push(asked.len());
                let has = |name: &str| asked.iter().any(|asked| asked.name == name);
                Ok(match (has("lacks"), has("big")) {
                    (true, _) => SolverAnswer::Impossible(unmet(output)),
                    (false, true) => SolverAnswer::Possible(vec!["victim".into()]),
                    (false, false) => SolverAnswer::Possible(Vec::new()),
                })
            },
        )
        .unwrap();
        assert_eq!(runs, [3, 2, 1, 1]);
        let lacks =
            "what it needs is not available: Depends: nothere (>= 3) but it is not installable";
        assert_eq!(
            reasons["lacks"],
            (KeptBackCause::Dependency, lacks.to_owned())
        );
        let big = "it would need packages to be removed: victim";
        assert_eq!(reasons["big"], (KeptBackCause::Removal, big.to_owned()));
        assert!(!reasons.contains_key("free"));
    }

    #[test]
    fn it_comes_to_an_end_whatever_apt_says() {
        let many: Vec<SimulatedInstall> = (0..20).map(|n| asked(&format!("p{n}"))).collect();
        let mut runs = 0;
        let reasons = found_out(many.clone(), |_| {
            runs += 1;
            Ok(SolverAnswer::Impossible(BTreeMap::new()))
        });
        assert_eq!((runs, reasons.unwrap().len()), (1, 20));
        let mut runs = 0;
        let reasons = found_out(many.clone(), |asked| {
            runs += 1;
            let first = asked.first().map(|asked| asked.name.clone());
            Ok(SolverAnswer::Impossible(
                first
                    .into_iter()
                    .map(|name| (name, Unmet::default()))
                    .collect(),
            ))
        });
        assert_eq!((runs, reasons.unwrap().len()), (RUNS, 20));
        let mut runs = 0;
        let reasons = found_out(many, |_| {
            runs += 1;
            Ok(SolverAnswer::Possible(vec!["victim".into()]))
        });
        assert_eq!((runs, reasons.unwrap().len()), (1, 20));
    }
}
