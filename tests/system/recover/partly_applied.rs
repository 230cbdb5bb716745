//! An update that is done in parts, because the worker or the host went down between them: it is verified and
//! rolled back as one.

use lab::fixtures::{broken_service, plain, with_service};
use lab::{Release, Repo};
use linux_patch_api::journal::id as message;

use crate::job::{changes, events_of_kind, host_with, list, text};
use crate::story::{installed, jobs, last_job, property, settled, state, unit};

// fault: worker killed
#[test]
fn the_first_part_of_an_update_is_compared_with_the_host_before_it() {
    the_first_part_is_judged(&Since::Nothing);
}

// fault: worker killed
/// What had not been begun is not pending any more when the update goes on.
#[test]
fn the_first_part_of_an_update_is_judged_where_nothing_is_left_to_do() {
    the_first_part_is_judged(&Since::Pinned);
}

/// As after a power cut, when the network comes later than the host.
#[test]
fn the_first_part_of_an_update_that_cannot_go_on_is_judged_too() {
    the_first_part_is_judged(&Since::NoNetwork);
}

/// What has become of the rest since the worker died.
enum Since {
    Nothing,
    /// It is not pending any more.
    Pinned,
    /// It cannot be refreshed.
    NoNetwork,
}

fn the_first_part_is_judged(since: &Since) {
    let (host, repo) = host_with(Release::Trixie, &[]);
    let old = [
        with_service("aaa", "1.0"),
        plain("mmm", "1.0"),
        plain("zzz", "1.0"),
    ];
    for package in &old {
        repo.add(package);
    }
    host.sh("apt-get -q update && apt-get -q -y install aaa mmm zzz");
    // dpkg unpacks them in this order, and dies before the last
    repo.add(&broken_service("aaa", "1.1"));
    repo.add(&plain("mmm", "1.1").preinst(
        "[ -e /run/died ] || { touch /run/unpacking; while ! [ -e /run/died ]; do sleep 0.05; done; }",
    ));
    repo.add(&plain("zzz", "1.1"));
    let running = host.spawn("systemctl start patch-apply@all.service");
    host.wait_for("the package in the middle", || {
        host.exists("/run/unpacking")
    });
    match since {
        Since::Nothing => {}
        Since::Pinned => host.write(
            "/etc/apt/preferences.d/pins",
            "Package: mmm zzz\nPin: version 1.0\nPin-Priority: 1001\n",
        ),
        Since::NoNetwork => repo.stop(),
    }
    host.sh(
        "kill -KILL $(systemctl show -P MainPID patch-apply@all.service) $(pgrep -x apt-get) $(pgrep -x dpkg)
        touch /run/died",
    );
    assert!(!running.wait().success());
    let id = text(&last_job(&host)["request"], "id").to_owned();

    let job = settled(&host, &id);
    assert_eq!(jobs(&host).len(), 1);
    assert_eq!(job["put_back"], true, "a part was never begun: {job:#}");
    assert_eq!(job["status"], "failed", "{job:#}");
    let error = text(&job, "error");
    assert!(error.contains("aaa.service has failed"), "{job:#}");
    let offline = error.contains("refresh failed");
    assert_eq!(offline, matches!(since, Since::NoNetwork), "{job:#}");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    // compared with the host before the first part: the pins came in between
    let is_same = !matches!(since, Since::Pinned);
    assert_eq!(job["rollback"]["as_before"], is_same, "{job:#}");
    let compared = job["rollback"]["compared"].to_string();
    assert!(compared.contains("etc"), "{job:#}");
    assert_eq!(changes(&job), [""; 0], "nothing has stayed");
    for package in ["aaa", "mmm", "zzz"] {
        assert_eq!(installed(&host, package), "1.0 installed", "{job:#}");
    }
    assert_eq!(host.sh("systemctl is-active aaa").trim(), "active");
    assert_eq!(property(&host, "Phase"), "rolled_back");
    let blocked = state(&host, "state/blocked.json");
    let set = list(&list(&blocked, "sets")[0], "changes");
    let whole = if matches!(since, Since::Nothing) {
        3
    } else {
        1
    };
    assert_eq!(set.len(), whole, "all that was done: {blocked:#}");
}

