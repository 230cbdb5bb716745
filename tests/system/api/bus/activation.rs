//! The D-Bus service starts with a call and exits when idle, and no call is lost in between.

use lab::{Host, Release, Spawned};

use super::{AGENT, leave_after, service, wait_until_gone};

/// The service manager's event for a unit that has been started.
const STARTED: &str = "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf";

releases!(the_service_starts_with_a_call_and_exits_when_idle [bookworm trixie]);
fn the_service_starts_with_a_call_and_exits_when_idle(release: Release) {
    let host = Host::boot(release);
    assert_eq!(service(&host, "ActiveState"), "inactive");
    let help = host.sh("patchctl run agent --help");
    assert!(help.contains("[default: 30]"), "{help}");
    assert!(service(&host, "ExecStart").contains("argv[]=/usr/bin/patchctl run agent ;"));

    let health = host.sh(&format!("busctl get-property {AGENT} Health"));
    assert_eq!(health, "s \"healthy\"\n");
    assert_eq!(service(&host, "ActiveState"), "active");
    let pid = service(&host, "MainPID");
    let account = host.sh(&format!("stat -c %U:%G /proc/{pid}"));
    assert_eq!(account.trim(), "linux-patch:linux-patch");

    leave_after(&host, "0.2");
    let version = || host.sh(&format!("busctl get-property {AGENT} Version"));
    let first = version();
    wait_until_gone(&host);
    assert_eq!(service(&host, "Result"), "success");
    let starts = || {
        let journal = host.sh("journalctl --quiet -o cat -u patch-agent.service");
        let started = |line: &&str| line.starts_with("Started ");
        journal.lines().filter(started).count()
    };
    let before = starts();
    assert_eq!(version(), first);
    // it may be gone again already
    host.wait_for("the next one", || starts() > before);
    assert_eq!(host.sh("systemctl --failed --no-legend"), "");
}

releases!(no_call_is_lost_over_many_departures [bookworm trixie]);
/// Three ordinary users at once, each with pauses of its own around the time after which the service
/// exits, so that calls arrive at every moment of its exit.
fn no_call_is_lost_over_many_departures(release: Release) {
    let host = Host::boot(release);
    leave_after(&host, "0.02");
    let calls = 250;
    let clients: Vec<Spawned> = ["ann", "bob", "cid"]
        .into_iter()
        .map(|user| host.spawn(&caller(&host, user, calls)))
        .collect();
    for client in clients {
        let output = client.wait();
        assert!(output.success(), "{output}");
        assert_eq!(
            output.stdout,
            format!("answered {calls} of {calls}\n"),
            "{output}"
        );
    }
    wait_until_gone(&host);
    let starts = host.journal(&[STARTED, "UNIT=patch-agent.service"]).len();
    assert!(starts > 150, "the service has left only {starts} times");
    println!(
        "{release:?}: 0 of {} calls lost over {starts} departures",
        3 * calls
    );
}

/// A script that calls as `user`, pauses for up to 100 ms, and counts.
fn caller(host: &Host, user: &str, calls: u32) -> String {
    host.sh(&format!("useradd {user}"));
    let script = format!(
        "answered=0
        for i in $(seq {calls}); do
            case $((i % 3)) in
                0) call='get-property {AGENT} Version' ;;
                1) call='call {AGENT} ListJobs a{{sv}} 0' ;;
                2) call='get-property {AGENT} CurrentJob' ;;
            esac
            busctl --timeout=20 $call >/dev/null && answered=$((answered + 1))
            sleep 0.0$((RANDOM % 100))
        done
        echo answered $answered of {calls}"
    );
    format!(
        "setpriv --reuid {user} --regid {user} --clear-groups bash -c \"$(cat <<'END'\n{script}\nEND\n)\""
    )
}

