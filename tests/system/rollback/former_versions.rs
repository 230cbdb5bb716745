//! Rollback of what fails its verification, from each place that may have the former version.

use lab::fixtures::{broken_service, failing_postinst, plain, slow, with_conffile, with_service};
use lab::{Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::api::alerts::standing;
use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, list, text};
use crate::story::{STATE, events, installed, last_job, property, state};

/// Where the former version of a package came from.
fn source(job: &Value, package: &str) -> String {
    let sources = &job["rollback"]["sources"];
    text(sources, &format!("{package}:all")).to_owned()
}

/// A job that was rolled back, and after which the host is as it was before.
#[track_caller]
fn rolled_back(host: &Host, instance: &str) -> Value {
    let job = failed(host, instance);
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(job["rollback"]["error"], Value::Null, "{job:#}");
    assert_eq!(job["update"]["phase"], "rolled_back", "{job:#}");
    assert!(text(&job, "error").starts_with("rolled back: "), "{job:#}");
    assert_eq!(changes(&job), [""; 0], "nothing has stayed");
    assert_eq!(host.sh("dpkg --audit"), "");
    job
}

/// The messages of a job in the journal, in order.
fn told(host: &Host, job: &Value) -> Vec<String> {
    let events = events(host, "PATCH_JOB", id_of(job));
    let ids = events.iter().map(|event| text(event, "MESSAGE_ID"));
    ids.map(str::to_owned).collect()
}

