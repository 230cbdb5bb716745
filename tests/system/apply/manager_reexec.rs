//! The service manager is one of the programs that an update replaces: it re-executes itself, and no result is lost by that.

use lab::{Deb, Host, Release, fixtures};
use serde_json::Value;

use crate::job::{host_with, list, put_on, start, text};
use crate::story::{installed, last_job, property, unit};

/// A library that nothing needs.
const LIBRARY: &str = "/usr/lib/libdemo/demo.so";

fn library(host: &Host, version: &str) -> Deb {
    let real = host.sh("ls /usr/lib/*-linux-gnu/libutil.so.1");
    let mut code =
        std::fs::read(host.root().join(real.trim().trim_start_matches('/'))).expect("no library");
    code.extend(version.as_bytes());
    fixtures::plain("libdemo", version).program(LIBRARY, code)
}

/// Has the service manager map the library, and nothing else that stays.
fn map_by_the_manager_alone(host: &Host) {
    host.write("/etc/ld.so.preload", format!("{LIBRARY}\n"));
    host.sh("systemctl daemon-reexec");
    host.sh(&format!(
        "rm /etc/ld.so.preload; grep -q {LIBRARY} /proc/1/maps"
    ));
    let mapped = format!("grep -l {LIBRARY} /proc/[0-9]*/maps 2>/dev/null || true");
    host.wait_for("the others to be gone", || {
        host.sh(&mapped).trim() == "/proc/1/maps"
    });
}

/// Which life of the service manager this is: it makes a new private socket when it re-executes itself.
fn life(host: &Host) -> String {
    host.sh("stat -c %i /run/systemd/private")
}

/// What is listed of the library, as `unit: advice`.
fn outdated(services: &Value) -> Vec<String> {
    let services = services.as_array().expect("no list").iter();
    let of_library = services.filter(|s| s["files"].to_string().contains(LIBRARY));
    of_library
        .map(|s| format!("{}: {}", text(s, "unit"), text(s, "advice")))
        .collect()
}

fn picture(host: &Host) -> Value {
    serde_json::from_str(&host.sh("patchctl status --json")).unwrap()
}

releases!(a_library_of_the_service_manager_asks_to_re_execute_not_to_reboot [bookworm trixie forky]);
fn a_library_of_the_service_manager_asks_to_re_execute_not_to_reboot(release: Release) {
    let (host, repo) = host_with(release, &[]);
    put_on(&host, &[library(&host, "1.0")]);
    map_by_the_manager_alone(&host);
    let before = life(&host);
    let advice = ["init.scope: systemctl daemon-reexec"];

    // only advised, with words that systemd takes
    repo.add(&library(&host, "1.1"));
    let output = host.try_sh("patchctl apply libdemo --reboot=when-needed");
    assert!(output.success(), "{output}");
    let job = last_job(&host);
    assert_eq!(outdated(&job["outdated_services"]), advice, "{job:#}");
    assert_eq!(job["reboot"], Value::Null, "{job:#}");
    assert_eq!(property(&host, "RebootRequired"), "false");
    assert_eq!(outdated(&picture(&host)["outdated_services"]), advice);
    let status = host.sh("patchctl status");
    assert!(status.contains("systemctl daemon-reexec"), "{status}");
    let explained = host.sh("journalctl -x --no-pager PATCH_UNIT=init.scope");
    assert!(
        explained.contains("    systemctl daemon-reexec"),
        "{explained}"
    );
    assert_eq!(life(&host), before);
    host.sh("systemctl daemon-reload");
    assert_eq!(outdated(&picture(&host)["outdated_services"]), advice);
    host.sh("systemctl daemon-reexec");
    assert!(outdated(&picture(&host)["outdated_services"]).is_empty());

    // done, and not before the client that waits for the job has its result
    map_by_the_manager_alone(&host);
    let before = life(&host);
    let config = "[services]\nrestart = \"safe\"\n";
    host.write("/etc/linux_patch_api/config.d/services.toml", config);
    repo.add(&library(&host, "1.2"));
    let output = start(&host, "libdemo");
    assert!(output.success(), "{output}");
    let job = last_job(&host);
    assert_eq!(outdated(&job["outdated_services"]), advice, "{job:#}");
    host.wait_for("the re-execution", || life(&host) != before);
    host.wait_for("an up-to-date list", || {
        outdated(&picture(&host)["outdated_services"]).is_empty()
    });
    host.sh(&format!("! grep -q {LIBRARY} /proc/1/maps"));
    assert_eq!(property(&host, "RebootRequired"), "false");
}

/// Re-executes the service manager in the middle, as systemd and the C library do when they are updated.
fn re_executing(version: &str, then: &str) -> Deb {
    let script = format!("systemctl daemon-reexec\n{then}");
    fixtures::plain("demo", version).postinst(&script)
}

releases!(an_update_that_re_executes_the_service_manager_keeps_its_result [bookworm trixie forky]);
/// The two lines that the manual gives, with the right exit status, and what it says of the third.
fn an_update_that_re_executes_the_service_manager_keeps_its_result(release: Release) {
    let (host, repo) = host_with(release, &[fixtures::plain("demo", "1.0")]);
    let lines = [
        "patchctl apply all",
        "SYSTEMCTL_FORCE_BUS=1 systemctl start patch-apply@all.service",
    ];
    let before = life(&host);
    for (number, line) in lines.iter().enumerate() {
        let version = format!("1.{}", number + 1);
        repo.add(&re_executing(&version, ""));
        let output = host.try_sh(line);
        assert!(output.success(), "{line}: {output}");
        assert_eq!(installed(&host, "demo"), format!("{version} installed"));
        assert_eq!(last_job(&host)["status"], "succeeded");
    }
    assert_ne!(life(&host), before);
    for (number, line) in lines.iter().enumerate() {
        repo.add(&re_executing(&format!("1.{}", number + 3), "exit 1"));
        let output = host.try_sh(line);
        assert_eq!(output.status, 1, "{line}: {output}");
        assert_eq!(last_job(&host)["status"], "failed");
    }

    repo.add(&re_executing("1.5", "sleep 1"));
    let output = start(&host, "demo");
    assert!(
        !output.success(),
        "root's systemctl loses its connection: {output}"
    );
    assert!(
        output.stdout.contains("Connection reset by peer"),
        "{output}"
    );
    let running = "patch-apply@demo.service";
    host.wait_for("the job, which goes on", || {
        unit(&host, running, "ActiveState") == "inactive"
    });
    assert_eq!(unit(&host, running, "Result"), "success");
    assert_eq!(installed(&host, "demo"), "1.5 installed");
    assert_eq!(list(&last_job(&host), "changes").len(), 1);
}
