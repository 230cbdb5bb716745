//! Other packages under a known name: of another architecture, or built once more in the same version.

use lab::{Deb, Host, Manager};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use super::Backend;
use crate::job::{applied, causes, events_of_kind, failed, id_of, list, text};
use crate::story::{last_job, property, refresh_succeeds};

/// A package that has a file of its own for each architecture.
fn of(name: &str, version: &str, architecture: &str) -> Deb {
    Deb::new(name, version)
        .arch(architecture)
        .file(&format!("/usr/share/{name}/version"), version)
        .file(&format!("/usr/share/{name}/{architecture}"), version)
}

/// What the package manager calls the host's architecture, and every one.
fn words(host: &Host, manager: Manager) -> [String; 2] {
    let (native, every) = match manager {
        Manager::Apt => ("dpkg --print-architecture", "all"),
        Manager::Pacman => ("uname -m", "any"),
        _ => ("uname -m", "noarch"),
    };
    [host.sh(native).trim().to_owned(), every.to_owned()]
}

/// Each change of a record as `name former -> new: from -> to`, sorted.
fn architectures(record: &Value, key: &str) -> Vec<String> {
    let line = |change: &Value| {
        let of = |key: &str| text(change, key).to_owned();
        let (name, former, new) = (of("package"), of("former_architecture"), of("architecture"));
        let [from, to] = match key {
            "updates" => [of("installed"), of("candidate")],
            _ => [of("from"), of("to")],
        };
        format!("{name} {former} -> {new}: {from} -> {to}")
    };
    let mut lines: Vec<String> = list(record, key).iter().map(line).collect();
    lines.sort();
    lines
}

/// Undoes a job by hand, which has to succeed; the record of that.
fn rolled_back(host: &Host, job: &Value) -> Value {
    let output = host.try_sh(&format!("patchctl rollback {} 2>&1", id_of(job)));
    let undone = last_job(host);
    assert!(output.success(), "{output}\n{undone:#}");
    assert_eq!(undone["status"], "succeeded", "{undone:#}");
    assert_eq!(undone["rollback"]["outcome"], "rolled_back", "{undone:#}");
    assert_eq!(undone["rollback"]["as_before"], true, "{undone:#}");
    undone
}

