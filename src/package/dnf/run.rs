//! The transactions of dnf and yum.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::arguments::{self, Scope};
use super::output::Run;
use super::{Dialect, Dnf};
use crate::package::rpm::resolved;
use crate::package::rpm::transaction::{Changed, Downloaded, Tool};
use crate::package::rpm::{gate, repositories};
use crate::package::{
    Change, Ended, Former, KeptBack, Observer, PackageManager, Restore, Selection, Transaction,
};

impl Tool for Dnf {
    fn download(
        &self,
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Downloaded> {
        let updates = match transaction.selection {
            Selection::Everything => None,
            Selection::Exactly(updates) => Some(&updates[..]),
        };
        let (resolved, ended, without) = resolved::without_removals(|excluded| {
            let scope = Scope {
                updates,
                excluded,
                failed: transaction.failed,
            };
            let program = arguments::download(self.dialect, scope).log(transaction.log);
            let mut run = Run::new(observer);
            let ending = program.run(&mut run)?.ending;
            let (resolved, ended, _) = run.finish(ending);
            Ok((resolved, ended))
        })?;
        if ended != Ended::Done {
            return Ok(Downloaded::Not(ended));
        }
        let names: Vec<String> = resolved
            .install
            .iter()
            .map(|planned| resolved::file_name(&planned.key, &planned.evr))
            .collect();
        let files = repositories::files([self.dialect.cache()], &names);
        let database = self.installed()?;
        let mut kept_back = without.kept_back;
        kept_back.extend(self.kept_back(&resolved, &database, transaction)?);
        Ok(Downloaded::Ready {
            changes: resolved.changes(&database, &files),
            excluded: without.excluded,
            kept_back,
        })
    }

    fn change(
        &self,
        changes: &[Change],
        excluded: &[String],
        transaction: &Transaction<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Changed> {
        let program = arguments::change(self.dialect, changes, excluded, transaction.failed)
            .log(transaction.log);
        let mut run = Run::new(observer);
        let ending = program.run(&mut run)?.ending;
        let (_, ended, failures) = run.finish(ending);
        Ok(Changed { ended, failures })
    }
}

impl Dnf {
    /// What an upgrade of everything leaves as it is.
    fn kept_back(
        &self,
        resolved: &resolved::Resolved,
        database: &crate::package::Database,
        transaction: &Transaction<'_>,
    ) -> Result<Vec<KeptBack>> {
        if *transaction.selection != Selection::Everything {
            return Ok(Vec::new());
        }
        let pending = resolved.pending(database, &std::collections::BTreeSet::new());
        let mut kept_back = pending.kept_back.clone();
        kept_back.extend(self.locked(&pending, transaction.failed)?);
        kept_back.extend(self.only_from_failed(&pending, transaction.failed)?);
        Ok(kept_back)
    }
}

/// Puts former versions back in one transaction. The files were fetched by the package manager, which
/// checked them then; that they are still the same is checked here.
pub fn put_back(
    dialect: Dialect,
    scratch: &Path,
    restore: &Restore<'_>,
    observer: &mut dyn Observer,
) -> Result<Ended> {
    for former in restore.former {
        former.check()?;
    }
    let changes: Vec<Change> = restore.former.iter().map(Former::undone).collect();
    let script = scratch.join("dnf-shell");
    std::fs::write(&script, arguments::shell_script(restore.former))
        .with_context(|| format!("failed to write '{}'", script.display()))?;
    let program = |answer| arguments::put_back(dialect, restore.former, &script, answer);
    // the resolver may find that more has to go than what we know of
    let mut run = Run::new(observer);
    let ending = program("--assumeno").log(restore.log).run(&mut run)?.ending;
    if let Some(more) = run.finish(ending).0.beyond(&changes) {
        return Ok(Ended::Failed(more));
    }
    if let Some(refusal) = gate::ask(restore.gate, &changes, restore.log)? {
        return Ok(Ended::Failed(refusal));
    }
    let program = program("-y").log(restore.log);
    let mut run = Run::new(observer);
    let ending = program.run(&mut run)?.ending;
    let (_, ended, _) = run.finish(ending);
    let _ = std::fs::remove_file(&script);
    match ended {
        Ended::Stopped => bail!("a stop was asked for while former versions were put back"),
        ended => Ok(ended),
    }
}
