//! Security advisories, and which updates they ask for.

use std::collections::{BTreeMap, BTreeSet};

use crate::package::{KeptBack, PackageId, Update};
use crate::sorted::InOrder;

/// The packages that security advisories ask for, each with the names of those.
pub type Advisories = BTreeMap<PackageId, Vec<String>>;

/// How many advisories an update names at most, and how long a name is: a list of updates has to fit into one answer of
/// a front end, and the newest few are enough.
const NAMED: usize = 10;
const LONGEST: usize = 64;

/// The names of advisories that a record keeps: each once, the last in their order first, which is the newest
/// where a vendor counts them by years.
pub fn names<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let is_short = |name: &&String| name.len() <= LONGEST;
    let names: BTreeSet<&String> = names.into_iter().filter(is_short).in_order();
    names.into_iter().rev().take(NAMED).cloned().collect()
}

/// What updates say of security advisories, for a plan of them.
pub fn of_updates(updates: &[Update]) -> Advisories {
    let advised = updates.iter().filter(|update| update.security);
    advised
        .map(|update| (update.key(), update.advisories.clone()))
        .in_order()
}

/// What is said where no repository carries advisories.
pub const NO_ADVISORIES: &str = "the repositories carry no advisories";

/// The same, each marked that an advisory makes one for security.
pub fn marked(kept_back: Vec<KeptBack>, advisories: &Advisories) -> Vec<KeptBack> {
    let is_advised = |kept: &KeptBack| advisories.keys().any(|key| key.package == kept.package);
    let marked = kept_back.into_iter().map(|kept| {
        let security = kept.security || is_advised(&kept);
        kept.marked(security)
    });
    marked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Database;
    use crate::package::rpm::resolution::Resolution;
    use crate::package::rpm::resolution::tests::planned;

    #[test]
    fn an_advisory_makes_a_security_update() {
        let resolved = Resolution {
            install: vec![planned("demo", "1.1-1")],
            ..Resolution::default()
        };
        let database = Database::new();
        let years = (2000..2020).map(|year| format!("LAB-{year}"));
        let names: Vec<String> = years.chain(["x".repeat(LONGEST + 1)]).collect();
        let known = Advisories::from([(planned("demo", "").key, names)]);
        let pending = resolved.pending(&database, &known);
        assert!(pending.updates[0].security);
        assert_eq!(pending.updates[0].advisories.len(), NAMED);
        assert_eq!(
            pending.updates[0].advisories[0], "LAB-2019",
            "the newest first"
        );
        assert_eq!(of_updates(&pending.updates).len(), 1);
        let pending = resolved.pending(&database, &Advisories::new());
        assert!(!pending.updates[0].security);
    }
}
