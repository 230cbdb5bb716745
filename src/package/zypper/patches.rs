//! Security patches, as zypper lists them: a patch names the versions that have the hole.
//!
//! Whether `zypper patch` would install a patch does not matter: it passes over those with a message or a reboot
//! flag, and while one asks to restart zypper it takes no other (FACTS 44).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::locks::read;
use super::scope::{ZypperScope, has_advisories};
use super::{arguments, document};
use crate::package::rpm::advisories::Advisories;
use crate::package::rpm::evr;
use crate::package::rpm::resolution::Planned;
use crate::package::rpm::xml::{self, Node};
use crate::package::{Database, replaced};
use crate::sorted::InOrder;

/// The versions in which the holes are closed, by the name that a patch gives a package: with its architecture,
/// or without for `noarch`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advised(BTreeMap<String, Vec<Fixed>>);

/// A version in which a hole is closed.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    version: String,
    /// The name of the patch that says so.
    patch: String,
}

/// What all needed security patches close.
pub fn advised(scope: &ZypperScope) -> Result<Advised> {
    if !has_advisories() {
        return Ok(Advised::default());
    }
    let listed = read(&arguments::patches(&scope.repositories))?;
    let names = needed(&listed.document);
    if names.is_empty() {
        return Ok(Advised::default());
    }
    let shown = read(&arguments::patch_contents(&names, &scope.repositories))?;
    Ok(contents(&shown.document))
}

impl Advised {
    /// Those of the updates that close a hole of what is installed, with the patches that say so.
    pub fn keys(&self, updates: &[Planned], database: &Database) -> Advisories {
        let closed = |planned: &Planned| {
            let (key, installed) = replaced(database, &planned.key)?;
            let names = [
                key.package.clone(),
                format!("{}.{}", key.package, key.architecture),
            ];
            let fixed = names.iter().filter_map(|name| self.0.get(name)).flatten();
            let closed = fixed.filter(|fixed| {
                evr::compare(&installed.version, &fixed.version) == Ordering::Less
                    && evr::compare(&planned.evr, &fixed.version) != Ordering::Less
            });
            let patches: Vec<String> = closed.map(|fixed| fixed.patch.clone()).collect();
            (!patches.is_empty()).then(|| (planned.key.clone(), patches))
        };
        updates.iter().filter_map(closed).in_order()
    }
}

/// The names of the needed security patches, also of those that wait behind one that asks to restart zypper. In
/// XML, zypper lists those of all categories, whatever it is asked for (FACTS 45).
fn needed(document: &str) -> Vec<String> {
    let patch = |node: Node| {
        let Node::Start { name, attributes } = node else {
            return None;
        };
        let is = |key: &str, value: &str| attributes.get(key).is_some_and(|v| v == value);
        let is_it = name == "update" && is("kind", "patch") && is("category", "security");
        is_it.then(|| attributes.get("name").cloned()).flatten()
    };
    let patches: BTreeSet<String> = xml::nodes(document)
        .into_iter()
        .filter_map(patch)
        .in_order();
    patches.into_iter().collect()
}

