//! Signals about jobs: subscribers receive them in order, and one that never reads does no harm.

use lab::{Host, Release, Spawned, fixtures};
use serde_json::Value;

use crate::job::{host_with, id_of};
use crate::story::{installed, last_job, property, settled, stop_service, unit};

/// Every signal of the service: about jobs, and properties that change.
const MATCH: &str = "type='signal',path='/org/linux_patch/Agent1'";

/// The memory that the service never exceeds, whatever its subscribers do: 8 MB, in KiB.
const MEMORY_LIMIT: u64 = 8 * 1024;

releases!(a_subscriber_hears_a_job_from_start_to_end [bookworm trixie]);
fn a_subscriber_hears_a_job_from_start_to_end(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::slow("demo", "1.1"));
    host.sh("systemctl start patch-refresh.service");
    stop_service(&host);
    let listener = listen(&host);
    assert_eq!(
        unit(&host, "patch-agent.service", "ActiveState"),
        "inactive"
    );

    host.sh("systemctl start --no-block patch-apply@demo.service");
    host.wait_for("the postinst", || host.exists("/run/lab-slow-started"));
    let first = id_of(&last_job(&host)).to_owned();
    host.wait_for("progress while the package is being installed", || {
        percents(&listener, &first).last() >= Some(&50)
    });
    assert!(
        !heard(&listener)
            .iter()
            .any(|signal| signal.member == "JobFinished")
    );
    host.sh("touch /run/lab-release");
    assert_eq!(settled(&host, &first)["status"], "succeeded");
    wait_for_the_end(&host, &listener, &first, "succeeded");

    // it goes back to the slow one, which is let through from now on
    repo.add(&fixtures::failing_postinst("demo", "1.2"));
    let failed = host.try_sh("patchctl refresh && patchctl apply demo");
    assert!(!failed.success(), "{failed}");
    let second = id_of(&last_job(&host)).to_owned();
    assert_ne!(first, second);
    wait_for_the_end(&host, &listener, &second, "failed");
    for job in [&first, &second] {
        in_order(&heard(&listener), job);
    }
}

/// One start, percents that never go back, one end.
#[track_caller]
fn in_order(heard: &[Signal], job: &str) {
    let of_job: Vec<&Signal> = heard.iter().filter(|signal| signal.job() == job).collect();
    let members: Vec<&str> = of_job.iter().map(|signal| &*signal.member).collect();
    let (Some(("JobStarted", rest)), true) = (
        members.split_first().map(|(first, rest)| (*first, rest)),
        members.len() > 2,
    ) else {
        panic!("{members:?}");
    };
    let (last, between) = rest.split_last().expect("no end");
    assert_eq!(*last, "JobFinished", "{members:?}");
    assert!(
        between.iter().all(|member| *member == "JobProgress"),
        "{members:?}"
    );
    let percents: Vec<u64> = of_job
        .iter()
        .filter_map(|signal| signal.percent())
        .collect();
    assert!(
        percents.is_sorted() && percents.iter().all(|p| *p <= 100),
        "{percents:?}"
    );
    // nor does the property, from the start of the job to its end
    let is_of_job = |signal: &&Signal| signal.job() == job;
    let between = heard.iter().skip_while(|signal| !is_of_job(signal));
    let between = between.take_while(|signal| signal.member != "JobFinished");
    let properties: Vec<u64> = between.filter_map(Signal::progress).collect();
    assert!(
        properties.is_sorted() && properties.last() >= Some(&50),
        "{properties:?}"
    );
}

