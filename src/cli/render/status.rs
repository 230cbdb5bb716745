//! The picture of a host.

use serde_json::Value;

use super::fields::{count, list, number, text, texts};
use super::kept_back;
use super::view::{Colour, View, painted};
use crate::journal::plain;

/// Where the values begin: behind the longest label.
const VALUES: usize = 14;

/// Rows of a label and a value; those without a label go on with the row above.
type Rows = Vec<(&'static str, String)>;

/// The whole picture.
pub fn status(picture: &Value, view: &View) -> String {
    let mut rows = health_rows(picture, view);
    index(picture, view, &mut rows);
    pending(picture, view, &mut rows);
    updates(picture, view, &mut rows);
    reboot(picture, view, &mut rows);
    outdated(picture, &mut rows);
    let (version, backend) = (text(picture, "version"), text(picture, "backend"));
    rows.push(("Version", format!("{version} ({backend})")));
    let line =
        |(label, value): &(&str, String)| view.wrapped_at(&format!("{label:>12}  {value}"), VALUES);
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Health, and why.
pub fn health(picture: &Value, view: &View) -> String {
    let reasons = texts(picture, "reasons").into_iter().map(plain);
    let never = text(picture, "cache_status") == "unknown";
    let never = never.then(|| "the package index was never refreshed".to_owned());
    let reasons = reasons
        .chain(never)
        .map(|reason| view.wrapped(&format!("  {reason}")));
    let lines = std::iter::once(health_word(picture)).chain(reasons);
    lines.collect::<Vec<_>>().join("\n")
}

fn health_word(picture: &Value) -> String {
    match text(picture, "status") {
        "healthy" => painted(Colour::Good, "healthy"),
        other => painted(Colour::Bad, other),
    }
}

fn health_rows(picture: &Value, view: &View) -> Rows {
    let mut rows = vec![("Health", health_word(picture))];
    let reasons = texts(picture, "reasons").into_iter();
    rows.extend(reasons.map(|reason| ("", plain(reason))));
    for alert in list(picture, "alerts") {
        let since = view.time(text(alert, "since"));
        rows.push(("Alert", format!("{} since {since}", text(alert, "key"))));
    }
    rows
}

fn index(picture: &Value, view: &View, rows: &mut Rows) {
    let updated = match text(picture, "last_cache_update") {
        "" => "never".to_owned(),
        time => view.time(time),
    };
    let trust = match text(picture, "cache_status") {
        "fresh" => painted(Colour::Good, "fresh"),
        "failed" => painted(Colour::Bad, "failed"),
        other => painted(Colour::Warning, other),
    };
    rows.push(("Index", format!("{trust}, refreshed {updated}")));
    let reasons = texts(picture, "reasons").join("\n");
    for source in list(picture, "sources") {
        let state = match text(source, "error") {
            "" => "ok".to_owned(),
            // the health has said why
            error if reasons.contains(error) => painted(Colour::Bad, "failed"),
            error => plain(error),
        };
        let (uri, suite) = (text(source, "uri"), text(source, "suite"));
        rows.push(("", format!("{uri} {suite}: {state}")));
    }
    // what went wrong beside the last refresh
    let notes = texts(picture, "notes").into_iter();
    rows.extend(notes.map(|note| ("Note", plain(note))));
}

fn pending(picture: &Value, view: &View, rows: &mut Rows) {
    let security = number(picture, "pending_security_updates");
    let shown = format!(
        "{}, {security} of them security{}",
        count(number(picture, "pending_updates"), "update"),
        match number(picture, "pending_new_packages") {
            0 => String::new(),
            new => format!(", and {} that they need", count(new, "new package")),
        },
    );
    let shown = match text(picture, "pending_since") {
        "" => shown,
        since => format!("{shown}, since {}", view.time(since)),
    };
    let shown = if security > 0 {
        painted(Colour::Warning, &shown)
    } else {
        shown
    };
    rows.push(("Pending", shown));
    match number(picture, "kept_back_security_updates") {
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
    let kept = kept_back::summary(picture, "'patchctl plan all --kept-back' lists each");
    rows.extend(kept.into_iter().map(|line| ("", line)));
}

fn updates(picture: &Value, view: &View, rows: &mut Rows) {
    let (phase, target) = (text(picture, "phase"), text(picture, "target"));
    let phase = match phase {
        "success" => painted(Colour::Good, phase),
        "failed" | "rolled_back" => painted(Colour::Bad, phase),
        other => other.to_owned(),
    };
    rows.push((
        "Last update",
        format!("{phase} {target}").trim_end().to_owned(),
    ));
    if !text(picture, "current_job").is_empty() {
        let (job, progress) = (text(picture, "current_job"), number(picture, "progress"));
        let action = match text(picture, "action") {
            "" => String::new(),
            action => format!(": {}", plain(action)),
        };
        rows.push(("Running", format!("{job} ({progress} %){action}")));
    }
    rows.push((
        "Queue",
        format!("{} waiting", number(picture, "queue_length")),
    ));
    for job in list(picture, "deferred_jobs") {
        let since = view.time(text(job, "since"));
        let why = plain(text(job, "error"));
        rows.push((
            "Deferred",
            format!("{}, since {since}: {why}", text(job, "job")),
        ));
    }
    match number(picture, "conflicts") {
        0 => {}
        conflicts => {
            let shown = format!("{}; see 'patchctl conflicts'", count(conflicts, "job"));
            rows.push(("Conflicts", painted(Colour::Warning, &shown)));
        }
    }
}

fn reboot(picture: &Value, view: &View, rows: &mut Rows) {
    let reasons = texts(picture, "reboot_reasons");
    let reboot = if reasons.is_empty() {
        "not required".to_owned()
    } else {
        painted(Colour::Warning, &plain(&reasons.join(", ")))
    };
    rows.push(("Reboot", reboot));
    rows.extend(shutdown(picture, view).map(|scheduled| ("", scheduled)));
    match text(picture, "reboot_waits") {
        "" => {}
        why => rows.push(("", format!("one that was asked for waits: {}", plain(why)))),
    }
}

fn outdated(picture: &Value, rows: &mut Rows) {
    for service in list(picture, "outdated_services") {
        let (unit, file) = (text(service, "unit"), texts(service, "files"));
        let file = plain(file.first().copied().unwrap_or(""));
        let advice = match text(service, "advice") {
            "" => String::new(),
            advice => format!(" (replaced by: {})", plain(advice)),
        };
        let unit = plain(unit);
        rows.push((
            "Outdated",
            format!("{unit} runs {file} as it was before an update{advice}"),
        ));
    }
}

/// What is scheduled; a host of an older version says it of reboots alone.
fn shutdown(picture: &Value, view: &View) -> Option<String> {
    let scheduled = &picture["scheduled_shutdown"];
    let at = match text(scheduled, "at") {
        "" => text(picture, "scheduled_reboot"),
        at => at,
    };
    let what = match text(scheduled, "mode") {
        "" | "reboot" => "",
        mode => mode,
    };
    let uid = scheduled["uid"]
        .as_u64()
        .filter(|_| scheduled["ours"] == false);
    let by = uid.map_or_else(String::new, |uid| format!(" by user {uid}"));
    let shown = format!("{} scheduled for {}{by}", plain(what), view.time(at));
    (!at.is_empty()).then(|| shown.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Terminal;
    use serde_json::json;

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
        view(usize::MAX).finished(&status(picture, &view(usize::MAX)))
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
        let narrow = status(&picture, &view(40));
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
        assert!(with("reboot_waits", json!("x")).contains("one that was asked for waits: x"));
    }
}