/// What `info` says that patches conflict with: `Conflicts   : demo < 1.1-1`, or with several `Conflicts   : [2]`
/// and an indented line for each. The description, which may say anything, is indented.
fn contents(document: &str) -> Advised {
    let mut advised = Advised::default();
    for text in document::messages(document, "info") {
        let name = |line: &str| {
            let (field, name) = line.split_once(':')?;
            (field.trim_end() == "Name").then(|| name.trim().to_owned())
        };
        let patch = text.lines().find_map(name).unwrap_or_default();
        let mut lines = text
            .lines()
            .skip_while(|line| !line.starts_with("Conflicts"));
        let first = lines.next().and_then(|line| line.split_once(": "));
        let first = first.map(|(_, conflict)| conflict);
        let others = lines.take_while(|line| line.starts_with(' '));
        for conflict in first.into_iter().chain(others) {
            let Some((name, version)) = conflict.split_once(" < ") else {
                continue;
            };
            let versions = advised.0.entry(name.trim().to_owned()).or_default();
            versions.push(Fixed {
                version: version.trim().to_owned(),
                patch: patch.clone(),
            });
        }
    }
    advised
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Installed, PackageId};
    use expect_test::expect;

    /// Recorded with zypper 1.14.89.
    const LISTED: &str = r#"<update-status version="0.6"><update-list>
        <update kind="patch" name="LAB-restart" edition="1" arch="noarch" status="needed" category="security" severity="important" pkgmanager="true" restart="false" interactive="false"><summary>x</summary></update>
        </update-list><blocked-update-list>
        <update kind="patch" name="LAB-boot" edition="1" arch="noarch" status="needed" category="security" severity="important" pkgmanager="false" restart="true" interactive="true"><summary>x</summary></update>
        <update kind="patch" name="LAB-demo" edition="1" arch="noarch" status="needed" category="bugfix" severity="none" pkgmanager="false" restart="false" interactive="false"><summary>x</summary></update>
        </blocked-update-list></update-status>"#;
    const SHOWN: &str = "<stream>
<message type=\"info\">Reading installed packages...</message>
<message type=\"info\">Repository  : r
Name        : MULTI-1
Status      : needed
Category    : security
Description : 
    Conflicts : nothing
    Conflicts   : evil &lt; 1
    yes
Provides    : patch:MULTI-1 = 3
Conflicts   : [6]
    demo &lt; 1.1-1
    tool.x86_64 &lt; 2:1.1-1
    tool.noarch &lt; 2:1.1-1
    srcpackage:tool &lt; 1.1-1
    victim &lt; 1.0-2
</message>
<message type=\"info\">Repository  : lab
Name        : LAB-boot-1.1-1
Provides    : patch:LAB-boot-1.1-1 = 1
Conflicts   : boot &lt; 1.1-1
</message>
</stream>";

    #[test]
    fn every_needed_security_patch_counts() {
        assert_eq!(needed(LISTED), ["LAB-boot", "LAB-restart"]);
    }

    #[test]
    fn what_closes_a_hole_of_what_is_installed_is_for_security() {
        let advised = contents(SHOWN);
        let shown = advised.0.iter().flat_map(|(name, fixed)| {
            let line = move |f: &Fixed| format!("{name} {} {}\n", f.version, f.patch);
            fixed.iter().map(line)
        });
        expect![[r"
            boot 1.1-1 LAB-boot-1.1-1
            demo 1.1-1 MULTI-1
            srcpackage:tool 1.1-1 MULTI-1
            tool.noarch 2:1.1-1 MULTI-1
            tool.x86_64 2:1.1-1 MULTI-1
            victim 1.0-2 MULTI-1
        "]]
        .assert_eq(&shown.collect::<String>());
        let key = |name: &str, architecture: &str| PackageId::new(name, architecture);
        let installed = |version: &str| Installed {
            version: version.into(),
            ..Installed::default()
        };
        let database = Database::from([
            (key("demo", "noarch"), installed("1.0-1")),
            (key("tool", "x86_64"), installed("2:1.0-1")),
            (key("victim", "noarch"), installed("1.0-2")),
            (key("boot", "noarch"), installed("1.0-1")),
        ]);
        let planned = |name: &str, architecture: &str, evr: &str| Planned {
            key: key(name, architecture),
            evr: evr.into(),
            repository: "lab".into(),
            size: None,
        };
        let updates = [
            planned("demo", "noarch", "1.2-1"),
            planned("tool", "x86_64", "2:1.1-1"),
            // it has no hole any more
            planned("victim", "noarch", "1.0-3"),
            // it still has the hole
            planned("boot", "noarch", "1.0-9"),
            planned("evil", "noarch", "1-1"),
        ];
        let keys = advised.keys(&updates, &database);
        let keys: Vec<String> = keys.iter().map(|(key, p)| format!("{key} {p:?}")).collect();
        let expected = [r#"demo:noarch ["MULTI-1"]"#, r#"tool:x86_64 ["MULTI-1"]"#];
        assert_eq!(keys, expected);
    }
}
