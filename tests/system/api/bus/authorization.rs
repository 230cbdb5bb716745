//! Every user may read, and polkit decides who may change something; the D-Bus service itself may change nothing.

use lab::{Host, Release, fixtures};

use super::{AGENT, ALICE, answer, call_as_alice, command, host_with_an_update, service};
use crate::story::{STATE, drop_request, jobs, settled};

releases!(changing_takes_root_or_the_word_of_polkit [bookworm trixie]);
fn changing_takes_root_or_the_word_of_polkit(release: Release) {
    let (host, _repo) = host_with_an_update(release);
    denied(&host, "Refresh");
    denied(&host, "Apply asa{sv} 1 demo 0");
    assert_eq!((queued(&host), jobs(&host).len()), (String::new(), 0));

    let refresh = host.sh(&command("Refresh"));
    wait_for_job(&host, &refresh, "succeeded");
    denied(&host, "Refresh");

    allow_alice(&host, "refresh");
    let refresh = call_as_alice(&host, "Refresh").stdout;
    wait_for_job(&host, &refresh, "succeeded");
    let uid = host.sh(&format!("id -u {ALICE}"));
    let record = jobs(&host).pop().unwrap();
    assert_eq!(
        record["request"]["requester"]["uid"].to_string(),
        uid.trim()
    );
    denied(&host, "Apply asa{sv} 1 demo 0");

    allow_alice(&host, "apply");
    let apply = call_as_alice(&host, "Apply asa{sv} 1 demo 0").stdout;
    wait_for_job(&host, &apply, "succeeded");
    assert_eq!(crate::story::installed(&host, "demo"), "1.1 installed");

    host.sh("systemctl mask --now polkit.service");
    denied(&host, "Refresh");
    denied(&host, "Apply asa{sv} 1 all 0");
    let apply = host.sh(&command("Apply asa{sv} 1 all 0"));
    wait_for_job(&host, &apply, "succeeded");
    assert_eq!(jobs(&host).len(), 4);
}

#[track_caller]
fn denied(host: &Host, call: &str) {
    let output = call_as_alice(host, call);
    assert!(
        !output.success() && output.stdout.is_empty(),
        "{call}: {output}"
    );
    let shown = output.stderr.to_lowercase();
    assert!(
        shown.contains("polkit") || shown.contains("access denied"),
        "{call}: {output}"
    );
}

/// A rule as an administrator writes it; the service is asked again only when polkit has read it.
fn allow_alice(host: &Host, verb: &str) {
    host.write(
        &format!("/etc/polkit-1/rules.d/10-{verb}.rules"),
        format!(
            "polkit.addRule(function(action, subject) {{
                if (action.id == \"org.linux-patch.agent1.{verb}\" && subject.user == \"{ALICE}\")
                    return polkit.Result.YES;
            }});\n"
        ),
    );
    host.sh(&format!("chmod 755 /etc/polkit-1/rules.d; chmod 644 /etc/polkit-1/rules.d/10-{verb}.rules; systemctl restart polkit.service"));
}

/// Waits for the end of the job that a call has answered with.
#[track_caller]
fn wait_for_job(host: &Host, reply: &str, status: &str) {
    let reply: serde_json::Value = serde_json::from_str(reply).expect("no job id");
    let call = format!("GetJob s {}", reply["data"][0].as_str().expect("no job id"));
    let mut last = String::new();
    host.wait_for("the end of the job", || {
        answer(host, &call)["status"]["data"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut last);
        !["queued", "running"].contains(&last.as_str())
    });
    assert_eq!(last, status);
}

fn queued(host: &Host) -> String {
    host.sh(&format!(
        "ls -A {STATE}/queue {STATE}/tmp | grep json || true"
    ))
}

