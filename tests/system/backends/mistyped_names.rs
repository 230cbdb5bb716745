//! Names that a caller has mistyped: refused where they are given, and nothing of the host is worse for it.

use lab::fixtures::plain;
use linux_patch_api::journal::id as message;
use serde_json::Value;

use super::Backend;
use crate::job::{applied, start, text};
use crate::story::{drop_request, events, jobs, property, refresh_succeeds, settled, unit};

pub fn a_name_that_is_not_installed_is_refused_by_every_front_end(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("demp", "1.0"));
    refresh_succeeds(&host);
    repo.take_requests();
    let refreshes = || {
        let of = |id: &str| events(&host, "MESSAGE_ID", id).len();
        of(message::REFRESH_SUCCEEDED) + of(message::REFRESH_FAILED)
    };
    let before = refreshes();

    let said = "demp is not installed (installed are: demo); only installed packages are updated";
    for verb in ["apply", "plan", "apply --direct"] {
        let output = host.try_sh(&format!("patchctl {verb} demp"));
        assert_eq!(output.status, 2, "{verb}: {output}");
        assert_eq!(output.stderr, format!("patchctl: {said}\n"), "{verb}");
    }
    let socket = "/run/linux_patch_api/request.sock";
    for method in ["Apply", "Plan"] {
        let call = format!("org.linux-patch.Agent1.{method} '{{\"packages\":[\"demp\"]}}'");
        let output = host.try_sh(&format!("varlinkctl call {socket} {call} 2>&1"));
        assert!(!output.success(), "{output}");
        assert!(output.stdout.contains("InvalidRequest"), "{output}");
        assert!(output.stdout.contains(said), "{output}");
    }
    let output = start(&host, "demp");
    assert!(!output.success(), "{output}");
    assert_eq!(
        unit(&host, "patch-apply@demp.service", "ExecMainStatus"),
        "2"
    );
    let told = events(&host, "MESSAGE_ID", message::REQUEST_REFUSED);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(text(&told[0], "MESSAGE").contains(said), "{told:#?}");
    assert_eq!(jobs(&host), Vec::<Value>::new());

    // what lies in the queue already has no caller to be told, and gets a record
    let id = drop_request(&host, 1, r#""packages":["demp"]"#);
    let job = settled(&host, &id);
    assert_eq!(
        (text(&job, "status"), text(&job, "error")),
        ("failed", said)
    );

    assert_eq!(refreshes(), before);
    assert_eq!(repo.requests(), [""; 0]);
    let raised = events(&host, "MESSAGE_ID", message::ALERT_RAISED);
    assert_eq!(raised, Vec::<Value>::new());
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(property(&host, "Phase"), "idle");
    applied(&host, backend.target("demo"));
}
