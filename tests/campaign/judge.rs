//! What must be true after any fault at any point.

use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::plan::{Fault, Point, Trial};
use crate::stage::{PACKAGES, Stage};
use lab::Host;

const STATE: &str = "/var/lib/linux_patch_api";

/// The host before the trial.
pub struct Before {
    version: String,
}

impl Before {
    pub fn look(stage: &Stage) -> Self {
        let version = stage.newest();
        assert_eq!(versions(&stage.host), vec![version.clone(); PACKAGES.len()]);
        Self { version }
    }
}

/// What has become of the update, and what must not have.
#[derive(Debug, Default)]
pub struct Verdict {
    pub outcome: String,
    /// What the fault had left, and how it was healed.
    pub notes: Vec<String>,
    pub violations: Vec<String>,
}

/// The versions of the packages, with their state where that is not a good one.
fn versions(host: &Host) -> Vec<String> {
    let names = PACKAGES.join(" ");
    let shown = host.sh(&format!(
        "dpkg-query -W -f='${{Version}} ${{Status}}\\n' {names}"
    ));
    shown
        .lines()
        .map(|line| line.replace(" install ok installed", ""))
        .collect()
}

/// The states between two that the fault has left, before any worker repairs them.
pub fn what_is_broken(host: &Host) -> Vec<String> {
    let shown = host
        .try_sh("dpkg-query -W -f='${db:Status-Abbrev}\\n' | sort -u; ls /var/lib/dpkg/updates");
    let mut found: Vec<String> = shown
        .stdout
        .lines()
        .map(|line| {
            if line.starts_with(char::is_numeric) {
                "journal"
            } else {
                line.trim()
            }
        })
        .filter(|line| !line.is_empty() && *line != "ii" && *line != "tmp.i")
        .map(str::to_owned)
        .collect();
    found.dedup();
    found
}

/// Asks everything, and then for the next update.
pub fn judge(
    stage: &mut Stage,
    trial: &Trial,
    id: &str,
    before: &Before,
    reached: bool,
    broken: Vec<String>,
) -> Verdict {
    let new = stage.newest();
    let host = &stage.host;
    let mut verdict = Verdict {
        notes: broken,
        ..Verdict::default()
    };
    if !reached {
        verdict.notes.push("not reached".to_owned());
    }
    if host
        .try_sh(&format!(
            "grep -q ' [1-9][0-9]* reinstalled' {STATE}/jobs/{id}.log"
        ))
        .success()
    {
        verdict.notes.push("unpacked anew".to_owned());
    }
    let now = versions(host);
    is_in_one_state(&mut verdict, host, id, before, &now, &new);
    the_record_is_true(&mut verdict, host, id, before, &now, &new);
    once(&mut verdict, host, trial, id, &new);
    let mine = host.sh("tail -n 1 /etc/camp-conf.conf");
    verdict.demand(mine == "mine\n", || {
        format!("a configuration file was replaced: {mine}")
    });
    verdict.demand(
        host.try_sh("systemctl is-active -q camp-svc").success(),
        || "the service does not run".to_owned(),
    );
    next_works(&mut verdict, stage);
    verdict
}

/// Every package has a version of before or after, and the request is in one place.
fn is_in_one_state(
    verdict: &mut Verdict,
    host: &Host,
    id: &str,
    before: &Before,
    now: &[String],
    new: &str,
) {
    let audit = host.sh("dpkg --audit");
    verdict.demand(audit.is_empty(), || format!("dpkg --audit: {audit}"));
    let known = now.iter().all(|v| *v == before.version || v == new);
    verdict.demand(known, || format!("neither old nor new: {now:?}"));
    let places = host.sh(&format!(
        "cd {STATE}; find queue jobs deferred conflicts refused -name '{id}*.json'"
    ));
    verdict.demand(places.lines().count() == 1, || {
        format!("the request is in these places: {places:?}")
    });
}

