//! Scripts that fail or hang, services that do not start, power cuts, and locks of other processes.

use lab::fixtures::{broken_service, failing_postinst, plain, slow, with_service};
use lab::{Host, Manager};
use linux_patch_api::journal::id as message;

use super::Backend;
use crate::apply::hanging_script::{over, stuck};
use crate::job::{applied, changes, events_of_kind, failed, text};
use crate::story::{last_job, last_settled, property, refresh_succeeds};

// fault: script fails, asks, prints, stops the worker, leaves a daemon
pub fn a_failing_script_fails_the_job_and_the_next_version_heals(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&failing_postinst("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));

    let job = failed(&host, "all");

    assert!(text(&job, "error").contains("demo"), "{job:#}");
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "degraded");
    repo.add(&plain("demo", "1.2"));
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(property(&host, "Health"), "healthy");
}

/// A file that cannot be replaced, because another program has mounted something over it.
pub fn the_tool_s_own_words_of_a_failure_are_in_the_error(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    let directory = "/usr/share/demo";
    let file = format!("{directory}/version");
    repo.add(&plain("demo", "1.1").file("/usr/share/demo/more", "more"));
    repo.add(&plain("tool", "1.1"));
    let mounted = if backend.manager == Manager::Pacman {
        // it writes into such a file; but it is not to look for room before it begins
        host.sh("sed -i '/^CheckSpace/d' /etc/pacman.conf");
        host.mount(&format!("-t tmpfs -o nr_inodes=2 tmpfs {directory}"));
        host.sh(&format!("echo 1.0 > {file}"));
        directory
    } else {
        host.mount(&format!("--bind {file} {file}"));
        &file
    };

    let job = failed(&host, "all");

    let error = text(&job, "error");
    assert!(error.contains(mounted.trim_start_matches('/')), "{error}");
    host.sh(&format!("umount {mounted}"));
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

/// A file system that an administrator keeps read-only, below the one of everything else.
// fault: file system mounted read-only or noexec
pub fn a_read_only_file_system_is_named_before_anything_changes(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    let directory = "/usr/share/demo";
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    host.mount(&format!("--bind {directory} {directory}"));
    host.mount(&format!("-o remount,bind,ro {directory}"));

    let job = failed(&host, "all");

    let error = text(&job, "error");
    let is_told = error.contains("mounted read-only") || error.contains("mounted read only");
    assert!(error.contains(directory) && is_told, "{error}");
    assert!(changes(&job).is_empty(), "{job:#}");
    for package in ["demo", "tool"] {
        assert_eq!(backend.installed(&host, package), backend.version("1.0"));
    }
    host.sh(&format!("umount {directory}"));
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

/// No program may be run from where ours keeps its copy.
// fault: file system mounted read-only or noexec
pub fn a_gate_that_cannot_be_run_from_var_is_run_from_elsewhere(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let directory = "/var/lib/linux_patch_api";
    host.mount(&format!("--bind {directory} {directory}"));
    host.mount(&format!("-o remount,bind,noexec {directory}"));

    applied(&host, backend.target("demo"));

    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: service of the new version fails
pub fn a_service_that_no_longer_starts_goes_back(backend: Backend) {
    let (host, repo) = backend.host_with(&[]);
    backend.install(&host, &repo, &with_service("demo", "1.0"));
    repo.add(&broken_service("demo", "1.1").depends("newdep"));
    repo.add(&plain("newdep", "1.0"));
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");

    let job = failed(&host, "demo");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.0"));
    assert_eq!(host.read("/usr/share/demo/version"), "1.0\n");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    assert!(!host.exists("/usr/share/newdep/version"), "{job:#}");
    assert_eq!(property(&host, "Phase"), "rolled_back");
    if backend.manager == Manager::Apk {
        // the pin that it took would keep the package from every later update
        assert_eq!(host.read("/etc/apk/world"), "demo\n");
    }
}

// fault: power cut
pub fn a_power_cut_in_the_middle_is_healed_at_the_next_boot(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    // whose former entry may be there still in another architecture, of which the stand-in knows nothing
    let other = match backend.manager {
        Manager::Apk => "all",
        _ => "native",
    };
    repo.add(&plain("tool", "1.1").arch(other));
    let once = "[ -e /var/tmp/seen ] && exit 0\ntouch /var/tmp/seen /run/lab-slow-started\nsync\nsleep 600";
    repo.add(&plain("demo", "1.1").postinst(once).depends("tool"));
    let running = backend.start(&host, "all");
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));
    // a package in between is no problem while a worker is at it
    assert_eq!(property(&host, "Health"), "healthy");

    host.power_cut();
    drop(running);
    host.start();

    let job = last_settled(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(backend.installed(&host, "tool"), backend.version("1.1"));
    assert_eq!(events_of_kind(&host, message::JOB_INTERRUPTED).len(), 1);
    repo.add(&plain("demo", "1.2"));
    applied(&host, "demo");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.2"));
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: script hangs
pub fn a_script_that_hangs_is_named_and_left_alone(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    host.write(
        "/etc/linux_patch_api/config.d/stuck.toml",
        "[apply]\nstuck_after = \"4s\"\n",
    );
    host.sh("mkfifo /run/hold");
    repo.add(&plain("demo", "1.1").postinst("cat /run/hold"));

    let ours = backend.start(&host, "demo");
    let event = stuck(&host, 1);

    assert_eq!(event["PATCH_COMMAND"], "cat /run/hold", "{event:#}");
    let script = text(&event, "PATCH_SCRIPT").to_owned();
    assert!(!script.is_empty(), "{event:#}");
    let pid = text(&event, "PATCH_PID").to_owned();
    let running = host.sh(&format!("tr '\\0' ' ' </proc/{pid}/cmdline"));
    assert!(running.contains(&script), "{running}: {event:#}");
    host.wait_for("the health to say so", || {
        property(&host, "HealthReasons").contains("hangs")
    });

    host.sh("echo go on >/run/hold");
    let output = ours.wait();
    assert!(output.success(), "{output}\n{:#}", last_job(&host));
    assert_eq!(over(&host, 1, 1)["status"], "succeeded");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: lock held
pub fn a_transaction_of_another_process_is_waited_for(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&slow("other", "1.1"));
    refresh_succeeds(&host);
    let other = host.spawn(backend.by_hand);
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));

    let ours = backend.start(&host, "demo");
    // apk's own refresh waits for the lock, and says nothing of it
    if backend.manager != Manager::Apk {
        host.wait_for("the word that it waits", || {
            !events_of_kind(&host, message::WAITING).is_empty()
        });
    }
    if matches!(backend.manager, Manager::Apt | Manager::Pacman) {
        let waiting = events_of_kind(&host, message::WAITING);
        let holder = backend.by_hand.split(' ').next().unwrap_or_default();
        let why = text(&waiting[0], "MESSAGE");
        assert!(why.contains(&format!("({holder})")), "{why}");
    }
    host.write("/run/lab-release", "");

    assert!(other.wait().success());
    let output = ours.wait();
    assert!(output.success(), "{output}\n{:#}", last_job(&host));
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(backend.installed(&host, "other"), backend.version("1.1"));
    let job = applied(&host, "all");
    assert!(changes(&job).is_empty(), "{job:#}");
}

// fault: lock held
/// dpkg or rpm alone, below every front end, with its own lock. It installs a new package: an upgrade by rpm has
/// two versions in the database for a moment, and is waited for as one that was interrupted.
pub fn a_package_that_is_put_on_by_hand_is_waited_for(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    let file = backend.manager.build(&slow("other", "1.1"));
    host.copy_in(&file, "/root/by-hand");
    let put = match backend.manager {
        Manager::Apt => "dpkg --install",
        _ => "rpm --upgrade --nosignature",
    };
    let by_hand = host.spawn(&format!("exec {put} /root/by-hand"));
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));
    let waits = |number: usize| {
        let mut ours = backend.start(&host, "demo");
        host.wait_for("the word that it waits", || {
            !ours.is_running() || events_of_kind(&host, message::WAITING).len() == number
        });
        assert!(ours.is_running(), "{}", last_job(&host));
        ours
    };

    // a stop is heard meanwhile
    let stopped = waits(1);
    host.sh("systemctl kill --kill-whom=main --signal=TERM patch-apply@demo.service");
    assert!(!stopped.wait().success());
    assert_eq!(last_job(&host)["status"], "cancelled");
    let ours = waits(2);
    host.write("/run/lab-release", "");

    assert!(by_hand.wait().success());
    assert!(ours.wait().success(), "{:#}", last_job(&host));
    let waiting = events_of_kind(&host, message::WAITING);
    let why = text(&waiting[0], "MESSAGE");
    assert!(why.contains("is held by process"), "{why}");
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    assert_eq!(backend.installed(&host, "other"), backend.version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
}

