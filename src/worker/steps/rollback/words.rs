//! What is said of a host after going back: no more than what was compared.

use std::collections::BTreeSet;

use crate::state::verification::{Differing, NAMED_IN_ETC};

/// How many files a sentence names; the record has them all.
const NAMED: usize = 5;

/// What was compared with the host before the update, and what came of it.
#[derive(Debug)]
pub struct Compared {
    /// What was compared.
    pub what: Vec<&'static str>,
    /// Whether the packages and all else but `/etc` are as before.
    pub good: bool,
    /// Packages that could not go back and stay as the update left them, a sentence each.
    pub stays: Vec<String>,
    /// Packages that are marked otherwise than before as being there only for others.
    pub marks: BTreeSet<String>,
    /// What else of packages is not as before, a sentence each: one that has gone and left its configuration, one
    /// that is broken and was no part of the update.
    pub others: Vec<String>,
    /// The files in `/etc` that differ; or why they are not known.
    pub etc: Result<Vec<Differing>, String>,
}

/// The parts of it, with what a sentence calls them, in its order.
const WORDS: [(&str, &str); 5] = [
    ("versions", "versions"),
    ("states", "states"),
    ("files", "files"),
    ("marks", "marks"),
    ("units", "units"),
];

impl Compared {
    /// Whether nothing differs of what was compared.
    pub fn as_before(&self) -> bool {
        let same = self.stays.is_empty() && self.marks.is_empty() && self.others.is_empty();
        self.good && same && self.etc.as_ref().map_or(true, Vec::is_empty)
    }

    /// What was compared, for programs.
    pub fn named(&self) -> Vec<String> {
        let etc = self.etc.is_ok().then_some("etc");
        self.what
            .iter()
            .copied()
            .chain(etc)
            .map(str::to_owned)
            .collect()
    }

    /// The files in `/etc` that differ, as many as a record may name.
    pub fn etc_named(&self) -> Vec<Differing> {
        let etc = self.etc.iter().flatten();
        etc.take(NAMED_IN_ETC).cloned().collect()
    }

    /// The sentence, without a full stop: pure.
    pub fn sentence(&self) -> String {
        let packages = self.words();
        let not_compared = match &self.etc {
            Err(why) => format!("; /etc was not compared: {why}"),
            Ok(_) => String::new(),
        };
        if !self.good {
            return format!("the host is not as it was before{not_compared}");
        }
        if !self.stays.is_empty() {
            return format!(
                "the host is not as it was before: {}; what else was changed is back{not_compared}",
                self.stays.join("; ")
            );
        }
        let etc = self.etc.as_deref().unwrap_or_default();
        let mut differs = self.others.clone();
        if !self.marks.is_empty() {
            let names: Vec<&str> = self.marks.iter().map(String::as_str).collect();
            let named = capped(&names);
            differs.push(format!(
                "these packages are marked otherwise than before, as dependencies or as installed by hand: {named}"
            ));
        }
        if !etc.is_empty() {
            let files = etc
                .iter()
                .map(|file| format!("{} ({})", file.path, file.what.as_str()));
            let files: Vec<String> = files.collect();
            let named = capped(&files.iter().map(String::as_str).collect::<Vec<_>>());
            let these = match etc.len() {
                1 => "this file in /etc differs",
                _ => "these files in /etc differ",
            };
            differs.push(format!("{these}: {named}"));
        }
        if differs.is_empty() {
            let etc = if self.etc.is_ok() { ", /etc" } else { "" };
            return format!(
                "the host is as it was before in what was compared: {packages}{etc}{not_compared}"
            );
        }
        let differs = differs.join("; ");
        format!("the packages are as before ({packages}), and {differs}{not_compared}")
    }

    /// `versions, states and files of packages, units`.
    fn words(&self) -> String {
        let is_compared = |what: &str| self.what.contains(&what);
        let (units, of_packages): (Vec<_>, Vec<_>) = WORDS
            .iter()
            .filter(|(what, _)| is_compared(what))
            .map(|(_, words)| *words)
            .partition(|words| *words == "units");
        let mut words = match of_packages.split_last() {
            None => String::new(),
            Some((last, [])) => format!("{last} of packages"),
            Some((last, others)) => format!("{} and {last} of packages", others.join(", ")),
        };
        if !units.is_empty() {
            words.push_str(", units");
        }
        words
    }
}

fn capped(names: &[&str]) -> String {
    let named = names.iter().take(NAMED).copied().collect::<Vec<_>>();
    let named = named.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::verification::Difference;

    fn compared(etc: Result<Vec<Differing>, String>) -> Compared {
        Compared {
            what: vec!["versions", "states", "files", "units"],
            good: true,
            stays: Vec::new(),
            marks: BTreeSet::new(),
            others: Vec::new(),
            etc,
        }
    }

    #[test]
    fn no_more_is_said_than_was_compared() {
        assert_eq!(
            compared(Ok(Vec::new())).sentence(),
            "the host is as it was before in what was compared: versions, states and files of packages, \
             units, /etc"
        );
        let unknown = compared(Err("it is not kept".into()));
        assert!(unknown.as_before() && !unknown.named().contains(&"etc".to_owned()));
        assert_eq!(
            unknown.sentence(),
            "the host is as it was before in what was compared: versions, states and files of packages, \
             units; /etc was not compared: it is not kept"
        );
    }

    #[test]
    fn what_differs_is_named_up_to_a_number() {
        let differing = |count: usize| {
            let files = (0..count).map(|n| Differing {
                path: format!("/etc/{n}"),
                what: Difference::New,
            });
            compared(Ok(files.collect()))
        };
        let one = differing(1);
        assert!(!one.as_before());
        assert_eq!(
            one.sentence(),
            "the packages are as before (versions, states and files of packages, units), and this file in \
             /etc differs: /etc/0 (new)"
        );
        assert!(
            differing(7)
                .sentence()
                .ends_with("/etc/4 (new), and 2 more")
        );
    }
}
