//! A front end in the hands of an attacker: its account can ask for updates, and do nothing else.

use lab::{Host, Release, Repo, fixtures};

use crate::story::{self, QUEUE, STATE, hold_worker, installed, unit};

/// Everything here is done with the rights of the front ends' account, without their sandbox.
const AS_THE_SERVICE: &str =
    "setpriv --reuid linux-patch --regid linux-patch --clear-groups --inh-caps=-all";

/// What the account may not read, and what it may not change.
const SECRET: &str = "/etc/linux-patch-secret";

/// A host with 1.1 of `demo` pending, a secret, and the attacker's tools.
fn host(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    host.sh("apt-get -q update && apt-get -q -y install demo");
    repo.add(&fixtures::plain("demo", "1.1"));
    host.write(SECRET, "the words of the secret\n");
    host.sh(&format!("chmod 600 {SECRET}"));
    host.write("/opt/attack.py", include_str!("compromised_service.py"));
    (host, repo)
}

fn attack(host: &Host, what: &str) -> String {
    let attack = host.try_sh(&format!("{AS_THE_SERVICE} python3 /opt/attack.py {what}"));
    assert!(attack.success(), "{what}: {attack}");
    attack.stdout
}

/// The queue is empty again, and serves the next request; nothing of the secret is anywhere.
fn assert_well(host: &Host, number: usize) {
    host.wait_for("the queue to be empty", || {
        host.sh(&format!("ls {QUEUE}")).is_empty()
    });
    let id = story::drop_request(host, number, r#""packages":["demo"]"#);
    assert_eq!(story::settled(host, &id)["status"], "succeeded");
    assert_eq!(unit(host, "patch-apply.path", "ActiveState"), "active");
    assert_eq!(host.read(SECRET), "the words of the secret\n");
    assert_eq!(
        host.sh(&format!("stat -c '%a %h' {SECRET}")).trim(),
        "600 1"
    );
    let told = host.try_sh(&format!(
        "grep -rlsF 'words of the secret' {STATE} /run/linux_patch_api; \
         journalctl --no-pager -o json -t patchctl | grep -F 'words of the secret'"
    ));
    assert_eq!(told.stdout, "");
}

releases!(the_account_of_the_front_ends_can_only_ask [bookworm trixie]);
fn the_account_of_the_front_ends_can_only_ask(release: Release) {
    let (host, _repo) = host(release);
    host.sh("touch /run/before");
    what_it_owns_are_three_directories(&host);

    // what is no request is removed, and delays no other request: nothing of it can be opened, parsed, moved
    // or removed as an entry would be
    let lock = hold_worker(&host);
    for what in ["entries", "names", "marks"] {
        attack(&host, what);
    }
    let lease = host.spawn(&format!("{AS_THE_SERVICE} python3 /opt/attack.py lease"));
    host.wait_for("the lease", || lease.output_so_far().contains("held"));
    lock.release(&host);
    assert_well(&host, 1);
    lease.kill();
    // what was refused before has the same names
    let lock = hold_worker(&host);
    attack(&host, "names");
    lock.release(&host);
    assert_well(&host, 4);

    // a look, and another file by the time it is opened
    let swapping = host.spawn(&format!(
        "{AS_THE_SERVICE} python3 /opt/attack.py swap {SECRET}"
    ));
    host.wait_for("the worker to have refused two hundred of them", || {
        let refused = host.sh(&format!("ls {STATE}/refused | wc -l"));
        refused.trim().parse::<usize>().unwrap() > 200
    });
    let id = story::drop_request(&host, 2, r#""packages":["demo"]"#);
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
    swapping.kill();
    host.sh(&format!("rm -rf {QUEUE}/ffff*"));
    assert_well(&host, 3);
    assert_eq!(installed(&host, "demo"), "1.1 installed");

    let elsewhere = host.sh(&format!(
        "find / -xdev -newer /run/before -not -path '{STATE}/*' -not -path '/var/log/*' -not -path '/tmp/*' \
         -not -path '/var/tmp/*' -not -path '/var/cache/*' -not -path '/var/lib/apt/*' -not -path '/var/lib/dpkg/*' \
         -not -path '/usr/share/demo/*' -not -path '/home/*' -type f; ls /tmp/owned 2>/dev/null || true"
    ));
    assert_eq!(elsewhere, "", "somebody else's files have changed");
}

/// It may neither replace the directories it may write to, nor make root write through them.
fn what_it_owns_are_three_directories(host: &Host) {
    let as_the_service = |script: &str| host.try_sh(&format!("{AS_THE_SERVICE} sh -c '{script}'"));
    for directory in ["keys", "queue", "tmp"] {
        for script in [
            "mv $1 $1.old",
            "rmdir $1",
            "chmod 777 $1",
            "ln -sfn /etc $1",
        ] {
            let script = script.replace("$1", &format!("{STATE}/{directory}"));
            let output = as_the_service(&script);
            let inside = format!("{STATE}/{directory}/etc");
            // ln puts its link inside, which is allowed, and is an entry like any other
            host.sh(&format!("rm -f {inside}"));
            assert!(
                !output.success() || script.starts_with("ln"),
                "{script}: {output}"
            );
        }
        let kind = host.sh(&format!("stat -c '%F %U' {STATE}/{directory}"));
        assert_eq!(kind.trim(), "directory root");
    }
    for script in [
        &format!("cat {SECRET}"),
        &format!("ln {SECRET} {QUEUE}/0000000000000001-000001.json"),
        &format!("echo x >{STATE}/state/running.json"),
        &format!("ls {STATE}/refused"),
        "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
         StartUnit ss patch-apply@all.service replace",
    ] {
        assert!(!as_the_service(script).success(), "{script}");
    }
}

// fault: worker killed
#[test]
fn a_job_comes_back_after_a_crash_whatever_was_put_in_its_way() {
    let (host, repo) = host(Release::Trixie);
    repo.fault("pool", lab::Fault::Hang);
    let id = story::drop_request(&host, 1, r#""packages":["demo"]"#);
    host.wait_for("the download", || {
        repo.requests().iter().any(|path| path.contains("_1.1"))
    });
    attack(&host, &format!("way {id}"));
    host.sh("systemctl kill --kill-whom=main --signal=KILL patch-apply.service");
    repo.heal();
    assert_eq!(story::settled(&host, &id)["status"], "succeeded");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_well(&host, 2);
}
