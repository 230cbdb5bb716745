//! The D-Bus service: who may call it, what it answers, and that no call is lost when it starts and exits.

mod accounts;
mod activation;
mod authorization;
mod hostile_clients;
mod property_changes;
mod reading;

use lab::{Host, Output, Release, Repo, fixtures};
use serde_json::Value;

use crate::job::put_on;
use crate::story::{stop_service, unit};

/// Name, path and interface, as `busctl` wants them.
const AGENT: &str = "org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1";

/// An ordinary user.
const ALICE: &str = "alice";

/// A host on which `demo` 1.0 is installed, and 1.1 waits in the repository.
fn host_with_an_update(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.enable(&host);
    put_on(&host, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    (host, repo)
}

/// A call as an ordinary user: `ListJobs a{sv} 0`.
fn call_as_alice(host: &Host, call: &str) -> Output {
    host.as_user(ALICE, &command(call))
}

/// What the call of an ordinary user returned; values in dictionaries stand behind `["data"]`.
#[track_caller]
fn answer(host: &Host, call: &str) -> Value {
    let output = call_as_alice(host, call);
    assert!(output.success(), "{call}: {output}");
    let mut reply: Value = serde_json::from_str(&output.stdout).expect("no JSON");
    reply["data"][0].take()
}

fn command(call: &str) -> String {
    format!("busctl --timeout=60 --json=short call {AGENT} {call}")
}

/// Makes the service exit that many seconds after the last call.
fn leave_after(host: &Host, seconds: &str) {
    host.write(
        "/etc/systemd/system/patch-agent.service.d/idle.conf",
        format!("[Service]\nExecStart=\nExecStart=:/usr/bin/patchctl run agent --idle={seconds}\n"),
    );
    host.sh("systemctl daemon-reload");
    stop_service(host);
}

/// A property of the service's unit.
fn service(host: &Host, property: &str) -> String {
    unit(host, "patch-agent.service", property)
}

/// Waits until the service has exited.
fn wait_until_gone(host: &Host) {
    host.wait_for("the service to leave", || {
        service(host, "ActiveState") == "inactive"
    });
}
