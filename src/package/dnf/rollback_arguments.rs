//! The command lines that take dnf and yum back to former versions: pure builders.

use std::path::{Path, PathBuf};

use super::arguments::{STEADY, disabled, mark, nevra};
use super::variant::Variant;
use crate::exec::Program;
use crate::package::{PackageId, RollbackItem, RollbackSource};

/// Removes the older of two entries of a package, and installs the newer one again.
pub fn remove_duplicates(variant: Variant) -> Program {
    match variant {
        Variant::Dnf4 | Variant::Dnf5 => {
            Program::new(variant.program()).args(["remove", "-y", "--duplicates"])
        }
        // of the yum-utils package
        Variant::Yum => Program::new("/usr/bin/package-cleanup").args(["-y", "--cleandupes"]),
    }
}

/// Puts former versions back and takes away what was new, in one transaction. In `script`, dnf 4 and
/// yum find the words of their shell, the only command of theirs that does both in one. `answer` is the
/// option for the question whether that is ok.
pub fn rollback(variant: Variant, former: &[RollbackItem], script: &Path, answer: &str) -> Program {
    let program = Program::new(variant.program());
    let program = match variant {
        Variant::Dnf4 | Variant::Yum => program.args(["shell", answer]).arg(script),
        Variant::Dnf5 => {
            let mut program = program.args(["do", answer]);
            for (verb, words) in verbs(former) {
                program = program.arg(format!("--action={verb}")).args(words);
            }
            program
        }
    };
    program
        .args(STEADY)
        .args(disabled(variant))
        .arg("--setopt=*.metadata_expire=-1")
        .args(mark(variant))
}

/// Fetches packages again in the version that they have, and installs them once more.
pub fn install_again(variant: Variant, former: &[RollbackItem]) -> Program {
    let name = |former: &RollbackItem| {
        let change = &former.change;
        let version = change.from.as_deref().unwrap_or_default();
        nevra(&change.package, version, &change.former_key().architecture)
    };
    Program::new(variant.program())
        .args(["reinstall", "-y"])
        .args(STEADY)
        .args(disabled(variant))
        .arg("--setopt=*.metadata_expire=-1")
        .args(mark(variant))
        .args(former.iter().map(name))
}

/// The words of [`rollback`] for the shell of dnf 4 and yum.
pub fn shell_script(former: &[RollbackItem]) -> String {
    let line = |(verb, words): (&str, Vec<PathBuf>)| {
        let words: Vec<String> = words.iter().map(|w| w.display().to_string()).collect();
        format!("{verb} {}\n", words.join(" "))
    };
    let lines: String = verbs(former).into_iter().map(line).collect();
    lines + "run\n"
}

/// What is to come back, as files or as exact versions from a repository, and what is to go. dnf 4 takes nothing
/// for a downgrade that has another architecture than what is installed.
fn verbs(former: &[RollbackItem]) -> Vec<(&'static str, Vec<PathBuf>)> {
    let (mut back, mut other, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for former in former {
        let change = &former.change;
        let name = |key: PackageId, version: &Option<String>| {
            let version = version.as_deref().unwrap_or_default();
            PathBuf::from(nevra(&key.package, version, &key.architecture))
        };
        let comes = match change.former_architecture {
            Some(_) => &mut other,
            None => &mut back,
        };
        match (&former.source, former.source.file()) {
            (RollbackSource::NewlyInstalled | RollbackSource::Installonly, _) => {
                gone.push(name(change.key(), &change.to));
            }
            (_, Some(file)) => comes.push(file.to_owned()),
            (_, None) => comes.push(name(change.former_key(), &change.from)),
        }
    }
    let mut verbs = vec![("downgrade", back), ("install", other), ("remove", gone)];
    verbs.retain(|(_, words)| !words.is_empty());
    verbs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Change;
    use expect_test::expect;

    #[test]
    fn what_was_new_goes_in_the_same_transaction() {
        let [back, new] = [Some("1.0-1"), None].map(|from| Change {
            package: "demo".into(),
            architecture: "noarch".into(),
            from: from.map(Into::into),
            to: Some("1.1-1".into()),
            ..Change::default()
        });
        let (file, sha256) = (PathBuf::from("/kept/demo.rpm"), String::new());
        let former = |change: &Change, source| RollbackItem {
            change: change.clone(),
            source,
        };
        let former = [
            former(&back, RollbackSource::Stored { file, sha256 }),
            former(&back, RollbackSource::Archive),
            former(&new, RollbackSource::NewlyInstalled),
        ];
        expect![[r"
            downgrade /kept/demo.rpm demo-0:1.0-1.noarch
            remove demo-0:1.1-1.noarch
            run
        "]]
        .assert_eq(&shell_script(&former));
        let shown = rollback(Variant::Dnf5, &former, Path::new("/s"), "-y").shown();
        let words = "do -y --action=downgrade /kept/demo.rpm demo-0:1.0-1.noarch --action=remove demo-0:1.1-1.noarch";
        assert!(shown.contains(words), "{shown}");
    }
}
