//! Recognises a package's script by its process.

use crate::exec::ProcessInfo;
use crate::package::Script;

/// The script that this process runs: apk gives it the name `PACKAGE-VERSION-rN.KIND` in its directory
/// (apk-tools, `apk_ipkg_run_script`).
pub fn running(process: &ProcessInfo) -> Option<Script> {
    let script = Script::below(
        process,
        &["/lib/apk/exec/", "lib/apk/exec/", "/usr/lib/apk/exec/"],
    )?;
    let file = script.name.rsplit('/').next()?;
    let mut parts = file.rsplitn(3, '-');
    let (_revision, _version) = (parts.next(), parts.next());
    Some(Script {
        package: parts.next().map(str::to_owned),
        ..script
    })
}
