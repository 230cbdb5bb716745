//! Entries of the queue: they are durable and served in order, the queue is always watched, hostile ones change nothing.

use lab::{Host, Release, Repo, fixtures};
use linux_patch_api::journal::id;
use serde_json::Value;

use crate::story::{self, QUEUE, installed, property};

/// A host with `demo` in 1.0, and 1.1 pending.
fn host(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    host.sh("apt-get -q update && apt-get -q -y install demo");
    repo.add(&fixtures::plain("demo", "1.1"));
    (host, repo)
}

releases!(a_file_put_into_the_queue_is_served [bookworm trixie]);
fn a_file_put_into_the_queue_is_served(release: Release) {
    let (host, _repo) = host(release);
    let id = story::drop_request(&host, 1, r#""packages":["demo"]"#);
    let job = story::settled(&host, &id);
    assert_eq!(job["status"], "succeeded", "{job}");
    assert_eq!(job["request"]["requester"]["door"], "file");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(host.sh(&format!("ls {QUEUE}")), "");
}

#[test]
fn what_is_no_request_is_refused_once_and_the_queue_stays_awake() {
    let (host, _repo) = host(Release::Trixie);
    let lock = story::hold_worker(&host);
    host.sh(&format!(
        "cd {QUEUE}\n\
         ln -s /etc/shadow 0000000000000001-000001.json\n\
         mkfifo 0000000000000001-000002.json\n\
         mkdir 0000000000000001-000003.json\n\
         touch 0000000000000001-000003.json/inside\n\
         printf x > nonsense\n\
         printf '' > 0000000000000001-000004.json\n\
         printf '{{\"version\":9}}' > 0000000000000001-000005.json\n\
         head -c 70000 /dev/zero > 0000000000000001-000006.json\n\
         cp /etc/hostname victim && ln victim 0000000000000001-000007.json && rm victim\n\
         ln /etc/machine-id 0000000000000001-000008.json\n\
         printf '\\377\\376' > 0000000000000001-000009.json\n\
         printf x > $'new\\nline'\n\
         python3 -c 'print(\"[\" * 30000)' > 0000000000000001-00000a.json\n\
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"0000000000000001-00000b.json\")'\n\
         chown nobody 0000000000000001-000005.json"
    ));
    let before = host.sh("sha256sum /etc/shadow /etc/machine-id");
    lock.release(&host);
    host.wait_for("the queue to be empty", || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
    });
    assert_eq!(host.sh("sha256sum /etc/shadow /etc/machine-id"), before);
    let refused = host.sh("ls -1 --quoting-style=c /var/lib/linux_patch_api/refused");
    assert_eq!(refused.lines().count(), 13, "{refused}");
    assert_eq!(story::jobs(&host).len(), 0);

    let id = story::drop_request(&host, 2, r#""packages":["demo"]"#);
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
    assert_eq!(
        host.sh("systemctl is-active patch-apply.path").trim(),
        "active"
    );
    // no start was wasted on what was refused: one drain or two, not one for each entry, let alone a spin
    let starts = story::events(&host, "MESSAGE_ID", "39f53479d3a045ac8e11786248231fbf")
        .iter()
        .filter(|event| event["UNIT"] == "patch-apply.service")
        .count();
    assert!(starts < 10, "{starts} starts");
}

#[test]
fn requests_that_wait_together_are_one_transaction() {
    let (host, repo) = host(Release::Trixie);
    for (index, count) in [3_usize, 100, 1000].into_iter().enumerate() {
        repo.add(&fixtures::plain("demo", &format!("1.{}", index + 2)));
        let transactions = host.sh("grep -c ^Commandline /var/log/apt/history.log || true");
        let lock = story::hold_worker(&host);
        let ids = story::drop_requests(&host, count, r#""packages":["demo"]"#);
        lock.release(&host);
        for id in [&ids[0], &ids[count / 2], &ids[count - 1]] {
            let job = story::settled(&host, id);
            assert_eq!(job["status"], "succeeded", "{job}");
            assert_eq!(job["transaction"], ids[0].as_str());
            assert_eq!(job["changes"][0]["to"], format!("1.{}", index + 2));
        }
        host.wait_for("the queue to be empty", || {
            host.sh(&format!("ls {QUEUE}")).is_empty()
        });
        let after = host.sh("grep -c ^Commandline /var/log/apt/history.log || true");
        let number = |text: &str| text.trim().parse::<usize>().unwrap();
        assert_eq!(
            number(&after),
            number(&transactions) + 1,
            "{count} requests"
        );
        let succeeded = story::jobs(&host)
            .iter()
            .filter(|job| job["status"] == "succeeded")
            .count();
        assert!(succeeded >= count, "{succeeded} of {count}");
    }
}

#[test]
fn in_a_batch_that_fails_one_bad_package_fails_alone() {
    let (host, repo) = host(Release::Trixie);
    repo.add(&fixtures::plain("other", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install other");
    repo.add(&fixtures::plain("other", "1.1"));
    repo.fault("other_1.1", lab::Fault::Status(404));
    let lock = story::hold_worker(&host);
    let good = story::drop_request(&host, 1, r#""packages":["demo"]"#);
    let bad = story::drop_request(&host, 2, r#""packages":["other"]"#);
    let unknown = story::drop_request(&host, 3, r#""packages":["nosuch"]"#);
    lock.release(&host);
    assert_eq!(story::settled(&host, &good)["status"], "succeeded");
    let bad = story::settled(&host, &bad);
    assert_eq!(bad["status"], "failed");
    assert!(bad["error"].as_str().unwrap().contains("404"), "{bad}");
    let unknown = story::settled(&host, &unknown);
    assert!(
        unknown["error"].as_str().unwrap().contains("not installed"),
        "{unknown}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(installed(&host, "other"), "1.0 installed");
}

#[test]
fn a_repetition_with_the_same_key_is_the_same_job() {
    let (host, _repo) = host(Release::Trixie);
    let lock = story::hold_worker(&host);
    let apply = "patchctl apply demo --no-wait --key";
    let first = host.sh(&format!("{apply} one"));
    assert_eq!(host.sh(&format!("{apply} one")), first);
    let other = host.sh(&format!("{apply} two"));
    assert_ne!(other, first);
    lock.release(&host);
    assert_eq!(story::settled(&host, first.trim())["status"], "succeeded");
    assert_eq!(story::settled(&host, other.trim())["status"], "succeeded");
    assert_eq!(
        host.sh(&format!("{apply} one")),
        first,
        "also when it is done"
    );
    assert_eq!(story::jobs(&host).len(), 2);

    for another in [
        "apply demo:all",
        "apply demo --expect demo=1.0",
        "apply all",
    ] {
        let refused = host.try_sh(&format!("patchctl {another} --no-wait --key one 2>&1"));
        assert_eq!(refused.status, 2, "{another}: {refused}");
        let why = format!("the idempotency key stands for job {}", first.trim());
        assert!(refused.stdout.contains(&why), "{another}: {refused}");
    }
    assert_eq!(story::jobs(&host).len(), 2);
}

// fault: flood
#[test]
fn six_sixty_and_six_hundred_quick_requests_leave_every_unit_awake() {
    let (host, _repo) = host(Release::Trixie);
    for count in [6, 60, 600] {
        story::drop_requests(&host, count, r#""packages":["demo"]"#);
        host.sh(
            "for i in 1 2 3 4 5 6; do systemctl start --no-block patch-apply@demo.service; done",
        );
        host.wait_for("the queue to be empty", || {
            host.sh(&format!("ls {QUEUE}")).is_empty()
        });
    }
    host.wait_for("the workers to end", || {
        host.sh("systemctl list-units --no-legend --state=activating 'patch-*'")
            .is_empty()
    });
    assert_eq!(
        host.sh("systemctl list-units --no-legend --state=failed 'patch-*'"),
        ""
    );
    host.sh("systemctl start patch-apply@demo.service");
    assert_eq!(property(&host, "QueueLength"), "0");
    let unfinished: Vec<Value> = story::jobs(&host)
        .into_iter()
        .filter(|job| job["status"] != "succeeded")
        .collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
}

// fault: flood
#[test]
fn fifty_orders_that_wait_together_are_one() {
    let (host, _repo) = host(Release::Trixie);
    let lock = story::hold_worker(&host);
    // as fifty calls of 'patchctl reboot --cancel' leave them
    host.sh(&format!(
        "time=$(date +%s%N)
        for number in $(seq 50); do
            touch {QUEUE}/$(printf '%016x-%06x' $((time + number)) $number).reboot-cancel
        done"
    ));
    lock.release(&host);
    host.wait_for("the orders to be followed", || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
    });
    let cancelled = story::events(&host, "MESSAGE_ID", id::REBOOT_CANCELLED);
    assert_eq!(cancelled.len(), 1, "{cancelled:?}");
    let id = story::drop_request(&host, 1, r#""packages":["demo"]"#);
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
}

// fault: flood
#[test]
fn of_many_entries_at_once_no_record_goes_before_it_is_signalled() {
    let (host, _repo) = host(Release::Trixie);
    host.write("/etc/linux_patch_api/config.toml", "[jobs]\nkeep = 10\n");
    let lock = story::hold_worker(&host);
    let first = host.sh("patchctl apply demo --no-wait").trim().to_owned();
    let waiting = host.spawn("patchctl apply demo");
    host.wait_for("the second request", || {
        host.sh(&format!("ls {QUEUE} | wc -l")).trim() == "2"
    });
    // more than the workers take at once
    let ids = story::drop_requests(&host, 3000, r#""packages":["demo"]"#);
    lock.release(&host);
    let output = waiting.wait();
    assert!(output.success(), "{output}");
    host.wait_for("the queue to be served", || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
            && !host.exists(&format!("{}/state/running.json", story::STATE))
    });
    for id in [&first, &ids[0], &ids[1500], &ids[2999]] {
        assert_eq!(story::job(&host, id)["status"], "succeeded");
    }
    let kept = host.sh(&format!("ls {}/jobs | grep -c json$", story::STATE));
    assert_eq!(kept.trim(), "3002");
}

// fault: disk full
#[test]
fn a_full_disk_is_an_error_to_the_submitter_and_leaves_no_half_entry() {
    let (host, _repo) = host(Release::Trixie);
    host.sh("systemctl stop patch-apply.path\n\
         cp -a /var/lib/linux_patch_api /var/tmp/kept\n\
         mount -t tmpfs -o size=16m tmpfs /var/lib/linux_patch_api\n\
         cp -a /var/tmp/kept/. /var/lib/linux_patch_api/\n\
         head -c 32M /dev/zero > /var/lib/linux_patch_api/filler || true");
    let refused = host.try_sh("patchctl apply demo --no-wait");
    assert!(!refused.success(), "{refused}");
    assert!(refused.stderr.contains("No space left"), "{refused}");
    assert_eq!(host.sh(&format!("ls -A {QUEUE}")), "");
    assert_eq!(
        host.sh("find /var/lib/linux_patch_api/tmp -type f | wc -l")
            .trim(),
        "0"
    );
    host.sh("rm /var/lib/linux_patch_api/filler; systemctl start patch-apply.path");
    host.sh("patchctl apply demo");
}

#[test]
fn ended_jobs_are_kept_by_count_and_unfinished_ones_always() {
    let (host, repo) = host(Release::Trixie);
    host.write("/etc/linux_patch_api/config.toml", "[jobs]\nkeep = 3\n");
    repo.stop();
    let deferred = host.try_sh("patchctl apply demo --defer");
    assert_eq!(deferred.status, 75, "{deferred}");
    for _ in 0..5 {
        assert_eq!(host.try_sh("patchctl apply demo").status, 1);
    }
    assert_eq!(
        story::jobs(&host).len(),
        5,
        "a client that waits for one finds it"
    );
    // they are thrown away once the next one is recorded, when none of them has just ended
    host.sh("touch -d '20 minutes ago' /var/lib/linux_patch_api/jobs/*.json");
    assert_eq!(host.try_sh("patchctl apply demo").status, 1);
    host.wait_for("the old records to go", || story::jobs(&host).len() == 3);
    // the timer may just have it tried again
    host.wait_for("the one that waits", || {
        let deferred = host.sh("ls /var/lib/linux_patch_api/deferred | wc -l");
        deferred.trim() == "1"
    });
}
