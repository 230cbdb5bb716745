//! Rollback where the update has broken apt: dpkg does it, with the stored package files.

use lab::fixtures::{broken_service, plain, slow, with_service};
use lab::{Deb, Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, list, put_on, text};
use crate::story::{
    drop_requests, hold_worker, installed, jobs, last_job, property, refresh_succeeds, settled,
};

/// What keeps apt from running, and what heals that.
struct Damage {
    done: &'static str,
    healed: &'static str,
}

/// A source that apt cannot read.
const SOURCES: Damage = Damage {
    done: "echo garbage > /etc/apt/sources.list.d/garbage.list",
    healed: "rm -f /etc/apt/sources.list.d/garbage.list",
};

/// apt itself is not there.
const PROGRAM: Damage = Damage {
    done: "mv /usr/bin/apt-get /usr/bin/apt-get.away",
    healed: "[ ! -e /usr/bin/apt-get.away ] || mv /usr/bin/apt-get.away /usr/bin/apt-get",
};

/// A host on which the update of `helper` to 1.1 breaks apt; the former version of everything is kept.
fn about_to_break(release: Release, damage: &Damage, more: &[Deb]) -> (Host, Repo) {
    let old = [plain("helper", "0.9"), with_service("demo", "0.9")];
    let (host, repo) = host_with(release, &old);
    repo.add(&plain("helper", "1.0").postinst(damage.healed));
    repo.add(&with_service("demo", "1.0"));
    more.iter().for_each(|package| repo.add(package));
    applied(&host, "all");
    let library = "/usr/lib/helper/library";
    host.sh(&format!("mkdir -p /usr/lib/helper && rm -f {library}"));
    repo.add(
        &plain("helper", "1.1")
            .postinst(damage.done)
            .depends("newdep"),
    );
    repo.add(
        &plain("newdep", "1.0")
            .field("Replaces", "helper")
            .file(library, "new"),
    );
    (host, repo)
}

// fault: the update breaks the package manager
releases!(an_update_that_breaks_apt_s_sources_is_rolled_back_by_dpkg [bookworm trixie]);
fn an_update_that_breaks_apt_s_sources_is_rolled_back_by_dpkg(release: Release) {
    an_update_that_breaks_apt_is_rolled_back_by_dpkg(release, &SOURCES);
}

// fault: the update breaks the package manager
#[test]
fn an_update_that_takes_apt_away_is_rolled_back_by_dpkg() {
    an_update_that_breaks_apt_is_rolled_back_by_dpkg(Release::Trixie, &PROGRAM);
}

fn an_update_that_breaks_apt_is_rolled_back_by_dpkg(release: Release, damage: &Damage) {
    let (host, repo) = about_to_break(release, damage, &[]);
    repo.add(&broken_service("demo", "1.1"));
    // what is kept back is looked into after the update, by an apt that cannot run any more
    put_on(&host, &[plain("pulled", "1.0")]);
    repo.add(&plain("pulled", "1.1").depends("nowhere"));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(job["rollback"]["tool"], "dpkg", "{job:#}");
    assert_eq!(installed(&host, "helper"), "1.0 installed");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    assert!(!host.exists("/usr/share/newdep/version"));
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    assert_eq!(host.sh("dpkg --audit"), "");
    let told = events_of_kind(&host, message::ROLLBACK_BELOW);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["PATCH_TOOL"], "dpkg");
    refresh_succeeds(&host);
    repo.add(&with_service("demo", "1.2"));
    repo.add(&plain("helper", "1.2").postinst(damage.healed));
    applied(&host, "all");
    assert_eq!(property(&host, "Phase"), "success");
}

