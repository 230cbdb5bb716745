//! The command line: what people read, what programs parse, and what the exit code says.

use lab::{Deb, Host, Output, Release, fixtures};
use serde_json::Value;

use crate::job::{applied, host_with, id_of};
use crate::story::{installed, jobs};

const ALICE: &str = "alice";

#[test]
fn an_ordinary_user_reads_everything_and_root_applies() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let read = |verb: &str| {
        let output = host.as_user(ALICE, &format!("patchctl {verb}"));
        assert!(output.success(), "{verb}: {output}");
        output.stdout
    };
    assert_eq!(read("health"), "healthy\n", "the first look refreshes");
    let status = read("status");
    for line in [
        "Health  healthy",
        "Index  fresh, refreshed 20",
        "stable: ok",
        "Pending  1 updates, 0 of them security",
        "Queue  0 waiting",
        "Version  2.0.0 (apt)",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let updates = read("updates");
    let columns: Vec<&str> = updates.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        columns,
        ["demo:all", "1.0", "1.1", "Lab:stable"],
        "{updates}"
    );

    for verb in [
        "apply demo",
        "refresh",
        "apply demo --direct",
        "refresh --direct",
    ] {
        let output = host.as_user(ALICE, &format!("patchctl {verb}"));
        assert_eq!(output.status, 77, "{verb}: {output}");
        assert!(
            output.stderr.starts_with("patchctl: ") && output.stderr.lines().count() == 1,
            "{output}"
        );
    }
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    let apply = host.sh("patchctl apply demo");
    assert!(
        apply.contains(": succeeded\n  demo:all 1.0 -> 1.1\n"),
        "{apply}"
    );
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(read("updates"), "nothing is pending\n");
    assert!(host.sh("patchctl refresh").ends_with(": succeeded\n"));
    let later = host.sh("patchctl apply all --no-wait");
    host.wait_for("the job nobody waits for", || {
        let job = jobs(&host).pop().expect("no job");
        id_of(&job) == later.trim() && job["status"] == "succeeded"
    });

    let listed = read("jobs");
    assert_eq!(listed.lines().count(), 1 + jobs(&host).len(), "{listed}");
    assert!(
        listed.lines().nth(1).unwrap().starts_with(later.trim()),
        "the newest is the first: {listed}"
    );
    assert_eq!(read("jobs --limit 2").lines().count(), 3);
    let job = apply.split([' ', ':']).nth(1).unwrap();
    let log = read(&format!("log {job}"));
    assert!(
        log.contains("demo:all 1.0 -> 1.1") && log.contains("Setting up demo (1.1)"),
        "{log}"
    );
}

#[test]
fn what_programs_read_is_json_of_a_fixed_form() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let read = |verb: &str| -> Value {
        let output = host.as_user(ALICE, &format!("patchctl {verb} --json"));
        assert!(output.success(), "{verb}: {output}");
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{verb}: {error}: {output}"))
    };
    let before = read("health");
    assert_eq!(
        keys(&before),
        [
            "cache_status",
            "last_cache_update",
            "status",
            "uptime_seconds",
            "version"
        ]
    );
    assert_eq!(
        (&before["status"], &before["version"]),
        (&"healthy".into(), &"2.0.0".into())
    );
    assert_eq!(before["cache_status"], "fresh");
    assert!(
        before["uptime_seconds"].is_u64() && before["last_cache_update"].is_string(),
        "{before}"
    );

    let updates = read("updates");
    assert_eq!(
        keys(&updates[0]),
        [
            "architecture",
            "candidate",
            "installed",
            "origin",
            "package",
            "security"
        ]
    );
    let job = applied(&host, "demo");
    assert_eq!(read("status")["phase"], "success");
    let listed = read("jobs");
    assert_eq!(listed[0]["request"]["id"], id_of(&job));
    let record = read(&format!("log {}", id_of(&job)));
    assert_eq!(record["changes"], without_nulls(&job["changes"]));

    // a host that could never refresh has no date, and says so, as well as what its list is worth
    host.sh("rm /var/lib/linux_patch_api/state/cache.json");
    repo.stop();
    let list = host.as_user(ALICE, "patchctl updates");
    assert!(
        list.success()
            && list
                .stderr
                .contains("the package index is not fresh (failed): http"),
        "{list}"
    );
    let never = read("health");
    assert_eq!(keys(&never), keys(&before));
    assert_eq!(never["last_cache_update"], Value::Null);
    assert_eq!(
        (&never["status"], &never["cache_status"]),
        (&"degraded".into(), &"failed".into())
    );
}

