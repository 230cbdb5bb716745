//! A scheduled shutdown never interrupts an update: a reboot by this program follows it, other shutdowns come first.

use lab::{Host, Release, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::job::{applied, host_with, id_of, list, start, text};
use crate::story::{STATE, events, installed, job, last_job, property, settled, state, unit};

/// Where logind says what is scheduled.
const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

fn configure(host: &Host, text: &str) {
    host.write("/etc/linux_patch_api/config.d/reboot.toml", text);
}

fn picture(host: &Host) -> Value {
    serde_json::from_str(&host.sh("patchctl status --json")).unwrap()
}

/// For when logind has something scheduled, in microseconds; empty for never.
fn scheduled(host: &Host) -> String {
    let read = format!("sed -n 's/^USEC=//p' {SCHEDULED} 2>/dev/null || true");
    host.sh(&read).trim().to_owned()
}

/// An update that stays in its script, and is there now.
fn slow_update(host: &Host) -> lab::Spawned {
    host.sh("rm -f /run/lab-slow-started /run/lab-release");
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    running
}

/// Lets the retry timer's service look now: the timer itself may take five minutes.
fn retry(host: &Host) {
    host.sh("systemctl start patch-retry.service");
}

fn retry_timer(host: &Host) -> String {
    unit(host, "patch-retry.timer", "ActiveState")
}

releases!(a_planned_reboot_that_fell_due_meanwhile_follows_the_update [bookworm trixie forky]);
// fault: a reboot in the middle
fn a_planned_reboot_that_fell_due_meanwhile_follows_the_update(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("patchctl reboot --delay=1min");
    let due = scheduled(&host);
    let running = slow_update(&host);

    assert_eq!(scheduled(&host), "", "it would come in the middle");
    let shown = picture(&host);
    assert_eq!(shown["scheduled_reboot"], Value::Null);
    assert_eq!(shown["reboot_waits"], "packages are changing", "{shown:#}");
    assert_eq!(property(&host, "RebootWaits"), "packages are changing");
    let held = host.sh("systemd-inhibit --list --no-legend");
    let ours = held.lines().find(|line| line.contains("linux-patch-api"));
    assert!(
        ours.is_some_and(|ours| ours.contains("shutdown:sleep")),
        "{held}"
    );
    let due: u64 = due.parse().expect("nothing was scheduled");
    host.wait_for("the time that it was due", || {
        let now: u64 = host.sh("date +%s").trim().parse().unwrap();
        now > due / 1_000_000 + 1
    });
    assert_eq!(installed(&host, "demo"), "1.1 half-configured");
    host.write("/run/lab-release", "");
    let output = running.wait();
    assert!(output.success(), "{output}");
    assert_eq!(last_job(&host)["status"], "succeeded");
    host.wait_for("the schedule", || !scheduled(&host).is_empty());
    assert_eq!(events(&host, "MESSAGE_ID", id::REBOOT_POSTPONED).len(), 1);

    host.wait_for_reboot();
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(last_job(&host)["status"], "succeeded");
    // and once is enough
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(scheduled(&host), "");
    assert_eq!(property(&host, "RebootWaits"), "");
    assert!(!host.exists(&format!("{STATE}/state/reboot.json")));
}

// fault: a reboot in the middle
#[test]
fn a_reboot_that_was_taken_back_is_not_forgotten_by_a_worker_that_dies() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("patchctl reboot --delay=2h");
    let due = scheduled(&host);
    let running = slow_update(&host);
    let record = state(&host, "state/reboot.json");
    assert_eq!(record["at"], Value::Null, "{record:#}");
    host.sh("systemctl kill --signal=KILL --kill-whom=main patch-apply@demo.service");
    assert!(!running.wait().success());
    host.write("/run/lab-release", "");
    host.wait_for("the job", || last_job(&host)["status"] == "succeeded");
    host.wait_for("the same schedule", || scheduled(&host) == due);

    // what is taken back for good does not come back, neither then nor with the next update
    host.sh("rm /run/lab-release");
    repo.add(&fixtures::slow("demo", "1.2"));
    let running = slow_update(&host);
    let cancel = host.spawn("patchctl reboot --cancel");
    host.wait_for("the order", || property(&host, "QueueLength") == "1");
    host.write("/run/lab-release", "");
    assert!(running.wait().success() && cancel.wait().success());
    assert_eq!(scheduled(&host), "");
    repo.add(&fixtures::plain("demo", "1.3"));
    applied(&host, "demo");
    assert_eq!(scheduled(&host), "");
    assert_eq!(picture(&host)["reboot_waits"], Value::Null);

    // nor one that systemd's own command has cancelled
    host.sh("patchctl reboot --delay=2h; shutdown -c");
    repo.add(&fixtures::plain("demo", "1.4"));
    applied(&host, "demo");
    assert_eq!(scheduled(&host), "");
}

