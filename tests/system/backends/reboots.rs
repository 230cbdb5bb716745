//! Reboots: one that is scheduled does not come in the middle, and one that is over is not asked for again.

use lab::Manager;
use lab::fixtures::{plain, slow};

use super::Backend;
use crate::job::put_on;
use crate::story::{last_job, property};

/// Where logind says what is scheduled.
const SCHEDULED: &str = "/run/systemd/shutdown/scheduled";

// fault: a reboot in the middle
pub fn a_scheduled_reboot_is_taken_back_while_packages_change(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&slow("demo", "1.1"));
    host.sh("patchctl reboot --delay=2h");
    let due = host.sh(&format!("grep USEC= {SCHEDULED}"));

    let ours = backend.start(&host, "demo");
    host.wait_for("its script", || host.exists("/run/lab-slow-started"));
    assert!(!host.exists(SCHEDULED), "it could come in the middle");
    assert_eq!(property(&host, "RebootWaits"), "packages are changing");
    host.write("/run/lab-release", "");

    assert!(ours.wait().success(), "{:#}", last_job(&host));
    assert_eq!(backend.installed(&host, "demo"), backend.version("1.1"));
    host.wait_for("the schedule", || host.exists(SCHEDULED));
    assert_eq!(host.sh(&format!("grep USEC= {SCHEDULED}")), due);
    assert_eq!(property(&host, "RebootWaits"), "");
}

pub fn what_was_updated_before_the_start_asks_for_no_reboot(backend: Backend) {
    let (host, _repo) = backend.host_with(&[]);
    let asks = |why: &str| {
        let reasons = property(&host, "RebootReasons");
        assert!(reasons.contains(why), "{reasons} instead of {why}");
        assert_eq!(property(&host, "RebootRequired"), "true");
        // the container is started again, and its machine is not
        host.reboot();
        assert_eq!(property(&host, "RebootReasons"), "0");
        assert_eq!(property(&host, "RebootRequired"), "false");
    };
    assert_eq!(property(&host, "RebootReasons"), "0");
    // times are compared in seconds, as pacman writes them: what changes in the second of the start is older
    host.wait_for("the second after the start", || {
        host.sh("[ $(date +%s) -gt $(stat -c %Z /run/systemd/notify) ] && echo over || :")
            .trim()
            == "over"
    });
    match backend.manager {
        Manager::Apt => {
            host.write("/run/reboot-required.pkgs", "systemd\n");
            host.write("/run/reboot-required", "");
        }
        Manager::Pacman => put_on(&host, &[plain("systemd", "1.0")]),
        // when the file was put there is what counts; no database has changed, so that the service, which
        // looks again only then, is asked to come again
        _ => drop(host.sh(
            "chmod 0700 /usr/lib/systemd/systemd && chmod 0755 /usr/lib/systemd/systemd && \
             systemctl stop patch-agent.service",
        )),
    }
    asks("systemd was updated");
    if backend.manager == Manager::Zypper {
        // libzypp leaves it, and 'zypper needs-rebooting' looks at nothing else
        host.write("/run/reboot-needed", "");
        asks("/run/reboot-needed is there");
    }
}