/// A list of objects as the bus has it, where `null` has no counterpart.
fn without_nulls(list: &Value) -> Value {
    let mut list = list.clone();
    for object in list.as_array_mut().expect("no list") {
        let object = object.as_object_mut().expect("no object");
        object.retain(|_, value| !value.is_null());
    }
    list
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .expect("no object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    let run = |arguments: &str| host.try_sh(&format!("patchctl {arguments}"));
    for arguments in [
        "",
        "wrong",
        "health --wrong",
        "apply",
        "apply demo-",
        "apply 'de*'",
        "apply ''",
        "apply demo=1.1",
        "apply all demo",
        "apply demo --direct --no-wait",
        "apply demo- --direct",
        "jobs --limit x",
        "log",
        "log ../../etc/passwd",
        "log 0123456789abcdef-012345",
    ] {
        let output = run(arguments);
        assert_eq!(output.status, 2, "{arguments}: {output}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments}: {output}"
        );
    }
    for arguments in [
        "apply not-there",
        "plan not-there",
        "apply not-there --direct",
    ] {
        let unknown = run(arguments);
        assert_eq!(unknown.status, 2, "{arguments}: {unknown}");
        assert!(
            unknown.stderr.contains("not-there is not installed"),
            "{arguments}: {unknown}"
        );
    }
    assert_eq!(jobs(&host), Vec::<Value>::new());

    repo.stop();
    let offline = run("refresh");
    assert_eq!(offline.status, 1, "{offline}");
    assert!(
        offline
            .stdout
            .contains("failed: refresh failed: http://127.0.0.1"),
        "{offline}"
    );
    assert_eq!(run("apply demo --direct").status, 1);
    repo.start();

    let elsewhere = |arguments: &str| run(&format!("{arguments} </dev/null"));
    host.sh("systemctl stop dbus.socket dbus.service");
    for arguments in [
        "status",
        "health --json",
        "updates",
        "refresh",
        "apply demo",
        "jobs",
    ] {
        let output = elsewhere(arguments);
        assert_eq!(output.status, 69, "{arguments}: {output}");
        assert!(output.stderr.contains("--direct"), "{output}");
    }
    let direct = run("apply demo --direct");
    assert_eq!(direct.status, 0, "no bus is needed: {direct}");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert!(
        direct.stderr.contains("demo"),
        "the log is on the terminal: {direct}"
    );
    assert_eq!(run("refresh --direct").status, 0);
}

#[test]
fn a_reader_that_has_gone_is_no_crash() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    for arguments in [
        "status",
        "status --json",
        "updates",
        "jobs",
        "apply demo",
        "--help",
        "--version",
        "wrong",
    ] {
        let closed = format!(
            "import os, subprocess\nr, w = os.pipe()\nos.close(r)\n\
            p = subprocess.run(['patchctl', *{arguments:?}.split()], stdout=w, stderr=w)\nprint(p.returncode)"
        );
        let output = host.run(&["python3", "-c", &closed]).unwrap();
        let expected = if arguments == "wrong" { "2\n" } else { "0\n" };
        assert_eq!(output.stdout, expected, "{arguments}: {output}");
        let nowhere = host.try_sh(&format!("patchctl {arguments} >&- 2>&- <&-"));
        assert!(
            [0, 1, 2].contains(&nowhere.status),
            "{arguments}: {nowhere}"
        );
    }
    assert_eq!(
        host.messages(&["-t", "systemd-coredump"]),
        Vec::<String>::new()
    );
}

/// Clears the screen, goes home, and sets the window's title; backspaces; text from right to left.
const HOSTILE: &str = "\u{1b}[2J\u{1b}[H\u{1b}]0;owned\u{7}\u{8}\u{8}\u{9b}31m\u{202e}";

#[test]
fn no_text_of_others_plays_with_the_terminal() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    let loud = Deb::new("demo", "1.1")
        .postinst(&format!("echo '{HOSTILE}'; echo '{HOSTILE}' >&2; exit 1"));
    repo.add(&loud);
    repo.set(|options| {
        options.origin = format!("La{HOSTILE}b");
        options.label = options.origin.clone();
    });
    let shown = |output: Output| {
        let text = output.stdout + &output.stderr;
        let bad = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!text.contains(bad), "{text:?}");
        text
    };
    let updates = shown(host.try_sh("patchctl updates"));
    assert!(
        updates.contains("owned"),
        "it is there, and harmless: {updates}"
    );
    let failed = host.try_sh("patchctl apply demo");
    assert_eq!(failed.status, 1, "{failed}");
    assert!(shown(failed).contains("failed"));
    let job = jobs(&host).pop().unwrap();
    let log = shown(host.try_sh(&format!("patchctl log {}", id_of(&job))));
    assert!(log.contains("owned"), "it is there, and harmless: {log}");
    for verb in [
        "status",
        "health",
        "jobs",
        "updates",
        "apply demo",
        "apply demo --direct",
        "refresh --direct",
    ] {
        shown(host.try_sh(&format!("patchctl {verb}")));
    }
}

#[test]
fn its_manual_and_completions_are_installed() {
    let host = Host::boot(Release::Trixie);
    let pages = host.sh("find /usr/share/man -name '*.gz' -exec basename {} .gz \\;");
    let is_there = |page: &str| pages.lines().any(|name| name == page);
    for page in [
        "patchctl.1",
        "linux_patch_api.toml.5",
        "patch-apply@.service.8",
    ] {
        assert!(is_there(page), "{page}: {pages}");
    }
    let documented = host.sh("grep -h ^Documentation= /usr/lib/systemd/system/patch-*");
    for page in documented
        .split([' ', '=', '\n'])
        .filter_map(|word| word.strip_prefix("man:"))
    {
        assert!(
            is_there(&page.replace('(', ".").replace(')', "")),
            "{page}: {pages}"
        );
    }
    let manual = host.sh("zcat /usr/share/man/man1/patchctl.1.gz");
    for verb in [
        "status", "health", "updates", "refresh", "apply", "jobs", "log",
    ] {
        assert!(manual.contains(verb), "{verb}");
    }
    let bash = "/usr/share/bash-completion/completions/patchctl";
    let completed = host.sh(&format!(
        "bash -c 'source {bash}*; COMP_WORDS=(patchctl he) COMP_CWORD=1; _patchctl patchctl he patchctl; echo ${{COMPREPLY[@]}}'"
    ));
    assert!(completed.contains("health"), "{completed}");
    for file in [
        "/usr/share/zsh/vendor-completions/_patchctl",
        "/usr/share/fish/vendor_completions.d/patchctl.fish",
    ] {
        assert!(host.read(file).contains("health"), "{file}");
    }
}
