//! The dependencies: their licences, where they come from, which are there twice, and which Rust they need.
//!
//! The rules are those of `tests/deny.toml`, which `tests/run deny` gives to cargo-deny. This test always runs, and does
//! without the minutes that the build of cargo-deny takes. It does not look at security advisories and yanked versions.

// a test panics where something is wrong
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

/// A list of `tests/deny.toml`.
fn listed(table: &str, key: &str) -> Vec<toml::Value> {
    let text = fs::read_to_string("tests/deny.toml").unwrap();
    let rules: toml::Table = text.parse().unwrap();
    rules[table][key].as_array().unwrap().clone()
}

/// Licences under which others may have the program as a whole, under MIT or Apache-2.0.
fn licences() -> Vec<String> {
    let allowed = listed("licenses", "allow").into_iter();
    allowed
        .map(|licence| licence.as_str().unwrap().to_owned())
        .collect()
}

/// Every package of the workspace and of its dependencies on this platform.
fn packages() -> Vec<Value> {
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = cargo(&["-vV"]);
    let platform = version.lines().find_map(|line| line.strip_prefix("host: "));
    let platform = platform.unwrap();
    // what other platforms need may never have been downloaded
    let metadata = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--offline",
        "--filter-platform",
        platform,
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// Whether an SPDX expression can be met with the licences that are allowed; `/` is an older form of `OR`.
fn is_allowed(expression: &str, licences: &[String]) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (allowed, rest) = alternatives(&words, licences);
    allowed && rest.is_empty()
}

fn alternatives<'w, 'a>(words: &'w [&'a str], licences: &[String]) -> (bool, &'w [&'a str]) {
    let (mut allowed, mut rest) = conditions(words, licences);
    while let Some(("OR" | "or", after)) = rest.split_first().map(|(first, after)| (*first, after))
    {
        let (other, after) = conditions(after, licences);
        (allowed, rest) = (allowed || other, after);
    }
    (allowed, rest)
}

fn conditions<'w, 'a>(words: &'w [&'a str], licences: &[String]) -> (bool, &'w [&'a str]) {
    let (mut allowed, mut rest) = licence(words, licences);
    while let Some(("AND" | "and", after)) =
        rest.split_first().map(|(first, after)| (*first, after))
    {
        let (other, after) = licence(after, licences);
        (allowed, rest) = (allowed && other, after);
    }
    (allowed, rest)
}

fn licence<'w, 'a>(words: &'w [&'a str], licences: &[String]) -> (bool, &'w [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (allowed, rest) = alternatives(inner, licences);
            (
                allowed && rest.first() == Some(&")"),
                rest.get(1..).unwrap_or_default(),
            )
        }
        [licence, "WITH", exception, rest @ ..] => (
            licences.contains(&format!("{licence} WITH {exception}")),
            rest,
        ),
        [licence, rest @ ..] => (licences.iter().any(|allowed| allowed == licence), rest),
        [] => (false, words),
    }
}

#[test]
fn every_licence_is_an_allowed_one() {
    let licences = licences();
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(text(package, "license"), &licences))
        .map(|package| format!("{}: {}", text(package, "name"), package["license"]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    let licences = licences();
    for allowed in [
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "GPL-2.0 OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(allowed, &licences), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT",
        "MIT WITH Classpath-exception-2.0",
        "MIT MIT",
    ] {
        assert!(!is_allowed(refused, &licences), "{refused}");
    }
}

#[test]
fn every_dependency_is_of_the_registry() {
    let registries: Vec<String> = listed("sources", "allow-registry")
        .iter()
        .map(|registry| format!("registry+{}", registry.as_str().unwrap()))
        .collect();
    for package in packages() {
        let (name, source) = (text(&package, "name"), text(&package, "source"));
        let is_ours = text(&package, "manifest_path").starts_with(env!("CARGO_MANIFEST_DIR"));
        assert!(
            registries.iter().any(|registry| registry == source) || source.is_empty() && is_ours,
            "{name} comes from {source}"
        );
    }
}

#[test]
fn no_other_dependency_is_built_in_two_versions() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages() {
        let of = versions
            .entry(text(&package, "name").to_owned())
            .or_default();
        of.insert(text(&package, "version").to_owned());
    }
    let doubled: Vec<&str> = versions
        .iter()
        .filter(|(_, of)| of.len() > 1)
        .map(|(name, _)| name.as_str())
        .collect();
    let allowed = listed("bans", "skip");
    let allowed: Vec<&str> = allowed
        .iter()
        .map(|rule| rule["crate"].as_str().unwrap())
        .collect();
    assert_eq!(doubled, allowed);
}

#[test]
fn no_dependency_needs_a_newer_rust_than_we_ask_for() {
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect()
    };
    let ours = number(env!("CARGO_PKG_RUST_VERSION"));
    for package in packages() {
        // a package that does not say is taken by its word in the check with that Rust
        let Some(theirs) = package["rust_version"].as_str() else {
            continue;
        };
        let (name, version) = (text(&package, "name"), text(&package, "version"));
        assert!(
            number(theirs)[..2] <= ours[..2],
            "{name} {version} needs Rust {theirs}"
        );
        if text(&package, "source").is_empty() {
            assert_eq!(
                number(theirs),
                ours,
                "the manifest of {name} asks for another Rust"
            );
        }
    }
}
