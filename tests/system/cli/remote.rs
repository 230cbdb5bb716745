//! `patchctl -H`: the whole command line on another host, over a real sshd and a link that may drop.

use lab::{Deb, Host, Link, Output, Release, Repo, fixtures};
use serde_json::Value;

use crate::job::{id_of, put_on, text};
use crate::story::{self, installed, jobs, last_job};

/// The host that is asked, and who asks there.
const THERE: &str = "root@10.77.0.2";

/// An administrator's host, a host that is patched from there, the link between them, and the
/// repository in which 1.1 of `demo` waits for the second.
struct Pair {
    here: Host,
    there: Host,
    link: Link,
    repo: Repo,
}

impl Pair {
    fn new(release: Release, update: &Deb) -> Self {
        let boot = |name| {
            Host::builder(release)
                .extra_packages(&["openssh-client", "openssh-server"])
                .name(name)
                .boot()
        };
        let (here, there) = (boot("here"), boot("there"));
        let link = Link::between(&here, &there);
        put_on(&there, &[fixtures::plain("demo", "1.0")]);
        let repo = Repo::new(&there);
        repo.enable(&there);
        repo.add(update);
        trust(&here, &there);
        Self {
            here,
            there,
            link,
            repo,
        }
    }

    /// What `patchctl -H` says, on the administrator's host, about the other one.
    fn patchctl(&self, arguments: &str) -> Output {
        self.here
            .try_sh(&format!("patchctl -H {THERE} {arguments}"))
    }

    /// What it printed; it has to succeed.
    #[track_caller]
    fn says(&self, arguments: &str) -> String {
        let output = self.patchctl(arguments);
        assert!(output.success(), "{arguments}: {output}");
        output.stdout
    }

