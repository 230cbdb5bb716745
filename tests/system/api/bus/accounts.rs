//! Who calls: a user who gives a password, a login behind root's process, an operator of the group.

use lab::Release;

use super::{ALICE, host_with_an_update};
use crate::story::{STATE, events, hold_worker, installed, jobs, last_settled};

/// A user whom polkit lets change something after a password.
#[test]
fn a_person_at_a_terminal_gives_the_password_there() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    host.as_user(ALICE, "true");
    host.sh(&format!(
        "gpasswd --add {ALICE} sudo; echo {ALICE}:secret | chpasswd"
    ));
    host.sh("touch /run/typed; chmod 666 /run/typed");
    // polkit asks only within a session
    let apply = "patchctl apply demo; echo $? >/home/alice/code";
    let terminal = host.spawn(&format!(
        "tail -f /run/typed | systemd-run --quiet --pipe --wait -p User={ALICE} -p PAMName=login -E TERM=vt100 \
         script -qefc '{apply}' /home/{ALICE}/typescript"
    ));
    let shown = || host.read(&format!("/home/{ALICE}/typescript"));
    host.wait_for("the question", || {
        host.exists(&format!("/home/{ALICE}/typescript")) && shown().contains("Password: ")
    });
    assert!(
        shown().contains("org.linux-patch.agent1.apply"),
        "{}",
        shown()
    );
    host.append("/run/typed", "secret\n");
    host.wait_for("the end", || host.exists("/home/alice/code"));
    assert_eq!(host.read("/home/alice/code"), "0\n", "{}", shown());
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    drop(terminal);
    let record = jobs(&host).pop().unwrap();
    let who = &record["request"]["requester"];
    assert!(who["session"].is_string(), "{who}");
    // without a terminal there is no one to ask
    let cancel = "patchctl cancel 0123456789abcdef-012345 </dev/null";
    let refused = host.as_user(ALICE, cancel);
    assert_eq!(refused.status, 77, "{refused}");
}

releases!(the_record_says_who_has_logged_in [bookworm trixie]);
/// As sudo and Cockpit leave it: root's process in the session of an ordinary user.
fn the_record_says_who_has_logged_in(release: Release) {
    let (host, _repo) = host_with_an_update(release);
    host.as_user(ALICE, "true");
    let alice = host.sh(&format!("id -u {ALICE}")).trim().to_owned();
    let logged_in = |script: &str| {
        host.sh(&format!(
            "mkdir -p /sys/fs/cgroup/user.slice/session-c7.scope
            sh -c 'echo $$ >/sys/fs/cgroup/user.slice/session-c7.scope/cgroup.procs
                echo {alice} >/proc/self/loginuid; {script}'"
        ))
    };
    let socket = "varlinkctl call /run/linux_patch_api/request.sock org.linux-patch.Agent1.Apply";
    let front_ends = [
        ("dbus", "patchctl refresh".to_owned()),
        ("direct", "patchctl apply demo --direct".to_owned()),
        (
            "varlink",
            format!("{socket} \"{{\\\"packages\\\":[\\\"demo\\\"]}}\""),
        ),
    ];
    let without_tool = release == Release::Bookworm;
    for (front_end, script) in front_ends
        .iter()
        .filter(|(front_end, _)| *front_end != "varlink" || !without_tool)
    {
        logged_in(script);
        let record = last_settled(&host);
        let who = &record["request"]["requester"];
        assert_eq!(who["door"], *front_end, "{who}");
        assert_eq!(who["uid"], 0, "{front_end}: {who}");
        assert_eq!(who["login_uid"].to_string(), alice, "{front_end}: {who}");
        assert_eq!(who["session"], "c7", "{front_end}: {who}");
        let id = record["request"]["id"].as_str().unwrap();
        let started = events(&host, "PATCH_JOB", id);
        let started = started
            .iter()
            .find(|event| event["PATCH_DOOR"] == *front_end);
        let started = started.expect("no start");
        assert_eq!(started["PATCH_LOGIN_UID"], alice.as_str(), "{started}");
        assert_eq!(started["PATCH_SESSION"], "c7", "{started}");
    }
    // what no login has started has none
    let id = host.sh("systemd-run --quiet --pipe patchctl refresh --json");
    let record: serde_json::Value = serde_json::from_str(&id).expect("no JSON");
    let who = &record["request"]["requester"];
    assert!(
        who["login_uid"].is_null() && who["session"].is_null(),
        "{who}"
    );
}

releases!(an_operator_may_do_on_the_bus_what_the_socket_lets_do [bookworm trixie]);
fn an_operator_may_do_on_the_bus_what_the_socket_lets_do(release: Release) {
    let (host, _repo) = host_with_an_update(release);
    let patchctl = |verb: &str| host.as_user(ALICE, &format!("patchctl {verb} </dev/null"));
    assert_eq!(patchctl("refresh").status, 77);
    host.sh(&format!("gpasswd --add {ALICE} patch-operators"));
    for verb in ["refresh", "apply demo"] {
        let done = patchctl(verb);
        assert!(done.success(), "{verb}: {done}");
    }
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let lock = hold_worker(&host);
    let id = patchctl("apply demo --no-wait").stdout.trim().to_owned();
    let cancel = format!("patchctl cancel {id}");
    let cancelled = host.spawn(&format!(
        "setpriv --reuid {ALICE} --regid {ALICE} --init-groups {cancel}"
    ));
    host.wait_for("the word", || {
        host.exists(&format!("{STATE}/queue/{id}.cancel"))
    });
    lock.release(&host);
    assert!(cancelled.wait().success());
    // and no more than that
    let id = jobs(&host)[1]["request"]["id"].as_str().unwrap().to_owned();
    for verb in [
        "apply demo --reboot always",
        &format!("rollback {id}"),
        &format!("resolve {id} --discard"),
        "reboot",
        "acknowledge all",
    ] {
        let refused = patchctl(verb);
        assert_eq!(refused.status, 77, "{verb}: {refused}");
    }
}