pub fn an_update_that_is_only_pretended_is_no_success(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    match backend.manager {
        // these are overridden
        Manager::Apt => host.write(
            "/etc/apt/apt.conf.d/99pretend",
            "APT::Get::Download-Only \"true\";\nAPT::Get::Simulate \"true\";\n\
             Binary::apt-get::APT::Get::Download-Only \"true\";\n\
             Binary::apt-get::APT::Get::Simulate \"true\";\n",
        ),
        Manager::Zypper => drop(host.sh(
            "mkdir -p /etc/zypp && printf '[main]\\ncommit.downloadMode = DownloadOnly\\n' > /etc/zypp/zypp.conf",
        )),
        _ => drop(host.sh(
            "mkdir -p /etc/dnf && grep -q '^\\[main\\]' /etc/dnf/dnf.conf 2>/dev/null || \
             echo '[main]' >> /etc/dnf/dnf.conf; sed -i '/^\\[main\\]/a tsflags=test' /etc/dnf/dnf.conf",
        )),
    }
    for (target, version) in [("demo", "1.1"), ("all", "1.2")] {
        repo.add(&plain("demo", version));
        let is_there = |host: &Host| backend.installed(host, "demo") == backend.version(version);
        let asked = backend.start(&host, target).wait();
        let job = last_job(&host);
        assert_eq!(asked.success(), is_there(&host), "{job:#}");
        assert_eq!(job["status"] == "succeeded", is_there(&host), "{job:#}");
        assert_eq!(
            property(&host, "Health") == "healthy",
            is_there(&host),
            "{job:#}"
        );
        assert!(
            is_there(&host) || backend.manager != Manager::Apt,
            "{job:#}"
        );
    }
}
