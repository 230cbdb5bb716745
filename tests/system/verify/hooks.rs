//! The administrator's programs in `verify.d`: checked and run before anything changes, and compared with afterwards.

use lab::fixtures::{broken_service, plain, with_service};
use lab::{Host, Release};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::backends::Backend;
use crate::job::{applied, events_of_kind, failed, host_with, list, text};
use crate::story::{installed, last_job, last_settled, property};

const DIRECTORY: &str = "/etc/linux_patch_api/verify.d";

/// A program in `verify.d`, that may be run.
fn program(host: &Host, name: &str, script: &str) {
    let path = format!("{DIRECTORY}/{name}");
    host.write(&path, format!("#!/bin/sh\n{script}\n"));
    host.sh(&format!("chmod 755 {path}"));
}

#[track_caller]
fn check<'a>(job: &'a Value, name: &str) -> &'a Value {
    let mut checks = list(job, "verification").iter();
    let found = checks.find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {job:#}"))
}

/// Told with every package manager.
pub fn a_check_that_could_not_be_run_fails_the_job_before_anything_changes(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    program(&host, "required.d/50-strict", "exit 0");
    host.sh(&format!("chmod -x {DIRECTORY}/required.d/50-strict"));

    let job = failed(&host, backend.target("demo"));

    let error = text(&job, "error");
    let path = format!("{DIRECTORY}/required.d/50-strict");
    assert!(
        error.contains(&path) && error.contains("chmod +x"),
        "{error}"
    );
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert!(events_of_kind(&host, message::ACTIVATION).is_empty());
    assert_eq!(property(&host, "Phase"), "failed");

    // with it mended the same request does it, and the program is told where the update is
    program(
        &host,
        "required.d/50-strict",
        "echo $PATCH_STAGE >>/run/stages",
    );
    let job = applied(&host, backend.target("demo"));
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(check(&job, "required.d/50-strict")["passed"], true);
    assert_eq!(host.read("/run/stages"), "before\nafter\n");
}

#[test]
fn whatever_keeps_a_check_from_running_is_named_before_anything_changes() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    host.sh("mkdir -p /srv/noexec && mount -t tmpfs -o noexec tmpfs /srv/noexec");
    host.sh("printf '#!/bin/sh\\n' >/srv/noexec/check && chmod 755 /srv/noexec/check");
    for (spoil, why) in [
        (
            "chown nobody required.d/a",
            "belongs to user 65534, not to root",
        ),
        (
            "chmod 777 required.d/a",
            "users other than root may write to it",
        ),
        (
            "chmod 777 required.d",
            "users other than root may write to it",
        ),
        (
            "echo '#!/opt/python9' >required.d/a",
            "its interpreter /opt/python9 does not exist",
        ),
        ("echo 'exit 0' >required.d/a", "Exec format error"),
        (
            "ln -sf /nowhere/check required.d/a",
            "No such file or directory",
        ),
        ("ln -sf /srv/noexec/check required.d/a", "mounted noexec"),
        (
            "mv required.d/a 'required.d/a check'",
            "its name has other characters",
        ),
        (
            "mv required.d/a a; chmod 757 a",
            "users other than root may write to it",
        ),
    ] {
        host.sh(&format!("rm -rf {DIRECTORY}"));
        program(&host, "required.d/a", "exit 0");
        host.sh(&format!("cd {DIRECTORY} && {spoil}"));

        let job = failed(&host, "demo");

        let error = text(&job, "error");
        assert!(error.contains(why), "{spoil}: {error}");
        assert!(error.contains(DIRECTORY), "{spoil}: {error}");
        assert_eq!(installed(&host, "demo"), "1.0 installed", "{spoil}");
    }
    assert!(events_of_kind(&host, message::ACTIVATION).is_empty());

    // what only warns, what is switched off, and what says what these are hold nothing up
    host.sh(&format!("rm -rf {DIRECTORY}"));
    program(&host, "wanted.d/a", "exit 0");
    host.sh(&format!("chmod 777 {DIRECTORY}/wanted.d/a"));
    host.write(
        &format!("{DIRECTORY}/required.d/README"),
        "what these are\n",
    );
    host.write(&format!("{DIRECTORY}/switched-off"), "#!/bin/sh\nexit 1\n");
    let job = applied(&host, "demo");
    let warned = check(&job, "wanted.d/a");
    assert_eq!(warned["required"], false, "{warned}");
    assert!(text(warned, "message").contains("chmod go-w"), "{warned}");
    assert_eq!(list(&job, "notes").len(), 1, "{job:#}");
}