releases!(asking_for_a_reboot_is_a_right_of_its_own [bookworm trixie]);
fn asking_for_a_reboot_is_a_right_of_its_own(release: Release) {
    let (host, repo) = host_with_an_update(release);
    let delay = "[reboot]\ndelay = \"1h\"\n";
    host.write("/etc/linux_patch_api/config.d/reboot.toml", delay);
    let with = |reboot: &str| format!("Apply asa{{sv}} 1 demo 1 reboot s {reboot}");
    let is_scheduled = || host.exists("/run/systemd/shutdown/scheduled");

    // who may apply may not reboot the host by it, nor the other way round
    allow_alice(&host, "apply");
    for reboot in ["always", "when-needed"] {
        denied(&host, &with(reboot));
        let refused = host.as_user(ALICE, &format!("patchctl apply demo --reboot={reboot}"));
        assert_eq!(refused.status, 77, "{refused}");
        assert!(refused.stderr.contains("agent1.reboot"), "{refused}");
    }
    host.sh("rm /etc/polkit-1/rules.d/10-apply.rules");
    allow_alice(&host, "reboot");
    denied(&host, &with("always"));
    assert_eq!((queued(&host), jobs(&host).len()), (String::new(), 0));

    // the socket, where polkit is not asked
    host.sh(&format!("gpasswd --add {ALICE} patch-operators"));
    for reboot in ["always", "when-needed"] {
        let answer = on_the_socket(&host, ALICE, reboot);
        let error = &answer["error"];
        assert_eq!(error, "org.linux-patch.Agent1.NotAuthorised", "{answer}");
        let reason = answer["parameters"]["reason"].to_string();
        assert!(reason.contains("agent1.reboot"), "{reason}");
    }
    assert_eq!((queued(&host), jobs(&host).len()), (String::new(), 0));
    let answer = on_the_socket(&host, ALICE, "never");
    let id = answer["parameters"]["job"].as_str().expect("no job");
    assert_eq!(settled(&host, id)["status"], "succeeded");
    assert!(!is_scheduled());

    // with both rights it follows, and root needs none, at any front end
    allow_alice(&host, "apply");
    repo.add(&fixtures::plain("demo", "1.2"));
    let apply = call_as_alice(&host, &with("always")).stdout;
    wait_for_job(&host, &apply, "succeeded");
    host.wait_for("the schedule", is_scheduled);
    host.sh("patchctl reboot --cancel");
    repo.add(&fixtures::plain("demo", "1.3"));
    let keys = r#""packages":["demo"],"options":{"reboot":"always"}"#;
    let id = drop_request(&host, 1, keys);
    host.wait_for("the job", || {
        host.exists(&format!("{STATE}/jobs/{id}.json"))
    });
    assert_eq!(settled(&host, &id)["status"], "succeeded");
    host.wait_for("the schedule", is_scheduled);
    host.sh("patchctl reboot --cancel");
    repo.add(&fixtures::plain("demo", "1.4"));
    let answer = on_the_socket(&host, "root", "always");
    let id = answer["parameters"]["job"].as_str().expect("no job");
    assert_eq!(settled(&host, id)["status"], "succeeded");
    host.wait_for("the schedule", is_scheduled);
}

#[test]
fn asking_for_a_rollback_is_for_administrators() {
    let (host, repo) = host_with_an_update(Release::Trixie);
    repo.add(&fixtures::plain("demo", "1.0"));
    let job = crate::job::applied(&host, "demo");
    let id = job["request"]["id"].as_str().unwrap();
    let undo = format!("Rollback sa{{sv}} {id} 0");

    // neither who may apply, nor who may use the socket
    allow_alice(&host, "apply");
    denied(&host, &undo);
    let refused = host.as_user(ALICE, &format!("patchctl rollback {id}"));
    assert_eq!(refused.status, 77, "{refused}");
    host.sh(&format!("gpasswd --add {ALICE} patch-operators"));
    let call = serde_json::json!({
        "method": "org.linux-patch.Agent1.Rollback",
        "parameters": {"job": id},
    });
    let answer = said_on_the_socket(&host, ALICE, &call);
    let error = &answer["error"];
    assert_eq!(error, "org.linux-patch.Agent1.NotAuthorised", "{answer}");
    let reason = answer["parameters"]["reason"].to_string();
    assert!(reason.contains("agent1.rollback"), "{reason}");
    assert_eq!((queued(&host), jobs(&host).len()), (String::new(), 1));
    assert_eq!(crate::story::installed(&host, "demo"), "1.1 installed");

    // an administrator gives the password each time, and root needs none
    let policy = host.sh("pkaction --verbose --action-id org.linux-patch.agent1.rollback");
    let asked = policy.lines().filter(|line| line.contains("implicit"));
    let asked: Vec<&str> = asked.filter_map(|l| l.split_whitespace().last()).collect();
    assert_eq!(asked, ["auth_admin"; 3], "{policy}");
    let answer = said_on_the_socket(&host, "root", &call);
    let id = answer["parameters"]["job"].as_str().expect("no job");
    assert_eq!(settled(&host, id)["status"], "succeeded");
    assert_eq!(crate::story::installed(&host, "demo"), "1.0 installed");
}

