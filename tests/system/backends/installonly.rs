//! What is particular about RPM: versions side by side, such as those of kernels, and files left to merge.

use lab::fixtures::{plain, with_conffile};
use lab::{Deb, Host, Manager};
use serde_json::Value;

use super::Backend;
use crate::job::{applied, changes, id_of, list, text};
use crate::story::{last_job, property};

/// A package whose versions have no file in common.
fn driver(version: &str) -> Deb {
    let file = format!("/usr/lib/driver/{version}/driver");
    Deb::new("driver", version).file(&file, version)
}

/// The administrator lets its versions stand side by side.
fn allow(host: &Host, manager: Manager) {
    match manager {
        Manager::Zypper => host.write("/etc/zypp/multiversion.d/lab.conf", "driver\n"),
        _ => host.append("/etc/dnf/dnf.conf", "installonlypkgs=driver\n"),
    }
}

fn only_the_new_version_goes_again(backend: Backend) {
    let (host, repo) = backend.host_with(&[driver("1.0"), with_conffile("tool", "1.0")]);
    allow(&host, backend.manager);
    let required = "[rollback]\nrequire_rollback = true\n";
    host.write("/etc/linux_patch_api/config.d/required.toml", required);
    let version = |version: &str| backend.version(version);
    let both = |new: &str| format!("{} {}", version("1.0"), version(new));

    // the former version is nowhere but on the host, and that is enough
    repo.add(&driver("1.1"));
    let job = applied(&host, "all");
    let expected = format!("driver {} -> {}", version("1.0"), version("1.1"));
    assert_eq!(changes(&job), [expected]);
    assert_eq!(backend.installed(&host, "driver"), both("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");

    host.sh(&format!("patchctl rollback {}", id_of(&job)));
    assert_eq!(
        last_job(&host)["status"],
        "succeeded",
        "{:#}",
        last_job(&host)
    );
    assert_eq!(backend.installed(&host, "driver"), version("1.0"));
    assert_eq!(host.read("/usr/lib/driver/1.0/driver"), "1.0");

    // one that the kernel runs from stays, whatever the request
    let release = host.sh("uname -r");
    let modules = format!("/usr/lib/modules/{}/driver", release.trim());
    repo.add(&driver("1.2").file(&modules, "1.2"));
    let job = applied(&host, "all");
    let output = host.try_sh(&format!("patchctl rollback {}", id_of(&job)));
    assert!(!output.success(), "{output}");
    let error = text(&last_job(&host), "error").to_owned();
    assert!(error.contains("is the running kernel"), "{error}");
    assert_eq!(backend.installed(&host, "driver"), both("1.2"));

    // what rpm says once of a file that both have changed is in the record
    host.sh("rm /etc/linux_patch_api/config.d/required.toml");
    host.append("/etc/tool.conf", "changed = yes\n");
    repo.add(&with_conffile("tool", "1.1"));
    let job = applied(&host, "tool");
    let notes = list(&job, "notes");
    let new = "/etc/tool.conf.rpmnew";
    let is_told = |note: &Value| note.as_str().is_some_and(|note| note.ends_with(new));
    assert!(notes.iter().any(is_told), "{job:#}");
    assert_eq!(host.read(new), "default = 1.1\n");
}

#[test]
fn with_dnf_4_only_the_new_version_goes_again() {
    only_the_new_version_goes_again(Backend::dnf4());
}

#[test]
fn with_dnf_5_only_the_new_version_goes_again() {
    only_the_new_version_goes_again(Backend::dnf5());
}

// fault: a former version is unavailable
#[test]
fn what_zypper_replaces_in_place_goes_back_with_the_rest() {
    let backend = Backend::zypper();
    // dnf would let the two stand side by side by this name; zypper does so where zypp.conf says it
    let kernel = |version: &str| {
        let release = format!("/usr/lib/modules/{version}/kernel");
        Deb::new("kernel", version).file(&release, version)
    };
    let (host, repo) = backend.host_with(&[]);
    backend.install(&host, &repo, &kernel("1.0"));
    backend.install(&host, &repo, &plain("demo", "1.0"));
    repo.add(&kernel("1.1"));
    repo.add(&plain("demo", "1.1"));
    let job = applied(&host, "all");
    let version = |version: &str| backend.version(version);
    assert_eq!(backend.installed(&host, "kernel"), version("1.1"));

    host.sh(&format!("patchctl rollback {}", id_of(&job)));

    let back = last_job(&host);
    assert_eq!(back["status"], "succeeded", "{back:#}");
    assert_eq!(back["rollback"]["outcome"], "rolled_back", "{back:#}");
    for package in ["kernel", "demo"] {
        assert_eq!(backend.installed(&host, package), version("1.0"));
    }
}

#[test]
fn with_zypper_only_the_new_version_goes_again() {
    only_the_new_version_goes_again(Backend::zypper());
}
