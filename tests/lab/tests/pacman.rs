//! The lab tested on itself: hosts that pacman patches, and their repositories.

use lab::{Fault, Host, Manager, Repo, Tamper, fixtures};

#[test]
fn a_repository_serves_pacman() {
    let host = Host::patched_by(Manager::Pacman).bare().boot();
    host.put_on(&[
        fixtures::plain("demo", "1.0"),
        fixtures::with_service("demod", "1.0"),
        fixtures::with_conffile("democ", "1.0"),
    ]);
    host.append("/etc/democ.conf", "changed = yes\n");
    let repo = Repo::new(&host);
    repo.enable(&host);
    let version = |name: &str| {
        let shown = host.sh(&format!("pacman -Q {name}"));
        shown.trim().split_once(' ').unwrap().1.to_owned()
    };
    let upgrade = || host.try_sh("pacman -Syu --noconfirm 2>&1");
    assert_eq!(version("demo"), Manager::Pacman.version("1.0"));
    assert_eq!(host.sh("systemctl is-active demod").trim(), "active");

    // all is well
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.add(&fixtures::with_service("demod", "1.1"));
    repo.add(&fixtures::with_conffile("democ", "1.1"));
    let pid = host.sh("systemctl show -P MainPID demod");
    let upgraded = upgrade();
    assert!(upgraded.success(), "{upgraded}");
    for name in ["demo", "demod", "democ"] {
        assert_eq!(version(name), "1.1-1", "{name}: {upgraded}");
    }
    assert_ne!(host.sh("systemctl show -P MainPID demod"), pid);
    assert!(host.read("/etc/democ.conf").contains("changed = yes"));
    assert!(host.exists("/etc/democ.conf.pacnew"));

    // a mirror that moved on
    repo.add(&fixtures::plain("demo", "1.2"));
    assert!(host.try_sh("pacman -Sy").success());
    repo.remove_from_pool("demo", "1.2");
    let failed = host.try_sh("pacman -Su --noconfirm 2>&1");
    assert!(
        !failed.success() && failed.stdout.contains("404"),
        "{failed}"
    );

    // a forged package, one that is signed by an unknown key, a dead server
    repo.add(&fixtures::plain("demo", "1.3"));
    repo.tamper(Tamper::Deb("demo", "1.3"));
    let failed = upgrade();
    assert!(!failed.success(), "{failed}");
    repo.remove("demo", "1.3");
    repo.sign_by_stranger();
    repo.add(&fixtures::plain("demo", "1.4"));
    let failed = upgrade();
    assert!(!failed.success(), "{failed}");
    repo.fault("lab.db", Fault::Status(500));
    assert!(!upgrade().success());
    repo.heal();
    repo.stop();
    assert!(!upgrade().success());
    assert_eq!(version("demo"), "1.1-1");
}
