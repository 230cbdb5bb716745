//! The lab tested on itself: hosts without our package, and a repository that is good, bad, or gone.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use lab::{Fault, Host, Release, Repo, Tamper, fixtures};

const UPDATE: &str = "apt-get -q -o APT::Update::Error-Mode=any -o Acquire::Retries=0 -o Acquire::http::Timeout=2 update";

#[test]
fn two_hosts_at_once_reboot_lose_power_and_keep_their_files() {
    let one = Host::builder(Release::Trixie).bare().name("one").boot();
    let two = Host::builder(Release::Bookworm).bare().name("two").boot();
    for (host, name, release) in [(&one, "one", "trixie"), (&two, "two", "bookworm")] {
        assert_eq!(host.sh("systemctl is-system-running").trim(), "running");
        assert_eq!(host.sh("hostname").trim(), name);
        assert!(host.sh("cat /etc/os-release").contains(release));
        assert_eq!(
            host.sh("cat /etc/apt/sources.list.d/* 2>/dev/null || true"),
            ""
        );
    }
    one.write("/var/lib/kept", "by one");
    two.sh("echo by two >/var/lib/kept && sync /var/lib/kept && logger -t lab before the cut");
    two.journal(&["-t", "lab"]);
    let boot_of = |host: &Host| host.sh("cat /proc/1/stat | cut -d' ' -f22");
    let before = boot_of(&one);
    one.reboot();
    two.power_cut();
    assert_eq!(two.read("/var/lib/kept").trim(), "by two");
    two.start();
    assert_eq!(one.read("/var/lib/kept"), "by one");
    assert_ne!(boot_of(&one), before);
    assert_eq!(two.messages(&["-t", "lab"]), ["before the cut"]);
    one.poweroff();
}

#[test]
fn a_shell_on_a_host_runs_what_standard_input_says() {
    let mut shell = Command::new(env!("CARGO_BIN_EXE_shell"))
        .arg("trixie")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = shell.stdin.take().unwrap();
    input
        .write_all(b"hostname; patchctl updates; exit 3\n")
        .unwrap();
    drop(input);
    let output = shell.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    assert!(shown.contains("host\n") && shown.contains("1.1"), "{shown}");
}

#[test]
fn commands_say_how_they_ended() {
    let host = Host::bare(Release::Trixie);
    let output = host
        .run(&["sh", "-c", "echo out; echo err >&2; exit 7"])
        .unwrap();
    assert_eq!(
        (
            output.status,
            output.stdout.as_str(),
            output.stderr.as_str()
        ),
        (7, "out\n", "err\n")
    );
    assert_eq!(host.try_sh("kill -9 $$").status, 137);
    assert_eq!(host.try_sh("(sleep 100 &) ; echo done").stdout, "done\n");

    let user = host.as_user(
        "alice",
        "id -un; busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
        org.freedesktop.systemd1.Manager StopUnit ss cron.service replace",
    );
    assert_eq!(user.stdout, "alice\n");
    assert!(user.stderr.contains("authentication required"), "{user}");

    let mut sleeper = host.spawn("echo started; sleep infinity");
    host.wait_for("the sleeper to speak", || {
        sleeper.output_so_far() == "started\n"
    });
    assert!(sleeper.is_running());
    assert_eq!(sleeper.kill().status, 137);
    let mut brief = host.spawn("exit 3");
    host.wait_for("the end of a brief one", || !brief.is_running());
    assert_eq!(brief.wait().status, 3);
    assert_eq!(host.try_sh("pgrep -x sleep -a | grep infinity").stdout, "");

    host.write("/run/deep/in/here", "volatile");
    assert_eq!(host.sh("cat /run/deep/in/here"), "volatile");
    host.sh("ln -s /etc/target /etc/link");
    host.write("/etc/link", "stays inside");
    assert_eq!(host.sh("cat /etc/target"), "stays inside");
    assert!(!std::path::Path::new("/etc/target").exists());
}

#[test]
fn a_repository_serves_upgrades_and_fails_as_told() {
    let host = Host::bare(Release::Trixie);
    let repo = Repo::builder("lab")
        .hostname("packages.example.org")
        .build(&host);
    repo.add(&fixtures::with_service("demo", "1.0"));
    repo.enable(&host);
    host.sh(UPDATE);
    host.sh("apt-get install -q -y demo");
    assert_eq!(host.sh("systemctl is-active demo.service").trim(), "active");

    repo.add(&fixtures::with_service("demo", "1.1"));
    repo.take_requests();
    host.sh(UPDATE);
    assert_eq!(repo.requests(), ["/dists/stable/InRelease", &packages()]);
    repo.remove_from_pool("demo", "1.1");
    let failed = host.try_sh("apt-get install -q -y demo");
    assert!(failed.stderr.contains("404"), "{failed}");
    repo.add(&fixtures::with_service("demo", "1.1"));
    host.sh("apt-get install -q -y demo");
    assert_eq!(
        host.sh("systemctl show -P Description demo").trim(),
        "demo 1.1 of the lab"
    );

    host.reboot();
    host.sh(UPDATE);
    assert_eq!(host.sh("systemctl is-active demo.service").trim(), "active");
    assert_eq!(host.sh("systemctl is-system-running").trim(), "running");

    repo.take_requests();
    for fault in [
        Fault::Status(500),
        Fault::Hang,
        Fault::Reset,
        Fault::Html,
        Fault::RedirectLoop,
        Fault::Truncate,
    ] {
        repo.set(|_| ());
        repo.fault("InRelease", fault);
        let output = host.try_sh(UPDATE);
        assert_eq!(output.status, 100, "{fault:?}: {output}");
    }
    repo.heal();
    host.sh(UPDATE);
    repo.stop();
    let refused = host.try_sh(UPDATE);
    assert!(refused.stderr.contains("onnect"), "{refused}");
    repo.start();
    host.sh(UPDATE);
    repo.fault("", Fault::Drip);
    assert_eq!(host.try_sh(&format!("timeout 3 {UPDATE}")).status, 124);
}

