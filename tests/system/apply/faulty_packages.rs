//! Packages that misbehave, and other packages that were broken before the update.

use lab::fixtures::{failing_postinst, plain};
use lab::{Deb, Host, Release};
use linux_patch_api::journal::id as message;

use crate::job::{applied, changes, events_of_kind, failed, host_with, id_of, list, put_on, text};
use crate::story::{STATE, events, installed, property};

releases!(a_failing_maintainer_script_fails_the_job_and_names_the_package [bookworm trixie]);
/// Its version is the planned one, but it is not configured: that is no success.
fn a_failing_maintainer_script_fails_the_job_and_names_the_package(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&failing_postinst("demo", "1.1"));
    repo.add(&plain("other", "1.1"));

    let job = failed(&host, "all");

    assert_eq!(installed(&host, "demo"), "1.1 half-configured");
    assert!(
        text(&job, "error").contains("demo:all is half-configured in 1.1"),
        "{job:#}"
    );
    assert_eq!(
        changes(&job),
        ["demo 1.0 -> 1.1", "other 1.0 -> 1.1"],
        "what really changed"
    );
    assert_eq!(job["update"]["phase"], "failed");
    assert_eq!(property(&host, "Health"), "degraded");
    let reasons = property(&host, "HealthReasons");
    assert!(reasons.contains("demo is half-configured"), "{reasons}");
    let told = events_of_kind(&host, message::JOB_FAILED);
    assert_eq!(told.len(), 1);
    assert!(text(&told[0], "PATCH_ERROR").contains("demo:all is half-configured"));
    let status = host
        .try_sh("systemctl status patch-apply@all.service")
        .stdout;
    assert!(status.contains("demo:all is half-configured"), "{status}");
    let log = host.sh(&format!("patchctl log {}", id_of(&job)));
    assert!(
        log.contains("demo cannot be configured"),
        "what the script said: {log}"
    );

    // a better version heals it
    repo.add(&plain("demo", "1.2"));
    let job = applied(&host, "all");
    assert_eq!(changes(&job), ["demo 1.1 -> 1.2"]);
    assert_eq!(installed(&host, "demo"), "1.2 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn the_fatal_words_of_dpkg_are_in_the_error_of_the_job() {
    for release in [Release::Trixie, Release::Bookworm] {
        let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
        repo.add(&plain("demo", "1.1"));
        host.sh("printf /torn >>/var/lib/dpkg/info/other.list");

        let job = failed(&host, "demo");

        let error = text(&job, "error");
        let words = "dpkg: unrecoverable fatal error, aborting: \
                     files list file for package 'other' is missing final newline";
        assert!(error.contains(words), "{error}");
        let reasons = property(&host, "HealthReasons");
        assert!(reasons.contains("unrecoverable fatal error"), "{reasons}");
        host.sh("sed -i '$d' /var/lib/dpkg/info/other.list");
        assert_eq!(changes(&applied(&host, "demo")).len(), 1);
        assert_eq!(property(&host, "Health"), "healthy");
    }
}

#[test]
fn a_broken_package_that_is_asked_for_again_is_no_success() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    repo.add(&failing_postinst("demo", "1.1"));
    failed(&host, "demo");

    let job = failed(&host, "demo");

    assert!(
        text(&job, "error").contains("demo:all is half-configured"),
        "{job:#}"
    );
    assert_eq!(property(&host, "Health"), "degraded");
}

#[test]
fn what_was_broken_before_does_not_fail_the_job_and_is_reported() {
    for release in [Release::Trixie, Release::Bookworm] {
        a_broken_package_of_others_is_reported(release);
    }
}

fn a_broken_package_of_others_is_reported(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0")]);
    put_on(&host, &[failing_postinst("stranger", "1.0")]);
    assert_eq!(installed(&host, "stranger"), "1.0 half-configured");
    repo.add(&plain("demo", "1.1"));

    let job = applied(&host, "demo");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    let notes = list(&job, "notes");
    assert!(
        notes
            .iter()
            .any(|note| note.as_str().is_some_and(|note| note.contains("stranger"))),
        "{job:#}"
    );
    let told = events_of_kind(&host, message::DATABASE_PROBLEM);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(text(&told[0], "PATCH_ERROR").contains("stranger:all is half-configured"));
    assert_eq!(property(&host, "Phase"), "success", "our part went well");
    assert_eq!(
        property(&host, "Health"),
        "degraded",
        "and still somebody has to look"
    );
    let reasons = property(&host, "HealthReasons");
    assert!(reasons.contains("stranger is half-configured"), "{reasons}");
}

