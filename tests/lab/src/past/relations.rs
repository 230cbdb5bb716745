//! The control file of a package that is one version behind: its own version, and every relation to a package that is behind, too.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::deb::field;

/// The fields in which a package names others with their versions.
const FIELDS: [&str; 9] = [
    "Breaks",
    "Conflicts",
    "Depends",
    "Enhances",
    "Pre-Depends",
    "Provides",
    "Recommends",
    "Replaces",
    "Suggests",
];

/// The version a package has in the archive, and the one just below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) present: String,
    pub(super) former: String,
}

impl Step {
    /// A `~` sorts before the end of a version: nothing else lies between the two but what has one itself.
    pub(super) fn below(present: &str) -> Self {
        Self {
            present: present.to_owned(),
            former: format!("{present}~"),
        }
    }
}

/// The packages that are one version behind, by name, and what they provide in their own version.
#[derive(Debug, Default)]
pub(super) struct Steps(BTreeMap<String, Step>);

impl Steps {
    /// Of the packages with these control files.
    pub(super) fn of<'a>(controls: impl IntoIterator<Item = &'a str>) -> Self {
        let mut steps = Self::default();
        for control in controls {
            let name = field(control, "Package").unwrap_or_default();
            let version = field(control, "Version").unwrap_or_default();
            let step = Step::below(version);
            let own = format!("(= {version})");
            let provides = field(control, "Provides").unwrap_or_default().split(',');
            for provided in provides.filter(|provided| provided.contains(&own)) {
                steps.0.insert(name_of(provided).to_owned(), step.clone());
            }
            steps.0.insert(name.to_owned(), step);
        }
        steps
    }

    /// What stands in the place of a version that is required of a package: where that package's own
    /// version has moved, the version moves along, so that each relation holds as it did before.
    fn moved(
        &self,
        name: &str,
        version: &str,
        compare: &impl Fn(&str, &str) -> Ordering,
    ) -> Option<&str> {
        let step = self.0.get(name)?;
        let above = || compare(version, &step.former) == Ordering::Greater;
        let not_beyond = || compare(version, &step.present) != Ordering::Greater;
        (version == step.present || (above() && not_beyond())).then_some(step.former.as_str())
    }
}

/// The control file of the same package one version earlier; `compare` orders versions as dpkg does.
pub(super) fn earlier(
    control: &str,
    steps: &Steps,
    compare: impl Fn(&str, &str) -> Ordering,
) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some(("Version", version)) => format!("Version: {}\n", Step::below(version).former),
        Some((name, value)) if FIELDS.contains(&name) => {
            let clauses = value.split_inclusive([',', '|']);
            let clauses = clauses.map(|clause| clause_earlier(clause, steps, &compare));
            format!("{name}: {}\n", clauses.collect::<String>())
        }
        _ => format!("{line}\n"),
    };
    control.lines().map(line).collect()
}

/// `name:any (>= 1.0) |`
fn clause_earlier(
    clause: &str,
    steps: &Steps,
    compare: &impl Fn(&str, &str) -> Ordering,
) -> String {
    let required = clause.split_once('(').and_then(|(_, rest)| {
        let (inside, _) = rest.split_once(')')?;
        Some(inside.trim_start_matches(['<', '=', '>', ' ']))
    });
    let moved = required.and_then(|version| steps.moved(name_of(clause), version.trim(), compare));
    match (required, moved) {
        (Some(version), Some(former)) => {
            clause.replace(&format!("{version})"), &format!("{former})"))
        }
        _ => clause.to_owned(),
    }
}

fn name_of(clause: &str) -> &str {
    let end = clause.trim_start();
    end.split([' ', ':', '(', ',', '|']).next().unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "Package: server\nVersion: 2:1.0-3+b1\n\
        Provides: server-abi-7, server-api (= 2:1.0-3+b1)\nDepends: libserver (= 2:1.0-3), \
        common (>= 1.0), libc6 (>= 2.41)\nDescription: depends on common (= 1.0)\n";
    const LIBRARY: &str = "Package: libserver\nVersion: 2:1.0-3\n";
    const COMMON: &str = "Package: common\nVersion: 1.0\nDepends: server:any (= 2:1.0-3+b1) | \
        server-api (>= 2:1.0-3+b1), other\nBreaks: libserver (<< 2:1.0-3)\nReplaces: server (<< 2:0.9)\n";

    /// Right for the versions above: `~` before the end, the rest by its letters.
    fn compare(one: &str, other: &str) -> Ordering {
        let key = |version: &str| version.replace('~', "\u{1}") + "\u{2}";
        key(one).cmp(&key(other))
    }

    #[test]
    fn relations_among_those_that_are_behind_move_along() {
        let steps = Steps::of([SERVER, LIBRARY, COMMON]);
        let server = earlier(SERVER, &steps, compare);
        assert_eq!(field(&server, "Version"), Some("2:1.0-3+b1~"));
        assert_eq!(
            field(&server, "Depends"),
            Some("libserver (= 2:1.0-3~), common (>= 1.0~), libc6 (>= 2.41)")
        );
        assert_eq!(
            field(&server, "Provides"),
            Some("server-abi-7, server-api (= 2:1.0-3+b1~)")
        );
        assert_eq!(
            field(&server, "Description"),
            Some("depends on common (= 1.0)")
        );
        let common = earlier(COMMON, &steps, compare);
        assert_eq!(
            field(&common, "Depends"),
            Some("server:any (= 2:1.0-3+b1~) | server-api (>= 2:1.0-3+b1~), other")
        );
        assert_eq!(field(&common, "Breaks"), Some("libserver (<< 2:1.0-3~)"));
        assert_eq!(field(&common, "Replaces"), Some("server (<< 2:0.9)"));
    }

    #[test]
    fn what_lies_between_the_two_versions_moves_and_nothing_else_does() {
        let steps = Steps::of([COMMON]);
        let moved = |version| steps.moved("common", version, &compare);
        assert_eq!(moved("1.0"), Some("1.0~"));
        assert_eq!(moved("1.0~"), None);
        assert_eq!(moved("1.0~~"), None);
        assert_eq!(moved("1.1"), None);
        assert_eq!(steps.moved("other", "1.0", &compare), None);
    }
}
