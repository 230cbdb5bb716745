//! Whether the services of the host took the update well: failed, dying, restarting in a loop.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::units::{self, Service, Units, is_ours};
use crate::sorted::InOrder;
use crate::state::verification::{Check, CheckKind};

/// How long the service manager may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How often it is asked again when it does not answer: the bus may have been updated itself.
const TRIES: u32 = 3;

/// The time between two looks at services that have to settle.
const INTERVAL: Duration = Duration::from_millis(250);

/// How many times the settling time a service may go on being restarted before that is called a loop.
const PATIENCE: u32 = 3;

/// So many restarts by itself since the update began are a loop, however short the breaks between.
const LOOP: u32 = 2;

/// How long a host that was booted meanwhile may take until what ran before is up again. It is the time
/// systemd gives one service (`DefaultTimeoutStartSec=`, systemd-system.conf(5)).
const BOOT: Duration = Duration::from_secs(90);

/// The units before the transaction, to compare with.
pub fn snapshot() -> Result<Units> {
    units::look(ANSWER_LIMIT)
}

/// The units that fail now and did not before, and the services that are started again and again.
pub fn failing(before: Option<&Units>) -> Vec<String> {
    let (Some(before), Ok(now)) = (before, snapshot()) else {
        return Vec::new();
    };
    let failed = now.failed.difference(&before.failed);
    let restarting = now
        .services
        .iter()
        .filter(|(_, service)| is_restarting(service));
    failed
        .chain(restarting.map(|(name, _)| name))
        .filter(|name| !is_ours(name))
        .cloned()
        .collect()
}

/// Compares the units with those before, and waits until every service that was started meanwhile has
/// been up for `settle`. Where none was, nothing is waited for, nor when there is no use in it any more.
/// A unit decides that was up before, or that the update concerns.
pub fn checks(
    before: Option<&Units>,
    settle: Duration,
    is_over: &dyn Fn() -> bool,
    concerns: &dyn Fn(&str) -> bool,
) -> Vec<Check> {
    let Some(before) = before else {
        return vec![not_compared(
            "the units before the update are not known, nothing was compared",
        )];
    };
    let started = Instant::now();
    let mut watch = Watch::new(before, concerns);
    loop {
        let now = match patiently(units::look) {
            Ok(now) => now,
            Err(error) => return vec![not_compared(&format!("{error:#}"))],
        };
        let patience = if now.boot == before.boot {
            settle * PATIENCE
        } else {
            BOOT.max(settle * PATIENCE)
        };
        let patience_over = started.elapsed() >= patience;
        match watch.judge(&now, settle, patience_over) {
            UnitsVerdict::Bad(checks) => return checks,
            UnitsVerdict::Good => return good(before, &now, &watch),
            UnitsVerdict::NotYet if is_over() => {
                return vec![not_compared("it was not waited for")];
            }
            UnitsVerdict::NotYet => thread::sleep(INTERVAL),
        }
    }
}

fn patiently(snapshot: impl Fn(Duration) -> Result<Units>) -> Result<Units> {
    let mut tries = 1;
    loop {
        match snapshot(ANSWER_LIMIT) {
            Err(error) if tries < TRIES => {
                tracing::debug!("{error:#}");
                tries += 1;
                thread::sleep(Duration::from_secs(1));
            }
            other => return other,
        }
    }
}

/// Without a service manager or a bus the other checks decide.
fn not_compared(why: &str) -> Check {
    Check {
        name: "units".to_owned(),
        kind: CheckKind::Unit,
        required: false,
        passed: true,
        message: why.to_owned(),
    }
}

fn bad(name: &str, message: String) -> Check {
    Check {
        name: name.to_owned(),
        kind: CheckKind::Unit,
        required: true,
        passed: false,
        message,
    }
}

/// What one look says.
#[derive(Debug, PartialEq, Eq)]
enum UnitsVerdict {
    Good,
    /// Something has not been up long enough.
    NotYet,
    Bad(Vec<Check>),
}

