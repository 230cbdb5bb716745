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
pub fn look() -> Result<Units> {
    units::look(ANSWER_LIMIT)
}

/// The units that fail now and did not before, and the services that are started again and again.
pub fn failing(before: &super::Before) -> Vec<String> {
    let (Some(before), Ok(now)) = (&before.rest.units, look()) else {
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
pub fn checks(before: Option<&Units>, settle: Duration, is_over: &dyn Fn() -> bool) -> Vec<Check> {
    let Some(before) = before else {
        return vec![not_compared(
            "the units before the update are not known, nothing was compared",
        )];
    };
    let started = Instant::now();
    let mut watch = Watch::new(before);
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
            Seen::Bad(checks) => return checks,
            Seen::Good => return good(before, &now, &watch),
            Seen::NotYet if is_over() => return vec![not_compared("it was not waited for")],
            Seen::NotYet => thread::sleep(INTERVAL),
        }
    }
}

fn patiently(look: impl Fn(Duration) -> Result<Units>) -> Result<Units> {
    let mut tries = 1;
    loop {
        match look(ANSWER_LIMIT) {
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
enum Seen {
    Good,
    /// Something has not been up long enough.
    NotYet,
    Bad(Vec<Check>),
}

/// What is known of the services since the update began.
struct Watch<'a> {
    before: &'a Units,
    /// The lowest number of restarts since then: whoever starts a service by hand sets it to nothing.
    restarts: BTreeMap<String, u32>,
    /// The services that were started meanwhile.
    started: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    fn new(before: &'a Units) -> Self {
        let restarts = |(name, service): (&String, &Service)| (name.clone(), service.restarts);
        Self {
            before,
            restarts: before.services.iter().map(restarts).in_order(),
            started: BTreeSet::new(),
        }
    }

    /// Judges one look: touches nothing but what is known of the restarts.
    fn judge(&mut self, now: &Units, settle: Duration, patience_over: bool) -> Seen {
        let same_boot = now.boot == self.before.boot;
        let newly_failed = now.failed.difference(&self.before.failed);
        let mut wrong: Vec<Check> = newly_failed
            .filter(|name| !is_ours(name))
            // what a boot after a power cut did not bring up need not be the update's doing
            .filter(|name| same_boot || ran(self.before, name))
            .map(|name| bad(name, format!("{name} has failed since the update began")))
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
                    wrong.push(bad(name, message));
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
                if patience_over {
                    let message = format!("{name} does not start: it is tried again and again");
                    wrong.push(bad(name, message));
                }
                waits = true;
            }
        }
        if !wrong.is_empty() {
            Seen::Bad(wrong)
        } else if waits && !patience_over {
            Seen::NotYet
        } else {
            Seen::Good
        }
    }
}

/// It has died, and the service manager will start it again.
fn is_restarting(service: &Service) -> bool {
    service.sub.starts_with("auto-restart")
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
    // the rest of what failed was not good
    let failed: Vec<&String> = now.failed.difference(&before.failed).collect();
    let failed = failed.into_iter().filter(|name| !is_ours(name));
    let failed: Vec<Check> = failed
        .map(|name| Check {
            required: false,
            ..bad(name, format!("{name} has failed since the host was booted"))
        })
        .collect();
    let none = if failed.is_empty() {
        "no unit failed"
    } else {
        "no service that ran before has failed"
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
            waiting: BTreeSet::new(),
        }
    }

    fn seen(before: &Units, now: &Units, over: bool) -> String {
        match Watch::new(before).judge(now, SETTLE, over) {
            Seen::Good => "good".to_owned(),
            Seen::NotYet => "not yet".to_owned(),
            Seen::Bad(checks) => checks
                .iter()
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
        let mut watch = Watch::new(&before);
        let look = |restarts| units(110, &[], &[("a", "running", restarts, 109)]);
        assert_eq!(watch.judge(&look(0), SETTLE, false), Seen::NotYet);
        assert_eq!(watch.judge(&look(1), SETTLE, false), Seen::NotYet);
        assert!(matches!(watch.judge(&look(2), SETTLE, false), Seen::Bad(_)));
    }
}
