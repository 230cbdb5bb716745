//! One round: all clients ask, publish and kill at the same time; then the host comes to rest and is judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ask::{Answer, Known, answer, line};
use crate::front_ends::FrontEnds;
use crate::judge::{self, Violation};
use crate::plan::{Ask, Client, Killer, News, Publisher};
use crate::stage::Stage;
use crate::trace::Trace;

/// All that take part in a run.
pub struct Cast {
    pub clients: Vec<Client>,
    pub publisher: Publisher,
    pub killer: Killer,
}

/// A run, as far as it has come.
pub struct Run {
    pub stage: Stage,
    pub trace: Trace,
    /// The records of ended jobs at the end of the round before.
    records: BTreeMap<String, Value>,
    pub front_ends: FrontEnds,
}

/// How often the records are looked at while they change.
const LOOK: Duration = Duration::from_millis(100);

impl Run {
    pub fn new() -> Self {
        Self {
            stage: Stage::new(),
            trace: Trace::new(),
            records: BTreeMap::new(),
            front_ends: FrontEnds::default(),
        }
    }

    /// Lets all of them act for a while; what was wrong meanwhile, and afterwards.
    pub fn round(&mut self, cast: &mut Cast, time: Duration) -> Vec<Violation> {
        let found = Mutex::new(Vec::new());
        let (over, quiet) = (AtomicBool::new(false), AtomicBool::new(false));
        let probe = FrontEnds::begin(&self.stage.host);
        let this = &*self;
        thread::scope(|scope| {
            let wrong = |violation: Violation| {
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(violation);
            };
            let end = Instant::now() + time;
            let mut clients = Vec::new();
            for (number, client) in cast.clients.iter_mut().enumerate() {
                let over = &over;
                clients.push(scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        this.ask(number, &client.next()).map_or_else(wrong, |()| {});
                    }
                }));
            }
            let publisher = &mut cast.publisher;
            let until = &over;
            scope.spawn(move || this.publish(publisher, until));
            let killer = &mut cast.killer;
            scope.spawn(move || this.kill(killer, until));
            let until = &quiet;
            scope.spawn(move || this.watch(until, &wrong));
            while Instant::now() < end {
                thread::sleep(Duration::from_millis(20));
            }
            over.store(true, Ordering::Relaxed);
            for client in clients {
                client
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            quiet.store(true, Ordering::Relaxed);
        });
        self.trace.note("run", "everybody has stopped");
        let mut violations = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        violations.extend(self.front_ends.end(probe));
        violations.extend(self.judge());
        violations
    }

    /// Asks for something, and waits for the answer.
    fn ask(&self, number: usize, ask: &Ask) -> Result<(), Violation> {
        let known = Known {
            jobs: &self.trace.jobs(),
            version: &|package, ago| self.stage.version(package, ago),
        };
        let Some(line) = line(ask, &known) else {
            thread::sleep(LOOK);
            return Ok(());
        };
        let who = format!("client {number}");
        self.trace.note(&who, &line);
        let output = self.stage.host.try_sh(&line);
        let said = format!("{}{}", output.stdout, output.stderr);
        for id in Stage::ids_in(&output.stdout) {
            self.trace.heard_of(&id);
        }
        self.trace
            .note(&who, &format!("-> {} {}", output.status, said.trim()));
        let answer = answer(ask, output.status, true);
        self.trace.count(format!("{ask}: {answer:?}"));
        if answer == Answer::Wrong || said.contains("panicked") {
            let what = format!("{line} ended with {}: {}", output.status, said.trim());
            let ids: Vec<String> = Stage::ids_in(&said).into_iter().collect();
            let about: Vec<&str> = ids.iter().map(String::as_str).collect();
            return Err(Violation::new(what, &about));
        }
        Ok(())
    }

    fn publish(&self, publisher: &mut Publisher, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let (pause, news) = publisher.next();
            if !rest(pause, over) {
                return;
            }
            self.trace.note("archive", &format!("{news:?}"));
            match news {
                News::Published(publications) => self.stage.publish(&publications),
                News::Away(time) => self.stage.away(Duration::from_millis(time)),
            }
        }
    }

    fn kill(&self, killer: &mut Killer, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let (pause, signal) = killer.next();
            if !rest(pause, over) {
                return;
            }
            if self.stage.strike(signal) {
                self.trace.note("killer", signal);
                self.trace.count(format!("worker: {signal}"));
            }
        }
    }

    /// Reads the records again and again: each parses at every moment, and stays final once it is.
    fn watch(&self, over: &AtomicBool, wrong: &impl Fn(Violation)) {
        let mut read: BTreeMap<String, String> = BTreeMap::new();
        let mut ended: BTreeSet<String> = self.records.keys().cloned().collect();
        while !over.load(Ordering::Relaxed) {
            for (id, text) in self.stage.records() {
                if read.get(&id) == Some(&text) {
                    continue;
                }
                self.trace.heard_of(&id);
                match serde_json::from_str::<Value>(&text) {
                    Ok(job) => {
                        let status = job["status"].as_str().unwrap_or_default();
                        if judge::is_final(status) {
                            ended.insert(id.clone());
                        } else if ended.contains(&id) {
                            wrong(Violation::new(
                                format!("job {id} has ended and is {status} again"),
                                &[&id],
                            ));
                        }
                    }
                    Err(error) => wrong(Violation::new(
                        format!("the record of {id}: {error}: {text}"),
                        &[&id],
                    )),
                }
                read.insert(id, text);
            }
            thread::sleep(LOOK);
        }
    }

    /// Comes to rest, and looks at everything.
    fn judge(&mut self) -> Vec<Violation> {
        if let Err(violation) = self.stage.come_to_rest() {
            return vec![violation];
        }
        let mut violations = judge::idle(&self.stage.idle());
        let audit = self.stage.host.sh("dpkg --audit");
        if !audit.is_empty() {
            violations.push(Violation::new(format!("dpkg --audit: {audit}"), &[]));
        }
        let (installed, wrong) = self.stage.installed();
        for line in wrong {
            let package = line.split(' ').next().unwrap_or_default();
            violations.push(Violation::new(
                format!("the package database has {line}"),
                &[package],
            ));
        }
        violations.extend(self.stage.wrong_files(&installed));
        violations.extend(self.stage.wrong_services(&installed));
        violations.extend(self.stage.torn_state());
        violations.extend(self.requests());
        let records: Vec<Value> = self.records.values().cloned().collect();
        violations.extend(judge::history(&self.stage.first, &records, &installed));
        violations.extend(judge::ends(&self.stage.ends(), true));
        self.trace
            .note("run", &format!("judged: {} violations", violations.len()));
        violations
    }

    /// Every request that was heard of, and every record.
    fn requests(&mut self) -> Vec<Violation> {
        let listing = self.stage.listing();
        for id in Stage::ids_in(&listing.replace(['/', '.'], " ")) {
            self.trace.heard_of(&id);
        }
        let mut violations = judge::places(&self.trace.known(), &listing);
        let deferred = listing.lines().filter(|path| path.starts_with("deferred/"));
        violations.extend(
            deferred.map(|path| {
                Violation::new(format!("{path} waits for a network that is there"), &[])
            }),
        );
        for (id, text) in self.stage.records() {
            match judge::record(&id, &text, self.records.get(&id)) {
                Ok(job) => drop(self.records.insert(id, job)),
                Err(violation) => violations.push(violation),
            }
        }
        violations
    }

    /// A good version of everything comes out, goes in, and leaves the host healthy.
    pub fn end(&mut self) -> Vec<Violation> {
        let host = &self.stage.host;
        host.try_sh("for job in $(ls /var/lib/linux_patch_api/conflicts | cut -d . -f 1); do patchctl resolve $job --discard; done");
        self.stage.publish_all();
        let output = host.try_sh("patchctl apply all");
        let mut violations = Vec::new();
        if !output.success() {
            violations.push(Violation::new(
                format!("the last update of everything: {output}"),
                &[],
            ));
        }
        let health = host.sh("patchctl health --json");
        if !health.contains("\"healthy\"") {
            let why = host.try_sh("patchctl status").stdout;
            violations.push(Violation::new(
                format!("after the last update: {health}{why}"),
                &[],
            ));
        }
        let (installed, _) = self.stage.installed();
        for family in crate::world::FAMILIES {
            let newest = self.stage.version(family.name, 0);
            if installed.get(family.name) != Some(&newest) {
                let what = format!(
                    "{} is {:?} after the last update, and not {newest}",
                    family.name,
                    installed.get(family.name)
                );
                violations.push(Violation::new(what, &[family.name]));
            }
        }
        violations.extend(self.judge());
        violations
    }

    /// How the jobs have ended, by kind and status.
    pub fn outcomes(&self) -> BTreeMap<String, usize> {
        let mut outcomes = BTreeMap::new();
        for job in self.records.values() {
            let of = |value: &Value| value.as_str().unwrap_or("none").to_owned();
            let mut what = format!("{} {}", of(&job["request"]["kind"]), of(&job["status"]));
            if job["rollback"]["outcome"].is_string() && job["request"]["kind"] == "apply" {
                what.extend([", ", &of(&job["rollback"]["outcome"])]);
            }
            *outcomes.entry(what).or_default() += 1;
        }
        outcomes
    }
}

/// Waits; false when meanwhile everything is over.
fn rest(milliseconds: u64, over: &AtomicBool) -> bool {
    let end = Instant::now() + Duration::from_millis(milliseconds);
    while Instant::now() < end {
        if over.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}