/// What is known of the services since the update began.
struct Watch<'a> {
    before: &'a Units,
    /// The lowest number of restarts since then: a start by hand resets it to zero.
    restarts: BTreeMap<String, u32>,
    /// The services that were started meanwhile.
    started: BTreeSet<String>,
    /// What was wrong at the last look, and decides nothing.
    notes: Vec<Check>,
    /// Whether the update concerns a unit.
    concerns: &'a dyn Fn(&str) -> bool,
}

impl<'a> Watch<'a> {
    fn new(before: &'a Units, concerns: &'a dyn Fn(&str) -> bool) -> Self {
        let restarts = |(name, service): (&String, &Service)| (name.clone(), service.restarts);
        Self {
            before,
            restarts: before.services.iter().map(restarts).in_order(),
            started: BTreeSet::new(),
            notes: Vec::new(),
            concerns,
        }
    }

    /// What is wrong with a unit: it decides when it was up before, or when the update concerns it.
    fn wrong(&self, name: &str, what: String) -> Check {
        if was_up(self.before, name) || (self.concerns)(name) {
            return bad(name, what);
        }
        let why = "neither its unit file, nor its programs and their libraries are of a package of the update";
        Check {
            required: false,
            ..bad(name, format!("{what}; it was not up before, and {why}"))
        }
    }

    /// What has failed and had not before.
    fn failed<'n>(&'n self, now: &'n Units) -> impl Iterator<Item = &'n String> {
        let failed = now.failed.difference(&self.before.failed);
        failed.filter(|name| !is_ours(name))
    }

    /// Judges one look: touches nothing but what is known of the restarts.
    fn judge(&mut self, now: &Units, settle: Duration, patience_over: bool) -> UnitsVerdict {
        let same_boot = now.boot == self.before.boot;
        let mut wrong: Vec<Check> = self
            .failed(now)
            // what a boot after a power cut did not bring up need not be the update's doing
            .filter(|name| same_boot || ran(self.before, name))
            .map(|name| self.wrong(name, format!("{name} has failed since the update began")))
            .collect();
        let mut waits = !same_boot && is_coming_up(self.before, now);
        for (name, service) in &now.services {
            if is_ours(name) {
                continue;
            }
            let looped_before = self.before.services.get(name).is_some_and(is_restarting);
            let known = self.restarts.entry(name.clone()).or_insert(0);
            if service.restarts < *known || !same_boot {
                *known = 0;
            }
            let again = service.restarts - *known;
            if again >= LOOP || (again > 0 && patience_over && is_restarting(service)) {
                if !looped_before {
                    let message = format!(
                        "{name} does not stay up: it was restarted {again} times by itself since the update began"
                    );
                    wrong.push(self.wrong(name, message));
                }
                continue;
            }
            let since = if same_boot { self.before.at } else { 0 };
            let is_new = service.sub == "running" && service.since >= since;
            let up = Duration::from_micros(now.at.saturating_sub(service.since));
            if is_new {
                self.started.insert(name.clone());
            }
            waits |= is_new && up < settle;
            if is_restarting(service) && !looped_before {
                let message = format!("{name} does not start: it is tried again and again");
                let check = self.wrong(name, message);
                waits |= check.required;
                if patience_over {
                    wrong.push(check);
                }
            }
        }
        self.notes = Vec::new();
        if wrong.iter().any(Check::decides_against) {
            return UnitsVerdict::Bad(wrong);
        }
        self.notes = wrong;
        if waits && !patience_over {
            UnitsVerdict::NotYet
        } else {
            UnitsVerdict::Good
        }
    }
}

/// It has died, and the service manager will start it again.
fn is_restarting(service: &Service) -> bool {
    service.sub.starts_with("auto-restart")
}

/// Whether it was active. A service that is at its work and was not up yet (`activating`) was not.
fn was_up(units: &Units, name: &str) -> bool {
    let is_up = |service: &Service| {
        matches!(&*service.sub, "running" | "exited") || service.sub.starts_with("reload")
    };
    units.active.contains(name) || units.services.get(name).is_some_and(is_up)
}

/// Whether it was a running service.
fn ran(units: &Units, name: &str) -> bool {
    units.services.get(name).is_some_and(|s| s.sub == "running")
}

