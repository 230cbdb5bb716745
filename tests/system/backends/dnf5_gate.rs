//! The gate inside a run of dnf 5, and beside its runs where dnf does not load it.

use lab::Host;
use lab::fixtures::plain;
use serde_json::Value;

use super::Backend;
use crate::job::{applied, failed, id_of};

/// How often dnf resolved for a job, by what it printed.
fn runs(host: &Host, job: &Value) -> usize {
    let log = host.read(&format!("/var/lib/linux_patch_api/jobs/{}.log", id_of(job)));
    log.matches("Repositories loaded.").count()
}

#[test]
fn dnf_5_downloads_asks_and_changes_in_one_run_where_it_loads_the_gate() {
    let backend = Backend::dnf5();
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    let installed = || backend.installed(&host, "demo");
    let theirs = "/etc/dnf/libdnf5-plugins/actions.d/theirs.actions";
    let action = "pre_transaction:::raise_error=1:/usr/bin/mkdir /run/theirs\n";
    host.write(theirs, action);

    // the administrator's own actions are done as well
    repo.add(&plain("demo", "1.1"));
    let job = applied(&host, "all");
    assert_eq!(
        (installed(), runs(&host, &job)),
        (backend.version("1.1"), 1)
    );
    assert!(host.exists("/run/theirs"));

    // and may refuse, before the gate has decided anything
    repo.add(&plain("demo", "1.2"));
    let job = failed(&host, "all");
    assert_eq!(
        (installed(), runs(&host, &job)),
        (backend.version("1.1"), 1)
    );
    let intent = format!("/var/lib/linux_patch_api/jobs/{}.intent", id_of(&job));
    assert!(!host.exists(&intent));

    // dnf loads no plugin: by itself it says no, and is run without the gate in it
    host.sh(&format!("rm {theirs}"));
    host.append("/etc/dnf/dnf.conf", "plugins=0\n");
    let job = applied(&host, "all");
    assert_eq!(
        (installed(), runs(&host, &job)),
        (backend.version("1.2"), 3)
    );

    // the administrator lets it say yes by itself: there is no trying, then
    host.write("/etc/dnf/libdnf5.conf.d/yes.conf", "[main]\nassumeyes=1\n");
    repo.add(&plain("demo", "1.3"));
    let job = applied(&host, "all");
    assert_eq!(
        (installed(), runs(&host, &job)),
        (backend.version("1.3"), 2)
    );
}