/// What the record says of the update is what the packages say.
fn the_record_is_true(
    verdict: &mut Verdict,
    host: &Host,
    id: &str,
    before: &Before,
    now: &[String],
    new: &str,
) {
    let (old, new_ones) = (
        now.iter().all(|version| *version == before.version),
        now.iter().all(|version| version == new),
    );
    let job: Value =
        serde_json::from_str(&host.sh(&format!("patchctl log --json {id}"))).unwrap_or_default();
    let (status, phase) = (text(&job["status"]), text(&job["update"]["phase"]));
    verdict.outcome = match (status.as_str(), phase.as_str()) {
        ("succeeded", _) => "completed".to_owned(),
        ("cancelled", _) => "cancelled".to_owned(),
        ("failed", "rolled_back") => "rolled back".to_owned(),
        ("failed", _) if old => "failed, nothing changed".to_owned(),
        ("failed", "failed") => "failed, and says what changed".to_owned(),
        other => format!("{other:?}"),
    };
    let truthful = match verdict.outcome.as_str() {
        "completed" => new_ones,
        "cancelled" | "rolled back" | "failed, nothing changed" => old,
        "failed, and says what changed" => {
            let told = job["changes"].as_array().into_iter().flatten();
            let mut told: Vec<String> = told.map(|change| text(&change["package"])).collect();
            told.sort();
            let changed = PACKAGES
                .iter()
                .zip(now)
                .filter(|(_, version)| *version == new);
            let changed: Vec<&str> = changed.map(|(name, _)| *name).collect();
            told == changed
        }
        _ => false,
    };
    let error = text(&job["error"]);
    verdict.demand(truthful, || {
        format!("{status} ({error}) while installed are {now:?}")
    });
}

/// Nothing was done twice, and nothing said twice.
fn once(verdict: &mut Verdict, host: &Host, trial: &Trial, id: &str, new: &str) {
    let of_job =
        |kind: &str| host.journal(&[&format!("MESSAGE_ID={kind}"), &format!("PATCH_JOB={id}")]);
    let changed = of_job(message::PACKAGE_CHANGED);
    let to_new: Vec<&Value> = changed.iter().filter(|e| e["PATCH_TO"] == new).collect();
    // what is said between the record and the death of who says it is lost, or said again by the next
    let lossy =
        trial.fault == Fault::PowerCut || matches!(trial.point, Point::Worker(_) | Point::Disk(_));
    // what dpkg had begun when it was killed is done again
    let of_dpkg = matches!(trial.point, Point::Unpack(_) | Point::Configure(_));
    let of_dpkg = of_dpkg || matches!(trial.fault, Fault::KillDpkg | Fault::PowerCut);
    for package in PACKAGES {
        let told = to_new.iter().filter(|e| e["PATCH_PACKAGE"] == package);
        let told = told.count();
        let most = usize::from(lossy) + 1;
        let least = usize::from(verdict.outcome == "completed" && !lossy);
        verdict.demand((least..=most).contains(&told), || {
            format!("{package} was changed {told} times, as the journal has it")
        });
        let unpacked = host.sh(&format!(
            "grep -c ' upgrade {package}:all [^ ]* {new}$' /var/log/dpkg.log || true"
        ));
        let unpacked: usize = unpacked.trim().parse().unwrap();
        verdict.demand(unpacked <= 1 + usize::from(of_dpkg), || {
            format!("{package} was unpacked {unpacked} times")
        });
    }
    let ends = [
        message::JOB_SUCCEEDED,
        message::JOB_FAILED,
        message::JOB_CANCELLED,
    ];
    let ended: usize = ends.iter().map(|kind| of_job(kind).len()).sum();
    verdict.demand(ended == 1 || (lossy && ended == 0), || {
        format!("the job ended {ended} times")
    });
}

/// Another update goes through, and the host is healthy with it.
fn next_works(verdict: &mut Verdict, stage: &mut Stage) {
    let newest = stage.publish();
    let output = stage
        .host
        .try_sh("systemctl start patch-apply@all.service 2>&1");
    let now = versions(&stage.host);
    let good = output.success() && now.iter().all(|version| *version == newest);
    verdict.demand(good, || format!("the next update: {output} {now:?}"));
    let health = stage.host.sh("patchctl health --json");
    verdict.demand(health.contains("\"healthy\""), || {
        format!("after the next update: {health}")
    });
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Verdict {
    fn demand(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(why());
        }
    }
}