#[test]
fn what_a_rollback_has_removed_comes_again_when_that_is_undone() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1").depends("demo-data"));
    repo.add(&plain("demo-data", "1.1"));
    // what this update brings is kept, so that the next one can be undone
    applied(&host, "all");
    repo.add(&plain("demo", "1.2").depends("demo-data (>= 1.2), demo-more"));
    repo.add(&plain("demo-data", "1.2"));
    repo.add(&plain("demo-more", "1.2"));
    let second = id_of(&applied(&host, "all")).to_owned();

    host.sh(&format!("patchctl rollback {second}"));
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert!(!host.try_sh("dpkg-query -W demo-more").success());
    let back = id_of(&last_job(&host)).to_owned();
    host.sh(&format!("patchctl rollback {back}"));

    for package in ["demo", "demo-data", "demo-more"] {
        assert_eq!(installed(&host, package), "1.2 installed");
    }
    assert_eq!(host.sh("dpkg --audit"), "");
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn what_shares_a_source_package_with_what_is_needed_is_left_alone() {
    let of = |name: &str, version: &str| plain(name, version).field("Source", "pair");
    let demo = |version: &str| plain("demo", version).depends("lib-a");
    let before = [demo("1.0"), of("lib-a", "1.1"), of("lib-b", "1.0")];
    let (host, repo) = host_with(Release::Trixie, &before);
    for package in [
        demo("1.0"),
        demo("1.1"),
        of("lib-a", "1.1"),
        of("lib-b", "1.1"),
    ] {
        repo.add(&package);
    }

    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"], "{job:#}");

    host.sh(&format!("patchctl rollback {}", id_of(&job)));
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(installed(&host, "lib-b"), "1.0 installed");
}

#[test]
fn what_could_not_begin_does_not_block_its_version() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1").preinst("[ -e /run/ready ]"));

    let job = failed(&host, "demo");

    assert_eq!(job["rollback"], Value::Null, "{job:#}");
    assert_eq!(job["update"]["phase"], "failed", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    host.write("/run/ready", "");
    assert_eq!(changes(&applied(&host, "demo")), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

releases!(a_service_that_no_longer_starts_goes_back [bookworm trixie]);
fn a_service_that_no_longer_starts_goes_back(release: Release) {
    let (host, repo) = host_with(release, &[plain("other", "1.0")]);
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo && apt-get clean");
    host.sh("apt-mark auto demo");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    repo.add(&broken_service("demo", "1.1"));
    let automatic = host.sh("apt-mark showauto");

    let job = rolled_back(&host, "demo");

    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.read("/usr/share/demo/version"), "1.0\n");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    assert_eq!(
        host.sh("systemctl list-units --failed --no-legend 'demo*'"),
        ""
    );
    assert_eq!(host.sh("apt-mark showauto"), automatic);
    assert_eq!(source(&job, "demo"), "archive");
    let check = list(&job, "verification")
        .iter()
        .find(|check| check["name"] == "demo.service")
        .unwrap_or_else(|| panic!("{job:#}"));
    assert_eq!(
        (&check["passed"], &check["required"]),
        (&false.into(), &true.into())
    );

    // health says it, and why
    assert_eq!(property(&host, "Health"), "degraded");
    assert_eq!(property(&host, "Phase"), "rolled_back");
    assert_eq!(standing(&host), ["rolled-back"]);
    let reasons = property(&host, "HealthReasons");
    assert!(reasons.contains("demo.service has failed"), "{reasons}");

    // the journal tells the whole story, in order
    let story = told(&host, &job);
    let mut place = 0;
    for event in [
        message::JOB_STARTED,
        message::ACTIVATION,
        message::CHECKED,
        message::ROLLBACK_STARTED,
        message::CHECKED,
        message::ROLLED_BACK,
        message::PACKAGE_CHANGED,
        message::JOB_FAILED,
    ] {
        let found = story[place..].iter().position(|id| id == event);
        place += found.unwrap_or_else(|| panic!("{event} is not told after {place}: {story:?}"));
    }
    let back = &events_of_kind(&host, message::PACKAGE_CHANGED)[0];
    assert_eq!(
        (text(back, "PATCH_FROM"), text(back, "PATCH_TO")),
        ("1.1", "1.0")
    );

    // the next good one goes through, and all is well again
    repo.add(&with_service("demo", "1.2"));
    assert_eq!(changes(&applied(&host, "all")), ["demo 1.0 -> 1.2"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_maintainer_script_that_fails_is_undone_with_what_came_along() {
    let (host, repo) = host_with(Release::Trixie, &[with_conffile("demo", "1.0")]);
    host.write("/etc/demo.conf", "mine\n");
    repo.add(&with_conffile("demo", "1.0"));
    repo.add(&plain("newdep", "1.0").breaks("demo (<< 1.1)"));
    let bad = with_conffile("demo", "1.1")
        .depends("newdep")
        .postinst("exit 1");
    repo.add(&bad);

    let job = rolled_back(&host, "demo");

    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.read("/etc/demo.conf"), "mine\n");
    assert_eq!(source(&job, "newdep"), "new");
    assert!(
        !host
            .try_sh("dpkg-query -s newdep")
            .stdout
            .contains("ok installed")
    );
    assert!(
        text(&job, "error").contains("demo:all is half-configured"),
        "{job:#}"
    );
    assert_eq!(property(&host, "Health"), "degraded");
}

/// A host on which `demo` 1.1, which cannot be configured, is pending, and 1.0 is in no index.
fn without_archive(packages: &[lab::Deb]) -> (Host, Repo) {
    let (host, repo) = host_with(Release::Trixie, packages);
    repo.add(&failing_postinst("demo", "1.1"));
    (host, repo)
}

// fault: stored and cached package damaged
// fault: network cut, reset, drip, 404, 500
#[test]
fn what_an_update_brought_is_kept_for_undoing_the_next() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1:0.9")]);
    repo.add(&plain("demo", "1:1.0+x~1"));
    // as in container images: nothing stays in apt's cache
    host.write(
        "/etc/apt/apt.conf.d/docker-clean",
        "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };\n",
    );
    applied(&host, "demo");
    repo.remove("demo", "1:1.0+x~1");
    repo.add(&failing_postinst("demo", "1:1.1"));

    let job = rolled_back(&host, "demo");

    assert_eq!(source(&job, "demo"), "kept");
    assert_eq!(installed(&host, "demo"), "1:1.0+x~1 installed");
    let kept = state(&host, "packages/index.json");
    let of_demo: Vec<&str> = list(&serde_json::json!({ "k": kept }), "k")
        .iter()
        .map(|kept| kept["version"].as_str().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|v| if v == "1:1.0+x~1" { "old" } else { "new" })
        .collect();
    assert_eq!(of_demo, ["old", "new"]);

    // what is kept is used only when it is what was put aside: from elsewhere, while it is there
    repo.add(&plain("demo", "1:1.0+x~1"));
    repo.add(&failing_postinst("demo", "1:1.1.1"));
    // both of the files that are on the host, each in its own way
    let spoil = || {
        host.sh(&format!(
            "cd {STATE}/packages && echo x >> 'demo_1%3a1.0+x~1_all.deb' && \
             {{ cat 'demo_1%3a1.0+x~1_all.deb'; echo y; }} > '/var/cache/apt/archives/demo_1%3a1.0+x~1_all.deb'"
        ));
    };
    spoil();
    let job = rolled_back(&host, "demo");
    assert_eq!(job["rollback"]["sources"]["demo:all"], "archive", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1:1.0+x~1 installed");

    // what came from the archive is kept in the place of the spoilt file
    spoil();
    repo.remove("demo", "1:1.0+x~1");
    repo.add(&failing_postinst("demo", "1:1.2"));
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["outcome"], "impossible", "{job:#}");
    assert!(
        text(&job, "error").contains("is not the file that was put aside"),
        "{job:#}"
    );
    assert_eq!(job["update"]["phase"], "failed");
    assert_eq!(installed(&host, "demo"), "1:1.2 half-configured");
    assert_eq!(events_of_kind(&host, message::ROLLBACK_FAILED).len(), 1);
    assert_eq!(property(&host, "Health"), "degraded");
}

#[test]
fn a_former_version_in_the_cache_is_found_though_it_is_cleaned_meanwhile() {
    let (host, repo) = host_with(Release::Trixie, &[]);
    repo.add(&plain("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo");
    host.write(
        "/etc/apt/apt.conf.d/docker-clean",
        "DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb\"; };\n",
    );
    repo.remove("demo", "1.0");
    repo.add(&failing_postinst("demo", "1.1"));

    let job = rolled_back(&host, "demo");

    assert_eq!(source(&job, "demo"), "cached");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
}

#[test]
fn a_former_version_is_repacked_when_it_is_nowhere_else() {
    let host = Host::builder(Release::Trixie)
        .extra_packages(&["dpkg-repack"])
        .boot();
    crate::job::put_on(&host, &[plain("demo", "1.0")]);
    let repo = Repo::new(&host);
    repo.enable(&host);
    repo.add(&failing_postinst("demo", "1.1"));

    let job = rolled_back(&host, "demo");

    assert_eq!(source(&job, "demo"), "repacked");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.read("/usr/share/demo/version"), "1.0\n");
}

#[test]
fn a_missing_former_version_is_recorded_and_refused_where_required() {
    let (host, repo) = without_archive(&[plain("demo", "1.0"), plain("other", "1.0")]);
    host.write(
        "/etc/linux_patch_api/config.toml",
        "[rollback]\nrequire_rollback = true\n",
    );

    let job = failed(&host, "demo");

    assert!(text(&job, "error").contains("require_rollback"), "{job:#}");
    assert!(text(&job, "error").contains("demo:all 1.0"), "{job:#}");
    assert_eq!(job["rollback"], Value::Null, "there was nothing to undo");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(host.read("/usr/share/demo/version"), "1.0\n");

    host.sh("rm /etc/linux_patch_api/config.toml");
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["outcome"], "impossible", "{job:#}");
    assert!(
        text(&job, "error").contains("demo:all 1.0 is no longer available"),
        "{job:#}"
    );
    assert_eq!(list(&job, "former")[0]["source"], "missing");
    assert_eq!(job["update"]["phase"], "failed");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.1 half-configured");
    drop(repo);
}

// fault: a former version is unavailable
#[test]
fn partial_where_one_package_cannot_go_back_the_others_do() {
    // what was installed by hand is in no archive
    let by_hand = [plain("lost", "1.0"), plain("other-lost", "1.0")];
    let (host, repo) = host_with(Release::Trixie, &by_hand);
    for package in [with_service("demo", "1.0"), plain("tool", "1.0")] {
        repo.add(&package);
    }
    host.sh("apt-get -q update && apt-get -q -y install demo tool");
    repo.add(&plain("lost", "1.1"));
    repo.add(&broken_service("demo", "1.1"));

    // by itself, because what is bad can go back
    let job = failed(&host, "all");

    let lost = &list(&job, "cannot_go_back")[0];
    assert_eq!(
        (text(lost, "package"), text(lost, "version")),
        ("lost", "1.0")
    );
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], false, "{job:#}");
    let stayed = list(&job["rollback"], "stayed");
    assert_eq!(stayed.len(), 1, "{job:#}");
    assert_eq!(
        (text(&stayed[0], "package"), text(&stayed[0], "version")),
        ("lost", "1.1")
    );
    assert_eq!(changes(&job), ["lost 1.0 -> 1.1"], "{job:#}");
    let error = text(&job, "error");
    assert!(
        error.contains("lost stays at 1.1: lost:all 1.0 is no longer available"),
        "{error}"
    );
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert_eq!(installed(&host, "lost"), "1.1 installed");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");

    // by hand only where that is said
    repo.add(&plain("other-lost", "1.1"));
    repo.add(&plain("tool", "1.1"));
    let job = applied(&host, "all");
    let told = events(&host, "PATCH_JOB", id_of(&job));
    let told: Vec<_> = told
        .iter()
        .filter(|event| event["MESSAGE_ID"] == message::CANNOT_GO_BACK)
        .collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(
        text(told[0], "PATCH_PACKAGES").contains("other-lost 1.0"),
        "{told:#?}"
    );
    let id = id_of(&job);
    let output = host.try_sh(&format!("patchctl rollback {id} 2>&1"));
    assert!(!output.success(), "{output}");
    let error = text(&crate::story::last_job(&host), "error").to_owned();
    assert!(
        error.contains("other-lost:all 1.0 is no longer available"),
        "{error}"
    );
    assert!(
        error.contains(&format!("patchctl rollback --partial {id}")),
        "{error}"
    );
    assert_eq!(installed(&host, "tool"), "1.1 installed");

    let output = host.sh(&format!("patchctl rollback --partial {id}"));

    let back = crate::story::last_job(&host);
    assert_eq!(changes(&back), ["tool 1.1 -> 1.0"], "{back:#}");
    assert_eq!(
        back["rollback"]["stayed"][0]["package"], "other-lost",
        "{back:#}"
    );
    assert!(output.contains("other-lost stays at 1.1"), "{output}");
    assert_eq!(installed(&host, "tool"), "1.0 installed");
    assert_eq!(installed(&host, "other-lost"), "1.1 installed");
}

