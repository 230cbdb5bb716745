//! A long queue: served in order, and a longer one costs no more for each request.

use std::fs;

use lab::{Host, Release, Repo, fixtures};
use serde_json::Value;

use crate::story::{QUEUE, STATE, installed, unit};

/// The requests that one transaction serves at most.
const BATCH: usize = 1000;

// fault: flood
#[test]
fn ten_thousand_requests_are_served_in_order_without_quadratic_cost() {
    let host = Host::boot(Release::Trixie);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    host.sh("apt-get -q update && apt-get -q -y install demo");
    host.write("/etc/linux_patch_api/config.toml", "[jobs]\nkeep = 20000\n");
    // the worker is started by hand, once: what it needs is then what the queue costs
    host.sh("systemctl stop patch-apply.path");

    let few = serve(&host, &repo, "1.1", 2_500);
    let many = serve(&host, &repo, "1.2", 10_000);

    println!("2 500 requests take {few} ms of CPU, 10 000 take {many} ms");
    // for four times as many: 4 when each costs the same, 16 when each is held against all the others
    assert!(many < 8 * few, "{few} ms, then {many} ms");
}

/// Has so many requests served that wait already; the CPU time that the worker and all its programs
/// took, in milliseconds.
fn serve(host: &Host, repo: &Repo, version: &str, count: usize) -> u64 {
    repo.add(&fixtures::plain("demo", version));
    let ids = put(host, count);
    host.sh("systemctl start patch-apply.service");

    assert_eq!(host.sh(&format!("ls {QUEUE}")), "");
    assert_eq!(installed(host, "demo"), format!("{version} installed"));
    let mut last_start = String::new();
    for (place, id) in ids.iter().enumerate() {
        // through the file system: a program in the host for each would take minutes
        let record = host
            .root()
            .join(format!("{STATE}/jobs/{id}.json").trim_start_matches('/'));
        let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
        assert_eq!(record["status"], "succeeded", "{record}");
        let leader = &ids[place / BATCH * BATCH];
        assert_eq!(record["transaction"], leader.as_str(), "{place}: {record}");
        let changes = record["changes"].as_array().unwrap().len();
        assert_eq!(changes, usize::from(place < BATCH), "{place}: {record}");
        let start = record["started_at"].as_str().unwrap().to_owned();
        assert!(start >= last_start, "{place}: {record}");
        last_start = start;
    }
    let cpu: u64 = unit(host, "patch-apply.service", "CPUUsageNSec")
        .parse()
        .unwrap();
    cpu / 1_000_000
}

/// Prepares requests and renames them into the queue, as any program would, though not in the order of
/// their names; their ids, in order.
fn put(host: &Host, count: usize) -> Vec<String> {
    // 7919 and the counts have no common divisor, so that every number comes once
    let script = format!(
        "import os, time\n\
         start = time.time_ns()\n\
         ids = ['%016x-%06x' % (start + n, n) for n in range({count})]\n\
         for n in range({count}):\n\
         \x20   id = ids[n * 7919 % {count}]\n\
         \x20   with open('{STATE}/tmp/' + id, 'w') as file:\n\
         \x20       file.write('{{\"version\":1,\"id\":\"%s\",\"kind\":\"apply\",\"packages\":[\"demo\"]}}' % id)\n\
         \x20   os.rename('{STATE}/tmp/' + id, '{QUEUE}/' + id + '.json')\n\
         print('\\n'.join(ids))"
    );
    let output = host.run(&["python3", "-c", &script]).unwrap();
    assert!(output.success(), "{output}");
    output.stdout.lines().map(str::to_owned).collect()
}
