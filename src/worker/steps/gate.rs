//! The gate between staged and activated: the change list is on disk before the first file changes.
//!
//! The package manager hands the list to a process of ours and waits for its answer. Whoever creates
//! the intent file first decides: the gate, and the transaction goes on; or the worker that was told
//! to stop, and nothing is changed.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::exec::{Line, Program};
use crate::package::{Change, PackageManager, RollbackItem, RollbackSource};
use crate::paths::{Paths, quoted};
use crate::request::JobId;
use crate::sorted;
use crate::state::{self, job};
use crate::worker::bookkeeping::intent::{Expectation, Intent, expectation};
use crate::worker::bookkeeping::package_store;
use crate::worker::model::self_package;
use crate::worker::steps::{disk_space, foreign_shutdown, mounts, rollback};

/// Reads the change list from `input` and decides. On an error the package manager stops before it changes anything.
pub fn run(
    paths: &Paths,
    packages: &dyn PackageManager,
    job: &JobId,
    input: &mut dyn BufRead,
) -> Result<()> {
    let mut changes = packages.change_list(input)?;
    package_store::know_builds(packages, &mut changes);
    let intent = decide(paths, packages, job, changes)?;
    if let Intent::Activated { former, .. } = &intent {
        rollback::log_unavailable(job, former);
    }
    let first = intent.create(&job::intent(paths, job))?;
    match intent {
        Intent::Activated { .. } if first => Ok(()),
        Intent::Refused { reason, .. } => bail!("refused: {reason}"),
        Intent::NoRoom { without } => bail!("refused: {}", disk_space::sentence(&without)),
        Intent::Mixed => bail!("linux-patch-api itself is updated after the others"),
        _ => bail!("stopped on request before anything was changed"),
    }
}

/// Whether these changes may be made.
fn decide(
    paths: &Paths,
    packages: &dyn PackageManager,
    job: &JobId,
    changes: Vec<Change>,
) -> Result<Intent> {
    let expectation: Expectation = state::try_read(&expectation(paths, job))
        .map_err(|why| anyhow::anyhow!("what is expected cannot be read: {why}"))?
        .unwrap_or_default();
    let damaged = match expectation.since {
        Some(since) => packages.remove_damaged(&changes, since)?,
        None => Vec::new(),
    };
    let refused = |reason| Intent::Refused {
        reason,
        again: false,
        postponed: false,
    };
    if let Some(reason) = refusal(&changes, expectation.plan.as_deref()) {
        return Ok(refused(reason));
    }
    let room = mounts::check(packages, &changes);
    match room.and_then(|()| disk_space::short(packages, &changes)) {
        Err(error) => return Ok(refused(format!("{error:#}"))),
        Ok(without) if !without.is_empty() => return Ok(Intent::NoRoom { without }),
        Ok(_) => {}
    }
    if !damaged.is_empty() {
        return Ok(Intent::Refused {
            reason: format!("damaged in the cache, removed: {}", damaged.join(", ")),
            again: true,
            postponed: false,
        });
    }
    if expectation.plan.is_none() && self_package::is_mixed(&changes) {
        return Ok(Intent::Mixed);
    }
    let former = package_store::prepare_rollback(paths, packages, &changes);
    let irreversible = irreversible(&former).filter(|_| expectation.require_rollback);
    // as late as possible: a shutdown may be scheduled at any time before
    if let Some((reason, postponed)) =
        foreign_shutdown::at_the_gate(paths, expectation.foreign_shutdown)
    {
        return Ok(Intent::Refused {
            reason,
            again: false,
            postponed,
        });
    }
    Ok(irreversible.map_or(Intent::Activated { changes, former }, refused))
}

/// This very program, as a file that a package manager can run: a copy that stays what it is for as long as it
/// may be run (the package may be upgraded meanwhile, and a package manager may outlive this worker), or where
/// nothing of ours can be run from there, the installed program. The gate is asked before the first file changes.
pub fn program(paths: &Paths) -> Result<PathBuf> {
    let copied = copy(paths).and_then(|place| runs(&place).map(|()| place));
    copied.or_else(|why| {
        installed(paths)
            .and_then(|place| runs(&place).map(|()| place))
            .map_err(|other| {
                anyhow!("the gate cannot be run: {why:#}; nor can the installed program: {other:#}")
            })
    })
}

/// The installed program, while it is the one that runs.
fn installed(paths: &Paths) -> Result<PathBuf> {
    let place = paths.host("/usr/bin/patchctl");
    let (running, there) = (fs::metadata("/proc/self/exe")?, fs::metadata(&place)?);
    let id = |m: &fs::Metadata| (m.dev(), m.ino());
    ensure!(
        id(&running) == id(&there),
        "{} was replaced",
        quoted(&place)
    );
    Ok(place)
}