#[test]
fn rolling_back_can_be_switched_off() {
    let (host, _repo) = without_archive(&[plain("demo", "1.0")]);
    host.write(
        "/etc/linux_patch_api/config.toml",
        "[rollback]\nautomatic = false\n",
    );
    let job = failed(&host, "demo");
    assert_eq!(job["rollback"]["outcome"], "disabled", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.1 half-configured");
}

/// A package that cannot be configured, and whose former version then stays in its postinst until
/// `/run/lab-release` exists.
fn slow_to_come_back(release: Release) -> (Host, Repo, lab::Spawned) {
    let (host, repo) = host_with(release, &[]);
    host.write("/run/lab-release", "");
    repo.add(&slow("demo", "1.0"));
    repo.add(&plain("other", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install demo other");
    host.sh("rm /run/lab-release /run/lab-slow-started");
    repo.add(&failing_postinst("demo", "1.1"));
    repo.add(&plain("other", "1.1"));
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the way back", || host.exists("/run/lab-slow-started"));
    (host, repo, running)
}

#[track_caller]
fn came_back_once(host: &Host) {
    let job = &crate::story::jobs(host)[0];
    assert_eq!(job["status"], "failed", "{job:#}");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    // what was seen before is there after all of that
    let compared = job["rollback"]["compared"].to_string();
    assert!(compared.contains("etc"), "{job:#}");
    assert_eq!(job["update"]["phase"], "rolled_back", "{job:#}");
    assert!(text(job, "error").contains("half-configured"), "{job:#}");
    assert_eq!(installed(host, "demo"), "1.0 installed");
    assert_eq!(host.sh("dpkg --audit"), "");
    assert_eq!(events_of_kind(host, message::JOB_INTERRUPTED).len(), 1);
    assert_eq!(events_of_kind(host, message::ROLLED_BACK).len(), 1);
    let sets = state(host, "state/blocked.json");
    assert_eq!(list(&sets, "sets").len(), 1, "{sets:#}");
}

// fault: worker killed
#[test]
fn a_worker_killed_on_the_way_back_is_followed_by_one_that_ends_it() {
    let (host, _repo, running) = slow_to_come_back(Release::Trixie);
    host.sh("systemctl kill --kill-whom=main --signal=KILL patch-apply@demo.service");
    assert!(!running.wait().success());
    let next = host.spawn("systemctl start patch-apply@other.service");
    host.wait_for("the next worker to wait", || {
        !events_of_kind(&host, message::WAITING).is_empty()
    });
    host.write("/run/lab-release", "");
    assert!(next.wait().success());
    came_back_once(&host);
    let back = host
        .read("/var/log/dpkg.log")
        .matches(" upgrade demo:all 1.1 1.0")
        .count();
    assert_eq!(back, 1, "what is back is not put back again");
    assert_eq!(installed(&host, "other"), "1.1 installed");
}

// fault: power cut
#[test]
fn a_power_cut_on_the_way_back_is_ended_by_the_next_boot() {
    let (host, _repo, running) = slow_to_come_back(Release::Trixie);
    host.power_cut();
    drop(running);
    host.write("/usr/lib/tmpfiles.d/lab.conf", "f /run/lab-release\n");
    host.start();
    // begun by the boot, which does not wait for it
    let of_boot = |what: &str| host.sh(&format!("systemctl show -P {what} multi-user.target"));
    assert!(of_boot("Wants").contains("patch-recover.service"));
    assert!(!of_boot("After").contains("patch-recover.service"));
    host.wait_for("the end of the job", || {
        crate::story::jobs(&host)[0]["status"] == "failed"
    });
    came_back_once(&host);
}
