//! Former versions: pacman keeps the files it installed, and puts any of them back, in one transaction or two.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::arguments::{self, RunOptions};
use super::backend::Pacman;
use super::conf::Conf;
use super::contents;
use super::database::DATABASE;
use super::gate::GatePlan;
use crate::exec::{Line, Program};
use crate::package::{
    Change, Observer, PackageId, Restore, RollbackItem, RollbackSource, StoredPackage,
    TransactionEnd, rollback_source,
};

/// Looks each former version up in what we keep and in pacman's caches; the repositories have only the
/// newest.
pub fn find(changes: &[Change], kept: &[StoredPackage], caches: &[PathBuf]) -> Vec<RollbackItem> {
    let cached = cached(caches);
    let source = |change: &Change| {
        let Some(version) = change.from.as_deref() else {
            return RollbackSource::NewlyInstalled;
        };
        let PackageId {
            package,
            architecture,
        } = change.former_key();
        let stem = format!("{package}-{version}-{architecture}");
        let in_cache = || rollback_source::cached(change, kept, cached.get(&stem)?);
        let found = rollback_source::stored(change, kept).or_else(in_cache);
        found.unwrap_or_else(|| RollbackSource::Unavailable {
            why: "it is neither in the package store nor in pacman's cache".to_owned(),
        })
    };
    let former = |change: &Change| RollbackItem {
        change: change.clone(),
        source: source(change),
    };
    changes.iter().map(former).collect()
}

/// The package files in the caches by `name-version-architecture`; the first cache wins.
fn cached(caches: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for cache in caches {
        let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if let Some(stem) = stem(&path) {
                files.entry(stem).or_insert(path);
            }
        }
    }
    files
}

/// `demo-1.0-1-any` of `demo-1.0-1-any.pkg.tar.zst`; nothing for signatures and unfinished downloads.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, kind) = name.split_once(".pkg.tar")?;
    let whole = kind.is_empty() || (kind.starts_with('.') && !kind[1..].contains('.'));
    whole.then(|| stem.to_owned())
}

impl Pacman {
    /// The new packages go in a run of their own, when those that need them are gone: pacman has no
    /// transaction that does both. A configuration is given where that of the host cannot be read.
    pub(super) fn rollback_with(
        &self,
        conf: &Conf,
        configuration: Option<&Path>,
        restore: &Restore<'_>,
        observer: &mut dyn Observer,
    ) -> Result<TransactionEnd> {
        restore.former.iter().try_for_each(RollbackItem::check)?;
        let changes: Vec<Change> = restore.former.iter().map(RollbackItem::undone).collect();
        let files: Vec<PathBuf> = restore
            .former
            .iter()
            .filter_map(|f| f.source.file().map(Path::to_owned))
            .collect();
        let (going, names) = newly_installed(restore.former);
        let local = Path::new(DATABASE).join("local");
        let without_dependencies = !going.is_empty()
            && is_only_needed_by(&names, &arguments::rehearse(&files, configuration))?;
        let over = contents::moving_back(&local, &going, &files, configuration)?;
        let plan = GatePlan {
            changes,
            conf: conf.clone(),
            databases: Vec::new(),
        };
        let hooks = self.hooks(conf, &plan, restore.gate)?;
        // the gate is asked once, for all of it
        let gated = if files.is_empty() {
            &hooks
        } else {
            &conf.hooks
        };
        let run = |hooks| RunOptions {
            hooks,
            configuration,
            without_dependencies,
        };
        let programs = [
            (!files.is_empty()).then(|| arguments::install(&files, &over, run(&hooks))),
            (!names.is_empty()).then(|| arguments::remove(&names, run(gated))),
        ];
        for program in programs.into_iter().flatten() {
            let program = program.log(restore.log);
            let outcome = self.run(&program, restore.former.len(), observer)?;
            if outcome.ended != TransactionEnd::Done {
                return Ok(outcome.ended);
            }
        }
        self.tree.restore()?;
        Ok(TransactionEnd::Done)
    }
}

