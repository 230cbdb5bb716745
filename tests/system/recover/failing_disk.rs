//! A disk that is full or broken, at every file that this program writes during an update, from queue to record.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use lab::fixtures::plain;
use lab::{Disk, DiskFault, Host, Release, Repo};
use linux_patch_api::journal::id as message;
use serde_json::Value;

use crate::job::{applied, changes, host_with, start, text};
use crate::story::{self, STATE, drop_request, property, refresh_fails, refresh_succeeds, unit};

const PACKAGES: [&str; 2] = ["demo", "other"];

const DRAIN: &str = "patch-apply.service";

// fault: disk full, EDQUOT, EIO
#[test]
fn whichever_write_fails_no_request_is_lost_and_no_record_lies() {
    let stage = Stage::new();
    let disk = Disk::below(&stage.host);
    // what is written on the first occasion only is there by then
    story::settled(&stage.host, &stage.ask());
    stage.settle("the first update");
    disk.clear();
    let id = stage.ask();
    stage.settle("an undisturbed update");
    assert_eq!(story::job(&stage.host, &id)["status"], "succeeded");
    let writes = disk.writes();
    let points = points(&writes);
    assert!(points.len() >= 18, "{writes:#?}");
    let mut reached = 0;
    for (number, fault) in points {
        let outcome = stage.trial(&disk, Fault::Write(number, fault));
        println!("{number:4} {fault:?} {outcome:10} {}", writes[number - 1]);
        reached += usize::from(outcome != NOT_REACHED);
    }
    assert!(reached >= 18, "{reached} points were reached");
}

// fault: EMFILE, EIO while reading
#[test]
fn whichever_read_fails_no_request_is_lost_and_no_record_lies() {
    let stage = Stage::new();
    let disk = stage.undisturbed();
    let reads = disk.reads();
    let files = |call| -> BTreeSet<(String, String)> {
        reads.iter().filter_map(|read| file(read, call)).collect()
    };
    let (opened, read) = (files("open "), files("read "));
    assert!(read.len() >= 6, "{reads:#?}");
    for (turn, (directory, suffix)) in read.into_iter().enumerate() {
        // the queue is opened without the C library
        let can_be_opened = opened.contains(&(directory.clone(), suffix.clone()));
        let call = if turn % 2 == 0 && can_be_opened {
            "open"
        } else {
            "read"
        };
        let outcome = stage.trial(&disk, Fault::Read(call, &directory, &suffix));
        println!("{call} {outcome:10} {directory} {suffix}");
    }
}

/// The directory of a file that was read, and the end of its name, which is the same in every update.
fn file(read: &str, call: &str) -> Option<(String, String)> {
    let path = read.strip_prefix(call)?.trim_start();
    let (directory, name) = path.rsplit_once('/')?;
    let is_of_job = name.len() > 24 && name.as_bytes()[16] == b'-';
    let suffix = match name.strip_suffix(".deb") {
        Some(_) => ".deb",
        None if is_of_job => &name[23..],
        None => name,
    };
    Some((directory.to_owned(), suffix.to_owned()))
}

/// The outcome of an update that made fewer writes than the one that was counted.
const NOT_REACHED: &str = "not reached";

/// What fails during an update.
#[derive(Clone, Copy, Debug)]
enum Fault<'a> {
    /// The write with this number.
    Write(usize, DiskFault),
    /// The first such call for a file of a directory with this end of its name.
    Read(&'a str, &'a str, &'a str),
}

impl Fault<'_> {
    fn reason(self) -> &'static str {
        match self {
            Self::Write(_, DiskFault::Full) => "No space left on device",
            Self::Write(_, DiskFault::Quota) => "Disk quota exceeded",
            Self::Read("open", ..) => "Too many open files",
            Self::Write(_, DiskFault::Broken) | Self::Read(..) => "Input/output error",
        }
    }

    /// Whether it lasts until the administrator does something about it.
    fn lasts(self) -> bool {
        matches!(self, Self::Write(_, DiskFault::Full | DiskFault::Quota))
    }
}

