//! What must hold for every input of a parser. The fuzz targets look for one for which it does not; a
//! unit test replays the inputs that were kept.

// the fuzz targets are built without cfg(test); a check panics where something is wrong
#![allow(clippy::missing_panics_doc, clippy::expect_used)]

mod apt;
mod config;
mod json;
mod os_release;
mod request;
mod varlink;

pub use apt::{database, hook, listing, refresh, status};
pub use config::config;
pub use os_release::os_release;
pub use request::{instance, request};
pub use varlink::varlink;

/// A check of one input.
pub type Check = fn(&[u8]);

/// Every check, by the name of its fuzz target and of the directory of its corpus.
pub const CHECKS: [(&str, Check); 10] = [
    ("config", config),
    ("database", database),
    ("hook", hook),
    ("instance", instance),
    ("listing", listing),
    ("os_release", os_release),
    ("refresh", refresh),
    ("request", request),
    ("status", status),
    ("varlink", varlink),
];

/// Text that is shown to people stays on its line and steers no terminal.
fn shown_safely(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() <= 2000, "{text:?}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::CHECKS;

    fn names(directory: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(Path::new("tests/fuzz").join(directory)).unwrap();
        let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| name(&entry.unwrap().path())).collect()
    }

    #[test]
    fn every_kept_input_passes() {
        for (name, check) in CHECKS {
            let mut inputs = 0;
            for entry in fs::read_dir(Path::new("tests/fuzz/corpus").join(name)).unwrap() {
                let path = entry.unwrap().path();
                // shown when the check panics
                println!("{}", path.display());
                check(&fs::read(path).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name} has no corpus");
        }
    }

    #[test]
    fn every_check_has_a_target_and_a_corpus() {
        let checks: BTreeSet<String> = CHECKS.map(|(name, _)| name.to_owned()).into();
        assert_eq!(names("targets"), checks);
        assert_eq!(names("corpus"), checks);
    }
}