/// An error when the file cannot be run, whatever keeps it from that: a mount option, a security module.
fn runs(place: &Path) -> Result<()> {
    if mounts::is_noexec(place) {
        let mount = mounts::mount_of(place);
        let mount = mount.display();
        bail!(
            "{} lies on {mount}, which is mounted noexec (mount -o remount,exec {mount})",
            quoted(place)
        );
    }
    let tried = Program::new(place)
        .arg("--version")
        .limit(TRIAL)
        .run(&mut |_: Line<'_>| {});
    let finished = tried.with_context(|| format!("{} cannot be run", quoted(place)))?;
    ensure!(
        finished.succeeded(),
        "{} cannot be run: {:?}",
        quoted(place),
        finished.exit_reason
    );
    Ok(())
}

/// Copies this very program to where the gate lies, unless it is there.
fn copy(paths: &Paths) -> Result<PathBuf> {
    let place = paths.gate();
    let copy = || -> io::Result<()> {
        let mut running = File::open("/proc/self/exe")?;
        if is_copy(&running, &place).unwrap_or(false) {
            return Ok(());
        }
        // renamed, because the former one may be running
        let new = place.with_extension("new");
        let _ = fs::remove_file(&new);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(&new)?;
        running.rewind()?;
        io::copy(&mut running, &mut file)?;
        drop(file);
        fs::rename(&new, &place)
    };
    copy().with_context(|| format!("failed to write {}", quoted(&place)))?;
    Ok(place)
}

/// How long the gate may take to say its version.
const TRIAL: Duration = Duration::from_secs(10);

/// How many bytes of two programs are compared at once.
const CHUNK: usize = 64 * 1024;

/// Whether what lies at `place` is the same as what is `running`, a piece at a time: both whole would be
/// most of the memory that a worker needs.
fn is_copy(running: &File, place: &Path) -> io::Result<bool> {
    let mut running = BufReader::with_capacity(CHUNK, running);
    let mut there = BufReader::with_capacity(CHUNK, File::open(place)?);
    loop {
        let (one, other) = (running.fill_buf()?, there.fill_buf()?);
        let count = one.len().min(other.len());
        if count == 0 || one[..count] != other[..count] {
            return Ok(one.len() == other.len() && count == 0);
        }
        running.consume(count);
        there.consume(count);
    }
}

/// Why the changes could not be undone: pure.
fn irreversible(former: &[RollbackItem]) -> Option<String> {
    let missing = former.iter().filter_map(|former| match &former.source {
        RollbackSource::Unavailable { why } => {
            let version = former.change.from.as_deref().unwrap_or_default();
            Some(format!("{} {version}: {why}", former.change.former_key()))
        }
        _ => None,
    });
    let missing: Vec<String> = missing.collect();
    let why = "it could not be undone, which the configuration requires (require_rollback)";
    (!missing.is_empty()).then(|| format!("{why}: {}", missing.join("; ")))
}

/// Why the list may not go through: pure.
fn refusal(changes: &[Change], plan: Option<&[Change]>) -> Option<String> {
    if let Some(removed) = changes.iter().find(|change| change.to.is_none()) {
        return Some(format!("{} would be removed", removed.package));
    }
    let plan = plan?;
    let essence = |change: &Change| {
        (
            change.package.clone(),
            change.architecture.clone(),
            change.to.clone(),
        )
    };
    let (mut planned, mut actual): (Vec<_>, Vec<_>) = (
        plan.iter().map(essence).collect(),
        changes.iter().map(essence).collect(),
    );
    sorted::sort(&mut planned);
    sorted::sort(&mut actual);
    let other = actual.iter().find(|change| !planned.contains(change));
    match (other, planned == actual) {
        (_, true) => None,
        (Some((package, _, to)), _) => Some(format!(
            "{package} {} was not planned",
            to.as_deref().unwrap_or("removed"),
        )),
        (None, _) => Some("fewer changes would be made than planned".to_owned()),
    }
}

/// The arguments by which the package manager asks for the gate of a transaction.
#[must_use]
pub fn arguments(transaction: &JobId) -> [String; 3] {
    ["run".into(), "gate".into(), format!("--job={transaction}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(package: &str, to: Option<&str>) -> Change {
        Change {
            package: package.into(),
            architecture: "all".into(),
            from: Some("1".into()),
            to: to.map(Into::into),
            file: None,
            ..Change::default()
        }
    }

    #[test]
    fn only_what_was_planned_goes_through_and_no_removal() {
        let plan = [change("a", Some("2")), change("b", Some("2"))];
        assert_eq!(refusal(&plan, Some(&plan)), None);
        assert_eq!(refusal(&plan, None), None);
        assert!(refusal(&plan[..1], Some(&plan)).unwrap().contains("fewer"));
        assert!(
            refusal(&plan, Some(&plan[..1]))
                .unwrap()
                .contains("b 2 was not planned")
        );
        assert!(
            refusal(&[change("a", Some("3"))], Some(&plan[..1]))
                .unwrap()
                .contains("a 3")
        );
        let removal = [change("a", None)];
        for plan in [None, Some(&removal[..])] {
            assert_eq!(refusal(&removal, plan).unwrap(), "a would be removed");
        }
    }

    #[test]
    fn the_program_is_copied_whole_and_only_owned() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path());
        std::fs::create_dir_all(paths.lib()).unwrap();
        std::fs::write(paths.gate(), "half").unwrap();
        std::fs::write(paths.gate().with_extension("new"), "left").unwrap();
        let own = std::fs::read("/proc/self/exe").unwrap();
        for _ in 0..2 {
            let place = copy(&paths).unwrap();
            assert!(std::fs::read(&place).unwrap() == own);
            let mode = std::os::unix::fs::MetadataExt::mode(&place.metadata().unwrap());
            assert_eq!(mode & 0o777, 0o700);
        }
        assert_eq!(std::fs::read_dir(paths.lib()).unwrap().count(), 1);
    }

    #[test]
    fn the_first_intent_stays() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.intent");
        assert!(Intent::Stopped.create(&path).unwrap());
        let other = Intent::Activated {
            changes: vec![],
            former: vec![],
        };
        assert!(!other.create(&path).unwrap());
        let read: Intent = state::try_read(&path).unwrap().unwrap();
        assert_eq!(read, Intent::Stopped);
    }
}
