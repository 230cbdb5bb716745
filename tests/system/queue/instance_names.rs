//! Instance names of `patch-apply@`: whatever is given, only exact names of installed packages reach apt.

use lab::fixtures::plain;
use lab::{Host, Release};
use linux_patch_api::journal::id as message;

use crate::job::{changes, events_of_kind, host_with, start, text};
use crate::story::{installed, jobs, last_job, unit};

/// Names as a caller may think of them; `systemd-escape` makes a unit of each.
const HOSTILE: [&str; 23] = [
    "-oDPkg::Pre-Invoke=touch${IFS}/run/lab-evil",
    "-o=DPkg::Pre-Invoke::=id",
    "--purge",
    "-y",
    "demo-",
    "dem.*",
    "demo*",
    "demo?",
    "?installed",
    "~i",
    "demo=1.0",
    "demo>1",
    "../demo",
    "./demo",
    "/root/evil.deb",
    "http://127.0.0.1:8080/evil.deb",
    "!demo",
    "~demo",
    "@core",
    "demo other",
    "demo\nother",
    "${PATH}",
    "demo,other",
];

/// Instances as they stand in a unit's name, where no escaping is ours to choose.
const HOSTILE_INSTANCES: [&str; 12] = [
    r"\x2d\x2dhelp",
    r"--help",
    r"demo-",
    r"demo\x2d",
    r"demo\x0aother",
    r"demo\x00",
    r"x\x00y",
    r"a\x20b",
    r"\xff\xfe",
    r"demo\x2",
    r"demo\xzz",
    r"..-..-etc-passwd",
];

/// What apt has done, and what it was asked: nothing may be added to either.
fn traces(host: &Host) -> String {
    host.sh(
        "cat /var/log/apt/history.log /var/log/dpkg.log 2>/dev/null; md5sum /var/lib/dpkg/status",
    )
}

/// The unit fails, and the journal says why in words that name what was given.
fn is_refused(host: &Host, instance: &str) {
    let before = (traces(host), jobs(host).len());
    let refusals = events_of_kind(host, message::REQUEST_REFUSED).len();

    let output = start(host, instance);

    assert!(!output.success(), "{instance} was accepted");
    let name = format!("'patch-apply@{instance}.service'");
    assert_eq!(
        unit(host, &name, "Result"),
        "exit-code",
        "{instance}: {output}"
    );
    let told = events_of_kind(host, message::REQUEST_REFUSED);
    assert_eq!(told.len(), refusals + 1, "{instance}");
    let why = text(&told[refusals], "MESSAGE");
    assert!(
        why.contains("refused: ") && why.contains('\''),
        "{instance}: {why}"
    );
    assert_eq!((traces(host), jobs(host).len()), before, "{instance}");
}

releases!(no_hostile_name_reaches_apt [bookworm trixie]);
fn no_hostile_name_reaches_apt(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("other", "1.1"));

    for name in HOSTILE {
        let escaped = host.run(&["systemd-escape", "--", name]).unwrap();
        is_refused(&host, escaped.stdout.trim_end_matches('\n'));
    }
    for instance in HOSTILE_INSTANCES {
        is_refused(&host, instance);
    }

    assert_eq!(
        repo.requests(),
        [""; 0],
        "not even a refresh was made for them"
    );
    assert!(!host.exists("/run/lab-evil"));
    assert_eq!(installed(&host, "demo"), "1.0 installed");
}

#[test]
fn a_package_that_is_not_installed_is_named_and_never_handed_to_apt() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("demon", "1.0"));
    let before = traces(&host);
    // the last ones could be packages, and are a removal and a regular expression of apt's
    for (instance, name) in [
        ("demon", "demon"),
        ("Demo", "Demo"),
        (r"demo\x2b", "demo+"),
        ("dem.", "dem."),
        // what systemd-escape makes of demo/stable
        ("demo-stable", "demo-stable"),
    ] {
        let output = start(&host, instance);

        let unit_name = format!("'patch-apply@{instance}.service'");
        assert_eq!(unit(&host, &unit_name, "ExecMainStatus"), "2", "{output}");
        assert_eq!(traces(&host), before);
        let why = format!("{name} is not installed");
        let told = events_of_kind(&host, message::REQUEST_REFUSED);
        let is_told = told
            .iter()
            .any(|event| text(event, "MESSAGE").contains(&why));
        assert!(is_told, "{told:#?}");
    }
    assert_eq!(jobs(&host).len(), 0);
    assert_eq!(repo.requests(), [""; 0], "no refresh was made for them");
}

#[test]
fn what_systemd_itself_refuses_fails_before_it_reaches_the_program() {
    let (host, _repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let before = traces(&host);
    let long = "d".repeat(300);

    for instance in ["", long.as_str()] {
        let output = start(&host, instance);
        assert!(!output.success(), "{output}");
        assert!(!output.stdout.trim().is_empty(), "and says so");
    }

    // the longest name that systemd takes is too long for a package all the same
    let longest = "d".repeat(255 - "patch-apply@.service".len());
    is_refused(&host, &longest);
    assert_eq!(traces(&host), before);
    assert_eq!(jobs(&host).len(), 0);
}

#[test]
fn names_that_only_look_strange_work_however_they_are_spelled() {
    for release in [Release::Trixie, Release::Bookworm] {
        strange_names_work(release);
    }
}

fn strange_names_work(release: Release) {
    let (host, repo) = host_with(release, &[plain("lib-x++", "1"), plain("lib-x", "1")]);
    let spellings = [
        r"lib-x++",
        r"lib\x2dx\x2b\x2b",
        r"lib-x\x2b\x2b",
        r"\x6c\x69b-x\x2b\x2B",
        r"lib-x\x2b\x2b:all",
    ];
    for (version, spelling) in (2..).zip(spellings) {
        repo.add(&plain("lib-x++", &version.to_string()));
        repo.add(&plain("lib-x", &version.to_string()));

        let output = start(&host, spelling);

        assert!(output.success(), "{spelling}: {output}");
        let change = format!("lib-x++ {} -> {version}", version - 1);
        assert_eq!(changes(&last_job(&host)), [change], "{spelling}");
        assert_eq!(installed(&host, "lib-x"), "1 installed", "{spelling}");
    }
}
