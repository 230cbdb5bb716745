//! The disk space check: too little room is found before anything changes.

use lab::Release;
use lab::fixtures::plain;

use crate::job::{applied, causes, changes, failed, host_with, kept_back, text};
use crate::story::{installed, property, refresh_succeeds};

// fault: disk full
releases!(a_full_boot_or_cache_fails_the_update_before_anything_changes [bookworm trixie]);
fn a_full_boot_or_cache_fails_the_update_before_anything_changes(release: Release) {
    let kernel = |version: &str| {
        plain("linux-image-lab", version).file("/boot/vmlinuz-lab", vec![b'k'; 3 << 20])
    };
    let latest = |version: &str| {
        plain("linux-image-lab-latest", version).depends(&format!("linux-image-lab (= {version})"))
    };
    let (host, repo) = host_with(
        release,
        &[
            plain("linux-image-lab", "1.0").file("/boot/vmlinuz-lab", "image"),
            latest("1.0"),
            plain("demo", "1.0"),
        ],
    );
    repo.add(&kernel("1.1"));
    repo.add(&latest("1.1"));
    repo.add(&plain("demo", "1.1"));
    let unchanged = |name: &str| assert_eq!(installed(&host, name), "1.0 installed");
    host.sh("mkdir -p /boot && mount -t tmpfs -o size=4m tmpfs /boot");
    host.sh("head -c 3M /dev/urandom > /boot/vmlinuz-0");
    refresh_succeeds(&host);
    let plan = host.sh("patchctl plan --json linux-image-lab-latest linux-image-lab demo");
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("no JSON");
    let short = ["linux-image-lab space", "linux-image-lab-latest space"];
    assert_eq!(causes(&plan), short, "{plan:#}");

    for name in ["linux-image-lab", "linux-image-lab-latest"] {
        let job = failed(&host, name);
        let error = text(&job, "error");
        let why = "linux-image-lab needs 3072 KiB on /boot, 1024 KiB are free; free space there";
        assert!(error.contains(why), "{error}");
        unchanged("linux-image-lab");
        unchanged("linux-image-lab-latest");
    }

    // what needs nothing there is applied
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"], "{job:#}");
    assert_eq!(causes(&job), short, "{job:#}");
    let cached = host.sh("ls /var/cache/apt/archives");
    assert!(!cached.contains("linux-image"), "fetched: {cached}");
    let kept = kept_back(&job).join("\n");
    assert!(
        kept.contains("needs 3072 KiB on /boot, 1024 KiB are free"),
        "{kept}"
    );
    unchanged("linux-image-lab");
    assert_eq!(property(&host, "PendingUpdates"), "2");

    host.sh("umount /boot && mount -t tmpfs -o size=1m tmpfs /var/cache/apt/archives");
    let job = failed(&host, "linux-image-lab");
    let error = text(&job, "error");
    assert!(
        error.contains("on /var/cache/apt/archives, 1024 KiB are free"),
        "{error}"
    );
    unchanged("linux-image-lab");
    let log = host.sh("patchctl status");
    assert!(log.contains("/var/cache/apt/archives"), "{log}");

    host.sh("umount /var/cache/apt/archives");
    assert_eq!(
        changes(&applied(&host, "all")),
        [
            "linux-image-lab 1.0 -> 1.1",
            "linux-image-lab-latest 1.0 -> 1.1"
        ]
    );
}

// fault: disk full
#[test]
fn old_kernels_make_room_where_the_configuration_says_so() {
    let release = |number: u32| format!("6.1.0-{number}-lab");
    let kernel = |number: u32| {
        let image = format!("/boot/vmlinuz-{}", release(number));
        let name = format!("linux-image-{}", release(number));
        // apt takes those of one version for flavours of one kernel, and keeps all or none
        lab::Deb::new(&name, &format!("6.1.{number}")).file(&image, vec![b'k'; 1 << 20])
    };
    let latest = |version: &str, number: u32| {
        let on = format!("linux-image-{}", release(number));
        plain("linux-image-lab", version).depends(&on)
    };
    let (host, repo) = host_with(Release::Trixie, &[]);
    host.sh("mkdir -p /boot && mount -t tmpfs -o size=4500k tmpfs /boot");
    let installed_before = [1, 2, 3, 4].map(kernel);
    host.put_on(&installed_before);
    host.put_on(&[latest("1.0", 4), plain("demo", "1.0")]);
    let name = |number: u32| format!("linux-image-{}", release(number));
    host.sh(&format!(
        "apt-mark auto {} {} {}",
        name(2),
        name(3),
        name(4)
    ));
    repo.add(&kernel(5));
    repo.add(&latest("1.1", 5));
    repo.add(&plain("demo", "1.1"));

    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"], "{job:#}");
    assert_eq!(
        causes(&job),
        [
            format!("{} space", name(5)),
            "linux-image-lab space".to_owned()
        ]
    );

    host.append(
        "/etc/linux_patch_api/config.toml",
        "[rollback]\nremove_old_kernels = true\n",
    );
    let job = applied(&host, "all");

    // the first was installed for its own sake, the others are apt's and ours to keep
    let expected = [
        format!("{} 6.1.2 -> none", name(2)),
        format!("{} none -> 6.1.5", name(5)),
        "linux-image-lab 1.0 -> 1.1".to_owned(),
    ];
    assert_eq!(changes(&job), expected, "{job:#}");
    for (number, there) in [(1, true), (2, false), (3, true), (4, true), (5, true)] {
        let image = format!("/boot/vmlinuz-{}", release(number));
        assert_eq!(host.exists(&image), there, "{image}");
    }
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: file system mounted read-only or noexec
#[test]
fn scripts_that_dpkg_could_not_run_are_named_before_anything_changes() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1").postinst("true"));
    host.mount("--bind /var /var");
    host.mount("-o remount,bind,noexec /var");

    let job = failed(&host, "demo");

    let error = text(&job, "error");
    assert!(error.contains("/var is mounted noexec"), "{error}");
    assert!(error.contains("mount -o remount,exec /var"), "{error}");
    assert_eq!(installed(&host, "demo"), "1.0 installed");
    host.mount("-o remount,bind,exec /var");
    assert_eq!(changes(&applied(&host, "demo")), ["demo 1.0 -> 1.1"]);
}
