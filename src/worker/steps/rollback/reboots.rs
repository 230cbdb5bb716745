//! Reasons to reboot that an update has left, and that hold no longer once it is undone.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use crate::package::Change;
use crate::paths::Paths;
use crate::sorted::InOrder;
use crate::state::reboot;
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::rollback::marks::{NEEDED, PACKAGES, REQUIRED, named};
use crate::worker::steps::rollback::seen::Earlier;

/// Takes back what the changes, or undoing them, have left, and that was not there before: marks of the
/// packages that are back, and what the package manager tells of files that are. What others have left stays.
pub fn take_back(ctx: &Context, earlier: &Earlier, undone: &[Change], begun: DateTime<Utc>) {
    if earlier.seen.at.is_none() {
        // nothing is known of before
        return;
    }
    let back: BTreeSet<&str> = undone.iter().map(|change| &*change.package).in_order();
    files(&ctx.paths, earlier, &back, begun);
    let before = &earlier.seen.reboot.reasons;
    let is_about_them = |reason: &String| {
        let mut names = back.iter();
        reason
            .strip_suffix(" was updated")
            .is_some_and(|of| names.any(|name| name.starts_with(of)))
    };
    let now = ctx.packages.reboot_reasons(&reboot::taken_back(&ctx.paths));
    let over: Vec<String> = now
        .into_iter()
        .filter(|reason| !before.contains(reason) && is_about_them(reason))
        .collect();
    if !over.is_empty()
        && let Err(error) = reboot::take_back(&ctx.paths, &over)
    {
        tracing::warn!("{error:#}");
    }
}

fn files(paths: &Paths, earlier: &Earlier, back: &BTreeSet<&str>, begun: DateTime<Utc>) {
    let before = &earlier.seen.reboot;
    let now = named(paths);
    let stays = |name: &&String| before.packages.contains(name) || !back.contains(name.as_str());
    let left: Vec<&String> = now.iter().filter(stays).collect();
    let is_theirs = left.len() < now.len();
    if is_theirs {
        let text: String = left.iter().map(|name| format!("{name}\n")).collect();
        let place = paths.host(PACKAGES);
        let written = if left.is_empty() {
            fs::remove_file(place)
        } else {
            fs::write(place, text)
        };
        if let Err(error) = written {
            tracing::warn!("'{PACKAGES}' still names packages that went back: {error}");
        }
    }
    for mark in [REQUIRED, NEEDED] {
        let place = paths.host(mark);
        let was_there = before.files.iter().any(|file| file == mark);
        let is_named = mark == REQUIRED && !left.is_empty();
        if was_there || is_named || !place.exists() {
            continue;
        }
        if (mark == REQUIRED && is_theirs || is_of_these(&place, earlier, begun))
            && let Err(error) = fs::remove_file(&place)
        {
            tracing::warn!("'{mark}' is still there: {error}");
        }
    }
}

/// Whether a mark was left while the changes were made, or undone: what others have left in between is theirs.
fn is_of_these(place: &PathBuf, earlier: &Earlier, begun: DateTime<Utc>) -> bool {
    let Ok(modified) = fs::metadata(place).and_then(|file| file.modified()) else {
        return false;
    };
    let in_made = earlier
        .seen
        .at
        .is_some_and(|at| modified >= SystemTime::from(at))
        && earlier
            .ended
            .is_none_or(|ended| modified <= SystemTime::from(ended));
    in_made || modified >= SystemTime::from(begun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock;
    use crate::worker::steps::rollback::marks::Marked;
    use crate::worker::steps::rollback::seen::StateBefore;

    fn earlier(files: &[&str], packages: &[&str]) -> Earlier {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Earlier {
            ended: None,
            seen: StateBefore {
                at: Some(clock::now() - chrono::TimeDelta::seconds(60)),
                reboot: Marked {
                    files: owned(files),
                    packages: owned(packages),
                    reasons: Vec::new(),
                },
                ..StateBefore::default()
            },
            etc: Err(String::new()),
        }
    }

    #[test]
    fn marks_of_what_went_back_go_and_those_of_others_stay() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        fs::create_dir_all(paths.host("/run")).unwrap();
        let back = BTreeSet::from(["libc6", "linux-image-2"]);
        let after = |named: Option<&str>, earlier: &Earlier| {
            fs::write(paths.host(REQUIRED), "").unwrap();
            let _ = fs::remove_file(paths.host(PACKAGES));
            if let Some(named) = named {
                fs::write(paths.host(PACKAGES), named).unwrap();
            }
            files(&paths, earlier, &back, clock::now());
            let named = fs::read_to_string(paths.host(PACKAGES)).ok();
            (paths.host(REQUIRED).exists(), named)
        };
        let none = earlier(&[], &[]);
        assert_eq!(after(Some("libc6\nlinux-image-2\n"), &none), (false, None));
        let others = after(Some("libc6\ndbus\n"), &none);
        assert_eq!(others, (true, Some("dbus\n".into())));
        let was = earlier(&[REQUIRED], &["libc6"]);
        let stays = after(Some("libc6\nlinux-image-2\n"), &was);
        assert_eq!(stays, (true, Some("libc6\n".into())));
        assert_eq!(after(None, &none), (false, None), "while it was made");
        let long_ago = Earlier {
            ended: Some(clock::now() - chrono::TimeDelta::seconds(30)),
            ..earlier(&[], &[])
        };
        let ahead = clock::now() + chrono::TimeDelta::seconds(60);
        fs::write(paths.host(REQUIRED), "").unwrap();
        files(&paths, &long_ago, &back, ahead);
        assert!(paths.host(REQUIRED).exists(), "another program has left it");
    }
}
