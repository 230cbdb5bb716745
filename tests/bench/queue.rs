//! What the queue adds to the work itself: how soon it is begun, what one more request costs, how soon
//! subscribers receive its progress.

use chrono::{DateTime, Utc};
use lab::{Deb, Host, Release, Repo, fixtures};
use serde_json::Value;

use crate::stopwatch::{median, rounds};
use crate::table::Target;
use crate::{Row, Unit};

const STATE: &str = "/var/lib/linux_patch_api";

/// A host that has these packages from a repository of its own.
fn host(packages: &[Deb]) -> (Host, Repo) {
    let host = Host::boot(Release::Trixie);
    let repo = Repo::new(&host);
    for package in packages {
        repo.add(package);
    }
    repo.enable(&host);
    let names: Vec<&str> = packages.iter().map(Deb::name).collect();
    host.sh(&format!(
        "apt-get -q update && apt-get -q -y install {}",
        names.join(" ")
    ));
    (host, repo)
}

/// From the rename of an entry to the start of its job; and what each of a thousand adds to one.
pub fn waiting_and_extra_requests() -> Vec<Row> {
    let (host, _repo) = host(&[fixtures::plain("demo", "1.0")]);
    let put = |count: u32| {
        format!(
            "cd {STATE}/tmp; now=$(date +%s%N); for n in $(seq {count}); do \
             id=$(printf '%016x-%06x' $((now + n)) $n); \
             printf '{{\"version\":1,\"id\":\"%s\",\"kind\":\"apply\",\"packages\":[\"demo\"]}}' $id >$id.json; done"
        )
    };
    let delays: Vec<f64> = (0..20)
        .map(|_| {
            let renamed = host.sh(&format!(
                "{}; date +%s%N; mv $id.json ../queue/; \
                 until grep -qs finished_at...20 ../jobs/$id.json; do sleep 0.05; done; \
                 cat ../jobs/$id.json; \
                 while systemctl is-active -q patch-apply.service; do sleep 0.05; done",
                put(1)
            ));
            let (renamed, record) = renamed.split_once('\n').unwrap();
            let record: Value = serde_json::from_str(record).unwrap();
            let started: DateTime<Utc> = record["started_at"].as_str().unwrap().parse().unwrap();
            let renamed: i64 = renamed.parse().unwrap();
            let started = started.timestamp_nanos_opt().unwrap();
            f64::from(i32::try_from((started - renamed) / 1000).unwrap()) / 1000.0
        })
        .collect();

    host.sh("systemctl stop patch-apply.path");
    let serve = "systemctl start patch-apply.service";
    let time = |count: u32| {
        let before = format!("( {}; mv ./*.json ../queue/ )", put(count));
        median(&rounds(&host, 5, (&before, ":"), &[serve]).concat())
    };
    let (one, thousand) = (time(1), time(1000));
    let row = |work: &str, ours, limit| Row {
        work: work.to_owned(),
        unit: Unit::Milliseconds,
        other: None,
        ours,
        target: Target::Limit(limit),
    };
    vec![
        row(
            "rename of an entry to the start of its job",
            median(&delays),
            100.0,
        ),
        row(
            "each of 1000 requests for one package beyond the first",
            (thousand - one) * 1000.0 / 999.0,
            2.0,
        ),
    ]
}

/// From apt's report, just before it runs a script of a package, to the signal that a subscriber receives.
pub fn progress() -> Vec<Row> {
    let names: Vec<String> = (0..10).map(|n| format!("demo{n}")).collect();
    let packages = |version: &str, script: &str| -> Vec<Deb> {
        let package = |name: &String| {
            let script = script.replace("NAME", name);
            fixtures::plain(name, version).postinst(&script)
        };
        names.iter().map(package).collect()
    };
    let (host, repo) = host(&packages("1.0", "true"));
    for package in packages("1.1", "date +%s%N >/run/began-NAME; sleep 0.4") {
        repo.add(&package);
    }
    let listener = host.spawn(
        "exec busctl monitor --json=short --match \
         \"type='signal',interface='org.linux_patch.Agent1',member='JobProgress'\"",
    );
    host.wait_for("the listener", || {
        let bus = host.messages(&["-u", "dbus.service"]);
        bus.iter().any(|line| line.contains("became a monitor"))
    });
    host.sh("systemctl start patch-apply@all.service");
    let heard: Vec<Value> = listener
        .output_so_far()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let delays: Vec<f64> = names
        .iter()
        .map(|name| {
            let began: i64 = host
                .read(&format!("/run/began-{name}"))
                .trim()
                .parse()
                .unwrap();
            let of_script = |signal: &&Value| {
                let action = signal["payload"]["data"][2].as_str().unwrap_or_default();
                action.starts_with("Configuring") && action.contains(name.as_str())
            };
            let signal = heard.iter().find(of_script).expect("it was never heard of");
            let told = signal["timestamp-realtime"].as_i64().expect("no time");
            f64::from(i32::try_from(told - began / 1000).unwrap()) / 1000.0
        })
        .collect();
    let row = |work: &str, ours| Row {
        work: work.to_owned(),
        unit: Unit::Milliseconds,
        other: None,
        ours,
        target: Target::Limit(200.0),
    };
    vec![
        row("apt's report to a subscriber's signal", median(&delays)),
        row(
            "the longest of them",
            delays.iter().copied().fold(f64::MIN, f64::max),
        ),
    ]
}
