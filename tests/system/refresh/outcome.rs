//! The refresh itself: its record, what fails it, and how a host recovers from a failed one.

use chrono::{DateTime, Utc};
use lab::{Fault, Host, Release, Repo, fixtures};
use linux_patch_api::journal::id;

use crate::story::{
    STATE, events, installed, jobs, last_cache_update, last_job, property, refresh_fails,
    refresh_succeeds, state, unit,
};

/// A host with one good source, which offers the package `demo`.
fn host(release: Release) -> (Host, Repo) {
    let host = Host::boot(release);
    let repo = Repo::new(&host);
    repo.add(&fixtures::plain("demo", "1.0"));
    repo.enable(&host);
    (host, repo)
}

releases!(a_refresh_leaves_a_record_that_outlives_a_reboot [bookworm trixie]);
fn a_refresh_leaves_a_record_that_outlives_a_reboot(release: Release) {
    let (host, repo) = host(release);
    timer_runs_every_four_hours(&host);
    let began = Utc::now();
    refresh_succeeds(&host);
    let first = record_is_as_others_read_it(&host);
    assert!(began <= first && first <= Utc::now(), "{began} {first}");
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(events(&host, "MESSAGE_ID", id::REFRESH_SUCCEEDED).len(), 1);

    repo.add(&fixtures::plain("demo", "1.1"));
    refresh_succeeds(&host);
    let second = record_is_as_others_read_it(&host);
    assert!(second > first);
    assert!(host.sh("apt-cache policy demo").contains("1.1"));

    host.reboot();
    assert_eq!(record_is_as_others_read_it(&host), second);
    assert_eq!(property(&host, "CacheStatus"), "fresh");
    assert_eq!(property(&host, "Health"), "healthy");
    timer_runs_every_four_hours(&host);
    assert!(jobs(&host).is_empty(), "a fresh index is not fetched again");
}

fn timer_runs_every_four_hours(host: &Host) {
    let timer = "patch-refresh.timer";
    assert_eq!(
        host.sh(&format!("systemctl is-enabled {timer}")),
        "enabled\n"
    );
    assert_eq!(host.sh(&format!("systemctl is-active {timer}")), "active\n");
    let calendar = unit(host, timer, "TimersCalendar");
    assert!(calendar.contains("*-*-* 00/4:00:00 UTC"), "{calendar}");
    let listed = host.sh(&format!("systemctl list-timers --no-pager {timer}"));
    assert!(listed.contains("patch-refresh.service"), "{listed}");
    assert_ne!(unit(host, timer, "NextElapseUSecRealtime"), "");
}

#[test]
fn the_night_in_which_the_clocks_change_has_no_longer_gap() {
    let host = Host::boot(Release::Trixie);
    let calendar = unit(&host, "patch-refresh.timer", "TimersCalendar");
    let calendar = calendar.split(['=', ';']).nth(1).expect("no calendar");
    // Central European time, on a host without a database of time zones
    let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
    for eve in ["2026-03-28", "2026-10-24"] {
        let shown = host.sh(&format!(
            "TZ={zone} systemd-analyze calendar --base-time='{eve} 12:00:00' --iterations=12 '{}'",
            calendar.trim()
        ));
        let in_utc = shown.lines().filter_map(|line| {
            let (_, date) = line.trim().split_once("(in UTC): ")?;
            DateTime::parse_from_str(&date.replace("UTC", "+0000"), "%a %F %T %z").ok()
        });
        let times: Vec<DateTime<_>> = in_utc.collect();
        assert_eq!(times.len(), 12, "{shown}");
        for pair in times.windows(2) {
            assert_eq!((pair[1] - pair[0]).num_minutes(), 4 * 60, "{shown}");
        }
    }
}

/// The two keys that other programs read, and that they may read them; the date.
fn record_is_as_others_read_it(host: &Host) -> DateTime<Utc> {
    let file = format!("{STATE}/state/cache.json");
    assert_eq!(
        host.sh(&format!("stat -c %a:%U:%F {file}")),
        "644:root:regular file\n"
    );
    let read = host.as_user("alice", &format!("cat {file}"));
    let cache: serde_json::Value = serde_json::from_str(&read.stdout).expect("no JSON");
    assert_eq!(cache["last_update_success"], serde_json::Value::Bool(true));
    let date = cache["last_cache_update"].as_str().expect("no text");
    let date = DateTime::parse_from_rfc3339(date).expect("not RFC 3339");
    date.to_utc()
}

#[test]
fn no_source_at_all_is_a_failure() {
    let host = Host::boot(Release::Trixie);
    assert_eq!(property(&host, "LastCacheUpdate"), "");
    let why = refresh_fails(&host);
    assert!(why.contains("no package source is configured"), "{why}");
    assert_eq!(last_cache_update(&host), serde_json::Value::Null);

    let repo = Repo::new(&host);
    repo.enable(&host);
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Health"), "healthy");

    repo.disable(&host);
    refresh_fails(&host);
    let apply = host.try_sh("systemctl start patch-apply@all.service");
    assert!(!apply.success());
    let error = last_job(&host)["error"].to_string();
    assert!(error.contains("no package source is configured"), "{error}");
}

