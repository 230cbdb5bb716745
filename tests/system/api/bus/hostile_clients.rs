//! Ordinary users who ask for as much as they can: the service stays small, and every other caller is answered.

use std::thread;
use std::time::Duration;

use lab::{Host, Release, Spawned};
use serde_json::Value;

use super::{AGENT, answer, host_with_an_update, service};
use crate::story::{STATE, hold_worker};

const CLIENT: &str = "/opt/client.py";

/// What the hostile clients ask for, each of them in turn.
const KINDS: [&str; 11] = [
    "list",
    "active",
    "record",
    "log",
    "part",
    "plan",
    "apply",
    "updates",
    "health",
    "properties",
    "large",
];

/// How many there are, and for how long.
const CLIENTS: usize = 20;
const TIME: Duration = Duration::from_secs(60);

/// A record of almost 1 MiB, the largest that is read whole, whose job runs and has printed 60 MB, and 1990 others; what they ask for is in files, so that no
/// fixture has to be made of 1990 updates. The id of the first.
fn fill(host: &Host) -> String {
    host.write(
        "/opt/fill.py",
        format!(
            r#"
import json, os, time
jobs = "{STATE}/jobs/"
now = time.time_ns()
def job(number, status, packages):
    name = f"{{now - number * 10**9:016x}}-{{number:06x}}"
    change = lambda n: {{"package": f"package-{{n}}", "architecture": "amd64", "from": "1.0-1", "to": "1.0-2"}}
    changes = [change(n) for n in range(packages)]
    text = " ".join(f"package-{{n}}=1.0-2" for n in range(packages))
    former = [{{"change": c, "source": "kept", "file": "/var/lib/linux_patch_api/kept/" + "x" * 60, "sha256": "0" * 64}}
              for c in changes]
    request = {{"version": 1, "id": name, "kind": "apply", "packages": ["demo"], "requester": {{"door": "dbus", "uid": 0}}}}
    record = {{"request": request, "status": status, "transaction": name, "changes": changes, "former": former,
               "started_at": "2026-01-02T03:04:05Z", "update": {{"phase": "success", "attempt_count": 1,
               "from_version": text, "to_version": text}}}}
    if status != "running":
        record["finished_at"] = "2026-01-02T03:05:05Z"
    open(jobs + name + ".json", "w").write(json.dumps(record))
    return name
for number in range(1, 1991):
    job(number, "succeeded", 10 + number % 60)
running = job(0, "running", 2500)
with open(jobs + running + ".log", "w") as log:
    for number in range(1000000):
        log.write(f"Setting up package-{{number}} (1.0-2) from the archive of the day ...\n")
open("{STATE}/state/running.json", "w").write(json.dumps([running]))
os.system(f"chgrp -R linux-patch {{jobs}}; chmod 640 {{jobs}}*")
print(running)
"#
        ),
    );
    host.sh("python3 /opt/fill.py").trim().to_owned()
}

// fault: flood
#[test]
fn hostile_clients_keep_no_caller_out_and_the_service_stays_small() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    answer(&host, "CheckHealth");
    let _lock = hold_worker(&host);
    let running = fill(&host);
    host.write(CLIENT, include_str!("client.py"));
    host.sh("for user in alice bob mallory; do useradd $user; done");
    host.sh(&format!("busctl get-property {AGENT} Health"));
    let pid = service(&host, "MainPID");

    let as_user = |user: &str, what: &str| {
        host.spawn(&format!(
            "runuser -u {user} -- python3 {CLIENT} {what} 2>&1"
        ))
    };
    let hostile: Vec<Spawned> = (0..CLIENTS)
        .map(|number| {
            let user = ["alice", "mallory"][number % 2];
            let kind = KINDS[number % KINDS.len()];
            as_user(user, &format!("hostile {kind} {running}"))
        })
        .collect();
    let bystanders = ["properties", "methods"]
        .map(|what| as_user("bob", &format!("bystander {what} {running}")));
    thread::sleep(TIME);
    let peak = host.sh(&format!("grep VmHWM /proc/{pid}/status"));
    host.write("/run/enough", "");
    for client in hostile {
        let output = client.wait();
        assert!(output.success(), "{output}");
        println!("{}", output.stdout.trim());
    }
    for bystander in bystanders {
        let output = bystander.wait();
        assert!(output.success(), "{output}");
        println!("bystander: {}", output.stdout.trim());
        let told: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(told["failed"], Value::Array(Vec::new()));
    }

    assert_eq!(service(&host, "MainPID"), pid, "it has served all along");
    let limit: u64 = service(&host, "MemoryMax").parse().expect("no MemoryMax");
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("the service's peak: {peak} kB of {} kB", limit / 1024);
    assert!(peak * 1024 < limit, "{peak} kB");
    assert_ne!(service(&host, "TasksMax"), "infinity");
}
