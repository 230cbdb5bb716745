//! What has a newer version and stays as it is: each with its reason, or how many and why.

use std::collections::BTreeMap;

use crate::cli::answers::KeptBackAnswer;
use crate::cli::word::Word;
use crate::journal::plain;
use crate::package::KeptBackCause;

/// Up to this many are each shown with their reason; more are counted by their cause.
const EACH: usize = 5;

/// How many names of a cause are shown.
const NAMES: usize = 3;

/// A line for each package that is kept back.
pub fn each(kept_back: &[KeptBackAnswer]) -> Vec<String> {
    let line = |kept: &KeptBackAnswer| {
        let security = if kept.security { " (security)" } else { "" };
        let reason = plain(&kept.reason);
        format!("{}{security} is kept back: {reason}", kept.package)
    };
    kept_back.iter().map(line).collect()
}

/// The same where they are few; else a line for each cause. `listed` says how the reader sees each of them.
pub fn summary(kept_back: &[KeptBackAnswer], listed: &str) -> Vec<String> {
    if kept_back.len() <= EACH {
        return each(kept_back);
    }
    let mut causes: BTreeMap<String, Vec<&KeptBackAnswer>> = BTreeMap::new();
    for kept in kept_back {
        causes.entry(kept.cause.to_string()).or_default().push(kept);
    }
    let security = kept_back.iter().filter(|kept| kept.security).count();
    let security = match security {
        0 => String::new(),
        count => format!(", {count} of them for security"),
    };
    let number = kept_back.len();
    let head = format!("{number} packages are kept back{security}; {listed}");
    let lines = causes.values().map(|kept| {
        let names = kept.iter().map(|kept| kept.package.as_str());
        let names: Vec<&str> = names.take(NAMES).collect();
        let more = if kept.len() > NAMES { ", …" } else { "" };
        format!(
            "{} {}: {}{more}",
            kept.len(),
            meaning(kept),
            names.join(", ")
        )
    });
    std::iter::once(head).chain(lines).collect()
}

/// What the cause of these packages means, after their number.
fn meaning(kept: &[&KeptBackAnswer]) -> String {
    let Some(Word::Known(cause)) = kept.first().map(|kept| &kept.cause) else {
        return "for another reason".to_owned();
    };
    let meaning = match cause {
        KeptBackCause::Held => "held by the administrator",
        KeptBackCause::Pinned => "pinned to a version that is not newer",
        KeptBackCause::Phased => "in a phased rollout that has not reached this host",
        KeptBackCause::Removal => "would remove another package",
        KeptBackCause::Dependency => "need packages that cannot be installed",
        KeptBackCause::Source => "come from a source whose last refresh failed",
        KeptBackCause::Policy => "excluded by the configured policy",
        KeptBackCause::NotApproved => "not approved",
        KeptBackCause::Drift => "not in the version that was asked for",
        KeptBackCause::Space => "have no room",
        KeptBackCause::RolledBack => return rolled_back(kept),
    };
    meaning.to_owned()
}

/// The jobs that were rolled back, and how their updates are offered again.
fn rolled_back(kept: &[&KeptBackAnswer]) -> String {
    let reason = kept.iter().map(|kept| kept.reason.as_str());
    let commands = reason.filter_map(|reason| {
        let (_, after) = reason.split_once("patchctl forget ")?;
        let end = after.find(|c: char| !(c.is_ascii_hexdigit() || c == '-'));
        Some(&after[..end.unwrap_or(after.len())])
    });
    let mut jobs: Vec<&str> = Vec::new();
    for job in commands {
        if !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    match jobs.as_slice() {
        [] => "rolled back before".to_owned(),
        [job] => format!("rolled back before ('patchctl forget {job}' offers them again)"),
        several => format!("rolled back before, in {} jobs", several.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::read;
    use serde_json::{Value, json};

    #[test]
    fn many_are_counted_by_their_cause() {
        let kept = |package: String, cause: &str, reason: &str| json!({"package": package, "cause": cause, "reason": reason, "security": cause == "held"});
        let reason = "2.0 was rolled back in job 18ea03ea376e8b21-fe27df and waits for a newer version, or for \
            'patchctl forget 18ea03ea376e8b21-fe27df'";
        let mut all: Vec<Value> = (0..140)
            .map(|n| kept(format!("p{n}"), "rolled_back", reason))
            .collect();
        all.push(kept(
            "linux-image-amd64".to_owned(),
            "held",
            "held by the administrator",
        ));
        let read = |kept: &[Value]| -> Vec<KeptBackAnswer> { read(&json!(kept)).unwrap() };
        let shown = summary(&read(&all), "'patchctl plan all --kept-back' lists each");
        assert_eq!(
            shown,
            [
                "141 packages are kept back, 1 of them for security; 'patchctl plan all --kept-back' lists each",
                "1 held by the administrator: linux-image-amd64",
                "140 rolled back before ('patchctl forget 18ea03ea376e8b21-fe27df' offers them again): p0, p1, p2, …",
            ]
        );
        let few = summary(&read(&all[138..]), "x");
        assert_eq!(few.len(), 3);
        assert_eq!(
            few[2],
            "linux-image-amd64 (security) is kept back: held by the administrator"
        );
    }
}
