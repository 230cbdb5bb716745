//! Packages that the administrator keeps as they are: locks and excludes.

use std::fs;

use super::conf::{of_dnf, of_main};
use crate::glob;

/// The two names of one setting (dnf.conf(5)).
const EXCLUDES: [&str; 2] = ["exclude", "excludepkgs"];

/// The patterns of names that are locked, from the files that are there: those of dnf 4
/// (`versionlock.list`), of dnf 5 (`versionlock.toml`), the `exclude` of both (dnf.conf(5)), and those
/// of zypper (`locks`).
pub fn dnf() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut patterns = versionlock(&read("/etc/dnf/plugins/versionlock.list"));
    patterns.extend(versionlock(&read("/etc/yum/pluginconf.d/versionlock.list")));
    patterns.extend(versionlock_toml(&read("/etc/dnf/versionlock.toml")));
    patterns.extend(EXCLUDES.iter().flat_map(|setting| of_dnf(setting)));
    patterns.extend(of_main(&read("/etc/yum.conf"), &EXCLUDES));
    patterns
}

/// The patterns of zypper's locks.
pub fn zypper() -> Vec<String> {
    zypper_locks(&fs::read_to_string("/etc/zypp/locks").unwrap_or_default())
}

/// Whether one of the patterns matches the name. `*` and `?` are all that is used in these files in practice; a pattern
/// with brackets matches nothing here, and the package manager still respects it.
pub fn is_held(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| glob::matches(pattern, name))
}

/// Lines such as `demo-0:1.0-1.*`, also with patterns; a leading `!` excludes a version and is no lock.
fn versionlock(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        .map(|line| {
            let mut parts = line.rsplitn(3, '-');
            let _release = parts.next();
            let _version = parts.next();
            parts.next().unwrap_or(line).to_owned()
        })
        .collect()
}

/// `name = "demo"` in `[[packages]]`, and the keys of the conditions, which are no names.
fn versionlock_toml(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then(|| value.trim().trim_matches('"').to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// `solvable_name: demo` of each record that has no other type than packages.
fn zypper_locks(text: &str) -> Vec<String> {
    let name = |line: &str| {
        line.strip_prefix("solvable_name:")
            .map(|n| n.trim().to_owned())
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_lock_is_read() {
        let list = "# Added\ndemo-0:1.0-1.*\n!other-0:2-1.*\nkernel*-0:6-1.*\n";
        assert_eq!(versionlock(list), ["demo", "kernel*"]);
        let toml = "version = \"1.0\"\n[[packages]]\nname = \"demo\"\n[[packages.conditions]]\nkey = \"evr\"\n";
        assert_eq!(versionlock_toml(toml), ["demo"]);
        let conf = "[main]\ngpgcheck=1\nexcludepkgs = a*, b\n# no\n  d\nx=1\n  e\n[x]\nexclude=c\n";
        assert_eq!(of_main(conf, &EXCLUDES), ["a*", "b", "d"]);
        let locks = "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: demo\n";
        assert_eq!(zypper_locks(locks), ["demo"]);
    }

    #[test]
    fn patterns_match() {
        let patterns = ["kernel*".to_owned(), "lib?".to_owned()];
        assert!(is_held(&patterns, "kernel-core") && is_held(&patterns, "kernel"));
        assert!(is_held(&patterns, "libz") && !is_held(&patterns, "libzz"));
        assert!(!is_held(&patterns, "akernel"));
    }
}
