//! What pacman prints of pending updates: parsed strictly, because what is not understood is not fine.

use anyhow::{Context, Result, bail, ensure};

/// A line of `-Qu`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewerPackage {
    /// The package.
    pub package: String,
    /// The version that the repositories have.
    pub candidate: String,
    /// Whether `IgnorePkg` or `IgnoreGroup` keeps it as it is.
    pub ignored: bool,
}

/// A line of `-Sup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeTarget {
    /// The repository it comes from.
    pub repository: String,
    /// The package.
    pub package: String,
    /// Its version there.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The name of its file.
    pub file: String,
    /// The bytes of the file that pacman would have to fetch.
    pub missing: u64,
}

/// Parses `-Qu`: `name old -> new`, with ` [ignored]` behind it.
pub fn newer(text: &str) -> Result<Vec<NewerPackage>> {
    let parse = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let (package, candidate, ignored) = match words[..] {
            [package, _, "->", candidate] if !candidate.is_empty() => (package, candidate, false),
            [package, _, "->", candidate, "[ignored]"] => (package, candidate, true),
            _ => bail!("pacman -Qu printed {line:?}"),
        };
        Ok(NewerPackage {
            package: package.to_owned(),
            candidate: candidate.to_owned(),
            ignored,
        })
    };
    text.lines().map(parse).collect()
}

/// Parses `-Sup` in our format. Questions that are answered at once, and what is said of them, begin with
/// colons.
pub fn targets(text: &str) -> Result<Vec<UpgradeTarget>> {
    let mut targets = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("::")) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [repository, package, version, architecture, file, missing] = fields[..] else {
            bail!("pacman -Sup printed {line:?}");
        };
        ensure!(
            fields.iter().all(|field| !field.is_empty()) && !file.contains('/'),
            "pacman -Sup printed {line:?}"
        );
        targets.push(UpgradeTarget {
            repository: repository.to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            file: file.to_owned(),
            missing: missing
                .parse()
                .with_context(|| format!("pacman -Sup printed {line:?}"))?,
        });
    }
    Ok(targets)
}

/// Parses the `Replaces` of `-Si`: the packages that each package takes the place of, but for those that name no
/// other one. A version that is asked for stands behind the name: `old<2`.
pub fn replaces(text: &str) -> Vec<(String, Vec<String>)> {
    let mut replaces: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        let Some((field, value)) = line.split_once(" : ") else {
            continue;
        };
        match (field.trim(), replaces.last_mut()) {
            ("Name", _) => replaces.push((value.trim().to_owned(), Vec::new())),
            ("Replaces", Some((_, replaced))) if value.trim() != "None" => {
                let names = value.split_whitespace();
                replaced.extend(names.map(str::to_owned));
            }
            _ => {}
        }
    }
    replaces.retain(|(_, replaced)| !replaced.is_empty());
    replaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_lines() {
        // pacman 7.0
        let newer = newer("demo 1.0-1 -> 1.1-1\nother 1.0-1 -> 1.1-1 [ignored]\n").unwrap();
        assert_eq!(
            (newer[0].candidate.as_str(), newer[0].ignored),
            ("1.1-1", false)
        );
        assert!(newer[1].ignored);
        let targets = targets("lab\tdemo\t1.1-1\tany\tdemo-1.1-1-any.pkg.tar.gz\t512\n").unwrap();
        assert_eq!(targets[0].file, "demo-1.1-1-any.pkg.tar.gz");
        assert_eq!(targets[0].missing, 512);
    }

    #[test]
    fn what_is_replaced_is_read() {
        // pacman 7.0
        let text = "PacmanRepository      : lab\nName            : app\nVersion         : 1.1-1\n\
            Description     : Replaces : nothing\nConflicts With  : applib\nReplaces        : applib  old<2\n\n\
            PacmanRepository      : lab\nName            : tool\nReplaces        : None\n";
        let replaced = vec!["applib".to_owned(), "old<2".to_owned()];
        assert_eq!(replaces(text), [("app".to_owned(), replaced)]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in [
            "demo",
            "demo 1 -> ",
            "demo 1 -> 2 [held]",
            "there is nothing to do",
        ] {
            assert!(newer(line).is_err(), "{line}");
        }
        for line in [
            "lab\tdemo\t1\tany\t../x\t1",
            "lab\tdemo\t1\tany\tx",
            "lab\t\t1\tany\tx\t1",
            "lab\tdemo\t1\tany\tx\ty",
        ] {
            assert!(targets(line).is_err(), "{line}");
        }
    }
}
