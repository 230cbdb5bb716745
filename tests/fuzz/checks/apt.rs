//! What apt and dpkg print: nothing is made up, nothing is lost, no password is passed on.

use std::collections::BTreeSet;

use crate::package::apt::status as progress;
use crate::package::apt::{
    acquire, database as dpkg, gate as protocol, policy, release_file, simulate as simulation,
};
use crate::package::credentials::redacted;
use crate::package::{Change, PackageState, Report, Update};

/// The change list of `DPkg::Pre-Install-Pkgs`.
pub fn hook(input: &[u8]) {
    let Ok(changes) = protocol::parse(&mut &input[..]) else {
        return;
    };
    let text = std::str::from_utf8(input).expect("a list is text");
    assert!(text.starts_with("VERSION 3"));
    assert!(text.ends_with('\n'), "it was cut off");
    let list: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.is_empty())
        .skip(1)
        .collect();
    for change in &changes {
        assert!(
            list.iter().any(|line| announces(line, change)),
            "nobody announced {change:?}"
        );
        assert!(change.from.is_some() || change.to.is_some(), "{change:?}");
        assert!(
            !change.package.is_empty() && !change.architecture.is_empty(),
            "{change:?}"
        );
    }
    assert!(changes.is_sorted());
    // what apt announces and is no change: configuring a version that is unpacked already
    for line in list {
        let known = changes.iter().any(|change| announces(line, change));
        assert!(
            known || line.ends_with(" **CONFIGURE**"),
            "{line:?} is lost"
        );
    }
}

/// Whether a line of the change list stands for the change; its file may be in another line.
fn announces(line: &str, change: &Change) -> bool {
    let fields: Vec<&str> = line.splitn(9, ' ').collect();
    let [name, old, old_arch, _, _, new, new_arch, _, action] = fields[..] else {
        panic!("{line:?} was taken");
    };
    let version = |text| Some(text).filter(|text| *text != "-");
    let removed = action == "**REMOVE**";
    name == change.package
        && version(old) == change.from.as_deref()
        && version(new).filter(|_| !removed) == change.to.as_deref()
        && [old_arch, new_arch].contains(&change.architecture.as_str())
}

/// Lines of `APT::Status-Fd`.
pub fn status(input: &[u8]) {
    for line in String::from_utf8_lossy(input).lines() {
        match progress::parse(line) {
            Some(Report::Downloading { percent }) => {
                assert!(line.starts_with("dlstatus:") && percent <= 100, "{line:?}");
            }
            Some(Report::Installing { percent, action }) => {
                assert!(line.starts_with("pmstatus:") && percent <= 100, "{line:?}");
                assert!(line.contains(&action), "{line:?}");
            }
            Some(other) => panic!("{line:?} is not {other:?}"),
            None => {}
        }
    }
}

/// The lines of `apt-get update`, its talk with its methods included.
pub fn refresh(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut reader = acquire::AcquireReader::default();
    text.lines().for_each(|line| reader.line(line));
    reader.lock_holder().into_iter().for_each(without_passwords);
    let said = reader.finish();
    for source in &said.sources {
        without_passwords(&source.uri);
        assert!(!source.file.contains('/'), "{source:?}");
        assert!(source.answered || source.sent.is_none(), "{source:?}");
        source.warnings.iter().for_each(|w| without_passwords(w));
    }
    let of_sources = said.sources.iter();
    let told: Vec<&String> = of_sources
        .flat_map(|source| source.errors.iter().chain(&source.extras))
        .chain(&said.errors)
        .chain(&said.hooks)
        .collect();
    told.iter().for_each(|error| without_passwords(error));
    for error in text.lines().filter_map(|line| line.strip_prefix("E: ")) {
        let error = redacted(error);
        // what sums up others, which are told
        let sum = error.starts_with("Some index files failed to download")
            || error == "Sub-process returned an error code";
        assert!(told.contains(&&error) || sum, "{error:?} is lost");
    }
    let asked = text.lines().filter(|line| line.starts_with(" -> "));
    assert!(said.sources.len() <= asked.count());
    let shown = redacted(&text);
    without_passwords(&shown);
    assert_eq!(redacted(&shown), shown);
    if !text.contains('@') {
        assert_eq!(shown, text);
    }
    let _ = (
        release_file::index_date(&text),
        release_file::offers_nothing(&text),
    );
}

