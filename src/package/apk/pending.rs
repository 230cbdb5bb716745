//! What is pending: everything that apk would change, or nothing of it.

use anyhow::{Result, bail};

use super::backend::Apk;
use super::listing;
use crate::package::{Change, KeptBack, KeptBackCause, Pending, Source, Update};

/// What an upgrade of these packages, or of everything where none is named, needs.
pub fn plan(apk: &Apk, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
    if let Some(source) = failed.first() {
        // an index of apk's does not say which of its packages would come from where
        bail!("apk cannot leave out {source}, whose last refresh failed");
    }
    let names: Vec<String> = updates
        .iter()
        .map(|update| update.package.clone())
        .collect();
    let (cause, reason) = match apk.simulate(&names)? {
        Ok(steps) => {
            let changes = apk.changes(steps)?;
            match changes.iter().find(|change| change.to.is_none()) {
                None => {
                    return Ok(Pending {
                        updates: offered(changes),
                        kept_back: Vec::new(),
                    });
                }
                Some(removed) => {
                    let reason = format!("{} would have to be removed", removed.package);
                    (KeptBackCause::Removal, reason)
                }
            }
        }
        Err(words) => {
            let reason = format!("apk cannot upgrade it: {words}");
            (KeptBackCause::Dependency, reason)
        }
    };
    let newer = apk.apk.newer().output_checked()?;
    let packages = newer
        .lines()
        .filter_map(|line| listing::split(line.split(' ').next()?));
    let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let kept_back = packages
        .filter(|(package, _)| asked(package))
        .map(|(package, _)| KeptBack::new(package, cause, &reason));
    Ok(Pending {
        updates: Vec::new(),
        kept_back: kept_back.collect(),
    })
}

fn offered(changes: Vec<Change>) -> Vec<Update> {
    let offered = |change: Change| {
        Some(Update {
            package: change.package,
            architecture: change.architecture,
            installed: change.from,
            candidate: change.to?,
            origin: "apk".to_owned(),
            security: false,
            ..Update::default()
        })
    };
    changes.into_iter().filter_map(offered).collect()
}
