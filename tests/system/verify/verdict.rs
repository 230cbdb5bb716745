//! Verification: what is checked after an update, what decides, and what only warns.

use lab::fixtures::{dying_service, failing_postinst, looping_service, plain, with_service};
use lab::{Deb, Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::backends::Backend;
use crate::job::{applied, changes, events_of_kind, failed, host_with, list, text};
use crate::story::{installed, property};

/// A check of a job, by its name.
#[track_caller]
fn check<'a>(job: &'a Value, name: &str) -> &'a Value {
    let mut checks = list(job, "verification").iter();
    let found = checks.find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {job:#}"))
}

/// A host with the service `demo` 1.0 running, which the repository has, too.
fn with_demo() -> (Host, Repo) {
    let (host, repo) = host_with(Release::Trixie, &[with_service("demo", "1.0")]);
    repo.add(&with_service("demo", "1.0"));
    (host, repo)
}

#[track_caller]
fn is_back(host: &Host, job: &Value) {
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(installed(host, "demo"), "1.0 installed");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
}

#[test]
fn a_service_that_dies_within_the_settling_time_goes_back() {
    let (host, repo) = with_demo();
    repo.add(&dying_service("demo", "1.1", "2"));

    let job = failed(&host, "demo");

    let why = text(check(&job, "demo.service"), "message");
    assert!(why.contains("demo.service has failed"), "{why}");
    is_back(&host, &job);
}

#[test]
fn a_service_that_restarts_in_a_loop_goes_back() {
    let (host, repo) = with_demo();
    repo.add(&looping_service("demo", "1.1"));

    let job = failed(&host, "demo");

    let why = text(check(&job, "demo.service"), "message");
    assert!(why.contains("does not stay up"), "{why}");
    is_back(&host, &job);
}

