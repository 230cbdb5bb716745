//! Blocked versions, which are not offered again after a rollback; and rollbacks that an administrator asks for.

use lab::fixtures::{broken_service, failing_postinst, plain, with_conffile, with_service};
use lab::{Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{
    applied, changes, events_of_kind, failed, host_with, id_of, kept_back, list, put_on, text,
};
use crate::story::{
    drop_requests, hold_worker, installed, job, jobs, last_job, property, settled, state,
};

/// The record of the latest job of this kind.
fn last_of(host: &Host, kind: &str) -> Value {
    let jobs = jobs(host);
    let found = jobs.iter().rev().find(|job| job["request"]["kind"] == kind);
    found
        .unwrap_or_else(|| panic!("no {kind}: {jobs:#?}"))
        .clone()
}

#[test]
fn what_was_rolled_back_waits_for_a_newer_version_or_a_word() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("other", "1.0"), plain("user", "1.0")],
    );
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo");
    repo.add(&broken_service("demo", "1.1"));
    let bad = failed(&host, "demo");
    let id = id_of(&bad);
    let blocked = &state(&host, "state/blocked.json")["sets"][0];
    assert_eq!(blocked["job"], id);
    assert_eq!(blocked["changes"][0]["to"], "1.1");
    assert_eq!(events_of_kind(&host, message::BLOCKED).len(), 1);
    assert_eq!(property(&host, "PendingUpdates"), "0");

    // everything else goes on; what needs the bad one waits with it
    repo.add(&plain("other", "1.1"));
    repo.add(&plain("user", "1.1").depends("demo (>= 1.1)"));
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["other 1.0 -> 1.1"]);
    assert!(
        property(&host, "HealthReasons").contains("rolled back"),
        "a success without the bad one does not mend it"
    );
    let kept = kept_back(&job);
    let why = format!("1.1 was rolled back in job {id}");
    assert!(
        kept.iter()
            .any(|kept| kept.starts_with(&format!("demo: {why}"))),
        "{kept:?}"
    );
    assert!(
        kept.iter()
            .any(|kept| kept.starts_with("user: it needs another update") && kept.contains(&why)),
        "{kept:?}"
    );
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    assert_eq!(job["reached"], false, "{job:#}");

    // asked for by name, it has failed, and says why it does nothing
    let job = failed(&host, "demo");
    assert_eq!(changes(&job), [""; 0]);
    assert!(kept_back(&job)[0].contains(&why), "{job:#}");
    assert!(text(&job, "error").contains(&why), "{job:#}");
    assert_eq!(job["reached"], false, "{job:#}");
    assert_eq!(property(&host, "Phase"), "failed");
    let job = applied(&host, "other");
    assert_eq!((&job["reached"], changes(&job)), (&true.into(), Vec::new()));

    // `patchctl forget` offers it again, for a caller that may do so
    let refused = host.as_user("somebody", &format!("patchctl forget {id}"));
    assert_eq!(refused.status, 77, "{refused}");
    host.sh(&format!("patchctl forget {id}"));
    assert_eq!(events_of_kind(&host, message::UNBLOCKED).len(), 1);
    assert!(host.sh("patchctl updates").contains("demo"));
    let nothing = host.try_sh(&format!("patchctl forget {id} 2>&1"));
    assert!(
        !nothing.success() && nothing.stdout.contains("is kept back"),
        "{nothing}"
    );

    // it fails again, and a newer version sets it free by itself
    failed(&host, "demo");
    repo.add(&with_service("demo", "1.2"));
    let mut done = changes(&applied(&host, "all"));
    done.sort();
    assert_eq!(done, ["demo 1.0 -> 1.2", "user 1.0 -> 1.1"]);
    assert_eq!(events_of_kind(&host, message::UNBLOCKED).len(), 2);
    assert_eq!(list(&state(&host, "state/blocked.json"), "sets").len(), 0);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn in_a_batch_the_bad_one_is_rolled_back_alone() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("good", "1.0"), plain("bad", "1.0")],
    );
    repo.add(&plain("bad", "1.0"));
    repo.add(&plain("good", "1.0"));
    repo.add(&failing_postinst("bad", "1.1"));
    repo.add(&plain("good", "1.1"));
    let lock = hold_worker(&host);
    let good = drop_requests(&host, 1, r#""packages":["good"]"#).remove(0);
    let bad = drop_requests(&host, 1, r#""packages":["bad"]"#).remove(0);
    lock.release(&host);

    let (good, bad) = (settled(&host, &good), settled(&host, &bad));

    assert_eq!(good["status"], "succeeded", "{good:#}");
    assert_eq!(changes(&good), ["good 1.0 -> 1.1"]);
    assert_eq!(bad["status"], "failed", "{bad:#}");
    assert_eq!(bad["rollback"]["as_before"], true, "{bad:#}");
    assert_eq!(installed(&host, "bad"), "1.0 installed");
    assert_eq!(installed(&host, "good"), "1.1 installed");
    let sets = state(&host, "state/blocked.json");
    assert_eq!(list(&sets, "sets").len(), 1, "{sets:#}");
    assert_eq!(sets["sets"][0]["changes"][0]["package"], "bad");
}

releases!(the_last_update_is_undone_on_request [bookworm trixie]);
fn the_last_update_is_undone_on_request(release: Release) {
    let (host, repo) = host_with(
        release,
        &[with_conffile("demo", "1.0"), plain("other", "1.0")],
    );
    host.write("/etc/demo.conf", "mine\n");
    // an account that came later would be a difference in /etc
    host.as_user("somebody", "true");
    repo.add(&with_conffile("demo", "1.0"));
    repo.add(&plain("newdep", "1.0"));
    repo.add(&with_conffile("demo", "1.1").depends("newdep"));
    let first = applied(&host, "demo");
    assert_eq!(changes(&first), ["demo 1.0 -> 1.1", "newdep none -> 1.0"]);

    let refused = host.as_user("somebody", &format!("patchctl rollback {}", id_of(&first)));
    assert_eq!(refused.status, 77, "{refused}");
    let shown = host.sh(&format!("patchctl rollback {}", id_of(&first)));

    let back = last_of(&host, "rollback");
    assert_eq!(back["status"], "succeeded", "{back:#}");
    assert_eq!(back["request"]["job"], id_of(&first));
    assert_eq!(changes(&back), ["demo 1.1 -> 1.0", "newdep 1.0 -> none"]);
    assert_eq!(back["rollback"]["as_before"], true, "{back:#}");
    assert!(shown.contains("as it was before"), "{shown}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.read("/etc/demo.conf"), "mine\n");
    assert!(!host.exists("/usr/share/newdep/version"));
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "Phase"), "success");
    assert_eq!(
        changes(&applied(&host, "all")),
        [""; 0],
        "it is not offered again"
    );

    // twice is once too often, and what was changed since cannot be undone
    let again = host.try_sh(&format!("patchctl rollback {} 2>&1", id_of(&first)));
    assert!(
        !again.success() && again.stdout.contains("has been changed to 1.0"),
        "{again}"
    );
    repo.add(&plain("other", "1.1"));
    let second = applied(&host, "other");
    repo.add(&plain("other", "1.2"));
    let third = applied(&host, "other");
    let early = host.try_sh(&format!("patchctl rollback {} 2>&1", id_of(&second)));
    assert!(
        !early.success() && early.stdout.contains("only the last change"),
        "{early}"
    );
    assert_eq!(installed(&host, "other"), "1.2 installed");

    // over the bus; from the packages we keep, with nothing in any index
    repo.remove("other", "1.1");
    repo.stop();
    let agent = "org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1";
    let call = format!(
        "busctl call {agent} Rollback 'sa{{sv}}' {} 0",
        id_of(&third)
    );
    let reply = host.sh(&call);
    let id = reply
        .trim()
        .trim_start_matches("s ")
        .trim_matches('"')
        .to_owned();
    let undone = settled(&host, &id);
    assert_eq!(undone["status"], "succeeded", "{undone:#}");
    assert_eq!(text(&undone["rollback"]["sources"], "other:all"), "kept");
    assert_eq!(installed(&host, "other"), "1.1 installed");
    let unknown = host.try_sh(&format!(
        "busctl call {agent} Rollback 'sa{{sv}}' 0123456789abcdef-abcdef 0 2>&1"
    ));
    assert!(unknown.stdout.contains("there is no job"), "{unknown}");
    assert_eq!(job(&host, &id), undone);
    let _ = last_job(&host);
}