#[test]
fn no_other_account_can_own_the_service_s_name() {
    let host = Host::boot(Release::Trixie);
    let agent = || {
        let pid = service(&host, "MainPID");
        assert_ne!(pid, "0");
        pid
    };
    host.sh(&format!("busctl get-property {AGENT} Version"));
    let before = agent();
    // replace the owner, let others replace us, do not wait in line
    let take = "busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su org.linux_patch.Agent1 7";
    for user in ["alice", "root"] {
        let output = host.as_user(user, take);
        assert!(output.stderr.contains("Access denied"), "{user}: {output}");
    }
    let as_the_service = "setpriv --reuid linux-patch --regid linux-patch --clear-groups";
    let exists = host.sh(&format!("{as_the_service} {take}"));
    assert_eq!(
        exists, "u 3\n",
        "the name has an owner who does not give it away"
    );
    let second = host.try_sh(&format!("{as_the_service} patchctl run agent --idle=1"));
    assert_eq!(second.status, 1, "{second}");
    assert!(second.stderr.contains("failed to own the name"), "{second}");
    host.sh(&format!("busctl get-property {AGENT} Version"));
    assert_eq!(agent(), before);
}

// fault: the bus goes away
#[test]
fn a_service_whose_bus_is_gone_exits_and_the_next_call_is_answered() {
    let host = Host::boot(Release::Trixie);
    for round in 0..3 {
        host.sh(&format!("busctl get-property {AGENT} Version"));
        let before = service(&host, "MainPID");
        assert_ne!(before, "0");
        // a bus that is replaced, as an update of its package does it on request
        host.sh("systemctl restart dbus.service 2>&1");
        let answered = host.sh(&format!("busctl --timeout=20 get-property {AGENT} Version"));
        assert!(answered.starts_with("s "), "{round}: {answered}");
        assert_ne!(
            service(&host, "MainPID"),
            before,
            "{round}: it is another one"
        );
        assert_eq!(service(&host, "Result"), "success");
    }
    // also where no call comes: nothing stays behind
    host.sh("systemctl stop dbus.socket dbus.service 2>&1");
    wait_until_gone(&host);
    host.sh("systemctl start dbus.socket");
    host.sh(&format!("busctl --timeout=20 get-property {AGENT} Version"));
    assert_eq!(
        host.sh("systemctl list-units --failed --no-legend 'patch-*'"),
        ""
    );
}

/// What `patchctl` says of a D-Bus service that cannot start.
#[track_caller]
fn names_the_unit(host: &Host, what: &str) {
    for verb in ["status", "refresh", "jobs"] {
        let output = host.try_sh(&format!("patchctl {verb}"));
        assert_eq!(output.status, 69, "{what}: {output}");
        let unit = "systemctl status patch-agent.service";
        assert!(output.stderr.contains(unit), "{what}: {output}");
    }
}

// fault: the D-Bus service cannot start
#[test]
fn a_service_that_cannot_start_names_its_unit_with_dbus_daemon() {
    a_service_that_cannot_start_names_its_unit(&Host::boot(Release::Trixie));
}

// fault: the D-Bus service cannot start
#[test]
fn a_service_that_cannot_start_names_its_unit_with_dbus_broker() {
    let host = Host::builder(Release::Trixie)
        .extra_packages(&["dbus-broker"])
        .boot();
    let bus = host.sh("systemctl show -P Id dbus.service");
    assert_eq!(bus.trim(), "dbus-broker.service");
    a_service_that_cannot_start_names_its_unit(&host);
}

fn a_service_that_cannot_start_names_its_unit(host: &Host) {
    host.sh("patchctl status");
    host.sh("systemctl mask --now patch-agent.service");
    names_the_unit(host, "masked");
    host.sh("systemctl unmask patch-agent.service");
    host.sh("patchctl status");

    let broken = "/etc/systemd/system/patch-agent.service.d/broken.conf";
    host.write(broken, "[Service]\nExecStart=\nExecStart=/bin/false\n");
    host.sh("systemctl daemon-reload");
    super::stop_service(host);
    let output = host.try_sh("patchctl jobs");
    assert_eq!(output.status, 69, "{output}");
    let unit = "systemctl status patch-agent.service";
    assert!(output.stderr.contains(unit), "{output}");
    host.sh(&format!("rm {broken}; systemctl daemon-reload"));
    host.sh("systemctl reset-failed patch-agent.service; patchctl status");
}
