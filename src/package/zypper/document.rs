//! What the XML of zypper says: messages, problems, plans and lists.

use crate::package::PackageId;
use crate::package::rpm::evr;
use crate::package::rpm::resolution::{Planned, Removal, Resolution};
use crate::package::rpm::xml::{self, Node};

/// The texts of the messages of one kind.
pub fn messages(document: &str, kind: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut inside = false;
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if name == "message" => {
                inside = attributes.get("type").is_some_and(|t| t == kind);
            }
            Node::Text(text) if inside => messages.push(text),
            _ => inside = false,
        }
    }
    messages
}

/// What the resolver would not do and why: `Problem: 1: …`. It says so of all problems at first, and then asks
/// about the first one.
pub fn problems(document: &str) -> Vec<Vec<String>> {
    let mut problems: Vec<Vec<String>> = Vec::new();
    for node in xml::nodes(document) {
        let Node::Text(text) = node else { continue };
        if !text.starts_with("Problem: ") {
            continue;
        }
        // behind a solution begins what could be done
        let lines = text.lines().map(str::trim);
        let said = lines.take_while(|line| !line.starts_with("Solution "));
        let said: Vec<&str> = said.filter(|line| !line.is_empty()).collect();
        let said = said.join("; ");
        let summary = said.splitn(3, ": ").nth(2).unwrap_or(&said).to_owned();
        if !problems.iter().flatten().any(|known| *known == summary) {
            problems.push(vec![summary]);
        }
    }
    problems
}

/// What changes its vendor in a transaction.
pub fn vendor_changes(document: &str) -> Vec<PackageId> {
    let (mut changed, mut inside) = (Vec::new(), false);
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if inside && name == "solvable" => {
                let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
                changed.push(PackageId::new(of("name"), of("arch")));
            }
            Node::Start { name, .. } if name.starts_with("to-") => {
                inside = name.ends_with("change-vendor");
            }
            Node::End(name) if name.starts_with("to-") => inside = false,
            _ => {}
        }
    }
    changed
}

/// The summary of a transaction.
pub fn resolved(document: &str) -> Resolution {
    let mut resolved = Resolution::default();
    let mut section = String::new();
    for node in xml::nodes(document) {
        match node {
            Node::Start { name, attributes } if name == "solvable" => {
                let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
                if of("type") != "package" {
                    continue;
                }
                match section.as_str() {
                    "to-remove" => resolved.remove.push(Removal {
                        package: of("name"),
                        evr: Some(evr::shown(&of("edition")).to_owned()),
                        because: None,
                    }),
                    "" => {}
                    _ => {
                        let planned = Planned {
                            key: PackageId::new(of("name"), of("arch")),
                            evr: evr::shown(&of("edition")).to_owned(),
                            repository: of("repository"),
                            // it sums them up
                            size: None,
                        };
                        // one that is upgraded and has another architecture then is in two sections
                        if !resolved.install.contains(&planned) {
                            resolved.install.push(planned);
                        }
                    }
                }
            }
            Node::Start { name, .. } if name.starts_with("to-") => section = name,
            Node::End(name) if name == section => section.clear(),
            _ => {}
        }
    }
    resolved
}

/// The packages of `list-updates`.
pub fn updates(document: &str) -> Vec<Planned> {
    let mut updates: Vec<Planned> = Vec::new();
    for node in xml::nodes(document) {
        let Node::Start { name, attributes } = node else {
            continue;
        };
        let of = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        if name == "update" && of("kind") == "package" {
            updates.push(Planned {
                key: PackageId::new(of("name"), of("arch")),
                evr: evr::shown(&of("edition")).to_owned(),
                repository: String::new(),
                size: None,
            });
        } else if name == "source"
            && let Some(update) = updates.last_mut()
        {
            update.repository = of("alias");
        }
    }
    updates
}

/// The packages and versions of `search --details` that a repository has.
pub fn versions(document: &str) -> Vec<(PackageId, String)> {
    let version = |node: Node| {
        let Node::Start { name, attributes } = node else {
            return None;
        };
        let of = |key: &str| attributes.get(key).cloned();
        if name != "solvable" || of("repository")? == "(System Packages)" {
            return None;
        }
        let key = PackageId::new(of("name")?, of("arch")?);
        Some((key, evr::shown(&of("edition")?).to_owned()))
    };
    xml::nodes(document)
        .into_iter()
        .filter_map(version)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let text = r#"<update kind="package" name="tool" edition="2:1.2-1" arch="noarch" edition-old="2:1.0-1"><summary>fixture</summary><source url="http://127.0.0.1:8080/repo/" alias="lab"/></update><update kind="patch" name="x"/>"#;
        let updates = updates(text);
        assert_eq!(updates.len(), 1);
        assert_eq!(updates[0].repository, "lab");
        let text = r#"<solvable status="installed" name="demo" kind="package" edition="1.2-1" arch="noarch" repository="(System Packages)"/>
<solvable status="other-version" name="demo" kind="package" edition="1.1-1" arch="noarch" repository="Lab repository"/>"#;
        assert_eq!(versions(text).len(), 1);
    }

    #[test]
    fn why_an_update_cannot_be_installed() {
        let text = "<prompt id=\"1\">\n<description>Problem: 1: nothing provides &apos;nothing-there&apos; needed by the to be installed unsat-1.1-1.noarch\n Solution 1: do not install unsat-1.1-1.noarch\n</description>";
        assert_eq!(
            problems(text),
            [
                [
                    "nothing provides 'nothing-there' needed by the to be installed unsat-1.1-1.noarch"
                ]
            ]
        );
    }
}