// fault: worker killed
#[test]
fn a_worker_that_dies_after_a_split_leaves_each_job_its_own_verdict() {
    let (host, repo) = host_with(Release::Trixie, &[plain("a", "1.0"), plain("b", "1.0")]);
    repo.add(&plain("a", "1.0"));
    repo.add(&plain("b", "1.0"));
    repo.add(&failing_postinst("a", "1.1"));
    // stays in its postinst the second time: alone
    repo.add(&plain("b", "1.1").postinst(
        "if [ -e /run/once ]; then touch /run/alone; while ! [ -e /run/go ]; do sleep 0.05; done; fi\n\
         touch /run/once",
    ));
    let lock = hold_worker(&host);
    let bad = drop_requests(&host, 1, r#""packages":["a"]"#).remove(0);
    let good = drop_requests(&host, 1, r#""packages":["b"]"#).remove(0);
    lock.release(&host);
    host.wait_for("the good one alone", || host.exists("/run/alone"));

    host.sh("systemctl kill --kill-whom=main --signal=KILL patch-apply.service");
    host.write("/run/go", "");

    let (good, bad) = (settled(&host, &good), settled(&host, &bad));
    assert_eq!(good["status"], "succeeded", "{good:#}");
    assert_eq!(changes(&good), ["b 1.0 -> 1.1"]);
    assert_eq!(bad["status"], "failed", "{bad:#}");
    assert_eq!(bad["rollback"]["as_before"], true, "{bad:#}");
    assert_eq!(installed(&host, "a"), "1.0 installed");
    assert_eq!(installed(&host, "b"), "1.1 installed");
}

#[test]
fn a_manual_rollback_that_keeps_security_back_is_a_reason_meanwhile() {
    let host = Host::boot(Release::Trixie);
    let security = Repo::builder("security").security().build(&host);
    security.enable(&host);
    put_on(&host, &[plain("demo", "1.0"), plain("other", "1.0")]);
    for version in ["1.0", "1.1"] {
        security.add(&plain("demo", version));
    }
    let job = applied(&host, "security");
    host.sh(&format!("patchctl rollback {}", id_of(&job)));
    let reason = format!(
        "the security update of demo is kept back, because job {} was rolled back by hand",
        id_of(&job)
    );
    let reasons = || property(&host, "HealthReasons");
    assert!(reasons().contains(&reason), "{}", reasons());
    assert_eq!(property(&host, "Health"), "degraded");

    // whatever else succeeds or is acknowledged
    security.add(&plain("other", "1.1"));
    assert_eq!(changes(&applied(&host, "all")), ["other 1.0 -> 1.1"]);
    host.sh("patchctl acknowledge all; patchctl refresh");
    assert!(reasons().contains(&reason), "{}", reasons());

    // a word ends it, and so does a newer version
    host.sh(&format!("patchctl forget {}", id_of(&job)));
    assert_eq!(property(&host, "Health"), "healthy");
    let job = applied(&host, "security");
    host.sh(&format!("patchctl rollback {}", id_of(&job)));
    assert_eq!(property(&host, "Health"), "degraded");
    security.add(&plain("demo", "1.2"));
    host.sh("patchctl refresh");
    assert_eq!(property(&host, "Health"), "healthy");
}
