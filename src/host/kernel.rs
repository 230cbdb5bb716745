//! The kernel: which one runs, and whether a newer one of its kind is installed.

use std::cmp::Ordering;
use std::fs;

use crate::paths::Paths;

/// The newest installed kernel that is newer than the running one and of its flavour. None in a
/// container, and wherever the running kernel is not one that is installed here: it is another host's.
#[must_use]
pub fn newer_installed(paths: &Paths) -> Option<String> {
    let running = rustix::system::uname();
    let running = running.release().to_str().ok()?;
    newest(&installed(paths), running)
}

/// The running kernel's release.
#[must_use]
pub fn running() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// The kernels that are never removed to make room: the one that runs, and the newest of the others, which the
/// administrator can boot instead.
#[must_use]
pub fn kept(paths: &Paths) -> Vec<String> {
    let running = running();
    let mut others = installed(paths);
    others.retain(|release| *release != running);
    let newest = others.into_iter().max_by(|a, b| compare(a, b));
    newest.into_iter().chain([running]).collect()
}

/// The releases of the installed kernels: Debian and SUSE keep them in `/boot`, Fedora and Arch (also)
/// beside their modules.
fn installed(paths: &Paths) -> Vec<String> {
    let names = |directory: &str| {
        let entries = fs::read_dir(paths.host(directory));
        let names = entries.into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect::<Vec<_>>()
    };
    let images = names("/boot").into_iter().filter_map(|name| {
        let release = name.strip_prefix("vmlinuz-")?;
        Some(release.to_owned())
    });
    let modules = names("/usr/lib/modules").into_iter().filter(|release| {
        let image = format!("/usr/lib/modules/{release}/vmlinuz");
        paths.host(&image).exists()
    });
    images.chain(modules).collect()
}

/// Pure: the newest of the same flavour, when the running one is among them and older.
fn newest(installed: &[String], running: &str) -> Option<String> {
    if !installed.iter().any(|release| release == running) {
        return None;
    }
    let same = installed.iter().filter(|r| flavour(r) == flavour(running));
    same.max_by(|a, b| compare(a, b))
        .filter(|newest| compare(newest, running) == Ordering::Greater)
        .cloned()
}

/// `amd64` of `6.1.0-25-amd64`, `cloud-amd64`, `generic`, `default`, `lts`; empty where there is none.
fn flavour(release: &str) -> String {
    let is_word = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && !part.starts_with("rc")
    };
    let mut words: Vec<&str> = release.rsplit('-').take_while(is_word).collect();
    words.reverse();
    words.join("-")
}

/// Numbers as numbers, everything else as text; a `~` is older than nothing at all, as in versions.
fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (tokens(one), tokens(other));
    for (a, b) in one.iter().zip(&other) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            _ => b.starts_with('~').cmp(&a.starts_with('~')).then(a.cmp(b)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (token, after) = rest.split_at(end);
        tokens.push(token);
        rest = after;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_kernel_of_the_same_flavour_is_found() {
        let newest = |installed: &[&str], running: &str| {
            let installed: Vec<String> = installed.iter().map(ToString::to_string).collect();
            newest(&installed, running)
        };
        for (installed, running, found) in [
            (
                &["6.1.0-9-amd64", "6.1.0-25-amd64", "6.12.0-1-cloud-amd64"][..],
                "6.1.0-9-amd64",
                Some("6.1.0-25-amd64"),
            ),
            (&["6.1.0-25-amd64", "6.1.0-9-amd64"], "6.1.0-25-amd64", None),
            (
                &["6.8.0-45-generic", "6.8.0-100-generic"],
                "6.8.0-45-generic",
                Some("6.8.0-100-generic"),
            ),
            (
                &["6.11.4-301.fc41.x86_64", "6.11.10-300.fc41.x86_64"],
                "6.11.4-301.fc41.x86_64",
                Some("6.11.10-300.fc41.x86_64"),
            ),
            (
                &["6.6.51+rpt-rpi-v8", "6.6.62+rpt-rpi-2712"],
                "6.6.51+rpt-rpi-v8",
                None,
            ),
            (&["6.12.41+deb13-amd64"], "5.10.0-container", None),
            (&[], "6.1.0-9-amd64", None),
        ] {
            assert_eq!(newest(installed, running).as_deref(), found, "{running}");
        }
    }
}
