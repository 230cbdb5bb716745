//! Resolving without what would make installed packages go.

use std::collections::BTreeMap;

use anyhow::Result;

use super::resolution::{Planned, Resolution};
use crate::package::{KeptBack, KeptBackCause, PackageId};

/// What is left out of a run.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Names that the resolver is told to leave out.
    pub excluded: Vec<String>,
    pub kept_back: Vec<KeptBack>,
}

/// What is kept back where a new package would take the place of installed ones.
pub fn replacing(new: &Planned, replaced: &[String], is_installed: bool) -> Vec<KeptBack> {
    KeptBack::replacing((&new.key.package, &new.evr), replaced, is_installed)
}

/// Keeps all of a run back: packages would go, and the tool does not say for what.
pub fn all_kept_back(resolved: &mut Resolution) -> Vec<KeptBack> {
    let gone: Vec<&str> = resolved.remove.iter().map(|r| r.package.as_str()).collect();
    let reason = format!("{} would be removed along with it", gone.join(", "));
    let install = resolved.install.drain(..);
    let kept_back = install
        .map(|planned| KeptBack::new(planned.key.package, KeptBackCause::Removal, &reason))
        .collect();
    resolved.remove.clear();
    kept_back
}

/// Resolves again without what would make a package go, until nothing goes any more: `resolve` is given
/// the names to leave out. With it, what is kept back for that.
pub fn without_removals<T>(
    is_installed: &dyn Fn(&PackageId) -> bool,
    mut resolve: impl FnMut(&[String]) -> Result<(Resolution, T)>,
) -> Result<(Resolution, T, LeftOut)> {
    let mut without = LeftOut::default();
    loop {
        let (mut resolved, rest) = resolve(&without.excluded)?;
        if resolved.remove.is_empty() {
            return Ok((resolved, rest, without));
        }
        let mut replaced: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for removal in &resolved.remove {
            if let Some(new) = removal.because.clone() {
                let replaced = replaced.entry(new).or_default();
                replaced.push(removal.package.clone());
            }
        }
        replaced.retain(|new, _| !without.excluded.contains(new));
        if replaced.is_empty() {
            // the tool does not say why: nothing is installed, so that nothing is removed
            let kept_back = all_kept_back(&mut resolved);
            without.kept_back.extend(kept_back);
            return Ok((resolved, rest, without));
        }
        for (new, replaced) in &replaced {
            let planned = resolved.install.iter().find(|p| p.key.package == *new);
            let kept_back = planned.map(|p| replacing(p, replaced, is_installed(&p.key)));
            without.kept_back.extend(kept_back.unwrap_or_default());
        }
        without.excluded.extend(replaced.into_keys());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::rpm::resolution::Removal;
    use crate::package::rpm::resolution::tests::planned;

    #[test]
    fn what_would_remove_something_is_left_out_until_nothing_goes() {
        let mut asked = Vec::new();
        let (resolved, (), without) = without_removals(&|key| key.package == "app", |excluded| {
            asked.push(excluded.to_vec());
            let mut resolved = Resolution {
                install: vec![planned("demo", "1.1-1")],
                ..Resolution::default()
            };
            let replacing = [("obsnew", "obs"), ("app", "applib"), ("app", "appdata")];
            for (new, old) in replacing.iter().filter(|_| excluded.is_empty()) {
                resolved.install.push(planned(new, "2.0-1"));
                resolved.remove.push(Removal {
                    package: (*old).into(),
                    evr: None,
                    because: Some((*new).into()),
                });
            }
            Ok((resolved, ()))
        })
        .unwrap();
        let excluded = ["app".to_owned(), "obsnew".to_owned()];
        assert_eq!(asked, [vec![], excluded.to_vec()]);
        assert_eq!(resolved.install, [planned("demo", "1.1-1")]);
        assert_eq!(without.excluded, excluded);
        let kept =
            |package: &str, reason: &str| KeptBack::new(package, KeptBackCause::Removal, reason);
        // an update is kept back, and not what it replaces
        let expected = [
            kept(
                "app",
                "2.0-1 replaces applib, appdata, which would be removed",
            ),
            kept("obs", "obsnew replaces it, and it would be removed"),
        ];
        assert_eq!(without.kept_back, expected);
    }

    #[test]
    fn a_removal_that_nobody_explains_keeps_everything_back() {
        let (resolved, (), without) = without_removals(&|_| true, |_| {
            let resolved = Resolution {
                install: vec![planned("demo", "1.1-1")],
                remove: vec![Removal {
                    package: "victim".into(),
                    evr: None,
                    because: None,
                }],
                ..Resolution::default()
            };
            Ok((resolved, ()))
        })
        .unwrap();
        assert!(resolved.install.is_empty());
        let reason = "victim would be removed along with it";
        let kept = KeptBack::new("demo", KeptBackCause::Removal, reason);
        assert_eq!(without.kept_back, [kept]);
    }
}
