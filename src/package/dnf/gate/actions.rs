//! The gate as an action of dnf 5 (libdnf5-actions(8)): dnf tells it what would change, when everything is
//! fetched and before the first file changes.

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::package::rpm::gate::Announced;
use crate::package::rpm::{evr, repositories, resolution};
use crate::package::{Change, Database, Installed, PackageId, replaced};
use crate::sorted;

/// The variable that tells the gate to ask for the changes itself.
pub const ASK: &str = "PATCH_ASK";

/// The most that one answer may be: 100 000 packages would be a quarter of it.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What of a package is asked for.
const OUTPUT: [&str; 5] = ["name", "arch", "evr", "direction", "action"];

/// The actions for one run: that they are read is seen by a file that is there then; dnf is told to say yes; and the
/// gate decides. None if a word would have to be escaped.
pub fn file(loaded: &Path, gate: &[&str]) -> Option<String> {
    let loaded = loaded.to_str()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/_.=-".contains(c);
    let plain = |word: &&str| !word.is_empty() && word.chars().all(is_plain);
    if !plain(&loaded) || !gate.iter().all(plain) {
        return None;
    }
    Some(format!(
        "goal_resolved:::raise_error=1:/usr/bin/touch {loaded}\n\
        goal_resolved:::raise_error=1:/usr/bin/echo conf.assumeyes=1\n\
        pre_transaction:::mode=json raise_error=1:/usr/bin/env {ASK}=1 {}\n",
        gate.join(" ")
    ))
}

/// Whether this process is the gate, started by such an action.
pub fn asks() -> bool {
    std::env::var_os(ASK).is_some()
}

#[derive(Deserialize)]
struct Reply {
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default, rename = "return")]
    values: Value,
}

#[derive(Deserialize)]
struct ActionPackage {
    name: String,
    arch: String,
    evr: String,
    #[serde(default)]
    direction: String,
    #[serde(default)]
    action: String,
}

impl ActionPackage {
    fn key(&self) -> PackageId {
        PackageId::new(&self.name, &self.arch)
    }
}

/// A conversation with dnf.
struct Conversation<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl Conversation<'_> {
    fn get(&mut self, domain: &str, filters: &Value) -> Result<Vec<ActionPackage>> {
        let output = match domain {
            "packages" => &OUTPUT[..3],
            _ => &OUTPUT[..],
        };
        let arguments = json!({ "output": output, "filters": filters });
        let request = json!({ "op": "get", "domain": domain, "args": arguments });
        writeln!(self.output, "{request}").context("dnf could not be asked")?;
        self.output.flush().context("dnf could not be asked")?;
        let answer = Read::take(&mut *self.input, LIMIT);
        let mut replies = serde_json::Deserializer::from_reader(answer).into_iter::<Reply>();
        let reply = replies.next().context("dnf does not answer")?;
        let mut reply = reply.context("dnf gave an invalid answer")?;
        ensure!(reply.status == "OK", "dnf: {}", reply.message);
        Ok(serde_json::from_value(reply.values[domain].take())?)
    }

    /// The packages of a name that are `installed` or `available`.
    fn versions(&mut self, name: &str, which: &str) -> Result<Vec<ActionPackage>> {
        let named = json!({ "key": "name", "value": name });
        self.get("packages", &json!([named, { "key": which }]))
    }

    /// The newest of the installed packages whose place this one takes.
    fn former(&mut self, key: &PackageId) -> Result<Option<(PackageId, String)>> {
        let mut installed = Database::new();
        for package in self.versions(&key.package, "installed")? {
            let version = evr::shown(&package.evr).to_owned();
            let known = installed.entry(package.key()).or_insert_with(|| Installed {
                version: version.clone(),
                ..Installed::default()
            });
            if evr::compare(&known.version, &version).is_lt() {
                known.version = version;
            }
        }
        let replaced = replaced(&installed, key);
        Ok(replaced.map(|(key, installed)| (key.clone(), installed.version.clone())))
    }
}

