//! The host of a run, its repository, and everything that is done to them or looked at there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lab::{Host, Manifest, Release, Repo, differences};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::judge::{Idle, Versions, Violation};
use crate::plan::Publication;
use crate::world::{FAMILIES, World};

const STATE: &str = "/var/lib/linux_patch_api";

/// Where a job's record or entry may lie.
const PLACES: [&str; 5] = ["queue", "jobs", "deferred", "conflicts", "refused"];

/// A worker, by its command line: started by a unit, or in a shell.
const WORKER: &str = "^(/usr/bin/)?patchctl (run (apply|drain|refresh|retry)|apply --direct)";

/// What the administrator has in the configuration file of a package.
const MINE: &str = "mine";

/// How long a host may take to come to rest after everything that was asked for.
const REST: Duration = Duration::from_secs(300);

/// A host with the first version of everything.
pub struct Stage {
    pub host: Host,
    repo: Repo,
    world: Mutex<World>,
    pub first: Versions,
}

impl Stage {
    pub fn new() -> Self {
        let host = Host::builder(Release::Trixie).name("stress").boot();
        let repo = Repo::new(&host);
        // what is published while a client fetches the index must not tear it
        repo.set(|options| options.by_hash = true);
        let mut world = World::default();
        for deb in world.first() {
            repo.add_to_pool_only(&deb);
        }
        repo.reindex();
        repo.enable(&host);
        host.write("/etc/linux_patch_api/config.toml", "[verify]\nsettle = 1\n");
        host.sh("useradd --create-home alice && gpasswd --add alice patch-operators");
        let names = FAMILIES.map(|family| family.name).join(" ");
        host.sh(&format!(
            "apt-get -q update && apt-get -q -y install {names} && echo {MINE} >>/etc/st-conf.conf"
        ));
        let mut stage = Self {
            host,
            repo,
            world: Mutex::new(world),
            first: Versions::new(),
        };
        stage.first = stage.installed().0;
        stage
    }

    /// New versions come out.
    pub fn publish(&self, publications: &[Publication]) {
        let mut world = self.world();
        for publication in publications {
            for deb in world.publish(*publication) {
                self.repo.add_to_pool_only(&deb);
            }
        }
        self.repo.reindex();
    }

    /// A good version of everything comes out.
    pub fn publish_all(&self) {
        for deb in self.world().all_good() {
            self.repo.add_to_pool_only(&deb);
        }
        self.repo.reindex();
    }

    /// The repository cannot be reached for a while.
    pub fn away(&self, time: Duration) {
        self.repo.stop();
        std::thread::sleep(time);
        self.repo.start();
    }

    pub fn version(&self, package: &str, ago: usize) -> String {
        self.world().version(package, ago).to_owned()
    }

    /// Sends a signal to the first worker there is; whether there was one.
    pub fn strike(&self, signal: &str) -> bool {
        let kill = format!("kill -{signal} $(pgrep -o -f '{WORKER}')");
        self.host.try_sh(&kill).success()
    }

    /// Waits until nothing waits, nothing runs, and nothing is about to be started.
    pub fn come_to_rest(&self) -> Result<(), Violation> {
        // what a killed worker in a shell has left is found by the next one; what waits for the
        // network goes on when an index was fetched
        for start in ["patch-apply.service", "patch-refresh.service"] {
            self.host.try_sh(&format!("systemctl start {start}"));
            self.wait_for_rest()?;
        }
        Ok(())
    }

    fn wait_for_rest(&self) -> Result<(), Violation> {
        let look = format!(
            "cd {STATE}; ls queue; [ ! -e state/running.json ] || echo running.json; pgrep -a -f '{WORKER}'; \
             systemctl list-jobs --no-legend --no-pager | grep patch-; \
             systemctl list-units --no-legend --no-pager --plain --state=activating 'patch-*'"
        );
        let end = Instant::now() + REST;
        loop {
            let busy = self.host.try_sh(&look).stdout;
            if busy.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                let what = format!("the host does not come to rest within {REST:?}: {busy}");
                return Err(Violation::new(what, &[]));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The versions of the packages, and each state that is not a good one.
    pub fn installed(&self) -> (Versions, Vec<String>) {
        let shown = self.host.sh(
            "dpkg-query -W -f='${Package} ${Version} ${db:Status-Abbrev}\\n' 'st-*'; ls /var/lib/dpkg/updates",
        );
        let (mut versions, mut wrong) = (Versions::new(), Vec::new());
        for line in shown.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [package, version, "ii"] => {
                    versions.insert(package.to_owned(), version.to_owned());
                }
                // removed, or never there
                [_, _, "rc" | "un" | "pn"] | [_, "un" | "pn"] => {}
                _ => wrong.push(line.to_owned()),
            }
        }
        (versions, wrong)
    }

