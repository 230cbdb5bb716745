//! apk, by a stand-in that keeps its state: Debian has none.

use lab::{Host, Release};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, failed, kept_back, text};
use crate::story::{last_job, property, refresh_fails, refresh_succeeds};

const REPOSITORY: &str = "/srv/apk";

/// A host that the stand-in patches, with `demo` and `tool` 1.0.
fn host() -> Host {
    let host = Host::boot(Release::Trixie);
    host.write("/etc/linux_patch_api/config.toml", "backend = \"apk\"\n");
    host.write("/usr/bin/apk", include_str!("apk.sh"));
    host.write(
        "/etc/apk/repositories",
        format!("# the lab's\n{REPOSITORY}\n"),
    );
    host.write("/etc/apk/world", "demo\ntool\n");
    let record = |name: &str| format!("P:{name}\nV:1.0-r0\nA:x86_64\nf:S\n\n");
    host.write("/lib/apk/db/installed", record("demo") + &record("tool"));
    host.write("/lib/apk/db/lock", "");
    host.sh("chmod 0755 /usr/bin/apk");
    publish(&host, "demo", "1.0-r0", "true");
    publish(&host, "tool", "1.0-r0", "true");
    // what an earlier update had fetched
    host.sh(&format!(
        "mkdir -p /var/cache/linux_patch_api/apk; cd {REPOSITORY}; \
         for file in *.apk; do cp $file /var/cache/linux_patch_api/apk/${{file%.apk}}.0a1b2c3d.apk; done"
    ));
    host
}

/// A package whose post-upgrade script is this, in the index.
fn publish(host: &Host, name: &str, version: &str, script: &str) {
    host.write(&format!("{REPOSITORY}/{name}-{version}.apk"), script);
    host.sh(&format!(
        "cd {REPOSITORY}; touch INDEX; sed -i '/^{name} /d' INDEX; echo '{name} {version}' >> INDEX"
    ));
}

fn installed(host: &Host, name: &str) -> String {
    let record = host.sh(&format!("grep -A1 '^P:{name}$' /lib/apk/db/installed"));
    record
        .lines()
        .nth(1)
        .expect("no version")
        .trim_start_matches("V:")
        .to_owned()
}

#[test]
fn the_life_of_an_update_by_a_stand_in_for_apk() {
    let host = host();
    publish(&host, "demo", "1.1-r0", "true");
    publish(&host, "tool", "1.1-r0", "true");
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Backend"), "apk");
    assert_eq!(property(&host, "PendingUpdates"), "2");

    // one by name, then all, then nothing
    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.0-r0 -> 1.1-r0"]);
    assert_eq!(installed(&host, "tool"), "1.0-r0");
    let job = failed(&host, "security");
    assert!(
        text(&job, "error").contains("which updates are for security"),
        "{job:#}"
    );
    assert_eq!(changes(&applied(&host, "all")), ["tool 1.0-r0 -> 1.1-r0"]);
    let job = applied(&host, "all");
    assert!(
        changes(&job).is_empty() && kept_back(&job).is_empty(),
        "{job:#}"
    );

    // offline; then a package that stays away, for which the refresh is tried once more
    host.sh(&format!("mv {REPOSITORY} /srv/away"));
    let why = refresh_fails(&host);
    assert!(why.contains("Connection refused"), "{why}");
    host.sh(&format!("mv /srv/away {REPOSITORY}"));
    publish(&host, "demo", "1.2-r0", "true");
    host.sh(&format!("rm {REPOSITORY}/demo-1.2-r0.apk"));
    let job = failed(&host, "demo");
    assert!(
        text(&job, "error").contains("demo-1.2-r0: HTTP 404"),
        "{job:#}"
    );
    assert_eq!(events_of_kind(&host, message::RETRY).len(), 1);
    assert_eq!(installed(&host, "demo"), "1.1-r0");

    // a script that fails: back it goes, and the pin that takes does not stay
    publish(&host, "demo", "1.3-r0", "exit 1");
    let job = failed(&host, "demo");
    assert!(
        text(&job, "error").contains("with a failed script"),
        "{job:#}"
    );
    assert_eq!(job["update"]["phase"], "rolled_back", "{job:#}");
    assert_eq!(installed(&host, "demo"), "1.1-r0");
    assert_eq!(host.read("/etc/apk/world"), "demo\ntool\n");

    // somebody else holds the lock
    publish(&host, "demo", "1.4-r0", "true");
    let other = host.spawn("flock /lib/apk/db/lock sh -c 'touch /run/held; while [ -e /run/held ]; do sleep 0.05; done'");
    host.wait_for("the lock", || host.exists("/run/held"));
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.sh("rm /run/held");
    assert!(other.wait().success());
    assert!(running.wait().success(), "{:#}", last_job(&host));
    assert_eq!(installed(&host, "demo"), "1.4-r0");

    // a power cut in the middle
    let once = "[ -e /var/tmp/seen ] && exit 0; touch /var/tmp/seen /run/slow; sync; sleep 600";
    publish(&host, "demo", "1.5-r0", once);
    let running = host.spawn("systemctl start patch-apply@demo.service");
    host.wait_for("its script", || host.exists("/run/slow"));
    host.power_cut();
    drop(running);
    host.start();
    host.wait_for("the job to end", || {
        let status = last_job(&host)["status"].as_str().map(str::to_owned);
        !matches!(status.as_deref(), Some("queued" | "running") | None)
    });
    assert_eq!(
        last_job(&host)["status"],
        "succeeded",
        "{:#}",
        last_job(&host)
    );
    assert_eq!(installed(&host, "demo"), "1.5-r0");
    assert_eq!(property(&host, "Health"), "healthy");
}
