//! The Debian package: what it installs, that an upgrade interrupts no job, and that a purge leaves nothing.

use std::collections::BTreeSet;

use lab::{Host, Release, Repo, fixtures, product};
use linux_patch_api::journal::id;

use crate::job::put_on;
use crate::story::{STATE, events, installed, jobs, last_cache_update, last_job, property, unit};

releases!(it_installs_on_a_bare_host [bookworm trixie]);
fn it_installs_on_a_bare_host(release: Release) {
    let host = Host::bare(release);
    host.install(&product::deb());
    everything_is_in_place(&host);
    let overrides = "%nrconf = (override_rc => {}); do '/etc/needrestart/conf.d/linux-patch-api.conf'; die $@ if $@; \
        print join ',', map { my $u = $_; grep { $u =~ $_ } keys %{$nrconf{override_rc}} } @ARGV";
    let overridden = host.run(&[
        "perl",
        "-e",
        &format!("our {overrides}"),
        "patch-apply@demo.service",
        "other.service",
    ]);
    assert_eq!(overridden.unwrap().stdout.matches("patch-").count(), 1);
}

/// The most bytes that the program may have as it is released; Cargo.toml and debian/rules say what keeps it small.
const PROGRAM: u64 = 3_600_000;

/// Units, directories, accounts and the D-Bus service, as every package has to leave them.
pub fn everything_is_in_place(host: &Host) {
    let size = host.sh("stat -c %s /usr/bin/patchctl");
    let size: u64 = size.trim().parse().unwrap();
    assert!(
        size <= PROGRAM || !product::is_as_released(),
        "patchctl has {size} bytes, and may have {PROGRAM}"
    );
    for (name, state, enabled) in [
        ("patch-refresh.timer", "active", "enabled"),
        ("patch-retry.timer", "inactive", "enabled"),
        ("patch-request.socket", "active", "enabled"),
        ("patch-recover.service", "inactive", "enabled"),
        ("patch-apply.path", "active", "enabled"),
        ("patch-plan.path", "active", "enabled"),
        ("patch-plan.service", "inactive", "static"),
        ("patch-refresh.service", "inactive", "static"),
        ("patch-apply.service", "inactive", "static"),
        ("patch-agent.service", "inactive", "static"),
    ] {
        assert_eq!(unit(host, name, "ActiveState"), state, "{name}");
        assert_eq!(unit(host, name, "UnitFileState"), enabled, "{name}");
    }
    for (path, expected) in [
        ("/etc/linux_patch_api/config.d", "755 root root"),
        ("/run/linux_patch_api", "755 root root"),
        (STATE, "755 root root"),
        ("/var/lib/linux_patch_api/jobs", "2750 root linux-patch"),
        ("/run/linux_patch_api/findings", "755 root root"),
        (
            "/var/lib/linux_patch_api/inquiries",
            "2770 root linux-patch",
        ),
        ("/var/lib/linux_patch_api/queue", "2770 root linux-patch"),
        ("/var/lib/linux_patch_api/refused", "700 root root"),
        ("/var/lib/linux_patch_api/state", "755 root root"),
        ("/var/lib/linux_patch_api/tmp", "2770 root linux-patch"),
        ("/usr/bin/patchctl", "755 root root"),
    ] {
        assert_eq!(
            host.sh(&format!("stat -c '%a %U %G' {path}")).trim(),
            expected,
            "{path}"
        );
    }
    let account = host.sh("getent passwd linux-patch");
    assert!(account.trim().ends_with("/nologin"), "{account}");
    host.sh("getent group linux-patch patch-operators");
    let verify = host.try_sh(
        "cd /usr/lib/systemd/system && systemd-analyze verify --man=no \
        patch-*.timer patch-*.path $(ls patch-*.service | sed 's/@/@demo/') 2>&1",
    );
    assert_eq!((verify.status, verify.stdout.as_str()), (0, ""), "{verify}");
    assert_eq!(property(host, "Version"), "2.0.0");
    assert_eq!(host.sh("systemctl is-system-running").trim(), "running");
}