/// What dnf is about to change, each with whether a repository has the former version; `caches` are where the
/// files lie. An error when something would go that does not come in another version: the oldest of several
/// is not meant.
pub fn announced(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    caches: &[PathBuf],
) -> Result<Vec<Announced>> {
    let mut dnf = Conversation { input, output };
    let mut packages = dnf.get("trans_packages", &json!([]))?;
    // where only the reason of a package changes, no file does
    packages.retain(|package| package.action != "?");
    let (coming, going): (Vec<ActionPackage>, Vec<ActionPackage>) =
        packages.into_iter().partition(|p| p.direction == "IN");
    let stays = |gone: &ActionPackage| coming.iter().any(|package| package.name == gone.name);
    if let Some(gone) = going.iter().find(|gone| !stays(gone)) {
        bail!("{} would be removed", gone.name);
    }
    let mut announced = Vec::new();
    for package in coming {
        let key = package.key();
        let former = dnf.former(&key)?;
        let mut archived = false;
        if let Some((key, version)) = &former {
            let available = dnf.versions(&key.package, "available")?;
            let is_it =
                |p: &ActionPackage| p.arch == key.architecture && evr::shown(&p.evr) == version;
            archived = available.iter().any(is_it);
        }
        let (former, from) = former.unzip();
        let former = former.map(|former| former.architecture);
        let change = Change {
            from,
            to: Some(evr::shown(&package.evr).to_owned()),
            former_architecture: former.filter(|former| *former != key.architecture),
            package: key.package,
            architecture: key.architecture,
            ..Change::default()
        };
        announced.push(Announced {
            change,
            archived: Some(archived),
        });
    }
    let name = |change: &Change| {
        let to = change.to.as_deref()?;
        Some(resolution::file_name(&change.key(), to))
    };
    let names: Vec<String> = announced.iter().filter_map(|a| name(&a.change)).collect();
    let files = repositories::files(caches, &names);
    for announced in &mut announced {
        announced.change.file = name(&announced.change).and_then(|n| files.get(&n).cloned());
    }
    sorted::sort_by_key(&mut announced, |announced| announced.change.key());
    Ok(announced)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with the plugin of version 1.4.1 (dnf 5.4.6).
    fn reply(domain: &str, packages: &str) -> String {
        format!(
            r#"{{ "op": "reply", "requested_op": "get", "domain": "{domain}", "return": {{ "{domain}": [ {packages} ] }}, "status": "OK" }}"#
        )
    }

    fn package(name: &str, evr: &str, more: &str) -> String {
        format!(r#"{{ "name": "{name}", "arch": "noarch", "evr": "{evr}" {more} }}"#)
    }

    fn ask(replies: &[String]) -> (Result<Vec<Announced>>, Vec<String>) {
        let (text, mut asked) = (replies.join("\n"), Vec::new());
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(cache.path().join("demo-1.1-1.noarch.rpm"), "").unwrap();
        let answer = announced(&mut text.as_bytes(), &mut asked, &[cache.path().to_owned()]);
        let asked = String::from_utf8(asked).unwrap();
        (answer, asked.lines().map(str::to_owned).collect())
    }

    #[test]
    fn dnf_is_asked_what_changes_and_what_of_it_is_to_be_had_again() {
        let transaction = [
            package("demo", "1.0-1", r#", "direction": "OUT", "action": "O""#),
            package("demo", "2:1.1-1", r#", "direction": "IN", "action": "U""#),
            package("new", "1-1", r#", "direction": "IN", "action": "I""#),
            package("wanted", "1-1", r#", "direction": "OUT", "action": "?""#),
        ];
        let (answer, asked) = ask(&[
            reply("trans_packages", &transaction.join(", ")),
            reply("packages", &package("demo", "1.0-1", "")),
            reply(
                "packages",
                &[package("demo", "2:1.1-1", ""), package("demo", "1.0-1", "")].join(", "),
            ),
            reply("packages", ""),
        ]);
        let answer = answer.unwrap();
        let demo = &answer[0].change;
        assert_eq!(demo.from.as_deref(), Some("1.0-1"));
        assert_eq!(demo.to.as_deref(), Some("2:1.1-1"));
        assert!(demo.file.is_some() && answer[0].archived == Some(true));
        assert_eq!(answer[1].change.from, None);
        assert_eq!((answer.len(), asked.len()), (2, 4));
        assert_eq!(
            asked[2],
            r#"{"args":{"filters":[{"key":"name","value":"demo"},{"key":"available"}],"output":["name","arch","evr"]},"domain":"packages","op":"get"}"#
        );
    }

    #[test]
    fn what_goes_and_does_not_come_back_shuts_the_gate() {
        let gone = package("old", "1-1", r#", "direction": "OUT", "action": "O""#);
        let (answer, _) = ask(&[reply("trans_packages", &gone)]);
        assert_eq!(answer.unwrap_err().to_string(), "old would be removed");
        let refused = r#"{ "op": "reply", "status": "ERROR", "message": "no" }"#;
        assert!(ask(&[refused.to_owned()]).0.is_err());
        assert!(ask(&[]).0.is_err());
    }

    #[test]
    fn the_actions_are_plain_words() {
        let file = |gate| super::file(Path::new("/run/x/loaded"), &[gate, "run"]);
        assert!(
            file("/var/lib/gate")
                .unwrap()
                .ends_with(" /var/lib/gate run\n")
        );
        assert_eq!(file("/var/lib/a gate"), None);
        assert_eq!(file("/var/lib/${pid}"), None);
    }
}
