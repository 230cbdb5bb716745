//! Power cuts: whenever the host dies, every request is found again in one place and done once.

use std::collections::BTreeMap;
use std::time::Duration;

use lab::{Host, Release, Repo, fixtures};

use crate::story::{self, QUEUE, STATE, installed};

/// The packages that the requests are about.
const PACKAGES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// Power cuts, at instants drawn from a seed: the same ones in every run.
const CUTS: u64 = 20;

/// Requests that are queued and applied while the power goes.
const REQUESTS: usize = 50;

/// A generator of Knuth's, good enough to spread instants.
fn instant(seed: u64) -> Duration {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state ^= state >> 29;
    state = state.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    Duration::from_millis((state >> 32) % 1500)
}

// fault: power cut
#[test]
fn after_a_power_cut_every_request_is_in_one_place_and_done_once() {
    let host = Host::boot(Release::Trixie);
    let repo = Repo::new(&host);
    for package in PACKAGES {
        repo.add(&fixtures::plain(package, "1.0"));
    }
    repo.enable(&host);
    host.sh(&format!(
        "apt-get -q update && apt-get -q -y install {}",
        PACKAGES.join(" ")
    ));
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for cut in 1..=CUTS {
        for package in PACKAGES {
            repo.add(&fixtures::plain(package, &format!("1.{cut}")));
        }
        let names = PACKAGES.map(|name| format!("\"{name}\"")).join(",");
        let submit = host.spawn(&format!(
            "cd {STATE}/tmp; for number in $(seq {REQUESTS}); do \
               id=$(printf '%016x-%06x' $(date +%s%N) $number); \
               printf '{{\"version\":1,\"id\":\"%s\",\"kind\":\"apply\",\"packages\":[{names}]}}' $id > $id; \
               sync $id && mv $id {QUEUE}/$id.json && sync {QUEUE} && echo $id >> /var/tmp/acked; \
             done; sync /var/tmp/acked"
        ));
        std::thread::sleep(instant(cut));
        host.power_cut();
        drop(submit);
        host.start();
        settles(&host, cut);
        for package in PACKAGES {
            host.try_sh(&format!("systemctl start patch-apply@{package}.service"));
        }
        sound(&host, cut);
        for (status, count) in found_once(&host, cut) {
            *outcomes.entry(status).or_default() += count;
        }
    }
    println!("{CUTS} power cuts, requests by outcome: {outcomes:?}");
    assert!(
        outcomes.get("succeeded").is_some_and(|count| *count > 0),
        "{outcomes:?}"
    );
}

/// Nothing waits and nothing runs any more.
fn settles(host: &Host, cut: u64) {
    host.wait_for(&format!("the queue to be served after cut {cut}"), || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
            && !host.exists(&format!("{STATE}/state/running.json"))
    });
}

/// The package database is in order, and every update went in exactly once.
fn sound(host: &Host, cut: u64) {
    let told = || {
        host.sh("journalctl -b -t patchctl -o cat | grep -v 'started: apply one two' | head -60; tail -n 20 $(ls -t /var/lib/linux_patch_api/jobs/*.log | head -3)")
    };
    assert_eq!(host.sh("dpkg --audit"), "", "after cut {cut}: {}", told());
    for package in PACKAGES {
        assert_eq!(
            installed(host, package),
            format!("1.{cut} installed"),
            "after cut {cut}"
        );
        // dpkg says so before it writes it down: what it died right after is done again
        let line = format!(" status installed {package}:all 1.{cut}$");
        let configured = host.sh(&format!(
            "awk '/{line}/ && !n++ {{ at = NR }} / startup / && NR == at + 1 {{ died = 1 }} \
                /{line}/ {{ all++ }} END {{ print all - (all == 2 && died) }}' /var/log/dpkg.log"
        ));
        assert_eq!(configured.trim(), "1", "{package} after cut {cut}");
    }
}

/// Every request that was acknowledged is in exactly one place, with an end; how they ended.
fn found_once(host: &Host, cut: u64) -> BTreeMap<String, usize> {
    let acked = host.sh("cat /var/tmp/acked 2>/dev/null || true");
    let mut outcomes = BTreeMap::new();
    // beside a record may lie what belongs to it
    let places = host.sh(&format!(
        "cd {STATE}; find queue jobs deferred conflicts refused -type f -name '*.json'"
    ));
    for id in acked.lines().filter(|id| id.len() == 23) {
        let found: Vec<&str> = places.lines().filter(|place| place.contains(id)).collect();
        assert_eq!(found.len(), 1, "{id} after cut {cut}: {found:?}");
        let job = story::state(host, found[0]);
        let status = job["status"].as_str().unwrap_or("none").to_owned();
        assert!(
            ["succeeded", "failed", "cancelled"].contains(&status.as_str()),
            "{job}"
        );
        *outcomes.entry(status).or_default() += 1;
    }
    host.sh("rm -f /var/tmp/acked");
    outcomes
}
