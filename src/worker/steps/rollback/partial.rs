//! What of an update can go back where not all of it can.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::journal;
use crate::package::{RollbackItem, RollbackSource};
use crate::request::JobId;
use crate::state::verification::{Check, Stayed};
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::rollback::items::{due, elsewhere};

/// The former versions that come back, and the packages that stay as the update left them.
#[derive(Debug)]
pub struct Parts {
    pub back: Vec<RollbackItem>,
    /// Each from nowhere, with why.
    pub stays: Vec<RollbackItem>,
    /// Whether any of those that come back is not back already.
    changes: bool,
}

/// Tells what can go back from what cannot.
pub fn part(ctx: &Context, former: &[RollbackItem]) -> Result<Parts> {
    let due = due(former, &ctx.packages.installed()?);
    let in_use = ctx.packages.in_use(&due)?;
    let mut parts = Parts {
        back: Vec::new(),
        stays: Vec::new(),
        changes: false,
    };
    for former in former {
        let used = in_use.iter().find(|(key, _)| *key == former.change.key());
        let missing = || {
            let error = former.check().err()?;
            elsewhere(ctx, former)
                .is_none()
                .then(|| format!("{error:#}"))
        };
        let why = match used {
            Some((_, why)) => Some(why.clone()),
            None if due.contains(former) => missing(),
            None => None,
        };
        if let Some(why) = why {
            parts.stays.push(RollbackItem {
                source: RollbackSource::Unavailable { why },
                ..former.clone()
            });
        } else {
            parts.changes |= due.contains(former);
            parts.back.push(former.clone());
        }
    }
    Ok(parts)
}

impl Parts {
    /// Everything, whether it can go back or not: where it cannot, nothing does.
    pub fn whole(former: &[RollbackItem]) -> Self {
        Self {
            back: former.to_vec(),
            stays: Vec::new(),
            changes: true,
        }
    }

    /// Why not everything can go back.
    pub fn why(&self) -> Option<String> {
        let why = self.stays.iter().filter_map(RollbackItem::stays);
        let why: Vec<&str> = why.map(|(_, why)| why).collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// Whether going back without what stays may put right what these checks say: it changes something,
    /// and none of what stays is what they are about, by its name or by a unit that it brings.
    pub fn is_of_use(&self, ctx: &Context, checks: &[Check]) -> bool {
        let against = || checks.iter().filter(|check| check.decides_against());
        let is_bad = |former: &RollbackItem| {
            let key = former.change.key().to_string();
            let files = ctx.packages.files(&former.change).unwrap_or_default();
            let units = files.iter().filter(|file| {
                let directory = file.parent();
                directory.is_some_and(|directory| directory.ends_with("systemd/system"))
            });
            let units: Vec<String> = units
                .filter_map(|unit| Some(unit.file_name()?.to_string_lossy().into_owned()))
                .collect();
            against().any(|check| {
                let says = |what: &String| check.name == *what || names(&check.message, what);
                says(&key) || units.iter().any(says)
            })
        };
        self.changes && !self.stays.iter().any(is_bad)
    }
}

/// Whether a package or unit is named in a sentence, as a word of its own: pure.
fn names(sentence: &str, what: &str) -> bool {
    let mut words = sentence.split(|c: char| c.is_whitespace() || ",;'\"()".contains(c));
    words.any(|word| word.trim_end_matches(['.', ':']) == what)
}

/// What the record says of the packages that stay.
pub fn stayed(stays: &[RollbackItem]) -> Vec<Stayed> {
    from_nowhere(stays, |former| former.change.to.clone())
}

/// The former versions that are nowhere to be had, so that an update is known not to be undone as a whole.
pub fn cannot_go_back(former: &[RollbackItem]) -> Vec<Stayed> {
    from_nowhere(former, |former| former.change.from.clone())
}

/// Writes to the journal which former versions are nowhere to be had: one entry for each reason.
pub fn log_unavailable(job: &JobId, former: &[RollbackItem]) {
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for lost in cannot_go_back(former) {
        let version = lost.version.unwrap_or_default();
        let packages = by_reason.entry(lost.reason).or_default();
        packages.push(format!("{} {version}", lost.package));
    }
    for (why, packages) in &by_reason {
        journal::cannot_go_back(job, packages, why);
    }
}

fn from_nowhere(
    former: &[RollbackItem],
    version: impl Fn(&RollbackItem) -> Option<String>,
) -> Vec<Stayed> {
    let stays = |former: &RollbackItem| {
        let (key, why) = former.stays()?;
        Some(Stayed {
            package: key.package,
            architecture: key.architecture,
            version: version(former),
            reason: why.to_owned(),
        })
    };
    former.iter().filter_map(stays).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_word_and_not_a_part_of_one() {
        let said = "demo:all is 1.0, not 1.1; web.service: it failed";
        assert!(names(said, "demo:all") && names(said, "web.service"));
        assert!(!names("my-demo:all is 1.0", "demo:all"));
        assert!(!names("'demo:all2' failed", "demo:all"));
    }
}
