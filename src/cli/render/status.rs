//! The status of a host.

use super::fields::count;
use super::kept_back;
use super::view::{Colour, View, painted};
use crate::cli::answers::StatusAnswer;
use crate::cli::word::Word;
use crate::health::Health;
use crate::journal::plain;
use crate::state::cache::CacheStatus;
use crate::state::update::Phase;

/// Where the values begin: behind the longest label.
const VALUES: usize = 14;

/// Rows of a label and a value; a row without a label goes on with the row above.
type Rows = Vec<(&'static str, String)>;

/// The whole status.
pub fn status(host: &StatusAnswer, view: &View) -> String {
    let mut rows = health_rows(host, view);
    index(host, view, &mut rows);
    pending(host, view, &mut rows);
    updates(host, view, &mut rows);
    reboot(host, view, &mut rows);
    outdated(host, &mut rows);
    rows.push(("Version", format!("{} ({})", host.version, host.backend)));
    let line =
        |(label, value): &(&str, String)| view.wrapped_at(&format!("{label:>12}  {value}"), VALUES);
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Health, and why.
pub fn health(host: &StatusAnswer, view: &View) -> String {
    let reasons = host.reasons.iter().map(|reason| plain(reason));
    let never = host.cache_status == Word::Known(CacheStatus::Unknown);
    let never = never.then(|| "the package index was never refreshed".to_owned());
    let reasons = reasons
        .chain(never)
        .map(|reason| view.wrapped(&format!("  {reason}")));
    let lines = std::iter::once(health_word(host)).chain(reasons);
    lines.collect::<Vec<_>>().join("\n")
}

fn health_word(host: &StatusAnswer) -> String {
    let colour = match host.status {
        Word::Known(Health::Healthy) => Colour::Good,
        _ => Colour::Bad,
    };
    painted(colour, &host.status.to_string())
}

fn health_rows(host: &StatusAnswer, view: &View) -> Rows {
    let mut rows = vec![("Health", health_word(host))];
    rows.extend(host.reasons.iter().map(|reason| ("", plain(reason))));
    for alert in &host.alerts {
        let since = alert
            .since
            .map_or_else(String::new, |since| view.time(since));
        rows.push(("Alert", format!("{} since {since}", alert.key)));
    }
    rows
}

fn index(host: &StatusAnswer, view: &View, rows: &mut Rows) {
    let updated = host.last_cache_update;
    let updated = updated.map_or_else(|| "never".to_owned(), |time| view.time(time));
    let colour = match host.cache_status {
        Word::Known(CacheStatus::Fresh) => Colour::Good,
        Word::Known(CacheStatus::Failed) => Colour::Bad,
        _ => Colour::Warning,
    };
    let trust = painted(colour, &host.cache_status.to_string());
    rows.push(("Index", format!("{trust}, refreshed {updated}")));
    let reasons = host.reasons.join("\n");
    for source in &host.sources {
        let state = match source.error.as_str() {
            "" => "ok".to_owned(),
            // the health has said why
            error if reasons.contains(error) => painted(Colour::Bad, "failed"),
            error => plain(error),
        };
        rows.push(("", format!("{} {}: {state}", source.uri, source.suite)));
    }
    // what failed during the last refresh without keeping an update back
    rows.extend(host.notes.iter().map(|note| ("Note", plain(note))));
}

fn pending(host: &StatusAnswer, view: &View, rows: &mut Rows) {
    let security = host.pending_security_updates;
    let shown = format!(
        "{}, {security} of them security{}",
        count(host.pending_updates, "update"),
        match host.pending_new_packages {
            0 => String::new(),
            new => format!(", and {} that they need", count(new, "new package")),
        },
    );
    let shown = match host.pending_since {
        None => shown,
        Some(since) => format!("{shown}, since {}", view.time(since)),
    };
    let shown = if security > 0 {
        painted(Colour::Warning, &shown)
    } else {
        shown
    };
    rows.push(("Pending", shown));
    match host.kept_back_security_updates {
        0 => {}
        1 => rows.push((
            "",
            painted(Colour::Warning, "1 security update is kept back"),
        )),
        count => {
            let shown = format!("{count} security updates are kept back");
            rows.push(("", painted(Colour::Warning, &shown)));
        }
    }
    let listed = "'patchctl plan all --kept-back' lists each";
    let kept = kept_back::summary(&host.kept_back, listed);
    rows.extend(kept.into_iter().map(|line| ("", line)));
}

fn updates(host: &StatusAnswer, view: &View, rows: &mut Rows) {
    let phase = host.phase.to_string();
    let phase = match host.phase {
        Word::Known(Phase::Success) => painted(Colour::Good, &phase),
        Word::Known(Phase::Failed | Phase::RolledBack) => painted(Colour::Bad, &phase),
        _ => phase,
    };
    let last = format!("{phase} {}", host.target);
    rows.push(("Last update", last.trim_end().to_owned()));
    if !host.current_job.is_empty() {
        let (job, progress) = (&host.current_job, host.progress);
        let action = match host.action.as_str() {
            "" => String::new(),
            action => format!(": {}", plain(action)),
        };
        rows.push(("Running", format!("{job} ({progress} %){action}")));
    }
    rows.push(("Queue", format!("{} waiting", host.queue_length)));
    for job in &host.deferred_jobs {
        let since = job.since.map_or_else(String::new, |since| view.time(since));
        let why = plain(&job.error);
        rows.push(("Deferred", format!("{}, since {since}: {why}", job.job)));
    }
    match host.conflicts {
        0 => {}
        conflicts => {
            let shown = format!("{}; see 'patchctl conflicts'", count(conflicts, "job"));
            rows.push(("Conflicts", painted(Colour::Warning, &shown)));
        }
    }
}

fn reboot(host: &StatusAnswer, view: &View, rows: &mut Rows) {
    let reasons = &host.reboot_reasons;
    let reboot = if reasons.is_empty() {
        "not required".to_owned()
    } else {
        painted(Colour::Warning, &plain(&reasons.join(", ")))
    };
    rows.push(("Reboot", reboot));
    rows.extend(shutdown(host, view).map(|scheduled| ("", scheduled)));
    match host.reboot_waits.as_str() {
        "" => {}
        why => rows.push(("", format!("a requested reboot waits: {}", plain(why)))),
    }
}

fn outdated(host: &StatusAnswer, rows: &mut Rows) {
    for service in &host.outdated_services {
        let file = service.files.first();
        let file = file.map_or_else(String::new, |file| plain(file));
        let advice = match service.advice.as_str() {
            "" => String::new(),
            advice => format!(" (replaced by: {})", plain(advice)),
        };
        let unit = plain(&service.unit);
        rows.push((
            "Outdated",
            format!("{unit} runs {file} as it was before an update{advice}"),
        ));
    }
}

/// What is scheduled; a service of an older version names only reboots.
fn shutdown(host: &StatusAnswer, view: &View) -> Option<String> {
    let scheduled = host.scheduled_shutdown.as_ref();
    let at = scheduled.and_then(|shutdown| shutdown.at);
    let at = at.or(host.scheduled_reboot)?;
    let what = match scheduled.map_or("", |shutdown| shutdown.mode.as_str()) {
        "" | "reboot" => "",
        mode => mode,
    };
    let foreign = scheduled.filter(|shutdown| shutdown.ours == Some(false));
    let uid = foreign.and_then(|shutdown| shutdown.uid);
    let by = uid.map_or_else(String::new, |uid| format!(" by user {uid}"));
    let shown = format!("{} scheduled for {}{by}", plain(what), view.time(at));
    Some(shown.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::answers::read;
    use crate::cli::terminal::Terminal;
    use serde_json::{Value, json};

    fn view(width: usize) -> View {
        View {
            terminal: Terminal {
                width,
                colour: false,
            },
            utc: true,
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    fn shown(picture: &Value) -> String {
        view(usize::MAX).finished(&status(&read(picture).unwrap(), &view(usize::MAX)))
    }

    #[test]
    fn a_picture_for_people() {
        let error = "http://a x: 404 Not Found";
        let picture = json!({
            "status": "degraded", "reasons": [format!("the last refresh failed: {error}"), "x\u{1b}[31m"],
            "cache_status": "failed", "phase": "success", "target": "all", "pending_updates": 1,
            "version": "2.0.0", "backend": "apt", "kept_back": [{"package": "a", "reason": "held"}],
            "sources": [{"uri": "http://a", "suite": "x", "error": error}],
            "pending_since": "2026-01-01T03:04:05Z",
            "deferred_jobs": [{"job": "j", "since": "2026-01-02T03:02:05Z", "error": "no network"}],
        });
        let text = shown(&picture);
        assert!(text.contains("Health  degraded"));
        assert!(text.contains("refreshed never"));
        assert!(text.contains(
            "Pending  1 update, 0 of them security, since 2026-01-01 03:04:05 UTC, 1 day ago\n"
        ));
        assert!(text.contains("a is kept back: held\n"), "{text}");
        assert!(
            text.contains("Deferred  j, since 2026-01-02 03:02:05 UTC, 2 min ago: no network\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
        assert_eq!(
            text.matches("404 Not Found").count(),
            1,
            "no line twice: {text}"
        );
        assert!(text.contains("http://a x: failed\n"), "{text}");
        let narrow = status(&read(&picture).unwrap(), &view(40));
        assert!(
            narrow
                .lines()
                .all(|line| super::super::view::columns(line) <= 40),
            "{narrow}"
        );
    }

    #[test]
    fn shutdowns_are_told_with_who_wants_them() {
        let with = |key: &str, value: Value| shown(&json!({"phase": "idle", key: value}));
        let scheduled = |mode: &str, ours: bool| {
            let at = "2026-01-02T03:04:05Z";
            with(
                "scheduled_shutdown",
                json!({"mode": mode, "at": at, "uid": 0, "ours": ours}),
            )
        };
        assert!(
            scheduled("reboot", true)
                .contains("  scheduled for 2026-01-02 03:04:05 UTC, just now\n")
        );
        assert!(
            scheduled("poweroff", false)
                .contains("  poweroff scheduled for 2026-01-02 03:04:05 UTC, just now by user 0\n")
        );
        assert!(with("reboot_waits", json!("x")).contains("a requested reboot waits: x"));
    }
}