pub fn a_change_of_architecture_is_one_change(backend: Backend) {
    let (host, repo) = backend.host_with(&[]);
    let [native, every] = words(&host, backend.manager);
    let version = |version: &str| backend.version(version);
    backend.install(&host, &repo, &of("demo", "1.0", "native"));
    backend.install(&host, &repo, &of("tool", "1.0", "all"));
    repo.add(&of("demo", "1.1", "all"));
    repo.add(&of("tool", "1.1", "native"));
    let [old, new] = [version("1.0"), version("1.1")];
    let both = [
        format!("demo {native} -> {every}: {old} -> {new}"),
        format!("tool {every} -> {native}: {old} -> {new}"),
    ];

    refresh_succeeds(&host);
    let plan = host.sh("patchctl plan all --json");
    let plan: Value = serde_json::from_str(&plan).expect("no plan");
    assert_eq!(architectures(&plan, "updates"), both, "{plan:#}");
    let shown = host.sh("patchctl updates");
    assert!(
        shown.contains(&format!("demo:{every} (was {native})")),
        "{shown}"
    );

    let named = format!("demo:{native}");
    let (asked, expected) = if backend.takes_parts() {
        (&*named, &both[..1])
    } else {
        ("all", &both[..])
    };
    let job = applied(&host, asked);
    assert_eq!(architectures(&job, "changes"), expected, "{job:#}");
    assert!(host.exists("/usr/share/demo/all"), "{job:#}");
    assert!(!host.exists("/usr/share/demo/native"), "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), new);
    let told = events_of_kind(&host, message::PACKAGE_CHANGED);
    let of_demo = told.iter().find(|event| event["PATCH_PACKAGE"] == "demo");
    let of_demo = of_demo.expect("no event");
    assert_eq!(of_demo["PATCH_FORMER_ARCHITECTURE"], *native);

    let undone = rolled_back(&host, &job);
    let back = format!("demo {every} -> {native}: {new} -> {old}");
    assert!(
        architectures(&undone, "changes").contains(&back),
        "{undone:#}"
    );
    assert_eq!(host.read("/usr/share/demo/native"), "1.0");
    assert!(!host.exists("/usr/share/demo/all"), "{undone:#}");
    assert_eq!(backend.installed(&host, "demo"), old);

    // it is not tried again as it was, until it is asked for
    let job_again = applied(&host, "all");
    assert!(
        causes(&job_again).contains(&"demo rolled_back".to_owned()),
        "{job_again:#}"
    );
    host.sh(&format!("patchctl forget {}", id_of(&job)));
    applied(&host, "all");
    assert_eq!(backend.installed(&host, "demo"), new);
    assert_eq!(backend.installed(&host, "tool"), new);
    assert_eq!(property(&host, "PendingUpdates"), "0");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// One build of a package: its files, its size and what it needs tell it from the others.
fn build(number: usize, needs: Option<&str>) -> Deb {
    let package = Deb::new("demo", "1.0")
        .field("Installed-Size", &format!("{}", 10 + number))
        .file("/usr/share/demo/build", number.to_string());
    match needs {
        Some(needs) => package.depends(needs),
        None => package,
    }
}

/// The builds of a change, as a record has them.
fn builds(change: &Value) -> [String; 2] {
    ["from", "to"].map(|key| text(&change["rebuilt"], key).to_owned())
}

/// The only change of a record.
fn only(job: &Value) -> &Value {
    match list(job, "changes") {
        [only] => only,
        _ => panic!("{job:#}"),
    }
}

pub fn another_build_of_the_same_version_is_a_change(backend: Backend) {
    let (host, repo) = backend.host_with(&[Deb::new("demo", "0.9")]);
    let installed = || host.read("/usr/share/demo/build");
    repo.add(&build(1, None));
    applied(&host, "demo");
    assert_eq!(installed(), "1");

    // apt has a file of that name and size in its cache, which is not the one that the index names
    repo.add(&build(2, Some("libnew(>=1)")));
    repo.add(&Deb::new("libnew", "1.0"));
    refresh_succeeds(&host);
    for shown in [host.sh("patchctl updates"), host.sh("patchctl plan demo")] {
        assert!(shown.contains("1.0 (rebuilt)"), "{shown}");
    }
    let job = applied(&host, "demo");
    let changed = list(&job, "changes").iter();
    let changed = changed.clone().find(|change| change["package"] == "demo");
    let changed = changed.expect("no change");
    let [first, second] = builds(changed);
    assert!(
        first.len() == 64 && second.len() == 64 && first != second,
        "{job:#}"
    );
    assert_eq!((text(changed, "from"), text(changed, "to")), ("1.0", "1.0"));
    assert_eq!(installed(), "2");
    let told = events_of_kind(&host, message::PACKAGE_CHANGED);
    let of_builds = |event: &&Value| event["PATCH_TO_BUILD"] == *second;
    let event = told.iter().find(of_builds).expect("no event");
    assert_eq!(event["PATCH_FROM_BUILD"], *first);
    assert!(text(event, "MESSAGE").contains("1.0 rebuilt"), "{event:#}");
    assert!(
        host.sh(&format!("patchctl log {}", id_of(&job)))
            .contains("demo:all 1.0 rebuilt")
    );
    let former = list(&job, "former").iter();
    let former = former
        .clone()
        .find(|former| former["change"]["package"] == "demo");
    assert_eq!(former.expect("no former")["source"], "kept", "{job:#}");

    let undone = rolled_back(&host, &job);
    assert_eq!(installed(), "1");
    let back = list(&undone, "changes").iter();
    let back = back.clone().find(|change| change["package"] == "demo");
    assert_eq!(
        builds(back.expect("no change")),
        [second.clone(), first.clone()]
    );

    // that build waits, and not the version
    let again = applied(&host, "all");
    assert_eq!(causes(&again), ["demo rolled_back"], "{again:#}");
    assert_eq!(installed(), "1");
    repo.add(&build(3, None));
    let job = applied(&host, "all");
    assert_eq!(builds(only(&job))[0], first, "{job:#}");
    assert_eq!(installed(), "3");

    // one that turns out bad goes back by itself, to the one of several builds that was there
    repo.add(&build(4, None).postinst("exit 7"));
    let job = failed(&host, "all");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(job["rollback"]["as_before"], true, "{job:#}");
    assert_eq!(installed(), "3");

    // as does a newer version
    repo.add(&Deb::new("demo", "1.1").postinst("exit 7"));
    let job = failed(&host, "all");
    assert_eq!(job["rollback"]["outcome"], "rolled_back", "{job:#}");
    assert_eq!(installed(), "3");
    assert_eq!(backend.installed(&host, "demo"), "1.0");
}
