//! What must hold whatever was asked for, in whatever order: each judge takes what was seen and says what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Something that must not be, and the words by which what led to it is found again: a job's id, a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub what: String,
    pub about: Vec<String>,
}

impl Violation {
    pub fn new(what: impl Into<String>, about: &[&str]) -> Self {
        Self {
            what: what.into(),
            about: about.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The version of each package; one that is not installed is not there.
pub type Versions = BTreeMap<String, String>;

/// Every request that was ever heard of is in exactly one place, and of the right kind for it.
///
/// `listing` has a file of the state directory on each line, such as `jobs/ID.json`.
pub fn places(heard_of: &BTreeSet<String>, listing: &str) -> Vec<Violation> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in listing.lines() {
        // beside a record may lie what belongs to it
        let Some((_, name)) = path
            .strip_suffix(".json")
            .and_then(|path| path.split_once('/'))
        else {
            continue;
        };
        if let Some(id) = name.get(..23).filter(|id| is_id(id)) {
            found.entry(id).or_default().push(path);
        }
    }
    let mut violations = Vec::new();
    for id in heard_of {
        match found.get(id.as_str()).map_or(&[][..], Vec::as_slice) {
            [path]
                if ["jobs/", "deferred/", "conflicts/"]
                    .iter()
                    .any(|place| path.starts_with(place)) => {}
            [] => violations.push(Violation::new(format!("request {id} is lost"), &[id])),
            places => {
                let what = format!("request {id} is in {}", places.join(" and "));
                violations.push(Violation::new(what, &[id]));
            }
        }
    }
    violations
}

/// Whether a text is the id of a request.
pub fn is_id(text: &str) -> bool {
    let hex = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    };
    text.len() == 23
        && text
            .split_once('-')
            .is_some_and(|(time, rest)| time.len() == 16 && hex(time) && hex(rest))
}

/// A record at rest says how its job ended, and stays as it is.
pub fn record(id: &str, text: &str, before: Option<&Value>) -> Result<Value, Violation> {
    let wrong = |what: String| Err(Violation::new(format!("the record of {id} {what}"), &[id]));
    let Ok(job) = serde_json::from_str::<Value>(text) else {
        return wrong(format!("does not parse: {text}"));
    };
    let status = job["status"].as_str().unwrap_or_default();
    if job["request"]["id"] != id {
        return wrong(format!("is about {}", job["request"]["id"]));
    }
    if !is_final(status) || job["finished_at"].is_null() {
        return wrong(format!(
            "is not final: {status}, ended {}",
            job["finished_at"]
        ));
    }
    // a conflict that was discarded is cancelled, and keeps the words why it was one
    let has_error = !job["error"].is_null();
    if status != "cancelled" && has_error != (status == "failed") {
        return wrong(format!("says {status}, and as its error {}", job["error"]));
    }
    if let Some(before) = before {
        for key in ["status", "changes", "error", "finished_at"] {
            if before[key] != job[key] {
                return wrong(format!(
                    "said {key} {} and now says {}",
                    before[key], job[key]
                ));
            }
        }
    }
    Ok(job)
}

/// Whether a job with this status has ended.
pub fn is_final(status: &str) -> bool {
    ["succeeded", "failed", "cancelled"].contains(&status)
}

/// The changes of all records, one after the other, lead from what was installed first to what is now: nothing
/// was done that no record has, and nothing is recorded twice.
///
/// Jobs that were served together record the same change; so does one that was put back for its rest.
pub fn history(first: &Versions, jobs: &[Value], now: &Versions) -> Vec<Violation> {
    let mut jobs: Vec<&Value> = jobs
        .iter()
        .filter(|job| !job["changes"].as_array().is_none_or(Vec::is_empty))
        .collect();
    jobs.sort_by_key(|job| (job["finished_at"].as_str(), job["request"]["id"].as_str()));
    let mut at: BTreeMap<&str, Option<&str>> = first
        .iter()
        .map(|(package, version)| (package.as_str(), Some(version.as_str())))
        .collect();
    let mut told: BTreeSet<(&str, &str, Option<&str>)> = BTreeSet::new();
    let mut violations = Vec::new();
    for job in jobs {
        let (id, transaction) = (text(&job["request"]["id"]), text(&job["transaction"]));
        for change in job["changes"].as_array().into_iter().flatten() {
            let package = text(&change["package"]);
            let (from, to) = (change["from"].as_str(), change["to"].as_str());
            let current = at.get(package).copied().flatten();
            let shared = !told.insert((transaction, package, to)) || job["put_back"] == true;
            if from == current {
                at.insert(package, to);
            } else if !(shared && to == current) {
                let what = format!(
                    "job {id} has {package} {from:?} -> {to:?}, and before it was {current:?}"
                );
                violations.push(Violation::new(what, &[id, package]));
                at.insert(package, to);
            }
        }
    }
    let packages: BTreeSet<&str> = at
        .keys()
        .copied()
        .chain(now.keys().map(String::as_str))
        .collect();
    for package in packages {
        let (recorded, is) = (
            at.get(package).copied().flatten(),
            now.get(package).map(String::as_str),
        );
        if recorded != is {
            let what = format!("{package} is {is:?}, and by the records it is {recorded:?}");
            violations.push(Violation::new(what, &[package]));
        }
    }
    violations
}

/// No job begins again once it has ended, and none ends more often than the deaths of workers explain.
///
/// `ends` are the jobs of the journal's entries that say how a job ended.
pub fn ends(ends: &[String], killed: bool) -> Vec<Violation> {
    let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
    for id in ends {
        *counts.entry(id).or_default() += 1;
    }
    // what is said between the record and the death of who says it is said again by the next one
    let most = 1 + usize::from(killed);
    counts.retain(|_, count| *count > most);
    let many = counts.into_iter();
    many.map(|(id, count)| Violation::new(format!("job {id} ended {count} times"), &[id]))
        .collect()
}

/// How long something took to answer, in seconds, beside what a service of systemd's took just then.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub ours: f64,
    pub other: f64,
}