// fault: orderly reboot
#[test]
fn a_shutdown_while_services_settle_leaves_the_verdict_to_the_next_boot() {
    let (host, repo) = host_with(Release::Trixie, &[with_service("demo", "1.0")]);
    repo.add(&with_service("demo", "1.1"));
    let config = |settle: u32| {
        let text = format!("[verify]\nsettle = {settle}\n");
        host.write("/etc/linux_patch_api/config.toml", text);
    };
    // longer than the test waits
    config(600);
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("the verification", || {
        unit(&host, "patch-apply@demo.service", "StatusText").contains("verifying")
    });
    config(1);

    // past the inhibitor, which delays every shutdown that is asked for
    assert!(!host.try_sh("systemctl reboot --no-wall").success());
    host.sh("systemctl start --no-block --job-mode=replace-irreversibly reboot.target");

    host.wait_for_reboot();
    drop(running);
    let id = text(&last_job(&host)["request"], "id").to_owned();
    let job = settled(&host, &id);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let units = list(&job, "verification").iter();
    let units = units.clone().find(|check| check["name"] == "units");
    assert_eq!(units.unwrap()["passed"], true, "{job:#}");
    assert_eq!(events_of_kind(&host, message::JOB_INTERRUPTED).len(), 1);
    assert_eq!(events_of_kind(&host, message::ROLLBACK_STARTED).len(), 0);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn what_is_kept_stays_below_its_limit_and_what_is_needed_is_kept() {
    let (host, repo) = host_with(Release::Trixie, &[plain("one", "1.0"), plain("two", "1.0")]);
    let filled = |name: &str, version: &str| {
        // a file of its own for every version: what is alike would be linked
        let bytes = version.repeat(300 * 1024 / version.len());
        plain(name, version).file(&format!("/usr/share/{name}/filling"), bytes)
    };
    host.write(
        "/etc/linux_patch_api/config.toml",
        "[rollback]\nkeep_size = \"700K\"\n",
    );
    let kept = || -> Vec<String> {
        let index = state(&host, "packages/index.json");
        let files = index
            .as_array()
            .unwrap()
            .iter()
            .map(|kept| text(kept, "file").to_owned());
        let mut names: Vec<String> = files
            .map(|file| {
                assert!(host.exists(&file), "{file}");
                file.rsplit('/')
                    .next()
                    .unwrap()
                    .trim_end_matches("_all.deb")
                    .to_owned()
            })
            .collect();
        names.sort();
        let there = host.sh("cd /var/lib/linux_patch_api/packages && ls *.deb | sed s/_all.deb//");
        assert_eq!(
            there.lines().collect::<Vec<_>>(),
            names,
            "nothing lies there in vain"
        );
        names
    };
    let update = |repo: &Repo, name: &str, version: &str| {
        repo.add(&filled(name, version));
        crate::job::applied(&host, name);
    };
    update(&repo, "one", "1.1");
    update(&repo, "one", "1.2");
    assert_eq!(kept(), ["one_1.1", "one_1.2"]);
    // the oldest of those that are not installed any more goes first
    update(&repo, "two", "1.1");
    assert_eq!(kept(), ["one_1.2", "two_1.1"]);
    update(&repo, "two", "1.2");
    assert_eq!(
        kept(),
        ["two_1.1", "two_1.2"],
        "needed for undoing the latest"
    );

    // an update that needs more than fits keeps it until it is judged, and goes back by it
    host.write(
        "/etc/linux_patch_api/config.toml",
        "[rollback]\nkeep_size = \"1K\"\n",
    );
    repo.remove("two", "1.2");
    host.sh("apt-get clean");
    repo.add(&filled("two", "1.3").postinst("exit 1"));
    let job = crate::job::failed(&host, "two");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(text(&job["rollback"]["sources"], "two:all"), "kept");
    assert_eq!(installed(&host, "two"), "1.2 installed");
}