// fault: power cut
#[test]
fn a_power_cut_while_dpkg_puts_packages_back_is_ended_by_the_next_boot() {
    let (host, repo) = about_to_break(Release::Trixie, &SOURCES, &[]);
    host.write("/run/lab-release", "");
    repo.add(&slow("slow", "1.0"));
    put_on(&host, &[plain("slow", "0.9")]);
    repo.remove("helper", "1.1");
    applied(&host, "slow");
    host.sh("rm /run/lab-release /run/lab-slow-started");
    repo.add(&plain("helper", "1.1").postinst(SOURCES.done));
    repo.add(&plain("slow", "1.1"));
    repo.add(&broken_service("demo", "1.1"));
    let running = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("the way back", || host.exists("/run/lab-slow-started"));
    assert_eq!(events_of_kind(&host, message::ROLLBACK_BELOW).len(), 1);

    host.power_cut();
    drop(running);
    host.write("/usr/lib/tmpfiles.d/lab.conf", "f /run/lab-release\n");
    host.start();

    let ended = || jobs(&host).iter().all(|job| job["status"] != "running");
    host.wait_for("the end of the job", ended);
    let job = last_job(&host);
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    for package in ["helper", "demo", "slow"] {
        assert_eq!(installed(&host, package), "1.0 installed", "{package}");
    }
    assert_eq!(host.sh("dpkg --audit"), "");
    refresh_succeeds(&host);
}

#[test]
fn dpkg_takes_nothing_back_that_another_package_needs() {
    let (host, repo) = about_to_break(Release::Trixie, &PROGRAM, &[]);
    repo.add(&with_service("demo", "1.1"));
    repo.remove("helper", "1.1");
    let job = applied(&host, "all");
    put_on(&host, &[plain("stranger", "1").depends("demo (>= 1.1)")]);
    host.sh(SOURCES.done);

    let output = host.try_sh(&format!("patchctl rollback {}", id_of(&job)));

    assert!(!output.success(), "{output}");
    let job = last_job(&host);
    assert_eq!(job["rollback"]["outcome"], "failed", "{job:#}");
    assert_eq!(job["rollback"]["tool"], "dpkg", "{job:#}");
    let error = text(&job, "error");
    assert!(
        error.contains("stranger:all needs demo (>= 1.1)"),
        "{error}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(installed(&host, "stranger"), "1 installed");
    assert_ne!(job["rollback"]["as_before"], Value::Bool(true));

    // without the other package nothing speaks against it
    host.sh("dpkg --purge stranger 2>&1");
    let id = id_of(&jobs(&host)[1]).to_owned();
    host.sh(&format!("patchctl rollback {id}"));
    assert_eq!(last_job(&host)["rollback"]["tool"], "dpkg");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
}

/// A job that was served together with a larger one has made only a part of the changes of its transaction.
#[test]
fn dpkg_takes_nothing_back_that_a_package_which_stays_excludes() {
    let old = [plain("app", "1.0"), plain("app-data", "1.0")];
    let (host, repo) = host_with(Release::Trixie, &[]);
    old.iter().for_each(|package| repo.add(package));
    host.sh("apt-get -q update && apt-get -q -y install app app-data");
    repo.add(&plain("app", "1.1").depends("app-data (>= 1.1)"));
    repo.add(&plain("app-data", "1.1").breaks("app (<< 1.1)"));
    let lock = hold_worker(&host);
    let named = drop_requests(&host, 1, r#""packages":["app"]"#).remove(0);
    let all = drop_requests(&host, 1, r#""packages":["all"]"#).remove(0);
    lock.release(&host);
    let (named, all) = (settled(&host, &named), settled(&host, &all));
    assert_eq!(named["transaction"], all["transaction"]);
    assert_eq!(changes(&named), ["app 1.0 -> 1.1"]);
    assert_eq!(list(&all, "changes").len(), 2, "{all:#}");

    let output = host.try_sh(&format!("patchctl rollback {}", id_of(&named)));

    assert!(!output.success(), "{output}");
    let job = last_job(&host);
    assert_eq!(job["rollback"]["outcome"], "failed", "{job:#}");
    let error = text(&job, "error");
    for said in [
        "app-data:all excludes app (<< 1.1), and app:all would be 1.0, so that dpkg was not used",
        &format!("'patchctl rollback {}' takes all of it back", id_of(&all)),
    ] {
        assert!(error.contains(said), "{said} is not in: {error}");
    }
    assert_eq!(installed(&host, "app"), "1.1 installed");
    assert_eq!(host.sh("dpkg --audit"), "");

    host.sh(&format!("patchctl rollback {}", id_of(&all)));
    for package in ["app", "app-data"] {
        assert_eq!(installed(&host, package), "1.0 installed");
    }
}