// fault: package manager killed
#[test]
fn what_another_program_left_interrupted_is_repaired_first() {
    for release in [Release::Trixie, Release::Bookworm] {
        an_interrupted_dpkg_is_repaired_first(release);
    }
}

/// dpkg is killed after it has replaced the first file: only unpacking once more heals that.
fn an_interrupted_dpkg_is_repaired_first(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("other", "1.1"));
    host.sh(
        "apt-get -q update && cd /root && apt-get -q download other && \
         ! strace -q -o /dev/null -e trace=rename \
            -e inject=rename:signal=KILL:when=6 dpkg -i other_*.deb",
    );
    let left = host.sh("dpkg-query -W -f='${Status}' other; ls /var/lib/dpkg/updates");
    assert!(!left.starts_with("install ok installed"), "{left}");

    let job = applied(&host, "demo");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(host.sh("dpkg --audit"), "");
    assert_eq!(events_of_kind(&host, message::DATABASE_REPAIRED).len(), 1);
    assert!(["1.0 installed", "1.1 installed"].contains(&&*installed(&host, "other")));
    assert_eq!(property(&host, "Health"), "healthy");
}

#[test]
fn a_script_that_asks_a_question_gets_no_answer_and_does_not_hang() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let asking = "if read -r answer; then echo \"answered: $answer\"; else echo 'no answer'; fi \
                  >/run/lab-answer";
    repo.add(&plain("demo", "1.1").postinst(asking));

    applied(&host, "demo");

    assert_eq!(host.read("/run/lab-answer"), "no answer\n");
}

#[test]
fn maintainer_scripts_see_nothing_of_the_caller_s_environment() {
    let (host, repo) = host_with(
        Release::Trixie,
        &[plain("demo", "1.0"), plain("late", "1.0")],
    );
    let report = |file: &str| format!("tr '\\0' '\\n' </proc/$$/environ | sort >{file}");
    repo.add(&plain("demo", "1.1").postinst(&report("/run/lab-unit")));
    host.write(
        "/var/tmp/evil",
        "DPkg::Pre-Invoke { \"touch /run/lab-evil\"; };\n",
    );
    // the manager's own environment is what every unit gets
    let hostile = "APT_CONFIG=/var/tmp/evil PERL5LIB=/var/tmp LD_LIBRARY_PATH=/var/tmp \
                   http_proxy=http://127.0.0.1:9 LANG=tr_TR.UTF-8 LC_ALL=tr_TR.UTF-8 HOME=/nowhere";
    host.sh(&format!("systemctl set-environment {hostile}"));

    applied(&host, "demo");
    repo.add(&plain("late", "1.1").postinst(&report("/run/lab-direct")));
    host.sh(&format!(
        "env {hostile} NOTIFY_SOCKET=/x patchctl apply --direct late </dev/null"
    ));

    assert!(
        !host.exists("/run/lab-evil"),
        "a hook of the caller's was run"
    );
    for file in ["/run/lab-unit", "/run/lab-direct"] {
        let seen = host.read(file);
        let has = |line: &str| seen.lines().any(|seen| seen == line);
        assert!(
            has("HOME=/root") && has("LC_ALL=C.UTF-8") && has("LANGUAGE="),
            "{seen}"
        );
        assert!(
            has("DEBIAN_FRONTEND=noninteractive") && has("NEEDRESTART_SUSPEND=1"),
            "{seen}"
        );
        assert!(
            has("PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
            "apt's own: {seen}"
        );
        for stranger in [
            "NOTIFY_SOCKET",
            "INVOCATION_ID",
            "JOURNAL_STREAM",
            "SYSTEMD_EXEC_PID",
            "APT_CONFIG",
            "PERL5LIB",
            "LD_LIBRARY_PATH",
            "LANG",
            "http_proxy",
            "STATE_DIRECTORY",
        ] {
            let start = format!("{stranger}=");
            assert!(
                !seen.lines().any(|line| line.starts_with(&start)),
                "{stranger}: {seen}"
            );
        }
    }
}

#[test]
fn a_script_that_prints_without_end_fills_no_disk_and_breaks_nothing() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let noisy = "echo 'the very first words'\nseq 1 300000\nprintf 'not \\377\\376 UTF-8\\n'\n\
                 printf 'a colour \\033[31m and a bell \\007\\n'\necho 'the very last words'";
    repo.add(&plain("demo", "1.1").postinst(noisy));

    let job = applied(&host, "demo");

    let log = format!("{STATE}/jobs/{}.log", id_of(&job));
    let size: u64 = host
        .sh(&format!("stat --format=%s {log}"))
        .trim()
        .parse()
        .unwrap();
    assert!((1_000_000..1_050_000).contains(&size), "{size} bytes");
    let shown = host.sh(&format!("patchctl log {}", id_of(&job)));
    for words in [
        "the very first words",
        "the very last words",
        "bytes cut out",
        "not \u{fffd}",
    ] {
        assert!(shown.contains(words), "{words}");
    }
    assert!(
        !shown.contains('\u{1b}') && !shown.contains('\u{7}'),
        "a terminal could be steered"
    );
    let told = host.journal(&["SYSLOG_IDENTIFIER=patchctl"]).len();
    assert!(told < 100, "{told} entries in the journal");
}

