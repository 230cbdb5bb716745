//! Varlink: who may connect, what is answered, and that no client can keep the others out.

use lab::{Host, Release, Repo, fixtures};
use serde_json::Value;

use crate::story::{self, installed};

const SOCKET: &str = "/run/linux_patch_api/request.sock";
const CALL: &str = "varlinkctl call -j /run/linux_patch_api/request.sock";
const OURS: &str = "org.linux-patch.Agent1";

/// A host with two users who may connect, and one who may not.
fn host(release: Release) -> Host {
    let host = Host::boot(release);
    host.write("/opt/varlink.py", include_str!("varlink.py"));
    host.sh("for user in alice bob mallory; do useradd --create-home $user; done");
    host.sh("for user in alice bob; do gpasswd --add $user patch-operators; done");
    host
}

/// `demo` in 1.0, and 1.1 pending.
fn with_update(host: &Host, update: &lab::Deb) -> Repo {
    let repo = Repo::new(host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(host);
    host.sh("apt-get -q update && apt-get -q -y install demo");
    repo.add(update);
    repo
}

/// What the client says of this, as that user.
fn client(host: &Host, user: &str, what: &str) -> Value {
    let output = host.as_user(user, &format!("python3 /opt/varlink.py {what}"));
    let last = output.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{what}: {error}: {output}"))
}

/// The objects of a JSON text sequence.
fn sequence(text: &str) -> Vec<Value> {
    let records = text
        .split('\u{1e}')
        .filter(|record| !record.trim().is_empty());
    records
        .map(|record| serde_json::from_str(record).unwrap())
        .collect()
}

/// The socket listens, and nothing of ours has failed.
fn assert_well(host: &Host) {
    let state = "systemctl show -P ActiveState -P SubState patch-request.socket";
    let state = host
        .sh(state)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        ["active listening", "active running"].contains(&state.as_str()),
        "{state}"
    );
    assert_eq!(
        host.sh("systemctl list-units --failed --no-legend 'patch-*'"),
        ""
    );
}