/// No address of the text holds a user: what lies between `://` and the path has no `@`.
fn without_passwords(text: &str) {
    for after in text.split("://").skip(1) {
        let authority = after.split(|c: char| c == '/' || c.is_whitespace()).next();
        assert!(!authority.unwrap_or_default().contains('@'), "{text:?}");
    }
}

/// The lines of a simulated run, and those of `apt-cache policy`.
pub fn listing(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for (name, known) in policy::parse(&text, &BTreeSet::new()) {
        let versions = known.newer.iter().map(|newer| newer.version.as_str());
        for word in versions.chain([name.as_str(), &known.installed, &known.candidate]) {
            assert!(text.contains(word), "{word:?} was not shown");
        }
        assert!(known.security().is_none(), "no source is for security");
        assert!(known.passed_over().is_none() && known.newer.len() < text.lines().count());
    }
    let Ok(listing) = simulation::parse(&text) else {
        return;
    };
    let lines = |start: &'static str| text.lines().filter_map(move |l| l.strip_prefix(start));
    let mut keys = BTreeSet::new();
    for update in &listing.updates {
        assert!(
            lines("Inst ").any(|line| is_listed(line, update)),
            "nobody listed {update:?}"
        );
        assert!(keys.insert(update.key()), "{update:?} is there twice");
        assert!(
            !update.package.is_empty() && !update.candidate.is_empty(),
            "{update:?}"
        );
        let again = simulation::parse(&written(update)).expect("it was taken before");
        assert_eq!(again.updates.first(), Some(update));
    }
    assert_eq!(lines("Inst ").count() > 0, !listing.updates.is_empty());
    assert_eq!(lines("Remv ").count(), listing.removals.len());
    for removed in &listing.removals {
        assert!(
            lines("Remv ").any(|line| line.starts_with(removed)),
            "{removed:?}"
        );
    }
    for kept in &listing.kept {
        let named = |line: &str| line.split_whitespace().any(|name| name == kept.package);
        assert!(lines(" ").any(named), "{kept:?}");
    }
}

fn is_listed(line: &str, update: &Update) -> bool {
    let old = update.installed.as_ref();
    line.starts_with(&update.package)
        && line.contains(&format!("({}", update.candidate))
        && line.contains(&format!(" [{}])", update.architecture))
        && old.is_none_or(|old| line.contains(&format!(" [{old}] (")))
}

/// The line apt prints for an update.
fn written(update: &Update) -> String {
    let old = update.installed.as_ref().map(|old| format!(" [{old}]"));
    format!(
        "Inst {}{} ({} {} [{}])\n",
        update.package,
        old.unwrap_or_default(),
        update.candidate,
        update.origin,
        update.architecture,
    )
}

/// dpkg's database as dpkg-query prints it.
pub fn database(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(database) = dpkg::parse(&text) else {
        return;
    };
    for (key, installed) in &database {
        let start = format!(
            "{}\t{}\t{}\t",
            key.package, key.architecture, installed.version
        );
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|l| l.strip_prefix(start.as_str()))
            .collect();
        assert!(!lines.is_empty(), "nobody listed {key}");
        let good = |line: &&str| {
            line.split(['\t', ' '])
                .skip(1)
                .take(2)
                .eq(["ok", "installed"])
        };
        match &installed.state {
            PackageState::Good => assert!(lines.iter().any(good), "{key} is not good"),
            PackageState::Broken(why) => assert!(!why.is_empty() && !lines.iter().all(good)),
        }
    }
}