#[test]
fn what_is_forged_is_refused() {
    for release in [Release::Trixie, Release::Bookworm] {
        let host = Host::bare(release);
        let repo = Repo::new(&host);
        let day = Duration::from_secs(24 * 60 * 60);
        repo.set(|options| options.date = Some(SystemTime::now() - day));
        repo.add(&fixtures::plain("demo", "1.0"));
        repo.enable(&host);
        host.sh(UPDATE);
        let old = repo.snapshot();

        repo.set(|options| options.date = None);
        repo.add(&fixtures::plain("demo", "2.0"));
        let good = repo.snapshot();
        for forged in [Tamper::InRelease, Tamper::Packages] {
            repo.restore(&good);
            repo.tamper(forged);
            assert_eq!(host.try_sh(UPDATE).status, 100, "{forged:?} on {release:?}");
        }
        repo.sign_by_stranger();
        let stranger = host.try_sh(UPDATE);
        assert_eq!(stranger.status, 100, "{stranger}");
        repo.sign_by_nobody();
        assert_eq!(host.try_sh(UPDATE).status, 100);
        repo.restore(&good);
        host.sh(UPDATE);

        repo.restore(&old);
        host.sh(UPDATE);
        assert!(
            host.sh("apt-cache policy demo").contains("2.0"),
            "a replay goes unnoticed, by apt"
        );
        repo.restore(&good);
        repo.tamper(Tamper::Deb("demo", "2.0"));
        assert!(
            host.try_sh("apt-get install -y demo")
                .stderr
                .contains("Hash Sum mismatch")
        );
        let dated = Repo::builder("dated").build(&host);
        dated.enable(&host);
        dated.set(|options| options.date = Some(SystemTime::now() + day));
        assert!(host.try_sh(UPDATE).stderr.contains("is not valid yet"));
    }
}

#[test]
fn two_repositories_of_one_host_go_their_own_ways() {
    let host = Host::bare(Release::Trixie);
    let security = Repo::builder("security").security().build(&host);
    let third = Repo::builder("third")
        .hostname("packages.example.org")
        .unsigned()
        .build(&host);
    for repo in [&security, &third] {
        repo.enable(&host);
    }
    security.add(&fixtures::with_conffile("demo", "1.0+deb13u1~lab"));
    third.add(&fixtures::plain("other", "1:1.0"));
    host.sh(UPDATE);
    host.sh("apt-get install -q -y demo other");
    assert!(host.sh("apt-cache policy").contains("l=Debian-Security"));

    third.add(&fixtures::plain("other", "1:2.0"));
    third.phase("other", 0);
    security.add(&fixtures::failing_postinst("demo", "2.0"));
    host.sh(UPDATE);
    let plan = host.sh("apt-get -s upgrade");
    assert!(
        plan.contains("Inst demo") && !plan.contains("Inst other"),
        "{plan}"
    );
    third.fault("other_", Fault::FlipBit);
    assert!(
        host.try_sh("apt-get install -q -y other")
            .stderr
            .contains("Hash Sum mismatch")
    );
    third.stop();
    let half = host.try_sh(UPDATE);
    assert_eq!(half.status, 100);
    assert!(
        half.stderr.contains("packages.example.org") && !half.stderr.contains("127.0.0.1:"),
        "{half}"
    );
    assert_ne!(host.try_sh("apt-get install -q -y demo").status, 0);
    assert!(host.sh("dpkg --audit").contains("demo"));
}

#[test]
fn our_package_is_a_layer_below_the_host() {
    let stand_in = fixtures::with_service("linux-patch-api", "1.0").build();
    let boot = || Host::builder(Release::Trixie).with_deb(&stand_in).boot();
    let host = boot();
    assert_eq!(
        host.sh("systemctl is-active linux-patch-api").trim(),
        "active"
    );
    assert_eq!(
        host.sh("ls /var/log/journal"),
        host.sh("cat /etc/machine-id")
    );
    host.install(&fixtures::with_version(&stand_in, "2.0"));
    assert_eq!(
        host.sh("dpkg-query -W -f '${Version}' linux-patch-api"),
        "2.0"
    );
    assert_eq!(
        boot().sh("dpkg-query -W -f '${Version}' linux-patch-api"),
        "1.0"
    );
}

#[test]
fn nothing_is_left_of_a_host() {
    let host = Host::bare(Release::Trixie);
    let root = host.root();
    let _repo = Repo::new(&host);
    let id = root
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let of_machine = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(&id)
    };
    let traces = || {
        [
            of_machine("cat", &["/proc/self/mounts"]),
            of_machine("ip", &["netns"]),
            of_machine("find", &["/sys/fs/cgroup", "-maxdepth", "2", "-type", "d"]),
        ]
    };
    assert_eq!(traces(), [true; 3]);
    let panicked = std::thread::spawn(move || {
        let _host = host;
        panic!("on purpose: a test that fails cleans up too");
    });
    assert!(panicked.join().is_err());
    assert_eq!(traces(), [false; 3]);
    assert!(!root.parent().unwrap().exists());
}

fn packages() -> String {
    let output = Command::new("dpkg")
        .arg("--print-architecture")
        .output()
        .unwrap();
    format!(
        "/dists/stable/main/binary-{}/Packages",
        String::from_utf8_lossy(&output.stdout).trim()
    )
}
