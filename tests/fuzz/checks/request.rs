//! Queue entries and unit instances: whatever is taken says one thing, and says it again.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use super::json::says_nothing_twice;
use super::shown_safely;
use crate::journal::plain;
use crate::queue::Decision;
use crate::request::{JobId, Kind, PackageName, Request, Target};

/// A queue entry, whose file name is the id that it contains.
pub fn request(input: &[u8]) {
    let given: Option<Value> = serde_json::from_slice(input).ok();
    let own = given.as_ref().and_then(|value| value["id"].as_str());
    let id = own.and_then(|id| id.parse().ok()).unwrap_or_else(other);
    let request = match Request::parse(&id, input) {
        Ok(request) => request,
        Err(error) => return shown_safely(&plain(&format!("{error:#}"))),
    };
    assert!(Request::parse(&other(), input).is_err() || request.id == other());
    let written = serde_json::to_vec(&request).expect("a request can be written");
    let again = Request::parse(&id, &written).expect("what was written is a request");
    assert_eq!(again, request);

    says_nothing_twice(input);
    let given = given.expect("a request is JSON");
    let known = serde_json::to_value(&request).expect("a request can be written");
    let lost: Vec<_> = keys(&given).difference(&keys(&known)).cloned().collect();
    assert!(lost.is_empty(), "nobody looked at {lost:?}");

    match (&request.kind, &request.packages) {
        (Kind::Apply | Kind::Update, Some(target)) => names_packages(target),
        (Kind::Refresh, None) => assert!(request.options.is_empty()),
        _ => panic!("an apply names packages, a refresh does not"),
    }
    request.options.expect.keys().for_each(is_plain);
}

/// The instance of a unit; as a list of names and as a name in the queue, too.
pub fn instance(input: &[u8]) {
    match Target::from_instance(input) {
        Ok(target) => {
            names_packages(&target);
            let names = target.names();
            assert_eq!(names.len(), 1);
            assert_eq!(names[0].as_bytes(), decoded(input), "systemd means another");
            let escaped: String = names[0].bytes().map(|c| format!("\\x{c:02x}")).collect();
            let again = Target::from_instance(escaped.as_bytes()).expect("it was taken before");
            assert_eq!(again, target);
        }
        Err(error) => shown_safely(&format!("{error:#}")),
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let names: Vec<&str> = text.split(' ').collect();
        if let Ok(target) = Target::from_names(&names) {
            names_packages(&target);
            let asked: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
            assert_eq!(target.names().into_iter().collect::<BTreeSet<_>>(), asked);
        }
    }
    if let Some((mark, id)) = Decision::parse(OsStr::from_bytes(input)) {
        let name = format!("{id}.{mark:?}").to_lowercase();
        assert_eq!(name.as_bytes(), input);
    }
}

fn other() -> JobId {
    "0000000000000000-000000".parse().expect("it is an id")
}

pub fn names_packages(target: &Target) {
    match target {
        Target::All | Target::Security => {}
        Target::Packages(packages) => {
            assert!(!packages.is_empty() && packages.is_sorted());
            packages.iter().for_each(is_plain);
        }
    }
}

/// Neither a shell nor apt, dnf, zypper, pacman or apk read more than a name into it: no option, no
/// removal, pattern, version, file, address, group, second word.
pub fn is_plain(name: &PackageName) {
    let text = name.as_str();
    assert!((1..=128).contains(&text.len()), "{text:?}");
    assert!(
        text.starts_with(|c: char| c.is_ascii_alphanumeric()),
        "{text:?}"
    );
    for part in text.split(':') {
        assert!(!part.is_empty() && !part.ends_with('-'), "{text:?}");
    }
    assert!(text.matches(':').count() <= 1, "{text:?}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._:".contains(c);
    assert!(text.chars().all(plain), "{text:?}");
    assert!(
        !matches!(text, "all" | "security"),
        "{text:?} is no package"
    );
    assert_eq!(
        &text.parse::<PackageName>().expect("it was taken before"),
        name
    );
}

/// What systemd unescapes an instance to (systemd.unit(5)), byte for byte.
fn decoded(mut instance: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let [first, tail @ ..] = instance {
        let escaped = instance
            .strip_prefix(b"\\x")
            .and_then(|digits| digits.split_at_checked(2));
        if let Some((digits, rest)) = escaped {
            let digits = std::str::from_utf8(digits).expect("an escape that was taken");
            bytes.push(u8::from_str_radix(digits, 16).expect("an escape that was taken"));
            instance = rest;
        } else {
            bytes.push(*first);
            instance = tail;
        }
    }
    bytes
}

/// Every key, with the keys it lies in, of what is not left out as a default.
fn keys(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, keys: &mut BTreeSet<String>) {
        match value {
            Value::Null | Value::Bool(false) => {}
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| walk(value, &format!("{at}/{key}"), keys)),
            _ => {
                keys.insert(at.to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(value, "", &mut found);
    found
}