// fault: a reboot in the middle
#[test]
fn without_logind_the_timer_of_the_reboot_is_taken_back() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    host.sh("systemctl mask --now systemd-logind.service 2>&1");
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("patchctl reboot --delay=2h");
    let timer = || unit(&host, "patch-reboot.timer", "ActiveState");
    assert_eq!(timer(), "active");
    let due = picture(&host)["scheduled_reboot"].clone();
    let running = slow_update(&host);
    assert_eq!(timer(), "inactive");
    host.write("/run/lab-release", "");
    assert!(running.wait().success());
    host.wait_for("the timer", || timer() == "active");
    assert_eq!(picture(&host)["scheduled_reboot"], due);
    host.sh("patchctl reboot --cancel");
    assert_eq!(timer(), "inactive");
}

releases!(a_shutdown_by_the_administrator_is_waited_for [bookworm trixie forky]);
// fault: a reboot in the middle
fn a_shutdown_by_the_administrator_is_waited_for(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    // from where it comes back at the end
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.add(&fixtures::plain("demo", "1.1"));
    host.sh("shutdown -P +60 2>&1");
    let theirs = scheduled(&host);
    let shown = picture(&host);
    assert_eq!(shown["scheduled_reboot"], Value::Null);
    assert_eq!(shown["scheduled_shutdown"]["mode"], "poweroff", "{shown:#}");
    assert_eq!(shown["scheduled_shutdown"]["ours"], false, "{shown:#}");
    assert_eq!(property(&host, "ScheduledShutdown"), "poweroff");
    assert_eq!(property(&host, "ScheduledShutdownUSec"), theirs);
    let status = host.sh("patchctl status");
    assert!(status.contains("poweroff scheduled for"), "{status}");

    // nothing is changed, at any front end, and the reply says so
    assert!(!start(&host, "demo").success());
    let code = unit(&host, "patch-apply@demo.service", "ExecMainStatus");
    assert_eq!(code, "75");
    let output = host.try_sh("patchctl apply demo 2>&1");
    assert_eq!(output.status, 75, "{output}");
    assert!(
        output
            .stdout
            .contains("a poweroff of the host is scheduled"),
        "{output}"
    );
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    let told = events(&host, "MESSAGE_ID", id::JOB_AWAITS_SHUTDOWN);
    assert_eq!(told.len(), 2, "{told:?}");
    let (first, second) = (text(&told[0], "PATCH_JOB"), text(&told[1], "PATCH_JOB"));
    let held = job(&host, first);
    assert_eq!(held["status"], "deferred", "{held:#}");
    assert_eq!(held["waits_for"], "shutdown", "{held:#}");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(retry_timer(&host), "active");

    // it stays so, without a word more, and a refresh goes on
    retry(&host);
    host.sh("patchctl refresh");
    assert_eq!(job(&host, first)["status"], "deferred");
    assert_eq!(
        events(&host, "MESSAGE_ID", id::JOB_AWAITS_SHUTDOWN).len(),
        2
    );
    assert_eq!(scheduled(&host), theirs, "theirs is left alone");
    host.sh(&format!("patchctl cancel {second}"));

    // until it is cancelled
    host.sh("shutdown -c 2>&1");
    retry(&host);
    let done = settled(&host, first);
    assert_eq!(done["status"], "succeeded", "{done:#}");
    assert_eq!(done["waits_for"], Value::Null);
    assert_eq!(installed(&host, "demo"), "1.1 installed");

    // going back by hand changes packages as well
    host.sh("shutdown -r +60 2>&1");
    let back = host.try_sh(&format!("patchctl rollback {first}"));
    assert_eq!(back.status, 75, "{back}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    host.sh("shutdown -c 2>&1");
    retry(&host);
    host.wait_for("the former version", || {
        installed(&host, "demo") == "1.0 installed"
    });
    host.wait_for("nothing to wait for", || retry_timer(&host) == "inactive");
}

#[test]
fn what_a_shutdown_by_the_administrator_means_is_configured() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    configure(&host, "[reboot]\nforeign = \"refuse\"\n");
    host.sh("shutdown -r +60 2>&1");
    let theirs = scheduled(&host);
    let refused = crate::job::failed(&host, "demo");
    let error = text(&refused, "error");
    assert!(
        error.contains("a reboot of the host is scheduled"),
        "{error}"
    );
    assert_eq!(refused["update"]["phase"], "failed");
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    configure(&host, "[reboot]\nforeign = \"ignore\"\n");
    let job = applied(&host, "demo");
    let notes = list(&job, "notes");
    assert!(notes[0].to_string().contains("which is ignored"), "{job:#}");
    assert_eq!(scheduled(&host), theirs);

    // one that is more than a day away holds up nothing
    configure(&host, "");
    host.sh("shutdown -r +3000 2>&1");
    repo.add(&fixtures::plain("demo", "1.2"));
    let job = applied(&host, "demo");
    let note = list(&job, "notes")[0].to_string();
    assert!(
        note.contains("a reboot of the host is scheduled"),
        "{job:#}"
    );

    let wrong = "[reboot]\nforeign = \"perhaps\"\n";
    host.write("/etc/linux_patch_api/config.d/wrong.toml", wrong);
    let reasons = property(&host, "HealthReasons");
    assert!(
        reasons.contains("line 2: unknown variant `perhaps`"),
        "{reasons}"
    );
}

