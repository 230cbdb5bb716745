//! apk.

mod arguments;
mod backend;
mod database;
mod former;
mod listing;
mod refresh;
mod run;
mod simulate;
mod world;

use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

pub use backend::Apk;

use crate::checksum;
use crate::exec::Process;
use crate::package::climb::climb;
use crate::package::rpm::gate;
use crate::package::{
    Applied, Change, Database, Ended, Former, Kept, KeptBack, KeptBackCause, Observer,
    PackageManager, PackageState, Pending, Problem, Refreshed, Restore, Script, Selection, Source,
    TakenBack, Transaction, Update, sentences,
};
use crate::sorted;
use backend::CACHE;

/// Where repositories are named.
const REPOSITORIES: &str = "/etc/apk/repositories";

impl PackageManager for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn refresh(&self, observer: &mut dyn Observer) -> Result<Refreshed> {
        self.fetch(observer)
    }

    fn pending(&self, failed: &[&Source]) -> Result<Pending> {
        self.plan(&[], failed)
    }

    fn no_security(&self) -> Result<Option<String>> {
        Ok(Some(
            "apk's repositories do not say it; apply all updates instead".to_owned(),
        ))
    }

    /// What needs a removal, or cannot be done at all, is kept back: one bad package makes apk refuse an
    /// upgrade of everything (measured).
    fn plan(&self, updates: &[Update], failed: &[&Source]) -> Result<Pending> {
        if let Some(source) = failed.first() {
            // an index of apk's does not say which of its packages would come from where
            bail!("apk cannot leave out {source}, whose last refresh failed");
        }
        let names: Vec<String> = updates
            .iter()
            .map(|update| update.package.clone())
            .collect();
        let (cause, reason) = match self.simulate(&names)? {
            Ok(steps) => {
                let changes = self.changes(steps)?;
                match changes.iter().find(|change| change.to.is_none()) {
                    None => {
                        return Ok(Pending {
                            updates: offered(changes),
                            kept_back: Vec::new(),
                        });
                    }
                    Some(removed) => {
                        let reason = format!("{} would have to be removed", removed.package);
                        (KeptBackCause::Removal, reason)
                    }
                }
            }
            Err(words) => {
                let reason = format!("apk cannot upgrade it: {words}");
                (KeptBackCause::Dependency, reason)
            }
        };
        let newer = self.apk.newer().capture()?;
        let packages = newer
            .lines()
            .filter_map(|line| listing::split(line.split(' ').next()?));
        let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
        let kept_back = packages
            .filter(|(package, _)| asked(package))
            .map(|(package, _)| KeptBack::new(package, cause, &reason));
        Ok(Pending {
            updates: Vec::new(),
            kept_back: kept_back.collect(),
        })
    }

    fn installed(&self) -> Result<Database> {
        self.read_database()
    }

    fn problems(&self) -> Result<Vec<Problem>> {
        let broken =
            |(key, installed): (crate::package::Key, crate::package::Installed)| match installed
                .state
            {
                PackageState::Good => None,
                PackageState::Broken(state) => {
                    let text = format!("{} is {state}", key.package);
                    Some(Problem::of(&key.package, text))
                }
            };
        Ok(self.installed()?.into_iter().filter_map(broken).collect())
    }

    fn apply(&self, transaction: &Transaction<'_>, observer: &mut dyn Observer) -> Result<Applied> {
        let names: Vec<String> = match transaction.selection {
            Selection::Everything => Vec::new(),
            Selection::Exactly(updates) => updates.iter().map(|u| u.package.clone()).collect(),
        };
        let done = |ended, kept_back| Applied {
            ended,
            kept_back,
            notes: Vec::new(),
            failures: Vec::new(),
            displaced: false,
            interrupted: false,
        };
        let changes = match self.simulate(&names)? {
            Ok(steps) => self.changes(steps)?,
            Err(words) => return Ok(done(Ended::Failed(words), Vec::new())),
        };
        if changes.is_empty() {
            return Ok(done(Ended::Done, Vec::new()));
        }
        let coming: Vec<String> = changes
            .iter()
            .filter_map(|change| Some(format!("{}={}", change.package, change.to.as_deref()?)))
            .collect();
        // apk waits, too, and says nothing of it
        self.wait_until_idle(observer)?;
        let program = self.apk.download(&coming).log(transaction.log);
        let fetched = run::run(&program, true, observer)?;
        if fetched != Ended::Done {
            return Ok(done(fetched, Vec::new()));
        }
        if observer.stop() {
            return Ok(done(Ended::Stopped, Vec::new()));
        }
        if let Some(words) = gate::ask(transaction.gate, &changes, transaction.log)? {
            return Ok(done(Ended::Failed(words), Vec::new()));
        }
        let program = self.apk.upgrade(&names).log(transaction.log);
        Ok(done(run::run(&program, false, observer)?, Vec::new()))
    }

    /// Takes the lock that every apk holds while it works, and gives it back.
    fn wait_until_idle(&self, observer: &mut dyn Observer) -> Result<()> {
        world::wait(&self.database.with_file_name("lock"), observer)
    }

    fn repair(&self, changes: &[Change], log: &Path, observer: &mut dyn Observer) -> Result<()> {
        let coming = changes.iter().filter(|change| change.to.is_some());
        let names: Vec<&str> = coming.map(|change| change.package.as_str()).collect();
        let installed = self.installed()?;
        let torn = |change: &Change| {
            let now = installed.get(&change.key());
            now.map(|i| &i.version) != change.to.as_ref()
                || now.is_some_and(|i| i.state != PackageState::Good)
        };
        if changes.iter().any(torn) || !self.problems()?.is_empty() {
            climb(&self.apk.fix(&names), log, observer)?;
        }
        let problems = self.problems()?;
        ensure!(
            problems.is_empty(),
            "the package database could not be repaired: {}",
            sentences(problems).join("; ")
        );
        Ok(())
    }

    fn script(&self, process: &Process) -> Option<Script> {
        run::script(process)
    }

    fn former(&self, changes: &[Change], kept: &[Kept], _: &Path) -> Result<Vec<Former>> {
        let caches = [PathBuf::from(CACHE), "/etc/apk/cache".into()];
        Ok(former::find(changes, kept, &caches))
    }

    /// apk takes what was new away by itself, because nobody needs it any more.
    fn roll_back(&self, restore: &Restore<'_>, observer: &mut dyn Observer) -> Result<Ended> {
        restore.former.iter().try_for_each(Former::check)?;
        let changes: Vec<Change> = restore.former.iter().map(Former::undone).collect();
        let files: Vec<PathBuf> = restore
            .former
            .iter()
            .filter_map(|f| f.source.file().map(Path::to_owned))
            .collect();
        if let Some(words) = gate::ask(restore.gate, &changes, restore.log)? {
            return Ok(Ended::Failed(words));
        }
        let world = world::World::keep(Path::new(arguments::WORLD))?;
        let program = self.apk.install(&files).log(restore.log);
        let ended = run::run(&program, false, observer);
        // a pin would keep the package from every later update
        world.write_back()?;
        ended
    }

    fn change_list(&self, input: &mut dyn BufRead) -> Result<Vec<Change>> {
        gate::parse(input)
    }

    /// apk checks what it takes out of its cache.
    fn remove_damaged(&self, _: &[Change], _: SystemTime) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn runs_scripts_from(&self) -> Option<&Path> {
        self.database.parent()
    }

    fn files(&self, change: &Change) -> Result<Vec<PathBuf>> {
        let text = fs::read(&self.database)
            .with_context(|| format!("failed to read '{}'", self.database.display()))?;
        Ok(database::files(
            &String::from_utf8_lossy(&text),
            &change.package,
        ))
    }

    /// A kernel that was replaced takes its modules away.
    fn reboot_reasons(&self, _: &TakenBack) -> Vec<String> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let modules = Path::new("/lib/modules");
        let any = fs::read_dir(modules).is_ok_and(|mut entries| entries.next().is_some());
        let in_container = Path::new("/run/systemd/container").exists();
        if in_container || !any || modules.join(release.trim()).exists() {
            return Vec::new();
        }
        vec![format!(
            "the running kernel {} was replaced",
            release.trim()
        )]
    }

    fn fingerprint(&self, failed: &[&Source]) -> String {
        let mut text = String::new();
        for source in failed {
            let _ = write!(text, "{source};");
        }
        let indexes = fs::read_dir(CACHE)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let mut files: Vec<PathBuf> = indexes
            .filter(|path| path.to_string_lossy().contains("APKINDEX"))
            .collect();
        sorted::sort(&mut files);
        files.extend([
            self.database.clone(),
            REPOSITORIES.into(),
            arguments::WORLD.into(),
        ]);
        for file in files {
            if let Ok(m) = fs::metadata(&file) {
                let _ = write!(
                    text,
                    "{}:{}:{}:{};",
                    m.ino(),
                    m.size(),
                    m.mtime(),
                    m.mtime_nsec()
                );
            }
        }
        checksum::sha256(text.as_bytes())
    }
}

fn offered(changes: Vec<Change>) -> Vec<Update> {
    let offered = |change: Change| {
        Some(Update {
            package: change.package,
            architecture: change.architecture,
            installed: change.from,
            candidate: change.to?,
            origin: "apk".to_owned(),
            security: false,
            ..Update::default()
        })
    };
    changes.into_iter().filter_map(offered).collect()
}