// fault: disk full, EDQUOT, EIO
#[test]
fn a_disk_that_stays_full_leaves_the_rest_to_a_later_worker() {
    let stage = Stage::new();
    let disk = stage.undisturbed();
    let writes = disk.writes();
    let intent = writes.iter().position(|write| write.contains(".intent."));
    disk.clear();
    // the list of changes is on the disk, and nothing that follows
    disk.fail(intent.expect("no intent") + 5, DiskFault::Full);
    let id = stage.ask();

    stage.host.wait_for("the worker to give up", || {
        unit(&stage.host, DRAIN, "ActiveState") == "failed"
    });

    assert_eq!(stage.installed(), [stage.newest(), stage.newest()]);
    assert_eq!(story::job(&stage.host, &id)["status"], "running");
    let log = stage.host.messages(&["-u", DRAIN, "-n", "20"]).join("\n");
    assert!(log.contains("No space left on device"), "{log}");
    disk.heal();
    // another worker has taken it over by then
    stage.host.wait_for("the end of the job", || {
        story::job(&stage.host, &id)["status"] == "succeeded"
    });
    stage.settle("it");
    let log = stage.host.read("/var/log/dpkg.log");
    for package in PACKAGES {
        let unpacking = format!(" upgrade {package}:all 1.2 1.3\n");
        assert_eq!(log.matches(&unpacking).count(), 1, "{package}");
    }
    assert_eq!(property(&stage.host, "Health"), "healthy");
}