#[test]
fn varlinkctl_works() {
    let host = host(Release::Trixie);
    let _repo = with_update(&host, &fixtures::plain("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    the_interface_is_introspected(&host);

    let health = call(&host, "GetHealth", "{}");
    assert_eq!(health["health"]["cache_status"], "fresh", "{health}");
    let plan = call(&host, "Plan", r#"{"packages":["demo"]}"#);
    assert_eq!(plan["updates"][0]["candidate"], "1.1", "{plan}");
    let job = an_update_is_followed(&host);
    a_key_makes_one_job(&host);
    every_error_has_its_name(&host);

    is_undone_by_root_alone(&host, &job);
    assert_well(&host);
}

/// What a script of Alice's prints.
fn as_alice(host: &Host, script: &str) -> String {
    let output = host.as_user("alice", script);
    assert!(output.success(), "{script}: {output}");
    output.stdout
}

/// The reply to a call by Alice.
fn call(host: &Host, method: &str, parameters: &str) -> Value {
    let text = as_alice(host, &format!("{CALL} {OURS}.{method} '{parameters}'"));
    serde_json::from_str(&text).unwrap()
}

fn the_interface_is_introspected(host: &Host) {
    let as_alice = |script: &str| as_alice(host, script);
    let info = as_alice(&format!("varlinkctl info {SOCKET}"));
    assert!(
        info.contains("linux-patch-api") && info.contains(OURS),
        "{info}"
    );
    let methods = as_alice(&format!("varlinkctl list-methods {SOCKET} {OURS}"));
    assert_eq!(methods.lines().count(), 5, "{methods}");
    let file = format!("/usr/share/varlink/{OURS}.varlink");
    host.sh(&format!("varlinkctl validate-idl {file}"));
    let shown = as_alice(&format!("varlinkctl introspect {SOCKET} {OURS}"));
    assert!(
        shown.contains("error NoSuchJob(") && shown.contains("method Apply("),
        "{shown}"
    );
    let others = as_alice(&format!(
        "varlinkctl introspect {SOCKET} org.varlink.service"
    ));
    assert!(others.contains("method GetInfo("), "{others}");
}

/// Asks for the update of `demo` and reads replies until its end; the id of the job.
fn an_update_is_followed(host: &Host) -> String {
    let apply = format!(r#"{CALL} --more {OURS}.Apply '{{"packages":["demo"]}}'"#);
    let replies = sequence(&as_alice(host, &apply));
    let last = replies.last().unwrap();
    assert!(replies.len() > 2, "{replies:?}");
    // the worker may have begun before the front end reads the record for the first time
    let first = replies[0]["status"].as_str().unwrap();
    assert!(["queued", "running"].contains(&first), "{replies:?}");
    assert_eq!(last["status"], "succeeded", "{replies:?}");
    assert_eq!(last["summary"], "1 package changed");
    assert_eq!(last["record"]["request"]["requester"]["door"], "varlink");
    let uid: u64 = host.sh("id -u alice").trim().parse().unwrap();
    assert_eq!(last["record"]["request"]["requester"]["uid"], uid);
    assert_eq!(installed(host, "demo"), "1.1 installed");
    last["job"].as_str().unwrap().to_owned()
}

fn a_key_makes_one_job(host: &Host) {
    let apply = r#"{"packages":["demo"],"options":{"idempotency_key":"k"}}"#;
    let first = call(host, "Apply", apply);
    let id = first["job"].as_str().unwrap();
    assert_eq!(story::settled(host, id)["status"], "succeeded");
    assert_eq!(call(host, "Apply", apply)["job"], id);
    let job = call(host, "GetJob", &format!(r#"{{"job":"{id}"}}"#));
    assert_eq!(job["summary"], "nothing to do", "{job}");
}

fn every_error_has_its_name(host: &Host) {
    for (method, parameters, error) in [
        (
            "Apply",
            r#"{"packages":["all"],"options":{"idempotency_key":"k"}}"#,
            "org.linux-patch.Agent1.InvalidRequest",
        ),
        (
            "Apply",
            r#"{"packages":["demo-"]}"#,
            "org.linux-patch.Agent1.InvalidRequest",
        ),
        (
            "Apply",
            r#"{"packages":["demo"],"root":1}"#,
            "org.varlink.service.InvalidParameter",
        ),
        (
            "GetJob",
            r#"{"job":"0123456789abcdef-abcdef"}"#,
            "org.linux-patch.Agent1.NoSuchJob",
        ),
        ("Reboot", "{}", "org.varlink.service.MethodNotFound"),
    ] {
        let output = host.as_user("alice", &format!("{CALL} {OURS}.{method} '{parameters}'"));
        assert!(
            !output.success() && output.stderr.contains(error),
            "{method}: {output}"
        );
    }
}

/// Rolled back over the same socket by root alone, and followed to its end.
fn is_undone_by_root_alone(host: &Host, first: &str) {
    let rollback = format!(r#"{CALL} --more {OURS}.Rollback '{{"job":"{first}"}}'"#);
    let refused = host.as_user("alice", &rollback);
    assert!(
        !refused.success() && refused.stderr.contains("NotAuthorised"),
        "{refused}"
    );
    let told = sequence(&host.sh(&rollback));
    let last = told.last().unwrap();
    assert_eq!(last["status"], "succeeded", "{told:?}");
    assert_eq!(last["record"]["rollback"]["as_before"], true, "{told:?}");
    assert_eq!(last["record"]["request"]["job"], first, "{told:?}");
    assert_eq!(last["record"]["request"]["requester"]["uid"], 0);
    assert_eq!(installed(host, "demo"), "1.0 installed");
    let again = host.try_sh(&rollback);
    assert!(
        !again.success() || again.stdout.contains("has been changed to 1.0"),
        "{again}"
    );
    let nobody = host.as_user("mallory", &rollback);
    assert!(!nobody.success(), "{nobody}");
}

#[test]
fn a_job_is_followed() {
    let host = host(Release::Bookworm);
    let _repo = with_update(&host, &fixtures::slow("demo", "1.1"));
    let mut waiting = host.spawn(&format!(
        "runuser -u alice -- python3 /opt/varlink.py call Apply '{}' more",
        r#"{"packages":["demo"]}"#
    ));
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    let id = story::last_job(&host)["request"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // progress follows the package manager's own report with a short delay
    host.wait_for("the progress of the installation", || {
        let now = client(&host, "bob", &format!(r#"call GetJob '{{"job":"{id}"}}'"#));
        assert_eq!(now[0]["parameters"]["status"], "running", "{now}");
        now[0]["parameters"]["percent"].as_u64().unwrap() >= 50
    });
    assert!(waiting.is_running());
    host.sh("touch /run/lab-release");
    let output = waiting.wait();
    let told: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    let last = &told.last().unwrap()["parameters"];
    assert_eq!(last["status"], "succeeded", "{output}");
    let percents: Vec<u64> = told
        .iter()
        .filter_map(|told| told["parameters"]["percent"].as_u64())
        .collect();
    assert!(percents.is_sorted() && percents.len() > 1, "{percents:?}");
    assert_well(&host);
}

releases!(only_operators_come_in [bookworm trixie]);
fn only_operators_come_in(release: Release) {
    let host = host(release);
    assert_eq!(
        host.sh("stat -c '%U:%G %a' /run/linux_patch_api").trim(),
        "root:root 755"
    );
    assert_eq!(
        host.sh(&format!("stat -c '%U:%G %a' {SOCKET}")).trim(),
        "root:patch-operators 660"
    );
    let outsider = host.as_user("mallory", "python3 /opt/varlink.py half_closed");
    assert!(outsider.stderr.contains("PermissionError"), "{outsider}");
    for insider in ["alice", "root"] {
        assert_eq!(client(&host, insider, "half_closed")["answers"][0], "reply");
    }

    // what the service itself may write to, were it taken over
    let writable = host.sh(
        "runuser -u linux-patch -- find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /tmp \
         -o -path /var/tmp \\) -prune -o \\( -type d -o -type f \\) -writable -print 2>/dev/null || true",
    );
    let state = |name: &str| format!("{}/{name}", story::STATE);
    let mut writable: Vec<&str> = writable.lines().collect();
    writable.sort_unstable();
    let own = ["inquiries", "keys", "queue", "tmp"].map(state);
    assert_eq!(writable, own);
    let score = host.sh("systemctl start --quiet patch-request.socket\n\
         systemd-analyze security --no-pager patch-request@1-1-0.service | tail -n 1");
    let number = score
        .split_whitespace()
        .find_map(|word| word.parse::<f64>().ok());
    println!("{release:?}: {}", score.trim());
    assert!(number.unwrap() <= 1.5, "{score}");

    // the socket is gone with its unit, its directory is not, and both come back
    host.sh("systemctl stop patch-request.socket");
    assert!(!host.exists(SOCKET) && host.exists("/run/linux_patch_api"));
    host.reboot();
    assert_eq!(client(&host, "alice", "half_closed")["answers"][0], "reply");
    assert_well(&host);
}

releases!(clients_of_every_kind_are_handled [bookworm trixie]);
fn clients_of_every_kind_are_handled(release: Release) {
    let host = host(release);
    let memory = host.spawn(
        "while sleep 0.02; do for pid in $(pgrep -f 'patchctl run varlink'); do \
         grep -h VmHWM /proc/$pid/status; done; done 2>/dev/null",
    );
    let waiting = ["silent", "slow", "deaf"].map(|what| {
        host.spawn(&format!(
            "runuser -u alice -- python3 /opt/varlink.py {what}"
        ))
    });
    let invalid = format!("{OURS}.InvalidRequest");
    assert_eq!(
        client(&host, "alice", "malformed")["answers"],
        serde_json::json!([invalid])
    );
    assert_eq!(
        client(&host, "alice", "oversized")["answers"],
        serde_json::json!([invalid])
    );
    let large = client(&host, "alice", "large");
    assert_eq!(
        large["answers"],
        serde_json::json!([invalid, invalid, invalid, "reply"])
    );
    assert_eq!(
        client(&host, "alice", "half_closed")["answers"],
        serde_json::json!(["reply"])
    );
    assert_eq!(client(&host, "alice", "pipelined 20000"), true);
    client(&host, "alice", "vanishing 100");
    assert_eq!(client(&host, "bob", "many 50"), 50);
    assert_eq!(
        client(&host, "bob", "call GetHealth")[0]["parameters"]["health"]["version"],
        "2.0.0"
    );
    let seconds = waiting.map(|client| {
        let output = client.wait();
        let said: Value = serde_json::from_str(output.stdout.trim())
            .unwrap_or_else(|error| panic!("{error}: {output}"));
        said["seconds"].as_f64().unwrap()
    });
    println!("{release:?}: silent, slow, deaf end after {seconds:?} s");
    // 30, 5 and 10; a busy machine may take longer to notice
    for (least, seconds) in [25.0, 4.0, 9.0].into_iter().zip(seconds) {
        assert!((least..100.0).contains(&seconds), "{least}: {seconds}");
    }
    let peak = memory.kill().stdout;
    let peak = peak
        .split_whitespace()
        .filter_map(|word| word.parse::<u64>().ok())
        .max();
    println!("{release:?}: VmHWM {peak:?} kB");
    assert!((1000..8192).contains(&peak.unwrap()), "{peak:?} kB");
    assert_well(&host);
    connections_end(&host);
}

fn connections_end(host: &Host) {
    host.wait_for("the connections to be gone", || {
        host.sh("systemctl list-units --all --no-legend 'patch-request@*'")
            .is_empty()
    });
}

// fault: flood
releases!(a_flood_keeps_no_caller_out [bookworm trixie]);
/// Two hundred in an instant would fail the socket of systemd 252; a thousand are more than all users
/// together may have.
fn a_flood_keeps_no_caller_out(release: Release) {
    let host = host(release);
    let answered = || {
        host.sh("systemctl show -P NAccepted -P NRefused patch-request.socket")
            .split_whitespace()
            .map(|count| count.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    for count in [200, 1000] {
        let before = answered();
        let mut flood = host.spawn(&format!(
            "runuser -u alice -- prlimit --nofile=4096 python3 /opt/varlink.py flood {count} /run/enough"
        ));
        host.wait_for("the flood", || flood.output_so_far().contains("seconds"));
        let attempts = client(&host, "bob", "served");
        println!("{release:?}: another user is served by attempt {attempts}");
        // those who have too many are told so, one process after the other
        host.wait_for("the others to be turned away", || {
            let open = host.sh("systemctl list-units --no-legend 'patch-request@*' | wc -l");
            answered() >= before + count && open.trim().parse::<u64>().unwrap() <= 96
        });
        assert_eq!(client(&host, "bob", "many 50"), 50);
        assert!(flood.is_running());
        host.write("/run/enough", "");
        let output = flood.wait();
        let (took, kept) = output.stdout.trim().split_once('\n').unwrap();
        println!("{release:?}: {took} {kept}");
        let kept: Value = serde_json::from_str(kept).unwrap();
        // 64; of a burst, a few more get in; and none who has been silent for half a minute
        assert!(kept["open"].as_u64().unwrap() <= 96, "{output}");
        assert_well(&host);
        host.sh("rm /run/enough");
        connections_end(&host);
        assert_eq!(client(&host, "alice", "many 50"), 50);
        assert_well(&host);
    }
}

releases!(a_removal_of_the_package_ends_every_connection [bookworm trixie]);
fn a_removal_of_the_package_ends_every_connection(release: Release) {
    let host = host(release);
    let _repo = with_update(&host, &fixtures::plain("demo", "1.1"));
    // one says nothing, one follows a job that no worker serves: it would stay for a day
    let lock = story::hold_worker(&host);
    let silent = host.spawn("runuser -u alice -- python3 /opt/varlink.py silent");
    let following = host.spawn(&format!(
        "runuser -u alice -- python3 /opt/varlink.py call Apply '{}' more || true",
        r#"{"packages":["demo"]}"#
    ));
    let open = || host.sh("systemctl list-units --all --plain --no-legend 'patch-request@*'");
    host.wait_for("both connections", || {
        open().lines().count() == 2 && host.sh(&format!("ls {}", story::QUEUE)).lines().count() == 1
    });
    let queued = host.sh(&format!("ls {}", story::QUEUE));
    host.sh("apt-get remove -q -y linux-patch-api 2>&1");
    let said = silent.wait();
    assert!(said.success(), "{said}");
    following.wait();
    assert_eq!(open(), "");
    assert!(!host.exists(SOCKET));
    assert_eq!(host.try_sh("pgrep -a patchctl | grep varlink").stdout, "");

    // what was asked for is kept, and served when the package is back
    host.install(&lab::product::deb());
    lock.release(&host);
    let id = queued.trim().trim_end_matches(".json");
    assert_eq!(story::settled(&host, id)["status"], "succeeded");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(client(&host, "alice", "half_closed")["answers"][0], "reply");
    assert_well(&host);
}
