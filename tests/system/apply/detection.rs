//! Which package manager a host has, and what is said where there is none that could be used.

use lab::fixtures::plain;
use lab::{Host, Release};

use crate::job::{applied, changes, failed, host_with, text};
use crate::story::property;

#[test]
fn the_package_manager_is_that_of_the_distribution_whatever_else_is_there() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    host.sh("ln -s /bin/false /usr/bin/dnf && ln -s /bin/false /usr/bin/pacman");

    assert_eq!(property(&host, "Backend"), "apt");
    let job = applied(&host, "demo");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_host_without_a_usable_package_manager_says_what_to_do() {
    let host = Host::boot(Release::Trixie);
    host.sh("rm /etc/os-release");

    host.write("/etc/os-release", "ID=gentoo\nPRETTY_NAME=Gentoo\n");
    not_usable(&host, "(Gentoo, ID=gentoo) is not known; set backend =");

    host.write("/etc/os-release", "ID=nixos\nPRETTY_NAME=NixOS\n");
    not_usable(&host, "what updates it is 'nixos-rebuild switch --upgrade'");

    host.sh("rm /etc/os-release; touch /run/ostree-booted; ln -s /bin/false /usr/bin/rpm-ostree");
    not_usable(&host, "what updates it is 'rpm-ostree upgrade'");

    host.write(
        "/etc/linux_patch_api/config.toml",
        "backend = \"portage\"\n",
    );
    not_usable(&host, "'portage' is not known; the names are");

    host.write("/etc/linux_patch_api/config.toml", "backend = \"apt\"\n");
    assert_eq!(
        property(&host, "Backend"),
        "apt",
        "it overrides what was found"
    );
}

/// A request fails for this reason, and the host is reported as degraded with it.
fn not_usable(host: &Host, why: &str) {
    let job = failed(host, "adduser");
    let error = text(&job, "error").replace('"', "'");
    assert!(error.contains(why), "{error}");
    assert_eq!(property(host, "Health"), "degraded");
    let reasons = property(host, "HealthReasons")
        .replace('\\', "")
        .replace('"', "'");
    assert!(reasons.contains(why), "{reasons}");
}
