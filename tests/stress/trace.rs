//! What happened in a run, in the order in which it did: shown beside a violation, and counted at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The log of a run.
pub struct Trace {
    begin: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lines: Vec<String>,
    counts: BTreeMap<String, usize>,
    /// Every request that was heard of, in the order in which it was.
    jobs: Vec<String>,
    known: BTreeSet<String>,
}

impl Trace {
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            inner: Mutex::default(),
        }
    }

    /// Notes a line.
    pub fn note(&self, who: &str, what: &str) {
        let at = self.begin.elapsed().as_secs_f64();
        let what: String = what.chars().take(400).collect();
        self.inner()
            .lines
            .push(format!("{at:8.3} {who:9} {}", what.replace('\n', " | ")));
    }

    /// Counts something that has come out so.
    pub fn count(&self, what: String) {
        *self.inner().counts.entry(what).or_default() += 1;
    }

    /// A request was heard of.
    pub fn heard_of(&self, id: &str) {
        let mut inner = self.inner();
        if inner.known.insert(id.to_owned()) {
            inner.jobs.push(id.to_owned());
        }
    }

    /// The requests that were heard of, the latest last.
    pub fn jobs(&self) -> Vec<String> {
        self.inner().jobs.clone()
    }

    pub fn known(&self) -> BTreeSet<String> {
        self.inner().known.clone()
    }

    /// The last lines with one of these words; of all, when there are no words.
    pub fn shown(&self, about: &[String], lines: usize) -> String {
        let inner = self.inner();
        let is_about = |line: &&String| about.iter().any(|word| line.contains(word.as_str()));
        let related = inner
            .lines
            .iter()
            .filter(|line| about.is_empty() || is_about(line));
        let related: Vec<&String> = related.collect();
        let related = &related[related.len().saturating_sub(lines)..];
        related
            .iter()
            .flat_map(|line| ["    ", line, "\n"])
            .collect()
    }

    /// How often everything that was asked for came out in which way.
    pub fn table(&self) -> String {
        let inner = self.inner();
        inner
            .counts
            .iter()
            .fold(String::new(), |mut text, (what, count)| {
                let _ = writeln!(text, "{count:6} {what}");
                text
            })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
