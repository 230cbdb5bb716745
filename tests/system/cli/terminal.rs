//! The command line and its terminal: width, colours, time zone, a reader that has gone, text with control characters.

use lab::{Deb, Output, Release, fixtures};

use crate::job::{host_with, id_of};
use crate::story::{self, jobs};

#[test]
fn what_people_read_fits_their_terminal_and_their_clock() {
    let (host, repo) = host_with(Release::Trixie, &[fixtures::plain("demo", "1.0")]);
    repo.add(&fixtures::plain("demo", "1.1"));
    host.sh("patchctl refresh");
    let on_terminal = |environment: &str, verb: &str| {
        let script = format!("stty cols 60; {environment} patchctl {verb}");
        let shown = host.sh(&format!(
            "TERM=vt100 script -qec '{script}' /dev/null </dev/null"
        ));
        shown.replace('\r', "")
    };
    let plain = |text: &str| {
        let parts = text.split("\u{1b}[");
        let text = parts.map(|part| {
            part.split_once('m').map_or(part, |(code, rest)| {
                if code.bytes().all(|c| c.is_ascii_digit()) {
                    rest
                } else {
                    part
                }
            })
        });
        text.collect::<String>()
    };
    for verb in ["status", "updates", "jobs", "plan all", "health"] {
        let shown = on_terminal("", verb);
        for line in plain(&shown).lines() {
            let is_whole = line.trim().contains(' ') && line.chars().count() > 60;
            assert!(!is_whole, "{verb}: {line:?}");
        }
    }
    assert!(on_terminal("", "status").contains("\u{1b}[32mhealthy\u{1b}[0m"));
    assert!(!on_terminal("NO_COLOR=1", "status").contains('\u{1b}'));
    assert!(!on_terminal("", "status --color never").contains('\u{1b}'));
    assert!(
        host.sh("patchctl status --color always")
            .contains("\u{1b}[32mhealthy")
    );
    assert!(
        !host.sh("patchctl status").contains('\u{1b}'),
        "into a pipe"
    );

    let local = host.sh("TZ=XYZ-3 patchctl status");
    let refreshed = local
        .lines()
        .find(|line| line.contains("refreshed"))
        .unwrap();
    assert!(refreshed.contains(" +03:00, "), "{refreshed}");
    let utc = host.sh("TZ=XYZ-3 patchctl status --utc");
    let refreshed = utc.lines().find(|line| line.contains("refreshed")).unwrap();
    assert!(refreshed.contains(" UTC, "), "{refreshed}");

    repo.stop();
    let deferred = host.try_sh("patchctl apply demo --defer");
    assert_eq!(deferred.status, 75, "{deferred}");
    let status = host.sh("patchctl status");
    let job = story::last_deferred(&host);
    let shown = status
        .lines()
        .find(|line| line.contains("Deferred  "))
        .unwrap_or_default();
    assert!(shown.contains(&job), "{status}");

    let wrong = host.try_sh("patchctl apply demo --if-unmodified-since yesterday");
    assert_eq!(wrong.status, 2, "{wrong}");
    assert!(
        wrong.stderr.contains("RFC 3339") && wrong.stderr.contains("2026-01-02T03:04:05Z"),
        "{wrong}"
    );
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