    /// What it printed as JSON.
    #[track_caller]
    fn json(&self, arguments: &str) -> Value {
        let shown = self.says(&format!("{arguments} --json"));
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}

/// Root may log in from one to the other by key, and each knows the other.
fn trust(here: &Host, there: &Host) {
    here.sh(
        "mkdir -p -m 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519",
    );
    let server = there.read("/etc/ssh/ssh_host_ed25519_key.pub");
    here.write("/root/.ssh/known_hosts", format!("10.77.0.2 {server}"));
    there.sh("mkdir -p -m 700 /root/.ssh");
    there.write(
        "/root/.ssh/authorized_keys",
        here.read("/root/.ssh/id_ed25519.pub"),
    );
    there.sh("chmod 600 /root/.ssh/authorized_keys");
}

releases!(another_host_is_patched_over_ssh [bookworm trixie]);
fn another_host_is_patched_over_ssh(release: Release) {
    let pair = Pair::new(release, &fixtures::plain("demo", "1.1"));
    assert_eq!(text(&pair.json("health"), "status"), "healthy");
    assert!(pair.says("status").contains("healthy"));
    let updates = pair.json("updates");
    assert_eq!(text(&updates[0], "package"), "demo", "{updates}");

    let applied = pair.patchctl("apply demo");
    assert!(applied.success(), "{applied}");
    assert_eq!(installed(&pair.there, "demo"), "1.1 installed");
    let job = last_job(&pair.there);
    let id = text(&job["request"], "id");
    assert_eq!(
        text(&pair.json(&format!("log {id}")), "status"),
        "succeeded"
    );
    assert!(pair.says("jobs").contains(id));
    assert!(pair.says("queue").contains("no jobs"));
    assert!(pair.says("updates").contains("nothing is pending"));
    what_waits_there_is_decided_here(&pair);
    assert!(jobs(&pair.here).is_empty(), "the wrong host was patched");

    an_ordinary_user_is_who_they_are_there(&pair);
    what_is_no_host_is_said(&pair);
}

/// What is planned, cancelled and resolved, with the worker over there held until all of it is asked for.
fn what_waits_there_is_decided_here(pair: &Pair) {
    pair.repo.add(&fixtures::plain("demo", "1.2"));
    assert!(pair.says("refresh").contains("succeeded"));
    let plan = pair.json("plan demo");
    assert_eq!(text(&plan["updates"][0], "candidate"), "1.2", "{plan}");
    let lock = story::hold_worker(&pair.there);
    let ask = |options: &str| {
        let id = pair.says(&format!("apply demo --no-wait {options}"));
        id.trim().to_owned()
    };
    // made against 1.0, and 1.1 is installed
    let (discarded, resolved) = (ask("--expect demo=1.0"), ask("--expect demo=1.0"));
    let cancelled = ask("");
    let queue = pair.json("queue");
    let listed = [&cancelled, &resolved, &discarded].map(String::as_str);
    let ids: Vec<&str> = queue.as_array().map_or(Vec::new(), |jobs| {
        jobs.iter().map(|job| text(&job["request"], "id")).collect()
    });
    assert_eq!(ids, listed, "{queue}");
    let cancel = pair
        .here
        .spawn(&format!("patchctl -H {THERE} cancel {cancelled}"));
    pair.there.wait_for("the decision", || {
        pair.there
            .exists(&format!("{}/{cancelled}.cancel", story::QUEUE))
    });
    lock.release(&pair.there);
    let cancel = cancel.wait();
    assert!(cancel.success(), "{cancel}");
    for id in [&discarded, &resolved] {
        assert_eq!(story::settled(&pair.there, id)["status"], "conflict");
        assert!(pair.says("conflicts").contains(id.as_str()));
    }
    pair.says(&format!("resolve {discarded} --discard"));
    assert_eq!(
        text(&pair.json(&format!("log {discarded}")), "status"),
        "cancelled"
    );
    assert_eq!(installed(&pair.there, "demo"), "1.1 installed");
    pair.says(&format!("resolve {resolved} --apply"));
    assert_eq!(installed(&pair.there, "demo"), "1.2 installed");
    assert_eq!(pair.says("conflicts"), "no conflicts\n");
}

/// What counts is the account over there, not the one here.
fn an_ordinary_user_is_who_they_are_there(pair: &Pair) {
    pair.here.as_user("alice", "true");
    pair.here
        .sh("cp -r /root/.ssh /home/alice/ && chown -R alice: /home/alice/.ssh");
    let as_root = pair
        .here
        .as_user("alice", &format!("patchctl -H {THERE} refresh"));
    assert!(as_root.success(), "{as_root}");
    pair.there.as_user("bob", "mkdir -m 700 ~/.ssh");
    pair.there.sh(
        "cp /root/.ssh/authorized_keys /home/bob/.ssh/ && chown bob: /home/bob/.ssh/authorized_keys",
    );
    let as_bob = |what: &str| {
        let command = format!("patchctl -H bob@10.77.0.2 {what}");
        pair.here.try_sh(&command)
    };
    assert!(as_bob("status").success());
    let job = id_of(&last_job(&pair.there)).to_owned();
    for what in [
        "apply demo",
        "refresh",
        &format!("cancel {job}"),
        &format!("resolve {job} --apply"),
    ] {
        let refused = as_bob(what);
        assert_eq!(refused.status, 77, "{what}: {refused}");
    }
}

fn what_is_no_host_is_said(pair: &Pair) {
    for dashed in ["-H-oProxyCommand=true", "--host=-x", "-H ''", "-H 'a b'"] {
        let output = pair.here.try_sh(&format!("patchctl {dashed} status"));
        assert_eq!(output.status, 2, "{dashed}: {output}");
    }
    for not_there in [
        "10.77.0.2:2222",
        "nowhere.invalid",
        "root@10.77.0.2/nowhere",
    ] {
        let output = pair.here.try_sh(&format!("patchctl -H {not_there} status"));
        is_not_reachable(&output, not_there);
    }
    // a port of its own, with everything else as systemctl has it
    pair.there
        .sh("mkdir -p /run/sshd && /usr/sbin/sshd -p 2200 -o PidFile=/run/sshd-2200.pid");
    let other_port = pair
        .here
        .try_sh(&format!("patchctl -H {THERE}:2200 health"));
    assert!(other_port.success(), "{other_port}");

    pair.there.sh("systemctl stop ssh.socket ssh.service 2>/dev/null; systemctl is-active ssh.service || true");
    let refused = pair.patchctl("status");
    is_not_reachable(&refused, THERE);
    assert!(refused.stderr.contains("Connection refused"), "{refused}");
    pair.link.down();
    let gone = pair.patchctl("status");
    is_not_reachable(&gone, THERE);
}

/// One line that names the host, and nothing of how it was tried or of what works on this host alone.
#[track_caller]
fn is_not_reachable(output: &Output, host: &str) {
    assert_eq!(output.status, 69, "{host}: {output}");
    assert_eq!(output.stderr.lines().count(), 1, "{host}: {output}");
    let expected = format!("patchctl: {host} is not reachable: ");
    assert!(output.stderr.starts_with(&expected), "{host}: {output}");
    for word in ["unixexec", "--direct", "argv"] {
        assert!(!output.stderr.contains(word), "{host}: {output}");
    }
}

// fault: the link to the host of `-H` goes away
#[test]
fn a_link_that_stays_away_ends_with_how_to_ask_again() {
    let pair = Pair::new(Release::Trixie, &fixtures::slow("demo", "1.1"));
    let client = pair
        .here
        .spawn(&format!("patchctl -H {THERE} apply demo --timeout 30"));
    pair.there.wait_for("the postinst", || {
        pair.there.exists("/run/lab-slow-started")
    });
    let id = id_of(&last_job(&pair.there)).to_owned();
    pair.link.down();
    let output = client.wait();
    assert_eq!(output.status, 69, "{output}");
    let last = output.stderr.lines().last().unwrap_or_default();
    let words = format!("; job {id} goes on there; ask: patchctl -H {THERE} wait {id}");
    assert!(last.ends_with(&words), "{output}");
    let errors = output
        .stderr
        .lines()
        .filter(|line| !line.starts_with("job "));
    assert_eq!(errors.count(), 1, "ssh says nothing of its own: {output}");

    pair.link.up();
    let waiting = pair.here.spawn(&format!("patchctl -H {THERE} wait {id}"));
    pair.there.sh("touch /run/lab-release");
    let waited = waiting.wait();
    assert!(
        waited.success() && waited.stdout.contains("succeeded"),
        "{waited}"
    );
}

// fault: the link to the host of `-H` goes away
releases!(a_link_that_drops_in_mid_apply_costs_nothing_but_time [bookworm trixie]);
fn a_link_that_drops_in_mid_apply_costs_nothing_but_time(release: Release) {
    let pair = Pair::new(release, &fixtures::slow("demo", "1.1"));
    let mut client = pair.here.spawn(&format!("patchctl -H {THERE} apply demo"));
    pair.there.wait_for("the postinst", || {
        pair.there.exists("/run/lab-slow-started")
    });
    let first = ssh(&pair.here).expect("no ssh");
    pair.link.down();
    pair.here
        .wait_for("ssh to notice", || ssh(&pair.here).as_ref() != Some(&first));
    assert!(client.is_running(), "{}", client.output_so_far());
    assert_eq!(text(&last_job(&pair.there), "status"), "running");

    pair.link.up();
    pair.there
        .wait_for("the client to come back", || logins(&pair.there) > 2);
    pair.there.sh("touch /run/lab-release");
    let output = client.wait();
    assert!(output.success(), "{output}");
    assert!(output.stdout.contains("succeeded"), "{output}");
    assert_eq!(jobs(&pair.there).len(), 1, "asked once, done once");
    assert_eq!(installed(&pair.there, "demo"), "1.1 installed");
}

// fault: the link to the host of `-H` goes away
#[test]
fn a_job_that_ends_while_the_link_is_away_is_reported_afterwards() {
    let pair = Pair::new(Release::Trixie, &fixtures::slow("demo", "1.1"));
    let client = pair.here.spawn(&format!("patchctl -H {THERE} apply demo"));
    pair.there.wait_for("the postinst", || {
        pair.there.exists("/run/lab-slow-started")
    });
    let first = ssh(&pair.here).expect("no ssh");
    pair.link.down();
    pair.there.sh("touch /run/lab-release");
    pair.there.wait_for("the end of the job", || {
        text(&last_job(&pair.there), "status") == "succeeded"
    });
    pair.here
        .wait_for("ssh to notice", || ssh(&pair.here).as_ref() != Some(&first));
    pair.link.up();
    let output = client.wait();
    assert!(output.success(), "{output}");
    assert!(output.stdout.contains("succeeded"), "{output}");
}

/// The process id of the ssh that carries the client's calls.
fn ssh(host: &Host) -> Option<String> {
    let found = host.try_sh("pgrep -x ssh | tail -n 1").stdout;
    (!found.is_empty()).then(|| found.trim().to_owned())
}

/// How often a client has logged in over ssh.
fn logins(host: &Host) -> usize {
    let lines = host.messages(&["-t", "sshd", "-t", "sshd-session"]);
    lines
        .iter()
        .filter(|line| line.starts_with("Accepted publickey"))
        .count()
}
