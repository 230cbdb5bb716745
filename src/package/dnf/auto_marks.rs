//! dnf 5's marks of what is there only because others need it.

use std::collections::BTreeSet;
use std::fs;

use serde::Deserialize;

use crate::exec::Program;
use crate::sorted::InOrder;

/// Where dnf 5 keeps why a package is there (libdnf5, `libdnf5::system::State`).
const FILE: &str = "/usr/lib/sysimage/libdnf5/packages.toml";

/// The file, as far as it is read.
#[derive(Deserialize)]
struct Packages {
    #[serde(default)]
    packages: std::collections::BTreeMap<String, MarkedPackage>,
}

#[derive(Deserialize)]
struct MarkedPackage {
    #[serde(default)]
    reason: String,
}

/// The marked packages, as `name:architecture`; none where the file cannot be read.
pub fn automatic() -> Option<BTreeSet<String>> {
    parse(&fs::read_to_string(FILE).ok()?)
}

/// A table for each package, `name.architecture`, with its reason.
fn parse(text: &str) -> Option<BTreeSet<String>> {
    let packages = toml::from_str::<Packages>(text).ok()?.packages;
    let is_for_others = |package: &MarkedPackage| package.reason.ends_with("Dependency");
    let marked = packages.iter().filter(|(_, p)| is_for_others(p));
    let named = marked.filter_map(|(name, _)| {
        let (name, architecture) = name.rsplit_once('.')?;
        Some(format!("{name}:{architecture}"))
    });
    Some(named.in_order())
}

/// Marks packages, as `name:architecture`.
pub fn mark_automatic(program: &str, names: &[String]) -> Program {
    let names = names.iter().map(|name| name.replacen(':', ".", 1));
    Program::new(program)
        .args(["-y", "mark", "dependency"])
        .args(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_file() {
        // libdnf5 5.2
        let text = "version = \"1.0\"\n[packages]\n\"libx.x86_64\" = {reason = \"Dependency\"}\n\
            \"weak.noarch\" = {reason = \"Weak Dependency\"}\n\"demo.noarch\" = {reason = \"User\"}\n";
        let names: Vec<String> = parse(text).unwrap().into_iter().collect();
        assert_eq!(names, ["libx:x86_64", "weak:noarch"]);
        assert_eq!(parse("garbage"), None);
    }
}