    /// How the files of the host differ from those of the packages that it has.
    pub fn wrong_files(&self, installed: &Versions) -> Vec<Violation> {
        let world = self.world();
        let debs = installed
            .iter()
            .filter_map(|(name, version)| world.package(name, version));
        let manifests: Vec<(&str, Manifest)> = debs
            .map(|deb| (deb.name(), Manifest::of(&deb.build())))
            .collect();
        let all = manifests.iter().map(|(name, manifest)| (*name, manifest));
        let wrong = differences(&self.host, all.clone());
        let mut violations: Vec<Violation> = wrong
            .into_iter()
            .map(|line| {
                let package = line.split(':').next().unwrap_or_default().to_owned();
                Violation::new(
                    format!("a file is not as its package says: {line}"),
                    &[&package],
                )
            })
            .collect();
        let left = self
            .host
            .sh("find /usr/share/st-* /usr/lib/systemd/system/st-* -type f");
        for path in left
            .lines()
            .filter(|path| !all.clone().any(|(_, manifest)| manifest.has(path)))
        {
            let package = path.split('/').nth(3).unwrap_or_default();
            violations.push(Violation::new(
                format!("{path} is of no package"),
                &[package],
            ));
        }
        if self.host.sh("tail -n 1 /etc/st-conf.conf").trim() != MINE {
            violations.push(Violation::new(
                "a configuration file was replaced",
                &["st-conf"],
            ));
        }
        violations
    }

    /// Services that do not run, or not as their package says.
    pub fn wrong_services(&self, installed: &Versions) -> Vec<Violation> {
        let mut violations = Vec::new();
        for name in ["st-db", "st-web"] {
            let shown = self.host.sh(&format!(
                "systemctl show -P ActiveState -P Description {name}.service"
            ));
            let version = installed.get(name).map_or("", String::as_str);
            let right = format!("{name} {version} of the lab active");
            let now = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            if now != right {
                violations.push(Violation::new(
                    format!("{name}.service is {now:?} and not {right:?}"),
                    &[name],
                ));
            }
        }
        violations
    }

    /// Every file of the state directory, one on each line.
    pub fn listing(&self) -> String {
        self.host
            .sh(&format!("cd {STATE} && find {} -type f", PLACES.join(" ")))
    }

    /// The records of ended jobs as they are at this moment, by id, read from outside without any lock. One
    /// that goes while it is looked for is left out.
    pub fn records(&self) -> BTreeMap<String, String> {
        let directory = self
            .host
            .root()
            .join(STATE.trim_start_matches('/'))
            .join("jobs");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let id = name.strip_suffix(".json")?.to_owned();
                Some((id, fs::read_to_string(entry.path()).ok()?))
            })
            .collect()
    }

    /// State files that do not parse.
    pub fn torn_state(&self) -> Vec<Violation> {
        let files = self.host.sh(&format!(
            "cd {STATE} && find state packages deferred conflicts keys -name '*.json' -type f"
        ));
        let read = files
            .lines()
            .map(|file| (file, self.host.read(&format!("{STATE}/{file}"))));
        read.filter(|(_, text)| serde_json::from_str::<Value>(text).is_err())
            .map(|(file, text)| Violation::new(format!("{file} does not parse: {text}"), &[]))
            .collect()
    }

    /// The jobs of the journal's entries that say how a job ended.
    pub fn ends(&self) -> Vec<String> {
        let kinds = [
            message::JOB_SUCCEEDED,
            message::JOB_FAILED,
            message::JOB_CANCELLED,
        ];
        let filters = kinds.map(|kind| format!("MESSAGE_ID={kind}"));
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let entries = self.host.journal(&filters);
        let jobs = entries
            .iter()
            .filter_map(|entry| entry["PATCH_JOB"].as_str());
        jobs.map(str::to_owned).collect()
    }

    /// Watches the host doing nothing.
    pub fn idle(&self) -> Idle {
        let now = || {
            let shown = self.host.sh("date +%s.%N");
            shown.trim().to_owned()
        };
        // of each process of ours its number, and the hundredths of a second it has used
        let used = || -> BTreeMap<String, u64> {
            let script = "for p in /proc/[0-9]*; do case $(readlink $p/exe) in */patchctl) \
                          cut -d ' ' -f 1,14,15 $p/stat;; esac; done 2>/dev/null";
            let shown = self.host.try_sh(script).stdout;
            let line = |line: &str| {
                let mut words = line.split(' ');
                let pid = words.next()?.to_owned();
                Some((pid, words.filter_map(|word| word.parse::<u64>().ok()).sum()))
            };
            shown.lines().filter_map(line).collect()
        };
        let (since, begin, before) = (now(), Instant::now(), used());
        std::thread::sleep(Duration::from_secs(2));
        let (after, seconds) = (used(), begin.elapsed().as_secs_f64());
        let ticks: u64 = after
            .iter()
            .map(|(pid, ticks)| ticks.saturating_sub(before.get(pid).copied().unwrap_or_default()))
            .sum();
        let since = format!("--since=@{since}");
        let started = self.host.journal(&["_PID=1", "JOB_TYPE=start", &since]);
        let units = started.iter().filter_map(|entry| entry["UNIT"].as_str());
        Idle {
            seconds,
            used: f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0,
            // one entry says that it begins, and one that it has ended
            started: units
                .filter(|unit| unit.starts_with("patch-"))
                .step_by(2)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// What the journal has of some words, the latest lines.
    pub fn journal_about(&self, words: &[String], lines: usize) -> String {
        if words.is_empty() {
            return String::new();
        }
        let pattern = words.join("\\|");
        let script = format!(
            "journalctl --quiet --no-pager --merge -o short-precise -t patchctl -t systemd | grep -e '{pattern}' | tail -n {lines} | cut -c 1-400"
        );
        self.host.try_sh(&script).stdout
    }

    /// Ids that stand anywhere in a text.
    pub fn ids_in(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
        words
            .filter(|word| crate::judge::is_id(word))
            .map(str::to_owned)
            .collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
