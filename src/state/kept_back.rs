//! `state/kept-back.json`: which kept-back updates were already logged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::fs::write_atomically;
use crate::package::KeptBack;
use crate::paths::Paths;
use crate::sorted::InOrder;

/// Packages, and why each is kept back, as the journal has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, String>);

impl Told {
    /// As written down; nothing where the file is not usable, and then all of them are logged again.
    #[must_use]
    pub fn load(paths: &Paths) -> Self {
        Self(super::read_to_change(&path(paths)).unwrap_or_default())
    }

    /// Writes it down, durably.
    pub fn save(&self, paths: &Paths) -> Result<()> {
        write_atomically(&path(paths), &serde_json::to_vec(&self.0)?, 0o640)
    }

    /// What of this is news, which is known from now on. A job of everything has looked at all packages: what it
    /// does not keep back is forgotten, and news when it comes again.
    pub fn news<'a>(&mut self, kept_back: &'a [KeptBack], everything: bool) -> Vec<&'a KeptBack> {
        let is_news = |kept: &&KeptBack| self.0.get(&kept.package) != Some(&kept.reason);
        let news = kept_back.iter().filter(is_news).collect();
        let kept = kept_back.iter();
        let now = kept.map(|kept| (kept.package.clone(), kept.reason.clone()));
        if everything {
            self.0 = now.in_order();
        } else {
            self.0.extend(now);
        }
        news
    }
}

fn path(paths: &Paths) -> PathBuf {
    paths.state().join("kept-back.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::KeptBackCause;

    #[test]
    fn only_what_has_changed_is_news() {
        let kept =
            |package: &str, reason: &str| KeptBack::new(package, KeptBackCause::Held, reason);
        let names = |news: Vec<&KeptBack>| {
            news.iter()
                .map(|kept| kept.package.clone())
                .collect::<Vec<_>>()
        };
        let mut told = Told::default();
        let both = [kept("a", "held"), kept("b", "held")];
        assert_eq!(names(told.news(&both, true)), ["a", "b"]);
        assert!(told.news(&both, true).is_empty());
        assert!(told.news(&both[..1], false).is_empty());
        assert_eq!(names(told.news(&[kept("a", "pinned")], false)), ["a"]);
        assert!(told.news(&both[1..], true).is_empty());
        assert_eq!(
            names(told.news(&both, true)),
            ["a"],
            "it had gone in between"
        );
    }
}
