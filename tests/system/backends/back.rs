//! Going back: files that left their package, and an update that breaks what would put it back.

use lab::fixtures::{broken_service, plain, with_service};
use lab::{Deb, Manager};
use linux_patch_api::journal::id as message;

use super::Backend;
use crate::job::{applied, events_of_kind, failed, list};
use crate::story::refresh_succeeds;

/// A package with two files of which the next version gives one away, and of which it takes the other one along
/// when it is left, by a script of its own.
fn library(version: &str) -> Deb {
    let file = |name: &str| format!("/usr/lib/lib-n/{name}");
    Deb::new("lib-n", version)
        .file(&file("core"), version)
        .file(&file("cleaned"), version)
}

// fault: files go with another package
pub fn every_file_of_a_package_comes_back_with_it(backend: Backend) {
    let moved = "/usr/lib/lib-n/moved";
    let (host, repo) = backend.host_with(&[]);
    backend.install(&host, &repo, &library("1.0").file(moved, "1.0"));
    backend.install(&host, &repo, &with_service("demo", "1.0"));
    let data = Deb::new("lib-n-data", "1.1").file(moved, "1.1");
    repo.add(&match backend.manager {
        Manager::Apt => data.field("Replaces", "lib-n"),
        // elsewhere that takes the whole package away
        _ => data,
    });
    repo.add(
        &library("1.1")
            .depends("lib-n-data")
            .postrm("rm -f /usr/lib/lib-n/cleaned"),
    );
    repo.add(&broken_service("demo", "1.1"));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    for name in ["core", "cleaned", "moved"] {
        let file = format!("/usr/lib/lib-n/{name}");
        assert!(host.exists(&file), "{file}: {job:#}");
        assert_eq!(host.read(&file), "1.0", "{file}");
    }
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    let files = list(&job["rollback"], "files");
    assert_eq!(files.len(), 1, "{job:#}");
    assert_eq!(files[0]["package"], "lib-n", "{job:#}");
    assert_eq!(files[0]["reinstalled"], true, "{job:#}");
    assert_eq!(events_of_kind(&host, message::FILES_RESTORED).len(), 1);
    assert_eq!(backend.installed(&host, "lib-n"), backend.version("1.0"));
}

/// What keeps the package manager from running, and what heals that.
fn damage(manager: Manager) -> (&'static str, &'static str) {
    match manager {
        Manager::Apt => (
            "echo garbage > /etc/apt/sources.list.d/garbage.list",
            "rm -f /etc/apt/sources.list.d/garbage.list",
        ),
        Manager::Dnf | Manager::Dnf5 => (
            "cp /etc/dnf/dnf.conf /var/tmp/dnf.conf; echo '[garbage' >> /etc/dnf/dnf.conf",
            "[ ! -e /var/tmp/dnf.conf ] || mv /var/tmp/dnf.conf /etc/dnf/dnf.conf",
        ),
        Manager::Pacman => (
            "printf '[zz]\\nSigLevel = garbage\\n' > /etc/pacman.d/repos/zz.conf",
            "rm -f /etc/pacman.d/repos/zz.conf",
        ),
        Manager::Zypper | Manager::Apk => (
            "mv /usr/bin/zypper /usr/bin/zypper.away",
            "[ ! -e /usr/bin/zypper.away ] || mv /usr/bin/zypper.away /usr/bin/zypper",
        ),
    }
}

// fault: the update breaks the package manager
pub fn an_update_that_breaks_its_package_manager_is_undone_by_the_tool_below(backend: Backend) {
    let (done, healed) = damage(backend.manager);
    let (host, repo) = backend.host_with(&[plain("helper", "0.9"), with_service("demo", "0.9")]);
    repo.add(&plain("helper", "1.0").postinst(healed));
    repo.add(&with_service("demo", "1.0"));
    applied(&host, "all");
    repo.add(&plain("helper", "1.1").postinst(done).depends("newdep"));
    repo.add(&plain("newdep", "1.1").depends("helper (>= 1.1)"));
    repo.add(&broken_service("demo", "1.1"));

    let job = failed(&host, "all");

    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    let tool = match backend.manager {
        Manager::Apt => "dpkg",
        Manager::Pacman => "pacman with a plain configuration",
        _ => "rpm",
    };
    assert_eq!(job["rollback"]["tool"], tool, "{job:#}");
    for package in ["helper", "demo"] {
        assert_eq!(backend.installed(&host, package), backend.version("1.0"));
    }
    assert!(!host.exists("/usr/share/newdep/version"), "{job:#}");
    assert_eq!(host.sh("systemctl is-active demo").trim(), "active");
    assert_eq!(events_of_kind(&host, message::ROLLBACK_BELOW).len(), 1);
    refresh_succeeds(&host);
}