#[test]
fn a_daemon_that_a_script_leaves_behind_blocks_nothing() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    // it keeps every descriptor it has inherited, the job's log among them
    let leaving = "sleep infinity &\nsetsid sleep infinity &\necho started";
    repo.add(&plain("demo", "1.1").postinst(leaving));

    let job = applied(&host, "demo");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    assert_eq!(
        host.sh("pgrep --count --exact sleep").trim(),
        "2",
        "they live on"
    );
    repo.add(&plain("demo", "1.2"));
    let job = applied(&host, "demo");
    assert_eq!(changes(&job), ["demo 1.1 -> 1.2"]);
}

#[test]
fn the_change_list_is_on_disk_before_the_first_script_runs() {
    for release in [Release::Trixie, Release::Bookworm] {
        the_change_list_is_on_disk(release);
    }
}

fn the_change_list_is_on_disk(release: Release) {
    let (host, repo) = host_with(release, &[plain("demo", "1.0"), plain("other", "1.0")]);
    let look: fn(Deb) -> Deb = |deb| {
        deb.preinst(&format!(
            "cp {STATE}/jobs/*.intent {STATE}/state/update.json /run/lab-seen/ || true"
        ))
    };
    host.sh("mkdir /run/lab-seen");
    repo.add(&look(plain("demo", "1.1")));
    repo.add(&look(plain("other", "1.1")));

    let job = applied(&host, "all");

    let intent = host.read(&format!("/run/lab-seen/{}.intent", id_of(&job)));
    let intent: serde_json::Value = serde_json::from_str(&intent).unwrap();
    assert_eq!(intent["verdict"], "activated");
    assert_eq!(changes(&intent), changes(&job));
    for change in list(&intent, "changes") {
        assert!(
            text(change, "file").starts_with("/var/cache/apt/archives/"),
            "{intent:#}"
        );
    }
    let told = events(&host, "MESSAGE_ID", message::ACTIVATION);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["PATCH_COUNT"], "2");
}

#[test]
fn a_script_that_restarts_or_stops_the_worker_s_units_does_not_end_it() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let verbs = ["restart", "stop", "try-restart", "reload-or-restart"];
    let meddling: Vec<String> = verbs
        .iter()
        .map(|verb| {
            format!(
                "systemctl {verb} patch-apply@all.service || echo \"{verb}: $?\" >>/run/lab-seen"
            )
        })
        .collect();
    repo.add(&plain("demo", "1.1").postinst(&meddling.join("\n")));

    let job = applied(&host, "all");

    assert_eq!(changes(&job), ["demo 1.0 -> 1.1"]);
    let refused = host.read("/run/lab-seen");
    assert_eq!(
        refused.lines().count(),
        verbs.len(),
        "each was refused at once: {refused}"
    );
    assert_eq!(started_jobs(&host), 1);
    assert_eq!(property(&host, "Health"), "healthy");
}

fn started_jobs(host: &Host) -> usize {
    events_of_kind(host, message::JOB_STARTED).len()
}
