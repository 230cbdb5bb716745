//! Records that no worker has: `state/` was lost, or restored from a backup, and what lies in the queue for jobs
//! that are not there.

use lab::fixtures::{plain, slow};
use lab::{Fault, Host, Release, Repo};
use serde_json::Value;

use crate::job::{applied, changes, host_with, id_of, list, text};
use crate::refresh::outcome::starts_of;
use crate::story::{
    self, QUEUE, STATE, drop_request, installed, jobs, last_job, property, refresh, settled, unit,
};

const DRAIN: &str = "patch-apply.service";

/// An update of `demo` whose worker loses its notes and dies; its job.
fn dies_without_its_notes(host: &Host, seen: impl Fn() -> bool) -> String {
    let id = drop_request(host, 1, r#""packages":["demo"]"#);
    host.wait_for("the update", seen);
    host.sh(&format!(
        "rm -r {STATE}/state && mkdir {STATE}/state && \
         systemctl kill --kill-whom=main --signal=KILL {DRAIN}"
    ));
    id
}

// fault: a worker dies and its state is lost, or restored from a backup
#[test]
fn a_job_whose_worker_died_without_its_notes_ends_as_failed() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.fault("demo_1.1", Fault::Hang);

    let id = dies_without_its_notes(&host, || property(&host, "Phase") == "downloading");

    // the death of the worker is what has another one look
    let job = settled(&host, &id);
    repo.heal();
    assert_eq!(job["status"], "failed", "{job:#}");
    let error = text(&job, "error");
    assert!(error.contains("its worker is gone"), "{error}");
    assert!(error.contains("no package was changed"), "{error}");
    assert_eq!(job["update"]["phase"], "failed", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.sh("pgrep --count apt-get || true").trim(), "0");
    assert_eq!(property(&host, "CurrentJob"), "");
    assert_eq!(changes(&applied(&host, "demo")), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: a worker dies and its state is lost, or restored from a backup
#[test]
fn a_job_whose_worker_died_without_its_notes_is_judged_by_its_change_list() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&slow("demo", "1.1"));

    let id = dies_without_its_notes(&host, || host.exists("/run/lab-slow-started"));
    host.write("/run/lab-release", "");

    let job = settled(&host, &id);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    let notes = list(&job, "notes");
    assert!(notes[0].as_str().unwrap().contains("was interrupted"));
    idle(&host);
}

/// A host with a job that has ended, and whose record is made one of a job that runs: it came from a backup.
fn restored(host: &Host, repo: &Repo) -> Value {
    repo.add(&plain("demo", "1.1"));
    let job = applied(host, "demo");
    make_running(host, &job);
    job
}

fn make_running(host: &Host, job: &Value) {
    let mut running = job.clone();
    running["status"] = "running".into();
    running["finished_at"] = Value::Null;
    running["changes"] = Value::Array(Vec::new());
    let record = format!("{STATE}/jobs/{}.json", id_of(job));
    host.write(&record, running.to_string());
}

// fault: a worker dies and its state is lost, or restored from a backup
#[test]
fn a_running_record_without_a_worker_can_be_cancelled_at_no_cost() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let job = restored(&host, &repo);
    let id = id_of(&job);
    host.sh(&format!("rm {STATE}/jobs/{id}.intent"));
    let started = starts_of(&host, DRAIN);

    host.sh(&format!("patchctl cancel {id}"));

    let job = settled(&host, id);
    assert_eq!(job["status"], "cancelled", "{job:#}");
    idle(&host);
    // one for the order, and one that finds nothing more
    let started = starts_of(&host, DRAIN) - started;
    assert!(started <= 2, "{started} workers");
    assert_eq!(host.sh(&format!("ls {QUEUE}")), "");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: a worker dies and its state is lost, or restored from a backup
#[test]
fn a_restored_record_of_older_packages_ends_and_nothing_is_undone() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let old = restored(&host, &repo);
    repo.add(&plain("demo", "1.2"));

    // the next worker ends it before it does anything else
    let new = applied(&host, "demo");
    assert_eq!(changes(&new), ["demo 1.1 -> 1.2"]);
    let first = story::job(&host, id_of(&old));
    assert_eq!(
        first["status"], "succeeded",
        "all is as it was to be: {first:#}"
    );

    make_running(&host, &old);
    repo.add(&plain("other", "1.0"));
    // a refresh looks whether there is something to end, too
    assert!(refresh(&host).success());

    let job = settled(&host, id_of(&old));
    assert_eq!(job["status"], "failed", "{job:#}");
    let error = text(&job, "error");
    assert!(
        error.contains(
            "demo:all, which it changed from 1.0 to 1.1, has been changed since then (1.2"
        ),
        "{error}"
    );
    assert_eq!(installed(&host, "demo"), "1.2 installed");
    assert_eq!(job["rollback"], Value::Null);
    idle(&host);
    assert_eq!(last_job(&host)["status"], "succeeded");
}

// fault: a decision about a job that does not exist
#[test]
fn decisions_about_jobs_that_are_not_there_are_removed_and_start_no_round() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let ended = applied(&host, "demo");
    let ended = id_of(&ended);
    let started = starts_of(&host, DRAIN);
    let nobodys = "0123456789abcdef-abcdef";
    let names: Vec<String> = [ended, nobodys]
        .iter()
        .flat_map(|id| ["cancel", "apply", "discard"].map(|word| format!("{id}.{word}")))
        .collect();

    host.sh(&format!("cd {QUEUE} && touch {}", names.join(" ")));

    host.wait_for("an empty queue", || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
    });
    idle(&host);
    let started = starts_of(&host, DRAIN) - started;
    assert!(started <= 7, "{started} workers");
    assert_eq!(jobs(&host).len(), 1);
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: a directory in the place of a record
#[test]
fn directories_in_the_places_of_the_state_files_are_put_aside() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let names = [
        "running", "update", "updates", "cache", "alerts", "blocked", "services", "reboot",
    ];
    let mut files: Vec<String> = names.map(|name| format!("state/{name}.json")).to_vec();
    files.push("packages/index.json".to_owned());
    for (turn, version) in ["1.1", "1.2"].into_iter().enumerate() {
        for file in &files {
            let directory = format!("{STATE}/{file}");
            host.sh(&format!(
                "rm -rf {directory} && mkdir -p {directory}/full-{turn}"
            ));
        }
        repo.add(&plain("demo", version));

        let job = applied(&host, "demo");

        assert_eq!(changes(&job).len(), 1, "{job:#}");
        idle(&host);
        for file in ["running", "update", "updates", "cache", "alerts", "blocked"] {
            let kept = format!("ls -d {STATE}/state/{file}.json*.bad/full-{turn}");
            assert!(host.try_sh(&kept).success(), "{file}, {turn}");
            let is_one = host.try_sh(&format!("test -d {STATE}/state/{file}.json"));
            assert!(!is_one.success(), "{file}, {turn}");
        }
        assert_eq!(property(&host, "Health"), "healthy");
        assert_eq!(property(&host, "Phase"), "success");
    }
    let kept = host.sh(&format!("ls -d {STATE}/packages/index.json*.bad/full-*"));
    assert_eq!(kept.lines().count(), 2, "{kept}");
}

/// Nothing waits, and nothing runs.
#[track_caller]
fn idle(host: &Host) {
    host.wait_for("the workers to leave", || {
        ["inactive", "failed"].contains(&&*unit(host, DRAIN, "ActiveState"))
            && unit(host, "patch-recover.service", "ActiveState") != "activating"
            && host.sh(&format!("ls {QUEUE}")).is_empty()
    });
}
