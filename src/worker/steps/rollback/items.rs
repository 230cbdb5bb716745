//! Which packages are not back yet, and where else a former version may be had.

use std::path::PathBuf;

use crate::host::clock;
use crate::package::{Database, RollbackItem, StoredPackage, of_build};
use crate::state::package_store::PackageStore;
use crate::worker::bookkeeping::context::Context;

/// What is not back yet: pure.
pub fn due(former: &[RollbackItem], now: &Database) -> Vec<RollbackItem> {
    let is_back = |former: &&RollbackItem| former.undone().is_made(now);
    former.iter().filter(|f| !is_back(f)).cloned().collect()
}

pub fn is_back(ctx: &Context, former: &[RollbackItem]) -> bool {
    ctx.packages
        .installed()
        .is_ok_and(|now| due(former, &now).is_empty())
}

/// Another place of a former version whose file is gone or spoilt; a file there has to be the same.
pub fn elsewhere(ctx: &Context, former: &RollbackItem) -> Option<RollbackItem> {
    let store = PackageStore::open(&ctx.paths);
    let (spoilt, sha256) = (former.source.file()?, former.source.sha256()?);
    let others = store.kept().iter().filter(|kept| kept.file != spoilt);
    // without its file, but with its sum: whatever else is spoilt is passed over as well
    let known = StoredPackage {
        package: former.change.package.clone(),
        architecture: former.change.architecture.clone(),
        version: former.change.from.clone()?,
        file: PathBuf::new(),
        sha256: sha256.to_owned(),
        size: 0,
        kept_at: clock::now(),
        other: serde_json::Map::new(),
        ..StoredPackage::default()
    };
    let kept: Vec<StoredPackage> = others.cloned().chain([known]).collect();
    let changes = std::slice::from_ref(&former.change);
    let kept = of_build(&kept, changes, |_, kept| kept.sha256 == sha256);
    let found = ctx
        .packages
        .rollback_items(changes, &kept, store.directory());
    let other = found.ok()?.pop()?;
    let is_same = match (former.source.sha256(), other.source.sha256()) {
        (Some(was), Some(is)) => was == is,
        _ => true,
    };
    (is_same && other.check().is_ok()).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageId, PackageState, RollbackSource};
    use crate::worker::steps::rollback::intent::tests::former;

    #[test]
    fn what_is_back_is_not_put_back_again() {
        let entry = |package: &str, version: &str, state| {
            let key = PackageId {
                package: package.into(),
                architecture: "all".into(),
            };
            let installed = Installed {
                version: version.into(),
                state,
                held: false,
                ..Installed::default()
            };
            (key, installed)
        };
        let broken = PackageState::Broken("half-configured".into());
        let now = Database::from([
            entry("a", "1", PackageState::Good),
            entry("b", "1", broken),
            entry("c", "2", PackageState::Good),
            entry("n", "2", PackageState::Good),
        ]);
        let all = [
            former("a", Some("1"), RollbackSource::Archive),
            former("b", Some("1"), RollbackSource::Archive),
            former("c", Some("1"), RollbackSource::Archive),
            former("n", None, RollbackSource::NewlyInstalled),
            former("m", None, RollbackSource::NewlyInstalled),
        ];
        let due = due(&all, &now);
        let names: Vec<&str> = due.iter().map(|f| &*f.change.package).collect();
        assert_eq!(names, ["b", "c", "n"]);
    }
}