// fault: disk full
#[test]
fn a_disk_that_is_full_during_the_refresh_leaves_the_former_index() {
    let (host, repo) = host_with(Release::Trixie, &[plain("demo", "1.0")]);
    let lists = "/var/lib/apt/lists";
    host.sh(&format!("mount -t tmpfs -o size=256k tmpfs {lists}"));
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "1");
    let index = || {
        let files = format!("cd {lists} && find . -maxdepth 1 -type f -name '*_*' | sort");
        host.sh(&format!("{files} | xargs sha256sum"))
    };
    let known = index();
    repo.add(&plain("demo", "1.2"));
    host.sh(&format!(
        "cat /dev/zero >{lists}/filling 2>/dev/null || true"
    ));

    let why = refresh_fails(&host);

    assert!(why.contains("No space left on device"), "{why}");
    assert!(property(&host, "HealthReasons").contains("No space left on device"));
    assert_eq!(index(), known);
    let candidate = host.sh("apt-cache policy demo");
    assert!(candidate.contains("Candidate: 1.1"), "{candidate}");
    assert_eq!(property(&host, "PendingUpdates"), "1");

    host.sh(&format!("rm {lists}/filling"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(changes(&applied(&host, "demo")), ["demo 1.0 -> 1.2"]);
}

/// For every file that is written, one of the calls by which that is done, in turn.
fn points(writes: &[String]) -> BTreeMap<usize, DiskFault> {
    let turns: [(&[&str], DiskFault); 5] = [
        (&["create"], DiskFault::Full),
        (&["fsync"], DiskFault::Broken),
        (&["rename"], DiskFault::Quota),
        (&["write"], DiskFault::Broken),
        (&["rename", "fsync"], DiskFault::Broken),
    ];
    let is = |number: usize, call: &str| writes[number - 1].split(' ').next() == Some(call);
    let begins = (1..=writes.len()).filter(|number| is(*number, "create") || is(*number, "link"));
    let mut points = BTreeMap::new();
    for (begin, (calls, fault)) in begins.zip(turns.iter().cycle()) {
        let mut number = begin;
        for call in *calls {
            number = (number..=writes.len())
                .find(|n| is(*n, call))
                .unwrap_or(begin);
        }
        points.insert(number, *fault);
    }
    points
}

/// A host, and how many updates it has seen.
struct Stage {
    host: Host,
    repo: Repo,
    updates: Cell<usize>,
}

impl Stage {
    fn new() -> Self {
        let (host, repo) = host_with(Release::Trixie, &PACKAGES.map(|name| plain(name, "1.0")));
        Self {
            host,
            repo,
            updates: Cell::new(0),
        }
    }

    /// A disk that has seen what one update reads and writes on a host that has had one before.
    fn undisturbed(&self) -> Disk<'_> {
        let disk = Disk::below(&self.host);
        for update in ["the first update", "an undisturbed update"] {
            disk.clear();
            self.ask();
            self.settle(update);
        }
        disk
    }

    /// One more update of every package, asked for as any program would; the id of the request.
    fn ask(&self) -> String {
        self.updates.set(self.updates.get() + 1);
        let [demo, other] = PACKAGES.map(|name| plain(name, &self.newest()));
        self.repo.add_to_pool_only(&demo);
        self.repo.add(&other);
        drop_request(
            &self.host,
            self.updates.get(),
            r#""packages":["demo","other"]"#,
        )
    }

    fn newest(&self) -> String {
        format!("1.{}", self.updates.get())
    }

    /// The versions that are installed, with their states where those are not good.
    fn installed(&self) -> Vec<String> {
        let installed = PACKAGES.map(|name| story::installed(&self.host, name));
        installed
            .map(|version| version.replace(" installed", ""))
            .to_vec()
    }

    /// Waits until nothing waits and nothing runs any more.
    fn settle(&self, what: &str) {
        let idle = format!(
            "cd {STATE} && [ -z \"$(ls queue)\" ] && [ ! -e state/running.json ] \
             && ! systemctl is-active -q {DRAIN} \
             && ! systemctl list-jobs --no-legend | grep -q {DRAIN}"
        );
        self.host.wait_for(&format!("the end of {what}"), || {
            self.host.try_sh(&idle).success()
        });
    }

    /// An update during which something fails; how it ended.
    fn trial(&self, disk: &Disk<'_>, fault: Fault<'_>) -> &'static str {
        let old = self.installed();
        disk.clear();
        match fault {
            Fault::Write(number, fault) => disk.fail(number, fault),
            Fault::Read(call, directory, suffix) => disk.fail_read(call, directory, suffix),
        }
        let id = self.ask();
        let (what, reason) = (format!("{id}: {fault:?}"), fault.reason());
        if fault.lasts() {
            // the administrator makes room only when the reason is in the record
            let record = format!("{STATE}/jobs/{id}.json");
            self.host
                .wait_for(&format!("the reason to be told, {what}"), || {
                    let record = self.host.try_sh(&format!("cat {record}")).stdout;
                    let record: Value = serde_json::from_str(&record).unwrap_or_default();
                    let ended = ["succeeded", "failed"].contains(&text(&record, "status"));
                    ended || unit(&self.host, DRAIN, "StatusText").contains(reason)
                });
            disk.heal();
        }
        self.settle(&what);
        if disk.refused().is_empty() {
            // how often progress is written depends on how long dpkg takes
            let made = disk.writes().len();
            let is_late = matches!(fault, Fault::Write(number, _) if number > made);
            assert!(is_late, "{what}: nothing has failed, of {made} writes");
            return NOT_REACHED;
        }
        self.judge(&id, &what, &old, reason)
    }

    #[track_caller]
    fn judge(&self, id: &str, what: &str, old: &[String], reason: &str) -> &'static str {
        let host = &self.host;
        let told = || host.messages(&["--lines=80"]).join("\n");
        assert_eq!(host.sh("dpkg --audit"), "", "{what}");
        let places = host.sh(&format!(
            "cd {STATE}; find queue jobs deferred conflicts refused -name '{id}*.json'"
        ));
        assert_eq!(places, format!("jobs/{id}.json\n"), "{what}");
        let job = story::job(host, id);
        let (now, new) = (self.installed(), vec![self.newest(); PACKAGES.len()]);
        let outcome = match text(&job, "status") {
            "succeeded" => {
                assert_eq!(now, new, "{what}: {job:#}");
                assert_eq!(changes(&job).len(), PACKAGES.len(), "{what}: {job:#}");
                "succeeded"
            }
            "failed" => {
                assert_eq!(now, old, "{what}: {job:#}");
                assert_eq!(changes(&job), [""; 0], "{what}");
                let error = text(&job, "error");
                assert!(error.contains(reason), "{what}: {error}\n{}", told());
                assert_eq!(property(host, "Health"), "degraded", "{what}");
                "failed"
            }
            _ => panic!("{what}: {job:#}\n{}", told()),
        };
        // no package is unpacked twice, and no end told twice
        let log = host.read("/var/log/dpkg.log");
        for package in PACKAGES {
            let unpacking = format!(" upgrade {package}:all {} {}\n", old[0], new[0]);
            assert!(log.matches(&unpacking).count() <= 1, "{what}: {package}");
        }
        let ends = [message::JOB_SUCCEEDED, message::JOB_FAILED].map(|kind| {
            let of_job = format!("PATCH_JOB={id}");
            host.journal(&[&format!("MESSAGE_ID={kind}"), &of_job])
                .len()
        });
        assert_eq!(ends.iter().sum::<usize>(), 1, "{what}\n{}", told());
        // what has failed goes through now that there is room
        if outcome == "failed" {
            let next = start(host, "all");
            assert!(next.success(), "{what}: {next}\n{}", told());
            assert_eq!(self.installed(), new, "{what}");
        }
        assert_eq!(property(host, "Health"), "healthy", "{what}\n{}", told());
        let ended = unit(host, DRAIN, "Result");
        assert!(
            ["success", "exit-code"].contains(&&*ended),
            "{what}: {ended}"
        );
        outcome
    }
}