releases!(an_upgrade_keeps_the_state_and_disturbs_no_worker [bookworm trixie]);
fn an_upgrade_keeps_the_state_and_disturbs_no_worker(release: Release) {
    let host = Host::boot(release);
    put_on(
        &host,
        &[
            fixtures::plain("demo", "1.0"),
            fixtures::plain("other", "1.0"),
        ],
    );
    let repo = Repo::new(&host);
    repo.enable(&host);
    repo.add(&fixtures::plain("demo", "1.1"));
    repo.add(&fixtures::plain("other", "1.1"));
    host.sh("systemctl start patch-apply@demo.service");
    host.write(
        "/etc/linux_patch_api/config.toml",
        "# the administrator's own\n",
    );
    let kept = jobs(&host);
    let refreshed = last_cache_update(&host);
    assert_eq!(property(&host, "Phase"), "success");
    let old_service = unit(&host, "patch-agent.service", "MainPID");

    // a worker waits for apt's lock while the package is upgraded below it
    let lock = host.spawn(
        "exec python3 -c 'import fcntl, signal; f = open(\"/var/lib/apt/lists/lock\", \"w\"); \
        fcntl.lockf(f, fcntl.LOCK_EX); print(\"held\", flush=True); signal.pause()'",
    );
    host.wait_for("the lock", || lock.output_so_far() == "held\n");
    host.sh("systemctl start --no-block patch-apply@other.service");
    host.wait_for("the worker to wait", || {
        !events(&host, "MESSAGE_ID", id::WAITING).is_empty()
    });
    let worker = unit(&host, "patch-apply@other.service", "MainPID");

    let newer = fixtures::with_version(&product::deb(), "2.0.1");
    host.copy_in(&newer, "/root/newer.deb");
    host.sh("dpkg --install /root/newer.deb 2>&1");
    assert_eq!(installed(&host, "linux-patch-api"), "2.0.1 installed");
    assert_eq!(unit(&host, "patch-apply@other.service", "MainPID"), worker);
    assert_eq!(last_cache_update(&host), refreshed);
    for name in ["patch-refresh.timer", "patch-apply.path"] {
        assert_eq!(unit(&host, name, "ActiveState"), "active", "{name}");
    }
    host.wait_for("the new service", || {
        property(&host, "Version");
        let service = unit(&host, "patch-agent.service", "MainPID");
        service != old_service
            && !host
                .sh(&format!("readlink /proc/{service}/exe"))
                .contains("deleted")
    });

    lock.kill();
    host.wait_for("the end of the worker", || {
        unit(&host, "patch-apply@other.service", "ActiveState") != "activating"
    });
    let job = last_job(&host);
    assert_eq!(job["status"], "succeeded", "{job:#}");
    assert_eq!(
        unit(&host, "patch-apply@other.service", "Result"),
        "success"
    );
    assert_eq!(installed(&host, "other"), "1.1 installed");
    assert_eq!(jobs(&host)[..1], kept, "no record is lost or changed");
    assert_eq!(
        host.read("/etc/linux_patch_api/config.toml"),
        "# the administrator's own\n"
    );
    assert_eq!(host.sh("systemctl --failed --no-legend"), "");
}

releases!(nothing_is_left_of_it_and_it_comes_back [bookworm trixie]);
fn nothing_is_left_of_it_and_it_comes_back(release: Release) {
    let host = Host::bare(release);
    let repo = Repo::new(&host);
    repo.enable(&host);
    put_on(&host, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let before = files(&host);

    host.install(&product::deb());
    host.sh("systemctl start patch-apply@demo.service patch-refresh.service");
    assert_eq!(property(&host, "Health"), "healthy");
    // refused, which is no job
    assert!(
        !host
            .try_sh("systemctl start patch-apply@not-there.service")
            .success()
    );
    assert_eq!(jobs(&host).len(), 1);

    host.sh("apt-get remove -q -y linux-patch-api 2>&1");
    assert_eq!(
        jobs(&host).len(),
        1,
        "what it knows is kept until it is purged"
    );
    assert_eq!(
        host.sh(
            "systemctl list-units --no-legend 'patch-*.path' 'patch-*.timer' patch-agent.service"
        ),
        ""
    );
    assert!(
        !host
            .try_sh("busctl introspect org.linux_patch.Agent1 /org/linux_patch/Agent1")
            .success()
    );

    host.install(&product::deb());
    assert_eq!(unit(&host, "patch-apply.path", "ActiveState"), "active");
    assert_eq!(property(&host, "Version"), "2.0.0");
    assert_eq!(jobs(&host).len(), 1);

    host.sh("apt-get purge -q -y linux-patch-api 2>&1");
    let left: Vec<String> = files(&host).difference(&before).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
    assert!(!host.exists("/run/linux_patch_api"));
    let units =
        host.sh("systemctl daemon-reload; systemctl list-units --all --no-legend 'patch-*'");
    assert!(
        !units.contains("running") && !units.contains("waiting"),
        "{units}"
    );

    host.install(&product::deb());
    assert_eq!(unit(&host, "patch-refresh.timer", "ActiveState"), "active");
    assert_eq!(jobs(&host).len(), 0, "it begins anew");
    host.sh("systemctl start patch-refresh.service");
    assert_eq!(property(&host, "CacheStatus"), "fresh");
}

/// Every file of the host, but for what others write about what has happened.
pub fn files(host: &Host) -> BTreeSet<String> {
    let others = [
        "/root/*",
        "/tmp/*",
        "/usr/share/mime/*",
        "/var/cache/*",
        "/var/lib/apt/*",
        "/var/lib/dnf/*",
        "/var/lib/dpkg/info",
        "/var/lib/rpm/*",
        "/var/lib/systemd/catalog/*",
        "/var/lib/systemd/timers",
        "/var/log/*",
        "/var/tmp/*",
    ];
    let passed_over: String = others
        .iter()
        .map(|path| format!("-not -path '{path}' "))
        .collect();
    host.sh(&format!("find / -xdev {passed_over}"))
        .lines()
        .map(str::to_owned)
        .collect()
}
