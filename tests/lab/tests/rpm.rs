//! The lab tested on itself: hosts that dnf and zypper patch, and their repositories.

use lab::{Advisory, Fault, Host, Manager, Repo, Tamper, fixtures};

#[test]
fn an_rpm_repository_serves_dnf_4() {
    an_rpm_repository_serves(
        Manager::Dnf,
        "dnf -y --setopt=*.skip_if_unavailable=0 --setopt=*.retries=1 check-update --refresh",
        "dnf -y upgrade",
        "dnf -q updateinfo list --security",
    );
}

#[test]
fn an_rpm_repository_serves_dnf_5() {
    an_rpm_repository_serves(
        Manager::Dnf5,
        "dnf5 -y --setopt=*.skip_if_unavailable=0 --setopt=*.retries=1 check-upgrade --refresh",
        "dnf5 -y upgrade",
        "dnf5 -q advisory list --security",
    );
}

#[test]
fn an_rpm_repository_serves_zypper() {
    an_rpm_repository_serves(
        Manager::Zypper,
        "zypper --non-interactive refresh --force",
        "zypper --non-interactive update",
        "zypper --non-interactive --no-refresh list-patches --category security",
    );
}

fn an_rpm_repository_serves(manager: Manager, refresh: &str, upgrade: &str, advisories: &str) {
    let host = Host::patched_by(manager).bare().boot();
    host.put_on(&[
        fixtures::plain("demo", "1.0"),
        fixtures::with_service("demod", "1.0"),
        fixtures::with_conffile("democ", "1.0"),
    ]);
    host.append("/etc/democ.conf", "changed = yes\n");
    let repo = Repo::new(&host);
    repo.enable(&host);
    let version = |name: &str| host.sh(&format!("rpm -q --qf '%{{VERSION}}-%{{RELEASE}}' {name}"));
    let refreshed = || [0, 100].contains(&host.try_sh(refresh).status);
    let upgrade = || host.try_sh(&format!("{upgrade} 2>&1"));
    assert_eq!(version("demo"), manager.version("1.0"));
    assert_eq!(host.sh("systemctl is-active demod").trim(), "active");

    // all is well: signed, with an advisory
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.add(&fixtures::with_service("demod", "1.1"));
    repo.add(&fixtures::with_conffile("democ", "1.1"));
    assert!(refreshed(), "{}", host.try_sh(refresh));
    assert!(!host.try_sh(advisories).stdout.contains("LAB-"));
    repo.advise("demo", Advisory::Security);
    assert!(refreshed(), "{}", host.try_sh(refresh));
    let listed = host.try_sh(advisories);
    assert!(listed.stdout.contains("LAB-demo-1.1-1"), "{listed}");
    assert!(!listed.stdout.contains("LAB-democ"), "{listed}");
    let pid = host.sh("systemctl show -P MainPID demod");
    let upgraded = upgrade();
    assert!(upgraded.success(), "{upgraded}");
    for name in ["demo", "demod", "democ"] {
        assert_eq!(version(name), manager.version("1.1"), "{name}: {upgraded}");
    }
    assert_eq!(host.sh("systemctl is-active demod").trim(), "active");
    assert_ne!(host.sh("systemctl show -P MainPID demod"), pid);
    assert!(host.read("/etc/democ.conf").contains("changed = yes"));
    assert!(host.exists("/etc/democ.conf.rpmnew"));

    // a mirror that moved on
    repo.add(&fixtures::plain("demo", "1.2"));
    assert!(refreshed());
    repo.remove_from_pool("demo", "1.2");
    repo.take_requests();
    let failed = upgrade();
    assert!(
        !failed.success() && (failed.stdout.contains("404") || failed.stdout.contains("not found")),
        "{failed}"
    );
    assert!(
        repo.requests()
            .iter()
            .any(|path| path.ends_with("demo-1.2-1.noarch.rpm"))
    );
    repo.add(&fixtures::plain("demo", "1.3"));
    assert!(refreshed());

    // a forged package, and then one that is signed by an unknown key
    repo.tamper(Tamper::Deb("demo", "1.3"));
    let failed = upgrade();
    assert!(!failed.success(), "{failed}");
    repo.remove("demo", "1.3");
    assert_eq!(version("demo"), manager.version("1.1"));

    bad_indexes_are_refused(&host, &repo, &refreshed);
    repo.add(&fixtures::slow("demo", "1.4"));
    assert!(refreshed());
    host.write("/run/lab-release", "");
    assert!(upgrade().success());
    assert_eq!(version("demo"), manager.version("1.4"));
}

/// A forged index, one signed by another key, a dead server, and none; an unsigned one where that is configured.
fn bad_indexes_are_refused(host: &Host, repo: &Repo, refreshed: &dyn Fn() -> bool) {
    repo.tamper(Tamper::InRelease);
    assert!(!refreshed());
    repo.sign_by_stranger();
    assert!(!refreshed());
    repo.sign_by_nobody();
    repo.enable(host);
    assert!(refreshed());
    repo.fault("repomd.xml", Fault::Status(500));
    assert!(!refreshed());
    repo.heal();
    repo.stop();
    assert!(!refreshed());
    repo.start();
}
