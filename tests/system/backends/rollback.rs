//! Rollback: files that left their package, and an update that breaks the package manager itself.

use lab::fixtures::{broken_service, plain, with_service};
use lab::{Deb, Manager};
use linux_patch_api::journal::id as message;

use super::Backend;
use crate::job::{applied, events_of_kind, failed, list, text};
use crate::story::{property, refresh_succeeds};

/// A package with two files of which the next version gives one away, and of which it takes the other one along
/// when it is left, by a script of its own.
fn library(version: &str) -> Deb {
    let file = |name: &str| format!("/usr/lib/lib-n/{name}");
    Deb::new("lib-n", version)
        .file(&file("core"), version)
        .file(&file("cleaned"), version)
}

// fault: files move to another package
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

/// What an update leaves that asks for a reboot.
fn reboot_mark(manager: Manager) -> &'static str {
    match manager {
        Manager::Apt => "echo core >> /run/reboot-required.pkgs; touch /run/reboot-required",
        // the date of the package tells
        Manager::Pacman => "",
        Manager::Zypper => {
            "chmod 0700 /usr/lib/systemd/systemd; chmod 0755 /usr/lib/systemd/systemd; touch /run/reboot-needed"
        }
        _ => "chmod 0700 /usr/lib/systemd/systemd; chmod 0755 /usr/lib/systemd/systemd",
    }
}

/// Marks `demo` as being there only because others need it, and what of that can be seen; nothing where only
/// the package manager itself can tell.
fn mark_demo(manager: Manager) -> (&'static str, &'static str) {
    match manager {
        Manager::Apt => ("apt-mark auto demo", "apt-mark showauto demo"),
        Manager::Dnf5 => (
            "dnf5 -y mark dependency demo",
            "grep 'demo.*Dependency' /usr/lib/sysimage/libdnf5/packages.toml",
        ),
        Manager::Zypper => (
            "mkdir -p /var/lib/zypp; echo demo >> /var/lib/zypp/AutoInstalled",
            "grep demo /var/lib/zypp/AutoInstalled",
        ),
        Manager::Pacman => ("pacman -D --asdeps demo", "pacman -Qd | grep demo"),
        Manager::Dnf | Manager::Apk => ("true", "echo demo"),
    }
}

// fault: scripts change /etc
pub fn what_differs_in_etc_after_going_back_is_named(backend: Backend) {
    let core = if backend.manager == Manager::Apt {
        "core"
    } else {
        "systemd"
    };
    let (host, repo) = backend.host_with(&[]);
    backend.install(&host, &repo, &plain(core, "1.0"));
    backend.install(&host, &repo, &with_service("demo", "1.0"));
    host.write("/etc/generated.conf", "of 1.0\n");
    host.write("/etc/rewritten.conf", "the same\n");
    let (mark, marked) = mark_demo(backend.manager);
    host.sh(mark);
    // what was installed before the start asks for no reboot
    host.reboot();
    let generates = "echo of 1.1 > /etc/generated.conf; echo new > /etc/left.conf\n\
        echo the same > /etc/rewritten.new; mv /etc/rewritten.new /etc/rewritten.conf\n";
    let script = format!("{generates}{}", reboot_mark(backend.manager));
    repo.add(&plain(core, "1.1").depends("newdep").postinst(&script));
    repo.add(&plain("newdep", "1.1").conffile("/etc/newdep.conf", "of newdep\n"));
    repo.add(&broken_service("demo", "1.1"));

    let job = failed(&host, "all");

    let rollback = &job["rollback"];
    assert_eq!(rollback["outcome"], "rolled_back", "{job:#}");
    let etc = list(rollback, "etc");
    let differing: Vec<String> = etc
        .iter()
        .map(|file| format!("{} {}", text(file, "path"), text(file, "what")))
        .collect();
    let expected = ["/etc/generated.conf changed", "/etc/left.conf new"];
    assert_eq!(differing, expected, "{job:#}");
    assert_eq!(rollback["as_before"], false, "{job:#}");
    assert!(host.sh(marked).contains("demo"), "{job:#}");
    let compared = rollback["compared"].to_string();
    let tells = backend.manager != Manager::Dnf;
    assert_eq!(compared.contains("marks"), tells, "{job:#}");
    assert!(
        !text(rollback, "summary").contains("marked otherwise"),
        "{job:#}"
    );
    let said = "these files in /etc differ: /etc/generated.conf (changed), /etc/left.conf (new)";
    assert!(text(&job, "error").contains(said), "{job:#}");
    assert!(!host.exists("/etc/newdep.conf"), "{job:#}");
    assert_eq!(property(&host, "RebootReasons"), "0");

    // the reason that was taken back holds again for what comes next
    repo.add(&plain(core, "1.2").postinst(reboot_mark(backend.manager)));
    repo.add(&with_service("demo", "1.2"));
    applied(&host, "all");
    let reasons = property(&host, "RebootReasons");
    assert!(reasons.contains("was updated"), "{reasons}");
}