/// What the Varlink socket answers a user who asks for an update with a reboot after it.
fn on_the_socket(host: &Host, user: &str, reboot: &str) -> serde_json::Value {
    let options = serde_json::json!({"reboot": reboot});
    let parameters = serde_json::json!({"packages": ["demo"], "options": options});
    let method = "org.linux-patch.Agent1.Apply";
    let call = serde_json::json!({"method": method, "parameters": parameters});
    said_on_the_socket(host, user, &call)
}

/// What the Varlink socket answers a user's call.
fn said_on_the_socket(host: &Host, user: &str, call: &serde_json::Value) -> serde_json::Value {
    let output = host.as_user(
        user,
        &format!(
            r#"python3 -c '
import socket
service = socket.socket(socket.AF_UNIX)
service.connect("/run/linux_patch_api/request.sock")
call = """{call}"""
service.sendall(call.encode() + b"\0")
answer = b""
while not answer.endswith(b"\0"):
    answer += service.recv(65536)
print(answer[:-1].decode())
'"#
        ),
    );
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

#[test]
fn what_is_no_request_is_refused_by_the_service() {
    let (host, _repo) = host_with_an_update(Release::Trixie);
    // what is put into the queue stays there, to be seen
    host.sh("systemctl stop patch-apply.path");
    for (call, complaint) in [
        (
            "Apply asa{sv} 1 demo 1 force b true",
            "unknown field `force`",
        ),
        ("Apply asa{sv} 0 0", "no package is named"),
        ("Apply asa{sv} 1 '' 0", "the package name is empty"),
        ("Apply asa{sv} 2 all demo 0", "cannot be combined"),
        ("Apply asa{sv} 1 demo- 0", "is not a package name"),
        ("Apply asa{sv} 2 demo 'de*' 0", "is not a package name"),
        ("Apply asa{sv} 1 @x 0", "is not a package name"),
        ("Apply asa{sv} 1 demo=1.1 0", "is not a package name"),
        ("Apply asa{sv} 1 demo/stable 0", "is not a package name"),
        ("Apply asa{sv} 1 /tmp/demo.deb 0", "is not a package name"),
        (
            "Apply asa{sv} 1 $(head -c 200 /dev/zero | tr '\\0' a) 0",
            "longer than 128",
        ),
    ] {
        let output = host.try_sh(&command(call));
        assert!(
            !output.success() && output.stderr.contains(complaint),
            "{call}: {output}"
        );
    }
    assert_eq!((queued(&host), jobs(&host).len()), (String::new(), 0));
    host.sh(&command("Apply asa{sv} 1 demo 0"));
    assert_eq!(queued(&host).lines().count(), 1, "what is one is queued");
}

#[test]
fn no_call_brings_the_service_down() {
    let host = Host::boot(Release::Trixie);
    host.sh(&format!("busctl get-property {AGENT} Version"));
    let before = service(&host, "InvocationID");
    let long = "$(head -c 100000 /dev/zero | tr '\\0' x)";
    for call in [
        "GetJob",
        "GetJob u 5",
        "GetJob ss a b",
        "Apply s demo",
        "Apply as 1 demo",
        "Apply asa{sv} 1 demo 1 x v s y",
        "ListJobs a{ss} 1 limit 1",
        "ListJobs a{sv} 1 limit u 4294967295",
        "NoSuchMethod",
        "CheckHealth s x",
        &format!("GetJob s {long}"),
        &format!("GetJobLog s {long}"),
        &format!("ListJobs a{{sv}} 1 {long} s {long}"),
        &format!("Apply asa{{sv}} 12 {} 0", [long; 12].join(" ")),
        "GetJob s $(printf '\\001\\033[31m')",
    ] {
        for user in [ALICE, "root"] {
            host.as_user(user, &command(call));
        }
    }
    let properties = AGENT.replace(" org.linux_patch.Agent1 ", " ");
    for call in [
        format!("busctl set-property {AGENT} Health s x"),
        format!("busctl set-property {AGENT} Version s {long}"),
        format!("busctl get-property {AGENT} NoSuchProperty"),
        format!(
            "busctl call {properties} org.freedesktop.DBus.Properties GetAll s no.such.Interface"
        ),
        "busctl call org.linux_patch.Agent1 /no/such/object org.linux_patch.Agent1 CheckHealth"
            .to_owned(),
        "busctl call org.linux_patch.Agent1 / org.freedesktop.DBus.Properties GetAll s ''"
            .to_owned(),
    ] {
        let output = host.try_sh(&call);
        assert!(!output.success(), "{call}: {output}");
    }
    host.sh(&format!("busctl get-property {AGENT} Version"));
    assert_eq!(service(&host, "InvocationID"), before);
    assert_eq!(queued(&host), "");
}

#[test]
fn the_service_can_write_to_the_queue_and_nowhere_else() {
    let host = Host::boot(Release::Trixie);
    host.sh(&format!("busctl get-property {AGENT} Version"));
    let pid = service(&host, "MainPID");
    let status = host.sh(&format!("cat /proc/{pid}/status"));
    for line in [
        "CapBnd:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let as_the_service = format!(
        "nsenter -t {pid} -m setpriv --reuid linux-patch --regid linux-patch --clear-groups --inh-caps=-all \
        --bounding-set=-all"
    );
    let writes = |directory: &str| {
        host.try_sh(&format!("{as_the_service} touch {directory}/.test"))
            .success()
    };
    for directory in [
        "/",
        "/etc",
        "/home",
        "/root",
        "/run",
        "/run/linux_patch_api",
        "/usr",
        "/var/cache",
        "/var/lib/apt/lists",
        "/var/lib/dpkg",
    ] {
        assert!(!writes(directory), "{directory}");
    }
    for (directory, writable) in [
        ("", false),
        ("/jobs", false),
        ("/queue", true),
        ("/refused", false),
        ("/state", false),
        ("/tmp", true),
    ] {
        assert_eq!(
            writes(&format!("{STATE}{directory}")),
            writable,
            "{directory}"
        );
    }
    let removes = |file: &str| {
        host.try_sh(&format!("{as_the_service} rm -f {file}"))
            .success()
    };
    host.sh(&format!(
        "touch {STATE}/state/cache.json {STATE}/jobs/x.json"
    ));
    assert!(
        !removes(&format!("{STATE}/state/cache.json")) && !removes(&format!("{STATE}/jobs/x.json"))
    );
}

releases!(front_ends_and_refresh_are_exposed_as_little_as_they_can_be [bookworm trixie]);
/// The limits are tenths, as `--threshold=` wants them.
fn front_ends_and_refresh_are_exposed_as_little_as_they_can_be(release: Release) {
    let host = Host::boot(release);
    for (unit, limit) in [("patch-agent.service", 15), ("patch-refresh.service", 27)] {
        let output = host.try_sh(&format!(
            "systemd-analyze security --no-pager --threshold={limit} {unit}"
        ));
        let verdict = output.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(output.success(), "{unit}: {verdict}");
        println!("{release:?}: {verdict}");
    }
}
