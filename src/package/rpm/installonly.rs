//! Packages that are installed in several versions side by side, such as kernels: an update adds one, and
//! going back takes exactly that one away.

use std::fs;

use anyhow::{Result, bail, ensure};

use super::database::{self, Contents};
use crate::package::{Change, PackageId, RollbackItem, RollbackSource};

/// What is to be put back, by what is installed now: where the former version is still there beside the new
/// one, only the new one goes. An error when the former one no longer exists, or when the new one is
/// the kernel that runs, which is never taken away.
pub fn settled(former: &[RollbackItem]) -> Result<Vec<RollbackItem>> {
    let settled = by(former, &database::read()?)?;
    if let Some((_, why)) = in_use(&settled)?.into_iter().next() {
        bail!(why);
    }
    Ok(settled)
}

/// Those of which the new version is the kernel that runs.
pub fn in_use(former: &[RollbackItem]) -> Result<Vec<(PackageId, String)>> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut found = Vec::new();
    for former in former.iter().filter(|former| is_beside(former)) {
        let (key, version) = (former.change.key(), version(former.change.to.as_deref()));
        if is_of(&database::files(&key, version)?, release.trim()) {
            let before = self::version(former.change.from.as_deref());
            let why = format!(
                "{key} {version} is the running kernel, which is never removed; boot {before} first"
            );
            found.push((key, why));
        }
    }
    Ok(found)
}

/// Changes the rollback may make. Removing one of two installonly versions is a removal to rpm.
pub fn agreed(former: &[RollbackItem]) -> Vec<Change> {
    let change = |former: &RollbackItem| {
        let undone = former.undone();
        let to = undone.to.filter(|_| !is_beside(former));
        Change { to, ..undone }
    };
    former.iter().map(change).collect()
}

/// Pure.
fn by(former: &[RollbackItem], contents: &Contents) -> Result<Vec<RollbackItem>> {
    let is_entered = |former: &RollbackItem, version: Option<&str>| {
        let key = former.change.key();
        let mut entries = contents.entries.iter();
        version.is_some_and(|version| entries.any(|e| e.key == key && e.evr == version))
    };
    let settle = |former: &RollbackItem| {
        let (from, to) = (former.change.from.as_deref(), former.change.to.as_deref());
        let both = is_entered(former, from) && is_entered(former, to);
        let mut former = former.clone();
        if both && contents.parallel.contains(&former.change.package) {
            former.source = RollbackSource::Installonly;
        }
        ensure!(
            both || !is_beside(&former),
            "{} {} is not installed beside {} any more",
            former.change.key(),
            version(from),
            version(to),
        );
        Ok(former)
    };
    former.iter().map(settle).collect()
}

fn is_beside(former: &RollbackItem) -> bool {
    former.source == RollbackSource::Installonly
}

fn version(version: Option<&str>) -> &str {
    version.unwrap_or_default()
}

/// Whether a package with these files is that of the kernel of a release: it has the modules or the image of
/// it, as the packages of every distribution do.
fn is_of(files: &str, release: &str) -> bool {
    let modules = format!("/lib/modules/{release}/");
    let image = format!("/vmlinuz-{release}");
    !release.is_empty()
        && files
            .lines()
            .any(|file| file.contains(&modules) || file.ends_with(&image))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::rpm::database::entries;

    fn former(source: RollbackSource) -> RollbackItem {
        RollbackItem {
            change: Change {
                package: "kernel-core".into(),
                architecture: "x86_64".into(),
                from: Some("6.9-1".into()),
                to: Some("6.10-1".into()),
                file: None,
                ..Change::default()
            },
            source,
        }
    }

    fn contents(versions: &[&str]) -> Contents {
        let lines = versions
            .iter()
            .map(|version| format!("kernel-core\tx86_64\t0:{version}\n"));
        Contents {
            entries: entries(&lines.collect::<String>()).unwrap(),
            parallel: ["kernel-core".to_owned()].into(),
        }
    }

    #[test]
    fn only_the_new_one_of_two_goes() {
        let both = contents(&["6.9-1", "6.10-1"]);
        for source in [RollbackSource::Archive, RollbackSource::Installonly] {
            let settled = by(&[former(source)], &both).unwrap();
            assert_eq!(settled[0].source, RollbackSource::Installonly);
            let agreed = agreed(&settled);
            assert_eq!(agreed[0].from.as_deref(), Some("6.10-1"));
            assert_eq!(agreed[0].to, None);
        }
        let one = contents(&["6.10-1"]);
        let settled = by(&[former(RollbackSource::Archive)], &one).unwrap();
        assert_eq!(settled[0].source, RollbackSource::Archive);
        assert_eq!(agreed(&settled)[0].to.as_deref(), Some("6.9-1"));
        let error = by(&[former(RollbackSource::Installonly)], &one).unwrap_err();
        assert!(error.to_string().contains("6.9-1 is not installed beside"));
    }

    #[test]
    fn the_kernel_that_runs_is_known_by_its_files() {
        let fedora = "/lib/modules/6.10-1.x86_64\n/lib/modules/6.10-1.x86_64/vmlinuz\n";
        assert!(is_of(fedora, "6.10-1.x86_64"));
        assert!(!is_of(fedora, "6.10-1") && !is_of(fedora, ""));
        assert!(is_of("/boot/vmlinuz-6.4.0-9-default\n", "6.4.0-9-default"));
    }
}
