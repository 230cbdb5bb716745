//! The dependencies: their licences, where they come from, which are there twice, and which Rust they need.
//!
//! What cargo-deny would look at, without the minutes that its build takes.

// a test panics where something is wrong
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Licences under which others may have the program as a whole, under MIT or Apache-2.0.
const LICENCES: [&str; 6] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
];

/// Crates of which two versions are built, and whose fault it is.
const TWICE: [(&str, &str); 1] = [("cpufeatures", "sha2 0.10 and, for tests, proptest's rand")];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

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
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (allowed, rest) = alternatives(&words);
    allowed && rest.is_empty()
}

fn alternatives<'w, 'a>(words: &'w [&'a str]) -> (bool, &'w [&'a str]) {
    let (mut allowed, mut rest) = conditions(words);
    while let Some(("OR" | "or", after)) = rest.split_first().map(|(first, after)| (*first, after))
    {
        let (other, after) = conditions(after);
        (allowed, rest) = (allowed || other, after);
    }
    (allowed, rest)
}

fn conditions<'w, 'a>(words: &'w [&'a str]) -> (bool, &'w [&'a str]) {
    let (mut allowed, mut rest) = licence(words);
    while let Some(("AND" | "and", after)) =
        rest.split_first().map(|(first, after)| (*first, after))
    {
        let (other, after) = licence(after);
        (allowed, rest) = (allowed && other, after);
    }
    (allowed, rest)
}

fn licence<'w, 'a>(words: &'w [&'a str]) -> (bool, &'w [&'a str]) {
    match words {
        ["(", inner @ ..] => {
            let (allowed, rest) = alternatives(inner);
            (
                allowed && rest.first() == Some(&")"),
                rest.get(1..).unwrap_or_default(),
            )
        }
        [licence, "WITH", exception, rest @ ..] => (
            LICENCES.contains(&format!("{licence} WITH {exception}").as_str()),
            rest,
        ),
        [licence, rest @ ..] => (LICENCES.contains(licence), rest),
        [] => (false, words),
    }
}

#[test]
fn every_licence_is_an_allowed_one() {
    let wrong: Vec<String> = packages()
        .iter()
        .filter(|package| !is_allowed(text(package, "license")))
        .map(|package| format!("{}: {}", text(package, "name"), package["license"]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn licence_expressions_are_understood() {
    for allowed in [
        "MIT/Apache-2.0",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "GPL-2.0 OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT",
        "MIT WITH Classpath-exception-2.0",
        "MIT MIT",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_dependency_is_of_the_registry() {
    for package in packages() {
        let (name, source) = (text(&package, "name"), text(&package, "source"));
        let is_ours = text(&package, "manifest_path").starts_with(env!("CARGO_MANIFEST_DIR"));
        assert!(
            source == REGISTRY || source.is_empty() && is_ours,
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
    assert_eq!(doubled, TWICE.map(|(name, _)| name));
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
