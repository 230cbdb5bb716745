//! Other packages under a known name: of another architecture, or built once more in the same version.

use lab::{Deb, Host, Manager};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use super::Backend;
use crate::job::{applied, causes, events_of_kind, id_of, list, text};
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
