//! What package files bring to a file system, by their headers.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{repositories, resolution};
use crate::exec::Program;
use crate::package::{Change, Update, tar};

/// Before the files of each package.
const PACKAGE: &str = "-";

/// `RPMFILE_GHOST` of rpm's `rpmfiles.h`: the package owns the file, and a script makes it.
const GHOST: u32 = 1 << 6;

/// How many bytes each package file brings `there`: one run of rpm, which reads nothing but the headers.
pub fn brings(changes: &[Change], there: &dyn Fn(&Path) -> bool) -> Result<Vec<Option<u64>>> {
    let file = |change: &Change| change.file.clone().filter(|file| file.exists());
    let files: Vec<_> = changes.iter().filter_map(file).collect();
    if files.is_empty() {
        return Ok(vec![None; changes.len()]);
    }
    let format = "-\n[%{LONGFILESIZES}\t%{FILEFLAGS}\t%{FILEMODES}\t%{FILENAMES}\n]";
    let query = Program::new("/usr/bin/rpm")
        .args(["-q", "--nosignature", "--nodigest", "--qf", format, "-p"])
        .args(&files);
    let mut brought = bytes(&query.output_checked()?, there).into_iter();
    let of = |change: &Change| file(change).and_then(|_| brought.next());
    Ok(changes.iter().map(of).collect())
}

/// The changes of these updates, with the package files that lie in and below the caches.
pub fn fetched(updates: &[Update], caches: &[PathBuf]) -> Vec<Change> {
    let name = |update: &Update| resolution::file_name(&update.key(), &update.candidate);
    let wanted: Vec<String> = updates.iter().map(name).collect();
    let files = repositories::files(caches, &wanted);
    let change = |update: &Update| Change {
        file: files.get(&name(update)).cloned(),
        ..Change::from(update)
    };
    updates.iter().map(change).collect()
}

/// The bytes of each package in the order of the answer: pure.
fn bytes(answer: &str, there: &dyn Fn(&Path) -> bool) -> Vec<u64> {
    let mut bytes: Vec<u64> = Vec::new();
    for line in answer.lines() {
        if line == PACKAGE {
            bytes.push(0);
        } else if let (Some(sum), Some(size)) = (bytes.last_mut(), size(line, there)) {
            *sum = sum.saturating_add(tar::on_disk(size));
        }
    }
    bytes
}

/// The size of a regular file at that path.
fn size(line: &str, there: &dyn Fn(&Path) -> bool) -> Option<u64> {
    let mut fields = line.splitn(4, '\t');
    let size: u64 = fields.next()?.parse().ok()?;
    let flags: u32 = fields.next()?.parse().ok()?;
    let mode: u32 = fields.next()?.parse().ok()?;
    let is_file = mode & 0o170_000 == 0o100_000;
    let path = fields.next()?;
    (is_file && flags & GHOST == 0 && there(Path::new(path))).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_and_what_only_scripts_make_is_not() {
        let answer = "-\n0\t0\t16877\t/boot\n4097\t0\t33188\t/boot/vmlinuz\n9\t64\t33188\t/boot/ghost\n\
            5\t0\t41471\t/boot/link\n7\t0\t33188\t/usr/share/a\tb\n-\n(none)\t(none)\t(none)\t(none)\n";
        let boot = |path: &Path| path.starts_with("/boot");
        assert_eq!(bytes(answer, &boot), [8192, 0]);
        assert_eq!(bytes(answer, &|path| path.starts_with("/usr")), [4096, 0]);
    }
}
