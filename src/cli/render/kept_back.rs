//! What has a newer version and stays as it is: each with its reason, or how many and why.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fields::{list, text};
use crate::journal::plain;

/// So many are each shown with their reason; more are counted by their cause.
const EACH: usize = 5;

/// So many names stand for the others.
const NAMES: usize = 3;

/// A line for each package that is kept back.
pub fn each(record: &Value) -> Vec<String> {
    let line = |kept: &Value| {
        let security = if kept["security"] == true {
            " (security)"
        } else {
            ""
        };
        let reason = plain(text(kept, "reason"));
        format!("{}{security} is kept back: {reason}", text(kept, "package"))
    };
    list(record, "kept_back").map(line).collect()
}

/// The same where they are few; else a line for each cause. `listed` is how a person sees each of them.
pub fn summary(record: &Value, listed: &str) -> Vec<String> {
    let all: Vec<&Value> = list(record, "kept_back").collect();
    if all.len() <= EACH {
        return each(record);
    }
    let mut causes: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for kept in &all {
        causes.entry(text(kept, "cause")).or_default().push(kept);
    }
    let security = all.iter().filter(|kept| kept["security"] == true).count();
    let security = match security {
        0 => String::new(),
        count => format!(", {count} of them for security"),
    };
    let head = format!("{} packages are kept back{security}; {listed}", all.len());
    let lines = causes.iter().map(|(cause, kept)| {
        let names = kept.iter().map(|kept| text(kept, "package"));
        let names: Vec<&str> = names.take(NAMES).collect();
        let more = if kept.len() > NAMES { ", …" } else { "" };
        format!(
            "{} {}: {}{more}",
            kept.len(),
            meaning(cause, kept),
            names.join(", ")
        )
    });
    std::iter::once(head).chain(lines).collect()
}

/// What a cause means, after a number of packages.
fn meaning(cause: &str, kept: &[&Value]) -> String {
    let plain_meaning = match cause {
        "held" => "held by the administrator",
        "pinned" => "pinned to a version that is not newer",
        "phased" => "in a phased rollout that has not reached this host",
        "removal" => "would remove another package",
        "dependency" => "need what cannot be installed",
        "source" => "come from a source whose last refresh failed",
        "policy" => "left out by the configured policy",
        "not_approved" => "not approved",
        "drift" => "not in the version that was asked for",
        "space" => "have no room",
        "rolled_back" => return rolled_back(kept),
        _ => "for another reason",
    };
    plain_meaning.to_owned()
}

/// The jobs that were rolled back, and how their updates are offered again.
fn rolled_back(kept: &[&Value]) -> String {
    let reason = kept.iter().map(|kept| text(kept, "reason"));
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
    use serde_json::json;

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
        let shown = summary(
            &json!({"kept_back": all}),
            "'patchctl plan all --kept-back' lists each",
        );
        assert_eq!(
            shown,
            [
                "141 packages are kept back, 1 of them for security; 'patchctl plan all --kept-back' lists each",
                "1 held by the administrator: linux-image-amd64",
                "140 rolled back before ('patchctl forget 18ea03ea376e8b21-fe27df' offers them again): p0, p1, p2, …",
            ]
        );
        let few = summary(&json!({"kept_back": &all[138..]}), "x");
        assert_eq!(few.len(), 3);
        assert_eq!(
            few[2],
            "linux-image-amd64 (security) is kept back: held by the administrator"
        );
    }
}
