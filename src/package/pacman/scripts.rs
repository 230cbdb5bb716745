//! Recognises a package's script by its process.

use crate::exec::ProcessInfo;
use crate::package::Script;

/// The package's script that this process runs: a shell that sources `.INSTALL` from a directory of
/// pacman's own and calls one function of it (libalpm, `_alpm_runscriptlet`). It does not say whose.
pub fn running(process: &ProcessInfo) -> Option<Script> {
    let mut words = process.arguments.iter();
    let script = words.find(|word| word.starts_with(". ") && word.contains("/.INSTALL;"))?;
    let (_, call) = script.split_once("; ")?;
    Some(Script {
        package: None,
        name: call.split_whitespace().next()?.to_owned(),
    })
}