/// Whether a service that ran before is still to be started, or on its way.
fn is_coming_up(before: &Units, now: &Units) -> bool {
    let is_starting = |service: &Service| {
        service.sub.starts_with("start") || service.sub.starts_with("condition")
    };
    let mut names = before.services.keys().filter(|name| ran(before, name));
    names.any(|name| {
        let starting = now.services.get(name).is_some_and(is_starting);
        !is_ours(name) && (starting || now.waiting.contains(name))
    })
}

/// No service is worse than before; those that are gone are told.
fn good(before: &Units, now: &Units, watch: &Watch<'_>) -> Vec<Check> {
    let is_noted = |name: &&String| watch.notes.iter().any(|check| check.name == **name);
    let others = watch.failed(now).filter(|name| !is_noted(name));
    let others = others.map(|name| Check {
        required: false,
        ..bad(name, format!("{name} has failed since the host was booted"))
    });
    let failed: Vec<Check> = watch.notes.iter().cloned().chain(others).collect();
    let none = if failed.is_empty() {
        "no unit failed"
    } else {
        "no unit failed that was up before or that the update concerns"
    };
    let message = match watch.started.len() {
        0 => format!("{none}, no service was started"),
        1 => format!("{none}; the one service that was started is up"),
        count => format!("{none}; the {count} services that were started are up"),
    };
    let summary = Check {
        name: "units".to_owned(),
        kind: CheckKind::Unit,
        required: true,
        passed: true,
        message,
    };
    let same_boot = now.boot == before.boot;
    let ended =
        watch
            .started
            .iter()
            .chain(before.services.iter().filter_map(|(name, service)| {
                (service.sub == "running" && same_boot).then_some(name)
            }))
            .filter(|name| !now.services.contains_key(*name) && !is_ours(name));
    // a service that leaves when idle does that, too
    let ended = ended.map(|name| Check {
        required: false,
        ..bad(name, format!("{name} is not running any more"))
    });
    let mut checks: Vec<Check> = vec![summary];
    checks.extend(failed);
    for check in ended {
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_secs(5);

    fn units(at: u64, failed: &[&str], services: &[(&str, &str, u32, u64)]) -> Units {
        let service = |(name, sub, restarts, since): &(&str, &str, u32, u64)| {
            let service = Service {
                sub: (*sub).to_owned(),
                restarts: *restarts,
                since: since * 1_000_000,
            };
            ((*name).to_owned(), service)
        };
        Units {
            at: at * 1_000_000,
            boot: "b".into(),
            failed: failed.iter().map(ToString::to_string).collect(),
            services: services.iter().map(service).collect(),
            ..Units::default()
        }
    }

    /// What one look says of an update that concerns every unit but the strangers.
    fn seen(before: &Units, now: &Units, over: bool) -> String {
        let concerns = |name: &str| !name.starts_with("stranger");
        match Watch::new(before, &concerns).judge(now, SETTLE, over) {
            UnitsVerdict::Good => "good".to_owned(),
            UnitsVerdict::NotYet => "not yet".to_owned(),
            UnitsVerdict::Bad(checks) => checks
                .iter()
                .filter(|check| check.decides_against())
                .map(|check| check.name.as_str())
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn only_what_was_started_is_waited_for() {
        let before = units(100, &["old.service"], &[("a", "running", 3, 5)]);
        let judged = |failed: &[&str], services: &[(&str, &str, u32, u64)], over| {
            seen(&before, &units(110, failed, services), over)
        };
        assert_eq!(
            judged(&["old.service"], &[("a", "running", 3, 5)], false),
            "good"
        );
        assert_eq!(judged(&[], &[("a", "running", 0, 106)], false), "not yet");
        assert_eq!(judged(&[], &[("a", "running", 0, 105)], false), "good");
        assert_eq!(judged(&[], &[("a", "exited", 0, 109)], false), "good");
        assert_eq!(
            judged(&[], &[("patch-x", "running", 0, 109)], false),
            "good"
        );
        assert_eq!(
            judged(&["old.service", "new.mount"], &[], false),
            "new.mount"
        );
        assert_eq!(judged(&["patch-apply.service"], &[], false), "good");
    }

    #[test]
    fn what_the_update_does_not_concern_decides_only_where_it_was_up_before() {
        let ran = [
            ("stranger-ran", "running", 0, 5),
            ("stranger-exited", "exited", 0, 5),
            ("stranger-at-work", "start", 0, 5),
        ];
        let before = Units {
            active: BTreeSet::from(["stranger.mount".to_owned()]),
            ..units(100, &[], &ran)
        };
        let judged = |failed: &[&str], services: &[(&str, &str, u32, u64)]| {
            seen(&before, &units(110, failed, services), true)
        };
        for name in ["stranger-ran", "stranger-exited", "stranger.mount", "other"] {
            assert_eq!(judged(&["stranger-at-work", name], &[]), name);
        }
        assert_eq!(judged(&["stranger-at-work", "stranger-new"], &[]), "good");
        assert_eq!(judged(&[], &[("stranger", "running", 2, 109)]), "good");
        let starting = [("stranger", "auto-restart", 1, 109)];
        assert_eq!(judged(&[], &starting), "good");
        let now = units(110, &["stranger-new"], &starting);
        assert_eq!(seen(&before, &now, false), "good", "it is not waited for");

        let mut watch = Watch::new(&before, &|_| false);
        assert_eq!(watch.judge(&now, SETTLE, false), UnitsVerdict::Good);
        let checks = good(&before, &now, &watch);
        let decides: Vec<_> = checks
            .iter()
            .map(|c| (&*c.name, c.decides_against()))
            .collect();
        assert_eq!(decides[..2], [("units", false), ("stranger-new", false)]);
        assert!(
            checks[1]
                .message
                .contains("since the update began; it was not up before")
        );
    }

    #[test]
    fn after_another_boot_what_ran_before_is_waited_for_and_decides() {
        let before = units(100, &[], &[("a", "running", 0, 5), ("o", "exited", 0, 5)]);
        let judged = |failed: &[&str], services: &[(&str, &str, u32, u64)], waiting: &[&str]| {
            let now = Units {
                boot: "c".into(),
                waiting: waiting.iter().map(ToString::to_string).collect(),
                ..units(20, failed, services)
            };
            (seen(&before, &now, false), seen(&before, &now, true))
        };
        let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(judged(&[], &[], &["a"]), both("not yet", "good"));
        assert_eq!(judged(&[], &[], &["x"]), both("good", "good"));
        let starting = [("a", "start-pre", 0, 0)];
        assert_eq!(judged(&[], &starting, &[]), both("not yet", "good"));
        let up = [("a", "running", 0, 15)];
        assert_eq!(judged(&["o", "d.mount"], &up, &[]), both("good", "good"));
        assert_eq!(judged(&["a"], &[], &["x"]), both("a", "a"));
    }

    #[test]
    fn a_loop_is_told_from_one_restart() {
        let before = units(
            100,
            &[],
            &[("a", "running", 3, 5), ("l", "auto-restart", 9, 5)],
        );
        let judged = |service: (&str, &str, u32, u64), over| {
            seen(&before, &units(110, &[], &[service]), over)
        };
        assert_eq!(judged(("a", "running", 4, 109), false), "not yet");
        assert_eq!(judged(("a", "running", 4, 109), true), "good");
        assert_eq!(judged(("a", "running", 5, 109), false), "a");
        assert_eq!(judged(("a", "auto-restart", 0, 109), false), "not yet");
        assert_eq!(judged(("a", "auto-restart", 0, 109), true), "a");
        assert_eq!(judged(("n", "auto-restart-queued", 2, 0), false), "n");
        assert_eq!(
            judged(("l", "auto-restart", 19, 0), true),
            "good",
            "as before"
        );
    }

    #[test]
    fn restarts_count_from_the_start_by_hand() {
        let before = units(100, &[], &[("a", "running", 3, 5)]);
        let mut watch = Watch::new(&before, &|_| true);
        let look = |restarts| units(110, &[], &[("a", "running", restarts, 109)]);
        assert_eq!(watch.judge(&look(0), SETTLE, false), UnitsVerdict::NotYet);
        assert_eq!(watch.judge(&look(1), SETTLE, false), UnitsVerdict::NotYet);
        assert!(matches!(
            watch.judge(&look(2), SETTLE, false),
            UnitsVerdict::Bad(_)
        ));
    }
}
