//! What apt's index and the database say of versions: one run of apt-cache for everything that is asked of a
//! change list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};

use super::names::{former_name, new_name};
use super::{arguments, build};
use crate::exec::Line;
use crate::package::Change;
use crate::sorted::InOrder;

/// One version, in one index or in the database.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct IndexRecord {
    /// `package:architecture=version`.
    pub name: String,
    /// Its checksum; none in the database, which is how what is only installed is told.
    pub sha256: Option<String>,
    /// The bytes it takes once it is installed.
    pub size: Option<u64>,
    /// The bytes of its package file; none in the database.
    pub file_size: Option<u64>,
    /// What tells it from another build of its version.
    pub build: String,
}

/// What was heard of a change list.
#[derive(Debug, Default)]
pub struct IndexRecords {
    /// Every record of its versions, former and new.
    pub records: Vec<IndexRecord>,
    /// Why some may be missing.
    failure: Option<String>,
}

impl IndexRecords {
    /// All records; an error when one that was asked for is missing.
    pub fn whole(&self) -> Result<&[IndexRecord]> {
        let failure = self.failure.as_deref();
        ensure!(failure.is_none(), "{}", failure.unwrap_or_default());
        Ok(&self.records)
    }
}

/// The index, which remembers what it was asked last: the gate asks it three times of the same changes, and
/// each run of apt-cache takes 30 ms.
#[derive(Debug, Default)]
pub struct Index {
    last: Mutex<Option<(Vec<String>, Arc<IndexRecords>)>>,
}

impl Index {
    /// What is known of the former and the new versions of these changes.
    pub fn of(&self, changes: &[Change]) -> Result<Arc<IndexRecords>> {
        let names: Vec<String> = changes.iter().flat_map(names).collect();
        if names.is_empty() {
            // apt-cache fails where it is asked of nothing; a run of apt that only configures changes nothing
            return Ok(Arc::default());
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, answer)) = &*last
            && *asked == names
        {
            return Ok(Arc::clone(answer));
        }
        let answer = Arc::new(ask(&names)?);
        *last = Some((names, Arc::clone(&answer)));
        Ok(answer)
    }
}

fn ask(names: &[String]) -> Result<IndexRecords> {
    let program = arguments::show(names);
    let mut reader = RecordReader::default();
    let finished = program.run(&mut |line: Line<'_>| {
        if let Line::Output(text) = line {
            reader.line(text);
        }
    })?;
    Ok(IndexRecords {
        records: reader.finish(),
        failure: (!finished.succeeded()).then(|| program.failure(&finished)),
    })
}

/// The sizes of package files, by the names that were asked for: `package:architecture=version`. What the index
/// does not say is not there.
pub fn file_sizes(names: &[String]) -> BTreeMap<String, u64> {
    if names.is_empty() {
        return BTreeMap::new();
    }
    let records = match ask(names) {
        Ok(answer) => answer.records,
        Err(error) => {
            tracing::debug!("the sizes of updates are not known: {error:#}");
            Vec::new()
        }
    };
    let size = |record: IndexRecord| Some((record.name, record.file_size?));
    records.into_iter().filter_map(size).in_order()
}

/// The former and the new version of a change.
fn names(change: &Change) -> impl Iterator<Item = String> {
    let versions = [former_name(change), new_name(change)];
    versions.into_iter().flatten()
}

/// Reads what `apt-cache show` prints, a line at a time. Empty lines are not delivered: each record begins
/// with its package.
#[derive(Default)]
struct RecordReader {
    records: Vec<IndexRecord>,
    package: String,
    architecture: String,
    version: String,
    record: IndexRecord,
    fields: [String; build::FIELDS.len()],
}

impl RecordReader {
    fn line(&mut self, line: &str) {
        let field = line.split_once(": ");
        let known = field.and_then(|(name, _)| build::FIELDS.iter().position(|f| *f == name));
        if let (Some(place), Some((_, text))) = (known, field) {
            text.clone_into(&mut self.fields[place]);
        }
        match field {
            Some(("Package", package)) => {
                self.flush();
                package.clone_into(&mut self.package);
            }
            Some(("Architecture", text)) => text.clone_into(&mut self.architecture),
            Some(("Version", text)) => text.clone_into(&mut self.version),
            Some(("Size", text)) => self.record.file_size = text.trim().parse().ok(),
            Some(("SHA256", text)) => self.record.sha256 = Some(text.to_owned()),
            // in KiB, deb-control(5)
            Some(("Installed-Size", text)) => {
                let kib: Option<u64> = text.trim().parse().ok();
                self.record.size = kib.map(|kib| kib.saturating_mul(1024));
            }
            _ => {}
        }
    }

    fn flush(&mut self) {
        let fields = [&mut self.package, &mut self.architecture, &mut self.version];
        let [package, architecture, version] = fields.map(std::mem::take);
        let record = std::mem::take(&mut self.record);
        let fields = std::mem::take(&mut self.fields);
        if !package.is_empty() && !version.is_empty() {
            self.records.push(IndexRecord {
                name: format!("{package}:{architecture}={version}"),
                build: build::sum(fields.iter().map(String::as_str)),
                ..record
            });
        }
    }

    fn finish(mut self) -> Vec<IndexRecord> {
        self.flush();
        self.records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_read_and_the_installed_one_has_no_checksum() {
        // as it is delivered: without the empty lines between the records
        let shown = "Package: a\nArchitecture: amd64\nVersion: 1:1\nInstalled-Size: 2\nSize: 7\nSHA256: x\n\
            Description: y\n z\n\
            Package: b\nStatus: install ok installed\nInstalled-Size: 3\nArchitecture: all\nVersion: 2\n\
            Package: b\nArchitecture: all\nVersion: 2\nSHA256: u\n\
            Package: b\nArchitecture: all\nVersion: 2\nSHA256: v\nInstalled-Size: much\n\
            Package: torn\n";
        let mut reader = RecordReader::default();
        shown.lines().for_each(|line| reader.line(line));
        let record = |name: &str, sha256: Option<&str>, size, installed| IndexRecord {
            build: build::sum([installed, "", "", "", "", ""]),
            name: name.into(),
            sha256: sha256.map(Into::into),
            size,
            file_size: None,
        };
        let first = record("a:amd64=1:1", Some("x"), Some(2048), "2");
        let expected = [
            IndexRecord {
                file_size: Some(7),
                ..first
            },
            record("b:all=2", None, Some(3072), "3"),
            record("b:all=2", Some("u"), None, ""),
            record("b:all=2", Some("v"), None, "much"),
        ];
        assert_eq!(reader.finish(), expected);
    }

    #[test]
    fn both_versions_of_a_change_are_asked_for() {
        let change = Change {
            package: "a".into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: Some("2".into()),
            file: None,
            ..Change::default()
        };
        let both: Vec<String> = names(&change).collect();
        assert_eq!(both, ["a:all=1", "a:all=2"]);
        let new = Change {
            from: None,
            ..change
        };
        assert_eq!(names(&new).collect::<Vec<_>>(), ["a:all=2"]);
    }
}
