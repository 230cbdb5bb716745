//! Configuration files as a version brings them, which a package manager puts beside those that were changed: with
//! the version, they go.

use std::collections::BTreeSet;
use std::fs;

use crate::package::RollbackItem;
use crate::sorted::InOrder;
use crate::worker::bookkeeping::context::Context;
use crate::worker::steps::rollback::etc::{self, Etc};
use crate::worker::steps::rollback::seen::Earlier;

/// What dpkg, rpm, pacman and apk add to the name of a file that they leave alone (dpkg(1), rpm(8), pacman(8)).
const ENDS: [&str; 5] = [".dpkg-dist", ".dpkg-new", ".rpmnew", ".pacnew", ".apk-new"];

/// Removes those that came beside configuration files of these packages, which are back, and these files as they
/// were before.
pub fn clear(ctx: &Context, earlier: &Earlier, back: &[RollbackItem]) {
    let (Ok(before), Ok(now)) = (&earlier.etc, etc::read(&ctx.paths)) else {
        return;
    };
    let beside = beside(before, &now);
    if beside.is_empty() {
        return;
    }
    let files = back.iter().map(|back| ctx.packages.files(&back.change));
    let files = files.filter_map(|files| files.inspect_err(|e| tracing::warn!("{e:#}")).ok());
    let files: BTreeSet<String> = files
        .flatten()
        .map(|file| file.to_string_lossy().into_owned())
        .in_order();
    for (path, of) in beside {
        if files.contains(of)
            && let Err(error) = fs::remove_file(ctx.paths.host(path))
        {
            tracing::warn!("'{path}' is left: {error}");
        }
    }
}

/// Each new file with such a name, and the file that it is beside, which is as it was: pure.
fn beside<'a>(before: &Etc, now: &'a Etc) -> Vec<(&'a str, &'a str)> {
    let new = now.keys().filter(|path| !before.contains_key(*path));
    let beside = new.filter_map(|path| {
        let of = ENDS.iter().find_map(|end| path.strip_suffix(end))?;
        // also where the administrator had taken it away
        (before.get(of) == now.get(of)).then_some((&**path, of))
    });
    beside.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_beside_an_unchanged_file_goes() {
        let etc = |files: &[(&str, &str)]| -> Etc {
            let file = |(path, what): &(&str, &str)| (format!("/etc/{path}"), (*what).to_owned());
            files.iter().map(file).collect()
        };
        let before = etc(&[("a", "1"), ("b", "1"), ("c", "1"), ("c.rpmnew", "1")]);
        let now = etc(&[
            ("a", "1"),
            ("a.dpkg-dist", "2"),
            ("a.mine", "2"),
            ("b", "2"),
            ("b.pacnew", "2"),
            ("c", "1"),
            ("c.rpmnew", "2"),
            ("d.rpmnew", "2"),
        ]);
        let expected = [("/etc/a.dpkg-dist", "/etc/a"), ("/etc/d.rpmnew", "/etc/d")];
        assert_eq!(beside(&before, &now), expected);
    }
}