// fault: network cut, reset, drip, 404, 500
releases!(without_a_network_everything_fails_and_nothing_is_forgotten [bookworm trixie]);
fn without_a_network_everything_fails_and_nothing_is_forgotten(release: Release) {
    let (host, repo) = host(release);
    refresh_succeeds(&host);
    host.sh("apt-get install -q -y demo");
    repo.add(&fixtures::plain("demo", "1.1"));
    refresh_succeeds(&host);

    repo.stop();
    let why = refresh_fails(&host);
    assert!(why.contains("http://127.0.0.1:8080/ stable"), "{why}");
    assert!(why.contains("onnect"), "apt's own words: {why}");
    let before = last_cache_update(&host);
    for command in [
        "patchctl refresh",
        "patchctl apply demo",
        "systemctl start patch-apply@demo",
    ] {
        let output = host.try_sh(command);
        assert_ne!(output.status, 0, "{command}: {output}");
        let job = last_job(&host);
        assert_eq!(job["status"], "failed", "{command}: {job}");
        assert!(job["error"].to_string().contains("onnect"), "{job}");
        assert_eq!(property(&host, "CacheStatus"), "failed");
        assert_eq!(last_cache_update(&host), before, "{command}");
    }
    assert_eq!(jobs(&host).len(), 3);
    assert_eq!(
        unit(&host, "patch-apply@demo.service", "Result"),
        "exit-code"
    );
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    repo.start();
    refresh_succeeds(&host);
    assert_ne!(last_cache_update(&host), before);
    host.sh("systemctl start patch-apply@demo");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

// fault: network cut, reset, drip, 404, 500
#[test]
fn a_captive_portal_is_no_index() {
    let (host, repo) = host(Release::Trixie);
    for lists in ["kept", "wiped"] {
        if lists == "wiped" {
            host.sh("rm -rf /var/lib/apt/lists/*");
        }
        repo.fault("", Fault::Html);
        let why = refresh_fails(&host);
        assert!(why.contains(&repo.url()), "{lists}: {why}");
        repo.heal();
        refresh_succeeds(&host);
    }
}

#[test]
fn an_invalid_configuration_is_named_with_file_and_line_and_nothing_spins() {
    let (host, repo) = host(Release::Trixie);
    refresh_succeeds(&host);
    host.sh("apt-get install -q -y demo");
    repo.add(&fixtures::plain("demo", "1.1"));
    let before = last_cache_update(&host);
    let file = "/etc/linux_patch_api/config.toml";
    host.write(file, "# ours\n[refresh]\ntolerrate = []\n");
    let named = |text: &str| {
        // busctl writes a backslash before a quotation mark
        let text = text.replace('\\', "");
        assert!(text.contains(&format!("'{file}', line 3")), "{text}");
        assert!(text.contains("tolerrate"), "{text}");
    };
    named(&refresh_fails(&host));
    named(&property(&host, "HealthReasons"));
    // a request at any front end is answered, and does not start the worker over and over
    for command in [
        "systemctl start patch-apply@demo",
        "patchctl apply demo",
        "patchctl refresh",
    ] {
        let output = host.try_sh(command);
        assert_eq!(output.status, 1, "{command}: {output}");
        let job = last_job(&host);
        assert_eq!(job["status"], "failed", "{command}: {job}");
        named(job["error"].as_str().expect("no error"));
    }
    named(
        &host
            .messages(&["-u", "patch-apply@demo.service"])
            .join("\n"),
    );
    assert_eq!(jobs(&host).len(), 3);
    assert!(starts_of(&host, "patch-apply.service") < 5, "a busy loop");
    assert_eq!(last_cache_update(&host), before);
    assert_eq!(installed(&host, "demo"), "1.0 installed");

    host.sh(&format!("rm {file}"));
    refresh_succeeds(&host);
    host.sh("systemctl start patch-apply@demo.service");
    assert_eq!(installed(&host, "demo"), "1.1 installed");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// How often systemd began to start a unit.
pub fn starts_of(host: &Host, unit: &str) -> usize {
    // SD_MESSAGE_UNIT_STARTING
    let id = "MESSAGE_ID=7d4958e842da4a758f6c1cdc7b36dcc5";
    host.journal(&[id, &format!("UNIT={unit}")]).len()
}

releases!(a_refresh_restarts_failed_units_of_the_package [bookworm trixie]);
fn a_refresh_restarts_failed_units_of_the_package(release: Release) {
    let (host, _repo) = host(release);
    let units = ["patch-apply.path", "patch-refresh.timer"];
    for name in units {
        let limit = "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n";
        host.write(&format!("/etc/systemd/system/{name}.d/limit.conf"), limit);
    }
    host.sh("systemctl daemon-reload");
    for name in units {
        host.try_sh(&format!(
            "systemctl restart {name}; systemctl restart {name}"
        ));
        assert_eq!(unit(&host, name, "ActiveState"), "failed", "{name}");
    }

    refresh_succeeds(&host);
    for name in units {
        assert_eq!(unit(&host, name, "ActiveState"), "active", "{name}");
    }
    let healed = events(&host, "MESSAGE_ID", id::UNITS_HEALED);
    assert_eq!(healed.len(), 1);
    let named = healed[0]["PATCH_UNITS"].as_str().expect("no units");
    assert!(units.iter().all(|unit| named.contains(unit)), "{named}");
    host.sh("patchctl refresh");
    assert_eq!(
        state(&host, "state/cache.json")["last_update_success"],
        true
    );
    assert_eq!(events(&host, "MESSAGE_ID", id::UNITS_HEALED).len(), 1);
}
