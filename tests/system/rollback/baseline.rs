//! The baseline after a rollback: what is compared with it, which differences are named, and what goes with the update.

use lab::fixtures::{broken_service, plain, with_conffile, with_service};
use lab::{Deb, Host, Release};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, events_of_kind, failed, host_with, id_of, list, text};
use crate::story::{STATE, installed, last_job, property};

/// Each file in `/etc` that a record names, with in what it differs.
fn differing(job: &Value) -> Vec<String> {
    let etc = list(&job["rollback"], "etc").iter();
    etc.map(|file| format!("{} {}", text(file, "path"), text(file, "what")))
        .collect()
}

/// Whether dpkg knows anything of a package.
fn is_known(host: &Host, package: &str) -> bool {
    host.try_sh(&format!("dpkg-query -W {package} 2>/dev/null"))
        .success()
}

/// A package that comes with an update alone: a configuration file, and data that its purge would delete.
fn newcomer(name: &str) -> Deb {
    let data = format!("/var/lib/{name}");
    with_conffile(name, "1.1")
        .postinst(&format!("mkdir -p {data}; echo of value > {data}/data"))
        .postrm(&format!("[ \"$1\" != purge ] || rm -rf {data}"))
}

// fault: scripts change /etc
#[test]
fn what_an_update_leaves_in_etc_is_named_and_its_packages_go_whole() {
    let (host, repo) = host_with(Release::Trixie, &[]);
    host.write(
        "/etc/linux_patch_api/config.d/reboot.toml",
        "[reboot]\ndelay = \"2h\"\n",
    );
    // as ucf does it: a script makes the file, and dpkg knows nothing of it
    let app = |version: &str| {
        let make = format!("echo of {version} > /etc/app.conf");
        plain("app", version).postinst(&make)
    };
    repo.add(&app("1.0"));
    repo.add(&with_service("demo", "1.0"));
    host.sh("apt-get -q update && apt-get -q -y install app demo");
    repo.add(
        &plain("app", "1.1")
            .depends("newdep, newkeep")
            .postinst(
                "echo of 1.1 > /etc/app.conf; echo new > /etc/app.new; chmod 600 /etc/app.mode\n\
                 echo mine >> /etc/newkeep.conf\n\
                 echo app >> /run/reboot-required.pkgs; touch /run/reboot-required",
            )
            .postrm("[ -e /run/clean ] || echo left > /etc/app.left"),
    );
    repo.add(&newcomer("newdep"));
    repo.add(&newcomer("newkeep"));
    repo.add(&broken_service("demo", "1.1"));
    host.write("/etc/app.mode", "the same\n");

    let job = failed(&host, "all");

    // dpkg runs the script of the former version on the way back, which makes its file again
    let rollback = &job["rollback"];
    assert_eq!(rollback["outcome"], "rolled_back", "{job:#}");
    assert_eq!(rollback["error"], Value::Null, "{job:#}");
    assert_eq!(rollback["as_before"], false, "{job:#}");
    assert_eq!(
        differing(&job),
        [
            "/etc/app.left new",
            "/etc/app.mode attributes",
            "/etc/app.new new",
            "/etc/newkeep.conf new"
        ],
        "{job:#}"
    );
    let compared = serde_json::json!(["versions", "states", "files", "marks", "units", "etc"]);
    assert_eq!(rollback["compared"], compared, "{job:#}");
    // what came with the update alone is gone without a trace, but for what was changed, and for its data
    assert!(!is_known(&host, "newdep") && !host.exists("/etc/newdep.conf"));
    assert!(host.exists("/var/lib/newdep/data"));
    let stayed = &list(rollback, "stayed")[0];
    assert_eq!(stayed["package"], "newkeep", "{job:#}");
    assert_eq!(stayed["reason"], "/etc/newkeep.conf was changed", "{job:#}");
    assert!(host.read("/etc/newkeep.conf").ends_with("mine\n"));
    // nor does a reboot hold that was for what went back
    assert!(!host.exists("/run/reboot-required") && !host.exists("/run/reboot-required.pkgs"));
    assert_eq!(property(&host, "RebootRequired"), "false");
    // said everywhere in the same words
    let summary = text(rollback, "summary");
    assert!(
        summary.starts_with("the packages are as before (versions, states, files and marks of packages, units), and "),
        "{summary}"
    );
    assert!(
        summary.contains("these files in /etc differ: /etc/app.left (new), "),
        "{summary}"
    );
    assert!(text(&job, "error").contains(summary), "{job:#}");
    assert!(property(&host, "HealthReasons").contains("/etc/app.left (new)"));
    let shown = host.sh(&format!("patchctl log {}", id_of(&job)));
    assert!(shown.contains("/etc/app.left (new)"), "{shown}");
    let event = &events_of_kind(&host, message::ROLLED_BACK)[0];
    assert_eq!(text(event, "PATCH_AS_BEFORE"), "0");
    assert!(text(event, "MESSAGE").contains(summary), "{event:#}");

    by_hand(&host, &repo, &app("1.2"));
}

/// A good update that a reboot is to follow, and that the administrator undoes.
fn by_hand(host: &Host, repo: &lab::Repo, app: &Deb) {
    host.sh("rm /etc/app.left /etc/app.new; dpkg --purge newkeep; touch /run/clean");
    repo.add(app);
    repo.add(&with_service("demo", "1.2"));
    host.sh("patchctl apply all --reboot=always");
    let good = last_job(host);
    let scheduled = || property(host, "ScheduledShutdown");
    host.wait_for("the schedule", || scheduled() == "reboot");

    host.sh(&format!("patchctl rollback {}", id_of(&good)));

    let job = last_job(host);
    let rollback = &job["rollback"];
    assert_eq!(differing(&job), [""; 0], "{job:#}");
    assert_eq!(rollback["as_before"], true, "{job:#}");
    assert_eq!(
        rollback["summary"],
        "the host is as it was before in what was compared: versions, states, files and marks of packages, \
         units, /etc",
        "{job:#}"
    );
    assert_eq!(installed(host, "app"), "1.0 installed");
    assert_eq!(scheduled(), "", "its update is gone");
    assert!(!host.exists(&format!("{STATE}/state/reboot.json")));

    // nothing is said of what is not known any more
    host.sh(&format!("patchctl forget {}", id_of(&good)));
    let again = applied(host, "all");
    host.sh(&format!(
        "rm {STATE}/jobs/*.etc; patchctl rollback {}",
        id_of(&again)
    ));
    let rollback = &last_job(host)["rollback"];
    let summary = text(rollback, "summary");
    assert!(summary.contains("; /etc was not compared: "), "{summary}");
    assert!(
        !rollback["compared"].to_string().contains("etc"),
        "{rollback:#}"
    );
}