#[test]
fn a_good_service_passes_and_what_was_broken_before_is_no_reason() {
    let (host, repo) = with_demo();
    host.try_sh("systemd-run --unit=old-trouble.service --service-type=oneshot /bin/false");
    host.wait_for("the old trouble", || {
        host.sh("systemctl --failed --no-legend")
            .contains("old-trouble")
    });
    repo.add(&with_service("demo", "1.1"));

    let job = applied(&host, "demo");

    let units = check(&job, "units");
    assert_eq!(units["passed"], true);
    assert!(
        text(units, "message").contains("the one service that was started is up"),
        "{units}"
    );
    assert_eq!(check(&job, "versions")["passed"], true);
    assert!(
        host.sh("systemctl --failed --no-legend")
            .contains("old-trouble")
    );
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn the_programs_of_the_administrator_decide_or_warn() {
    let (host, repo) = with_demo();
    repo.add(&plain("plain", "1.0"));
    let hook = |path: &str, script: &str| {
        let path = format!("/etc/linux_patch_api/verify.d/{path}");
        host.write(&path, format!("#!/bin/sh\n{script}\n"));
        host.sh(&format!("chmod 755 {path}"));
    };
    host.write(
        "/etc/linux_patch_api/config.toml",
        "[verify]\ntimeout = 2\n",
    );
    hook(
        "10-good",
        "echo \"checked $PATCH_COUNT: $PATCH_PACKAGES of $PATCH_JOB\"",
    );
    hook(
        "wanted.d/20-moans",
        "echo 'the web page is slow' >&2; exit 1",
    );
    hook(
        "wanted.d/30-hangs",
        "sleep 1000 & echo $! > /run/hanging; wait",
    );
    hook("wanted.d/40-foreign", "touch /run/foreign");
    host.sh("chown nobody /etc/linux_patch_api/verify.d/wanted.d/40-foreign");
    repo.add(&with_service("demo", "1.1"));

    let job = applied(&host, "demo");

    let good = check(&job, "10-good");
    assert_eq!(
        (&good["kind"], &good["required"], &good["passed"]),
        (&"hook".into(), &true.into(), &true.into())
    );
    let id = crate::job::id_of(&job);
    assert_eq!(
        text(good, "message"),
        format!("checked 1: demo:all=1.0=1.1 of {id}")
    );
    let moans = check(&job, "wanted.d/20-moans");
    assert_eq!(
        (&moans["required"], &moans["passed"]),
        (&false.into(), &false.into())
    );
    assert!(
        text(moans, "message").contains("the web page is slow"),
        "{moans}"
    );
    let hangs = text(check(&job, "wanted.d/30-hangs"), "message");
    assert!(hangs.contains("it did not end within 2 s"), "{hangs}");
    let left = host.try_sh("kill -0 $(cat /run/hanging)");
    assert!(!left.success(), "the whole group of processes is ended");
    let foreign = text(check(&job, "wanted.d/40-foreign"), "message");
    assert!(foreign.contains("not to root"), "{foreign}");
    assert!(!host.exists("/run/foreign"));
    assert_eq!(list(&job, "notes").len(), 3, "{job:#}");
    let told = events_of_kind(&host, message::CHECKED);
    let moaned = told
        .iter()
        .find(|event| event["PATCH_CHECK"] == "wanted.d/20-moans");
    let moaned = moaned.expect("it is not in the journal");
    assert_eq!(text(moaned, "PATCH_RESULT"), "warned");
    assert!(text(moaned, "PATCH_OUTPUT").contains("slow"));
    assert_eq!(property(&host, "Health"), "healthy");

    hook(
        "required.d/50-strict",
        "[ $(cat /usr/share/demo/version) != 1.2 ]",
    );
    repo.add(&with_service("demo", "1.2"));
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(check(&job, "required.d/50-strict")["passed"], false);
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(changes(&job), [""; 0]);
}

/// A package that watches the files of another one, as man-db and initramfs-tools do; its script fails while the
/// host is not as it wants it.
fn watcher() -> Deb {
    plain("watcher", "1.0").watches("/usr/share/demo").postinst(
        "echo \"$1\" >> /run/lab-tries\n\
             ! [ -e /run/lab-unwell ] || { echo 'watcher is unwell' >&2; exit 1; }",
    )
}

// fault: script of a package outside the update fails
#[test]
fn a_failed_trigger_of_another_package_is_named_and_undoes_nothing() {
    for release in [Release::Trixie, Release::Bookworm] {
        a_failed_trigger_is_named(release);
    }
}

fn a_failed_trigger_is_named(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), watcher()]);
    let tries = || {
        host.sh("cat /run/lab-tries; rm /run/lab-tries")
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    tries();
    host.write("/run/lab-unwell", "");
    repo.add(&plain("demo", "1.1"));

    let job = applied(&host, "demo");

    assert_eq!(tries(), ["triggered"]);
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert!(job["rollback"].is_null(), "{job:#}");
    let is_named = |job: &Value| {
        let stranger = "watcher:all is half-configured and was not part of this update";
        assert_eq!(installed(&host, "watcher"), "1.0 half-configured");
        let notes = list(job, "notes").iter().filter_map(Value::as_str);
        let notes: Vec<&str> = notes
            .filter(|note| note.contains("watcher is half") || note.contains("watcher:all is"))
            .collect();
        assert_eq!(notes, [stranger], "{job:#}\n{}", host.sh("patchctl log"));
        assert_eq!(property(&host, "Health"), "degraded");
        let reasons = property(&host, "HealthReasons");
        assert!(reasons.contains("watcher is half-configured"), "{reasons}");
    };
    is_named(&job);

    // nothing is due: its script is tried all the same
    for target in ["all", "demo"] {
        let job = applied(&host, target);
        assert!(changes(&job).is_empty(), "{job:#}");
        let tries = tries();
        assert!(
            !tries.is_empty() && tries.iter().all(|how| how == "configure"),
            "{tries:?}"
        );
    }

    // what is undone meanwhile is undone, and the host not as it was before
    repo.add(&failing_postinst("demo", "1.2"));
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], false, "{job:#}");
    let shown = host.sh(&format!(
        "patchctl log {}; journalctl --no-pager",
        crate::job::id_of(&job)
    ));
    let says = shown.contains("the host is as it was before");
    assert!(!says, "{shown}");

    // no version is blocked because of it
    repo.add(&plain("demo", "1.3"));
    is_named(&applied(&host, "all"));
    assert!(!tries().is_empty());

    host.sh("rm /run/lab-unwell");
    applied(&host, "all");
    assert_eq!(installed(&host, "watcher"), "1.0 installed");
    assert_eq!(installed(&host, "demo"), "1.3 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// Told with every package manager. Timers start both units while the script of the package runs.
// fault: unit fails along with an update
pub fn an_unrelated_failed_unit_undoes_nothing(backend: Backend) {
    let (host, repo) = backend.host_with(&[]);
    backend.install(&host, &repo, &plain("demo", "1.0"));
    for (name, command) in [
        ("backup", "/bin/sh -c 'exit 1'"),
        ("report", "/usr/lib/demo/report"),
    ] {
        let unit = |suffix: &str| format!("/etc/systemd/system/{name}.{suffix}");
        let service = format!("[Service]\nType=oneshot\nExecStart={command}\n");
        host.write(&unit("service"), service);
        host.write(&unit("timer"), "[Timer]\nOnActiveSec=0\nAccuracySec=1us\n");
    }
    host.sh("systemctl daemon-reload");
    let meanwhile = |name: &str| {
        format!(
            "systemctl start {name}.timer\n\
             until systemctl is-failed --quiet {name}.service; do sleep 0.05; done"
        )
    };
    repo.add(&plain("demo", "1.1").postinst(&meanwhile("backup")));

    let job = applied(&host, backend.target("demo"));

    let backup = check(&job, "backup.service");
    assert_eq!(
        (&backup["required"], &backup["passed"]),
        (&false.into(), &false.into())
    );
    let why = text(backup, "message");
    assert!(why.contains("it was not up before"), "{why}");
    assert!(list(&job, "notes").contains(&why.into()), "{job:#}");
    assert!(job["rollback"].is_null(), "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");

    // the unit is the administrator's, and its program the package's
    let report = "#!/bin/sh\nexit 1\n";
    let bad = plain("demo", "1.2").program("/usr/lib/demo/report", report);
    repo.add(&bad.postinst(&meanwhile("report")));
    let job = failed(&host, backend.target("demo"));
    let why = text(check(&job, "report.service"), "message");
    assert!(why.ends_with("has failed since the update began"), "{why}");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
}

/// Told with every package manager that runs scripts of packages for the files of others.
// fault: script of a package outside the update fails
pub fn a_failed_script_for_the_files_of_another_package_is_a_note(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), watcher()]);
    host.write("/run/lab-unwell", "");
    for version in ["1.1", "1.2"] {
        host.write("/run/lab-tries", "");
        repo.add(&plain("demo", version));

        let job = applied(&host, backend.target("demo"));

        assert!(host.read("/run/lab-tries").contains("triggered") || version == "1.2");
        let mut notes = list(&job, "notes").iter().filter_map(Value::as_str);
        assert!(notes.any(|note| note.contains("watcher")), "{job:#}");
        assert!(job["rollback"].is_null(), "{job:#}");
        assert_eq!(backend.installed(&host, "demo"), backend.version(version));
    }
}