releases!(a_shutdown_between_plan_and_activation_keeps_the_gate_shut [bookworm trixie]);
// fault: a reboot in the middle
fn a_shutdown_between_plan_and_activation_keeps_the_gate_shut(release: Release) {
    let packages = [
        fixtures::plain("demo", "1.0"),
        fixtures::plain("tool", "1.0"),
    ];
    let (host, repo) = host_with(release, &packages);
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.add(&fixtures::plain("tool", "1.1"));
    // before 257 the lock does not keep root from it, so that it may come as late as this
    let moment = match release {
        Release::Bookworm => "DPkg::Pre-Invoke",
        _ => "APT::Update::Post-Invoke",
    };
    let hook = format!("{moment} {{ \"shutdown -r +60 2>&1\"; }};\n");
    host.write("/etc/apt/apt.conf.d/99-reboots", hook);
    let output = host.try_sh("patchctl apply demo tool");
    assert_eq!(output.status, 75, "{output}");
    let held = last_or_deferred(&host);
    assert_eq!(held["waits_for"], "shutdown", "{held:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(property(&host, "Phase"), "idle");
    assert_eq!(property(&host, "Health"), "healthy");

    host.sh("mv /etc/apt/apt.conf.d/99-reboots /root/; shutdown -c 2>&1");
    retry(&host);
    host.wait_for("both", || installed(&host, "tool") == "1.1 installed");
    assert_eq!(settled(&host, id_of(&held))["status"], "succeeded");
    assert_eq!(installed(&host, "demo"), "1.1 installed");

    configure(&host, "[reboot]\nforeign = \"refuse\"\n");
    host.sh("mv /root/99-reboots /etc/apt/apt.conf.d/");
    repo.add(&fixtures::plain("demo", "1.2"));
    let refused = crate::job::failed(&host, "demo");
    let error = text(&refused, "error");
    assert!(
        error.contains("a reboot of the host is scheduled"),
        "{error}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
}

/// The only deferred job.
fn last_or_deferred(host: &Host) -> Value {
    let text = host.sh(&format!("cat {STATE}/deferred/*.json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

// fault: a reboot in the middle
#[test]
fn an_update_follows_the_reboot_that_it_has_waited_for() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let login = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
    host.sh(&format!(
        "busctl call {login} ScheduleShutdown st reboot $((($(date +%s) + 20) * 1000000))"
    ));
    assert!(!start(&host, "demo").success());
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    host.wait_for_reboot();
    host.wait_for("the update", || installed(&host, "demo") == "1.1 installed");
    host.wait_for("nothing to wait for", || retry_timer(&host) == "inactive");
}

releases!(a_reboot_that_is_inhibited_is_kept_and_asked_for_again [bookworm trixie forky]);
fn a_reboot_that_is_inhibited_is_kept_and_asked_for_again(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    configure(&host, "[reboot]\ndelay = \"1h\"\n");
    repo.add(&fixtures::plain("demo", "1.1"));
    let lock = hold_off(&host);
    let output = host.try_sh("patchctl apply demo --reboot=always");
    assert!(output.success(), "{output}");
    host.wait_for("what it waits for", || {
        !property(&host, "RebootWaits").is_empty()
    });
    let waits = property(&host, "RebootWaits");
    assert!(waits.starts_with("backup (process "), "{waits}");
    assert!(
        waits.ends_with("inhibits a shutdown: the nightly one"),
        "{waits}"
    );
    assert_eq!(scheduled(&host), "");
    let status = host.sh("patchctl status");
    assert!(
        status.contains("requested reboot waits: backup"),
        "{status}"
    );
    assert_eq!(retry_timer(&host), "active");
    let refused = || events(&host, "MESSAGE_ID", id::REBOOT_REFUSED);
    assert_eq!(refused()[0]["PATCH_JOB"], id_of(&last_job(&host)));

    // a person is told, and the journal once
    let asked = host.try_sh("patchctl reboot --delay=2h");
    assert_eq!(asked.status, 75, "{asked}");
    assert!(asked.stdout.contains("the reboot waits: backup"), "{asked}");
    let told = refused().len();
    asks_again(&host);
    assert_eq!((scheduled(&host), refused().len()), (String::new(), told));
    release_lock(&host, lock);
    asks_again(&host);
    host.wait_for("the schedule", || !scheduled(&host).is_empty());
    host.wait_for("nothing to wait for", || retry_timer(&host) == "inactive");
    assert_eq!(property(&host, "RebootWaits"), "");
    assert_eq!(picture(&host)["scheduled_shutdown"]["ours"], true);

    // one that waits can be taken back
    host.sh("patchctl reboot --cancel");
    let lock = hold_off(&host);
    assert_eq!(host.try_sh("patchctl reboot --delay=2h").status, 75);
    host.sh("patchctl reboot --cancel");
    assert_eq!(property(&host, "RebootWaits"), "");
    release_lock(&host, lock);
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(scheduled(&host), "");

    // a poweroff by the administrator is not turned into a reboot
    configure(&host, "[reboot]\ndelay = \"1h\"\nforeign = \"ignore\"\n");
    host.sh("shutdown -P +60 2>&1");
    repo.add(&fixtures::plain("demo", "1.2"));
    host.sh("patchctl apply demo --reboot=always");
    host.wait_for("what it waits for", || {
        property(&host, "RebootWaits").contains("a poweroff")
    });
    assert!(host.read(SCHEDULED).contains("MODE=poweroff"));
    host.sh("shutdown -c 2>&1");
    asks_again(&host);
    host.wait_for("the schedule", || host.exists(SCHEDULED));
    assert!(host.read(SCHEDULED).contains("MODE=reboot"));
}

/// The retry, and the worker that it starts, have come to their ends.
fn asks_again(host: &Host) {
    retry(host);
    host.wait_for("the worker", || {
        unit(host, "patch-apply.service", "ActiveState") == "inactive"
    });
}

/// An inhibitor of another process, until the file goes.
fn hold_off(host: &Host) -> lab::Spawned {
    host.write("/run/holds", "");
    let lock = host.spawn(
        "exec systemd-inhibit --what=shutdown --who=backup --why='the nightly one' --mode=block \
         sh -c 'while [ -e /run/holds ]; do sleep 0.05; done'",
    );
    host.wait_for("the lock", || {
        host.sh("systemd-inhibit --list").contains("backup")
    });
    lock
}

fn release_lock(host: &Host, lock: lab::Spawned) {
    host.sh("rm /run/holds");
    assert!(lock.wait().success());
    host.wait_for("the lock to go", || {
        !host.sh("systemd-inhibit --list").contains("backup")
    });
}