/// Whether a rehearsal of the run reports only conflicts with packages that are removed afterwards.
fn is_only_needed_by(going: &[&str], rehearsal: &Program) -> Result<bool> {
    let mut lines = Vec::new();
    let finished = rehearsal.run(&mut |line: Line<'_>| {
        let (Line::Output(text) | Line::Error(text) | Line::Status(text)) = line;
        lines.push(text.to_owned());
    })?;
    Ok(!finished.succeeded() && needed_only_by(going, &lines))
}

/// `:: installing helper (1.0-1) breaks dependency 'helper>=1.1' required by newdep` (pacman 7.0): pure.
fn needed_only_by(going: &[&str], lines: &[String]) -> bool {
    let problems: Vec<&String> = lines.iter().filter(|l| l.starts_with(":: ")).collect();
    let of_going = |line: &&String| {
        let needed = line.rsplit_once(" required by ");
        needed.is_some_and(|(_, name)| going.contains(&name.trim()))
    };
    !problems.is_empty() && problems.iter().all(of_going)
}

/// The packages that were new, and their names.
fn newly_installed(former: &[RollbackItem]) -> (Vec<&RollbackItem>, Vec<&str>) {
    let new = |former: &&RollbackItem| former.source == RollbackSource::NewlyInstalled;
    let going: Vec<&RollbackItem> = former.iter().filter(new).collect();
    let names = going.iter().map(|f| f.change.package.as_str()).collect();
    (going, names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_may_have_its_dependencies_broken() {
        let line = |name: &str| {
            format!(
                ":: installing helper (1.0-1) breaks dependency 'helper>=1.1' required by {name}"
            )
        };
        let head = "error: failed to prepare transaction (could not satisfy dependencies)";
        let ours = [head.to_owned(), line("newdep")];
        assert!(needed_only_by(&["newdep"], &ours));
        assert!(!needed_only_by(
            &["newdep"],
            &[line("newdep"), line("stranger")]
        ));
        assert!(!needed_only_by(&["newdep"], &ours[..1]));
    }

    #[test]
    fn files_are_told_from_signatures_and_parts() {
        let of = |name: &str| stem(Path::new(name));
        assert_eq!(
            of("/c/demo-1:1.0-1-any.pkg.tar.zst").unwrap(),
            "demo-1:1.0-1-any"
        );
        assert_eq!(of("demo-1.0-1-any.pkg.tar").unwrap(), "demo-1.0-1-any");
        for other in [
            "demo-1.0-1-any.pkg.tar.zst.sig",
            "demo-1.0-1-any.pkg.tar.zst.part",
            "x",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn our_own_copy_comes_before_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("demo-1.0-1-any.pkg.tar.gz");
        std::fs::write(&file, "demo").unwrap();
        let change = |package: &str, from: Option<&str>| Change {
            package: package.into(),
            architecture: "any".into(),
            from: from.map(Into::into),
            to: Some("2-1".into()),
            file: None,
            ..Change::default()
        };
        let changes = [
            change("demo", Some("1.0-1")),
            change("lib", None),
            change("x", Some("1-1")),
        ];
        let words = |kept: &[StoredPackage]| -> Vec<&str> {
            let former = find(&changes, kept, &[root.path().to_owned()]);
            former.iter().map(|former| former.source.as_str()).collect()
        };
        assert_eq!(words(&[]), ["cached", "new", "missing"]);
        let kept = StoredPackage {
            package: "demo".into(),
            architecture: "any".into(),
            version: "1.0-1".into(),
            file: file.clone(),
            sha256: "x".into(),
            size: 4,
            kept_at: chrono::Utc::now(),
            other: serde_json::Map::new(),
            ..StoredPackage::default()
        };
        assert_eq!(words(&[kept]), ["kept", "new", "missing"]);
    }
}