/// What an answer may take.
const LIMIT: f64 = 0.5;

/// How much longer than the other one it is when a slow machine no longer explains it.
const BEYOND: f64 = 8.0;

/// Whether a front end answers as it should. A busy machine is slow for all programs: what counts is late by
/// itself, and beside what was answered right before, meanwhile and after; and not by one accident.
pub fn front_ends(front_end: &str, samples: &[Sample]) -> Vec<Violation> {
    let late = |place: usize| {
        let around = &samples[place.saturating_sub(2)..(place + 3).min(samples.len())];
        let other = around.iter().map(|sample| sample.other).fold(0.0, f64::max);
        samples[place].ours > LIMIT && samples[place].ours > BEYOND * other
    };
    let late: Vec<usize> = (0..samples.len()).filter(|place| late(*place)).collect();
    if late.len() <= 2 + samples.len() / 50 {
        return Vec::new();
    }
    let worst = late
        .iter()
        .map(|place| samples[*place].ours)
        .fold(0.0, f64::max);
    let what = format!(
        "{front_end} answered late {} times of {}, after up to {worst:.1} s, and its equal did not",
        late.len(),
        samples.len()
    );
    vec![Violation::new(what, &[])]
}

/// The middle, and the worst, of some numbers.
pub fn spread(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.get(numbers.len() / 2).copied();
    (
        middle.unwrap_or_default(),
        numbers.last().copied().unwrap_or_default(),
    )
}

/// A host at rest: nothing of ours works, and nothing is started again and again.
#[derive(Clone, Debug, Default)]
pub struct Idle {
    /// How long was looked.
    pub seconds: f64,
    /// The processor time that processes of ours have used meanwhile, in seconds.
    pub used: f64,
    /// The units of ours that were started meanwhile.
    pub started: Vec<String>,
}

/// Units that may be started in a short rest: a timer may elapse.
const STARTS: usize = 3;

pub fn idle(idle: &Idle) -> Vec<Violation> {
    let mut violations = Vec::new();
    // one that spins has a core, or what the others leave of it
    if idle.used > idle.seconds / 4.0 {
        let what = format!(
            "{:.1} s of processor time in {:.1} s of rest",
            idle.used, idle.seconds
        );
        violations.push(Violation::new(what, &[]));
    }
    if idle.started.len() > STARTS {
        let what = format!(
            "in {:.1} s of rest were started: {}",
            idle.seconds,
            idle.started.join(" ")
        );
        violations.push(Violation::new(what, &[]));
    }
    violations
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