#[test]
fn a_check_that_failed_before_the_update_decides_nothing() {
    let (host, repo) = host_with(Release::Trixie, &[with_service("demo", "1.0")]);
    repo.add(&with_service("demo", "1.0"));
    repo.add(&with_service("demo", "1.1"));
    let limit = "[verify]\ntimeout = 2\n";
    host.write("/etc/linux_patch_api/config.toml", limit);
    program(&host, "required.d/10-bad", "echo 'no licence' >&2; exit 1");
    program(
        &host,
        "required.d/20-hangs",
        "echo x >>/run/hung; sleep 1000",
    );
    program(
        &host,
        "30-stages",
        "echo $PATCH_STAGE $PATCH_PACKAGES >>/run/stages",
    );

    let job = applied(&host, "demo");

    let bad = check(&job, "required.d/10-bad");
    assert_eq!(
        (&bad["required"], &bad["passed"]),
        (&false.into(), &false.into())
    );
    let why = text(bad, "message");
    assert!(
        why.contains("no licence") && why.contains("failed before the update, too"),
        "{why}"
    );
    let hangs = check(&job, "required.d/20-hangs");
    assert_eq!(hangs["required"], false, "{hangs}");
    assert!(
        text(hangs, "message").contains("was not run again"),
        "{hangs}"
    );
    assert_eq!(
        host.read("/run/hung"),
        "x\n",
        "its time was waited for twice"
    );
    assert_eq!(list(&job, "notes").len(), 2, "{job:#}");
    assert_eq!(property(&host, "Health"), "healthy");
    let packages = "demo:all=1.0=1.1";
    assert_eq!(
        host.read("/run/stages"),
        format!("before {packages}\nafter {packages}\n")
    );

    // nor on the way back, which another check has asked for
    host.sh(&format!("rm {DIRECTORY}/required.d/20-hangs /run/stages"));
    repo.add(&broken_service("demo", "1.2"));
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let stages = host.read("/run/stages");
    assert!(stages.starts_with("before "), "{stages}");
    assert!(
        stages.contains("\nrolled-back demo:all=1.2=1.1\n"),
        "{stages}"
    );
    let after = list(&job["rollback"], "verification").iter();
    let bad: Vec<&Value> = after.filter(|c| c["name"] == "required.d/10-bad").collect();
    assert_eq!(bad[0]["required"], false, "{job:#}");
}

#[test]
fn a_manual_rollback_ignores_checks_that_fail_already() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.0"));
    repo.add(&plain("demo", "1.1"));
    let job = applied(&host, "demo");
    program(&host, "required.d/10-bad", "exit 1");
    program(&host, "required.d/20-off", "exit 1");
    host.sh(&format!("chmod -x {DIRECTORY}/required.d/20-off"));

    let id = crate::job::id_of(&job).to_owned();
    let output = host.try_sh(&format!("patchctl rollback {id} 2>&1"));

    let job = last_job(&host);
    assert!(output.success(), "{output}\n{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    // nothing differs but the checks themselves
    let etc = list(&job["rollback"], "etc");
    let is_check = |file: &Value| text(file, "path").starts_with(DIRECTORY);
    assert!(etc.len() == 2 && etc.iter().all(is_check), "{job:#}");
    assert_eq!(job["rollback"]["error"], Value::Null, "{job:#}");
}

#[test]
fn a_job_is_cancelled_while_a_check_is_run_before_anything_changes() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    program(&host, "10-slow", "touch /run/slow; sleep 1000");
    let asked = host.spawn("patchctl apply demo 2>&1");
    host.wait_for("the check", || host.exists("/run/slow"));

    host.sh("patchctl cancel $(patchctl queue --json | grep -o '[0-9a-f]\\{16\\}-[0-9a-f]\\{6\\}' | head -n 1)");

    assert!(!asked.wait().success());
    let job = last_job(&host);
    assert_eq!(job["status"], "cancelled", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert!(!host.try_sh("pgrep --exact sleep").success(), "it runs on");
}

// fault: power cut
#[test]
fn what_a_check_said_before_is_known_after_a_power_cut() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let once = "[ -e /var/tmp/seen ] && exit 0\ntouch /var/tmp/seen /run/slow\nsync\nsleep 600";
    repo.add(&plain("demo", "1.1").postinst(once));
    program(&host, "required.d/10-bad", "exit 1");
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("its script", || host.exists("/run/slow"));

    host.power_cut();
    drop(running);
    host.start();

    let job = last_settled(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(
        check(&job, "required.d/10-bad")["required"],
        false,
        "{job:#}"
    );
}
