//! Why zypper passes over updates that no lock keeps back.

use anyhow::Result;

use super::locks::until_unlocked;
use super::scope::ZypperScope;
use super::{arguments, document, simulate};
use crate::package::rpm::resolution::{Planned, Resolution};
use crate::package::transaction::IgnoreReports;
use crate::package::{KeptBack, KeptBackCause};

/// The most runs that are spent on single updates, of which a run of all does not say it.
const RUNS: usize = 8;

/// What is kept back, and why.
pub fn reasons(left: Vec<Planned>, scope: &ZypperScope) -> Result<Vec<KeptBack>> {
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let program = arguments::any_vendor(&scope.repositories);
    let changed = document::vendor_changes(&until_unlocked(&program, &mut IgnoreReports)?.document);
    let (vendors, left): (Vec<Planned>, Vec<Planned>) = left
        .into_iter()
        .partition(|planned| changed.contains(&planned.key));
    let mut kept_back: Vec<KeptBack> = vendors.iter().map(of_another_vendor).collect();
    if left.is_empty() {
        return Ok(kept_back);
    }
    let names: Vec<String> = left.iter().map(arguments::planned).collect();
    let finished = simulate::simulated(&scope.naming(&names))?;
    let resolved = Resolution {
        skipped: left,
        problems: document::problems(&finished.document),
        ..Resolution::default()
    };
    let mut runs = RUNS;
    for (planned, name) in resolved.skipped.iter().zip(&names) {
        let mut found = resolved
            .why_skipped(planned)
            .map(|why| (simulate::cause(&why), why));
        if found.is_none() && runs > 0 {
            runs -= 1;
            let alone = simulate::simulated(&scope.naming(std::slice::from_ref(name)))?;
            found = simulate::wrong(&alone);
        }
        let (cause, why) = found.unwrap_or_else(|| passed_over(planned));
        kept_back.push(KeptBack::new(&planned.key.package, cause, why));
    }
    Ok(kept_back)
}

/// zypper changes no vendor by itself (zypper(8), `--allow-vendor-change`; libzypp, `solver.allowVendorChange`).
fn of_another_vendor(planned: &Planned) -> KeptBack {
    let reason = format!(
        "{} is of another vendor than the installed version; zypper changes the vendor only where zypp.conf has \
         solver.allowVendorChange",
        planned.evr
    );
    KeptBack::new(&planned.key.package, KeptBackCause::Pinned, reason)
}

/// It could be installed by name, and `update` does not do it.
fn passed_over(planned: &Planned) -> (KeptBackCause, String) {
    let why = "is skipped by zypper update";
    (KeptBackCause::Dependency, format!("{} {why}", planned.evr))
}