releases!(a_subscriber_that_never_reads_does_no_harm [bookworm trixie]);
fn a_subscriber_that_never_reads_does_no_harm(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    let deaf = ["alice", "bob"].map(|user| deaf(&host, user));
    let trace = host.spawn(
        "exec strace -q -o /run/trace -e trace=sendmsg -p \
         $(systemctl show -P MainPID dbus.service)",
    );
    // every client that comes and goes is two signals more, until the kernel takes no more for those who
    // do not read: from then on the bus keeps it for them
    host.wait_for("what the kernel holds for them to be full", || {
        host.sh("for i in $(seq 50); do busctl status org.freedesktop.login1 >/dev/null; done");
        let full = host.sh("grep -o '^sendmsg([0-9]*.*EAGAIN' /run/trace | cut -d, -f1 | sort -u");
        full.lines().count() >= deaf.len()
    });
    trace.kill();
    let listener = listen(&host);
    for patch in 1..=5 {
        let version = format!("1.{patch}");
        repo.add(&fixtures::plain("demo", &version));
        let applied = host.try_sh("patchctl refresh && patchctl apply demo");
        assert!(applied.success(), "{applied}");
        assert_eq!(installed(&host, "demo"), format!("{version} installed"));
        wait_for_the_end(&host, &listener, id_of(&last_job(&host)), "succeeded");
    }
    assert_eq!(property(&host, "Health"), "healthy");
    for deaf in deaf {
        let so_far = deaf.output_so_far();
        assert!(!so_far.contains("JobFinished"), "it has read: {so_far}");
    }
    let pid = unit(&host, "patch-agent.service", "MainPID");
    let memory = host.sh(&format!(
        "awk '/^RssAnon/ {{ print $2 }}' /proc/{pid}/status"
    ));
    let memory: u64 = memory.trim().parse().expect("no number");
    assert!(memory < MEMORY_LIMIT, "the service takes {memory} KiB");
}

/// A client that has subscribed to everything and has stopped reading.
fn deaf(host: &Host, user: &str) -> Spawned {
    host.as_user(user, "true");
    let subscriber = host.spawn(&format!(
        "exec setpriv --reuid {user} --regid {user} --clear-groups \
         dbus-monitor --system \"type='signal',path='/org/linux_patch/Agent1'\" \
         \"type='signal',member='NameOwnerChanged'\""
    ));
    host.wait_for("the subscription", || {
        // a client that comes and goes is heard of
        host.sh("busctl status org.freedesktop.login1");
        subscriber.output_so_far().contains("NameOwnerChanged")
    });
    host.sh(&format!("pkill -STOP -u {user} -x dbus-monitor"));
    subscriber
}

/// Listens to the jobs, from now on.
fn listen(host: &Host) -> Spawned {
    let listener = host.spawn(&format!(
        "exec busctl monitor --json=short --match \"{MATCH}\""
    ));
    host.wait_for("the listener", || {
        let bus = host.messages(&["-u", "dbus.service"]);
        bus.iter().any(|line| line.contains("became a monitor"))
    });
    listener
}

/// Waits until the listener has heard how this job ended.
fn wait_for_the_end(host: &Host, listener: &Spawned, job: &str, status: &str) {
    host.wait_for("the news of the end", || {
        heard(listener).iter().any(|signal| {
            signal.member == "JobFinished" && signal.job() == job && signal.arguments[1] == status
        })
    });
}

/// The percents told so far of this job.
fn percents(listener: &Spawned, job: &str) -> Vec<u64> {
    heard(listener)
        .iter()
        .filter(|signal| signal.job() == job)
        .filter_map(Signal::percent)
        .collect()
}

/// A signal about a job.
struct Signal {
    member: String,
    arguments: Vec<Value>,
}

impl Signal {
    fn job(&self) -> &str {
        self.arguments[0].as_str().unwrap_or_default()
    }

    /// The property `Progress`, where it is told.
    fn progress(&self) -> Option<u64> {
        self.arguments.get(1)?["Progress"]["data"].as_u64()
    }

    fn percent(&self) -> Option<u64> {
        let is_progress = self.member == "JobProgress";
        is_progress.then(|| self.arguments[1].as_u64()).flatten()
    }
}

/// Every signal about jobs so far, in order.
fn heard(listener: &Spawned) -> Vec<Signal> {
    let heard = listener.output_so_far();
    heard
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["path"] == "/org/linux_patch/Agent1")
        .map(|message| Signal {
            member: message["member"].as_str().unwrap_or_default().to_owned(),
            arguments: message["payload"]["data"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        })
        .collect()
}
