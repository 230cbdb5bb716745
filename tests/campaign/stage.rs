//! A host with an update pending, and the ways to hold that update, or to have it killed, at a point.

use std::collections::BTreeMap;

use lab::{Deb, Disk, DiskFault, Fault as Mirror, Host, Release, Repo, fixtures};

use crate::plan::{Call, Phase, Point, Reach};

/// The packages of the update, in the order of their names, which apt follows where nothing else decides.
pub const PACKAGES: [&str; 4] = ["camp-app", "camp-conf", "camp-lib", "camp-svc"];

/// What changes files, and makes changes last.
const CALLS: [&str; 7] = [
    "rename",
    "renameat2",
    "unlink",
    "link",
    "fsync",
    "fdatasync",
    "sync_file_range",
];

/// What makes the worker's records last; what it tells of its progress is not among it.
const WRITES: [&str; 3] = ["fsync", "syncfs", "renameat2"];

/// Runs the real program, once under strace when it is armed for that kind of run.
const TRACED: &str = r#"#!/bin/sh
program=$1; shift
case " $program $* " in
    *"/dpkg "*" --unpack "*) kind=unpack ;;
    *"/dpkg "*" --configure "*) kind=configure ;;
    *"/patchctl "*) kind=worker ;;
    *) kind=none ;;
esac
if mv /run/armed-$kind /run/fired 2>/dev/null; then
    exec strace -D -q -o /run/trace $(cat /run/fired) $program "$@"
fi
exec $program "$@"
"#;

const DPKG: &str = "#!/bin/sh\nexec /usr/local/sbin/traced /usr/bin/dpkg \"$@\"\n";

const DROP_IN: &str = "[Service]\nExecStart=\n\
                       ExecStart=/usr/local/sbin/traced /usr/bin/patchctl run drain\n";

/// Waits until the file that holds it is removed.
const HOLD: &str = r"#!/bin/sh
[ -e /run/hold-$1 ] || exit 0
touch /run/held
while [ -e /run/hold-$1 ]; do sleep 0.02; done
";

/// A host, and the number of the newest version there.
pub struct Stage {
    pub host: Host,
    pub repo: Repo,
    version: u32,
}

impl Stage {
    /// A host on which the first versions are installed.
    pub fn new() -> Self {
        let host = Host::boot(Release::Trixie);
        let repo = Repo::new(&host);
        for (path, text) in [
            ("/usr/local/sbin/traced", TRACED),
            ("/usr/local/sbin/traced-dpkg", DPKG),
            ("/usr/local/sbin/hold", HOLD),
        ] {
            host.write(path, text);
            host.sh(&format!("chmod 0755 {path}"));
        }
        host.write(
            "/etc/apt/apt.conf.d/99campaign",
            "Dir::Bin::dpkg \"/usr/local/sbin/traced-dpkg\";\n\
             DPkg::Pre-Install-Pkgs { \"/usr/local/sbin/hold staged\"; };\n\
             DPkg::Post-Invoke { \"/usr/local/sbin/hold closing\"; };\n",
        );
        host.write(
            "/etc/systemd/system/patch-apply.service.d/campaign.conf",
            DROP_IN,
        );
        host.sh("systemctl daemon-reload");
        let mut stage = Self {
            host,
            repo,
            version: 0,
        };
        stage.publish();
        stage.repo.enable(&stage.host);
        let names = PACKAGES.join(" ");
        stage.host.sh(&format!(
            "apt-get -q update && apt-get -q -y install {names} && echo mine >>/etc/camp-conf.conf"
        ));
        stage
    }

    /// A newer version of every package; what it is called.
    pub fn publish(&mut self) -> String {
        self.version += 1;
        let version = self.newest();
        let [app, conf, lib, svc] = PACKAGES;
        let held = |deb: Deb, before: &str, after: &str| {
            let hold = "[ ! -x /usr/local/sbin/hold ] || /usr/local/sbin/hold";
            let deb = if before.is_empty() {
                deb
            } else {
                deb.preinst(&format!("{hold} {before}"))
            };
            if after.is_empty() {
                deb
            } else {
                deb.postinst(&format!("{hold} {after}"))
            }
        };
        let plain = |name: &str| fixtures::plain(name, &version);
        let many = |deb: Deb| {
            (1..=3).fold(deb, |deb, number| {
                deb.file(&format!("/usr/share/camp/{number}-of-lib"), &version)
            })
        };
        for deb in [
            held(plain(app).depends(lib), "activated", ""),
            held(
                fixtures::with_conffile(conf, &version),
                "activated",
                "configuring",
            ),
            held(many(plain(lib)), "activated", "configuring"),
        ] {
            self.repo.add_to_pool_only(&deb);
        }
        self.repo.add(&held(
            fixtures::with_service(svc, &version),
            "unpacking",
            "",
        ));
        version
    }

    /// The newest version that is published.
    pub fn newest(&self) -> String {
        format!("1.{}", self.version)
    }

    /// What an undisturbed update does, call by call.
    pub fn calibrate(mut self) -> Reach {
        let (unpack, reinstall) = self.watch("unpack", &CALLS);
        let disk = self.count_writes();
        Reach {
            disk,
            unpack,
            reinstall: reinstall.expect("dpkg renames no new file"),
            configure: self.watch("configure", &CALLS).0,
            worker: self.watch("worker", &WRITES).0,
        }
    }

    /// The number of writes of an undisturbed update.
    fn count_writes(&mut self) -> usize {
        self.publish();
        let disk = Disk::below(&self.host);
        self.request();
        self.settle();
        disk.writes().len()
    }

    /// The calls of an undisturbed update, and the one after the first new file got its name.
    fn watch(&mut self, kind: &str, names: &[&'static str]) -> (Vec<Call>, Option<Call>) {
        self.publish();
        let armed = format!("/run/armed-{kind}");
        self.host
            .write(&armed, format!("-e trace={}", names.join(",")));
        self.request();
        self.settle();
        let trace = self.host.read("/run/trace");
        self.disarm();
        let (mut calls, mut seen, mut after_rename) = (Vec::new(), BTreeMap::new(), None);
        let mut renamed = false;
        for line in trace.lines() {
            let Some(name) = names
                .iter()
                .find(|name| line.starts_with(&format!("{name}(")))
            else {
                continue;
            };
            let nth: &mut usize = seen.entry(*name).or_default();
            *nth += 1;
            let call = Call {
                index: calls.len() + 1,
                name,
                nth: *nth,
            };
            if renamed && after_rename.is_none() {
                after_rename = Some(call);
            }
            renamed |= line.contains(".dpkg-new\", ");
            calls.push(call);
        }
        (calls, after_rename)
    }

    /// Everything is asked for, as any program would; the id of the request.
    pub fn request(&self) -> String {
        let names = PACKAGES.map(|name| format!("\"{name}\"")).join(",");
        let id = self.host.sh("printf '%016x-00c4a4' $(date +%s%N)");
        let entry = format!(r#"{{"version":1,"id":"{id}","kind":"apply","packages":[{names}]}}"#);
        let state = "/var/lib/linux_patch_api";
        self.host.write(&format!("{state}/tmp/{id}.json"), entry);
        self.host
            .sh(&format!("mv {state}/tmp/{id}.json {state}/queue/"));
        id
    }

    /// Waits until nothing waits and nothing runs.
    pub fn settle(&self) {
        self.host.wait_for("the queue to be served", || {
            let idle = "cd /var/lib/linux_patch_api && [ -z \"$(ls queue)\" ] && [ ! -e state/running.json ] \
                        && ! systemctl is-active -q patch-apply.service patch-recover.service \
                        && ! systemctl list-jobs --no-legend | grep -q patch-";
            self.host.try_sh(idle).success()
        });
    }

    /// Makes the update stop at a point: held there, or with this signal for the process that makes the call.
    pub fn arm(&self, point: Point, signal: &str) {
        let inject = |kind: &str, call: Call| {
            let Call { name, nth, .. } = call;
            let options = format!("-e trace={name} -e inject={name}:signal={signal}:when={nth}");
            self.host.write(&format!("/run/armed-{kind}"), options);
        };
        let host = &self.host;
        match point {
            Point::Phase(Phase::Checking) => self.repo.fault("InRelease", Mirror::Hang),
            Point::Phase(Phase::Downloading) => self.repo.fault(".deb", Mirror::Hang),
            Point::Phase(phase) => {
                let phase = format!("{phase:?}").to_lowercase();
                host.write(&format!("/run/hold-{phase}"), "");
            }
            Point::Worker(call) => inject("worker", call),
            Point::Unpack(call) => inject("unpack", call),
            Point::Configure(call) => inject("configure", call),
            // by `break_disk`
            Point::Disk(_) => {}
        }
        self.repo.take_requests();
    }

    /// Makes the disk fail from a write on, or at it, during the next update.
    pub fn break_disk(&self, write: usize, fault: DiskFault) -> Disk<'_> {
        let disk = Disk::below(&self.host);
        disk.fail(write, fault);
        disk
    }

    /// Whether the update has come to the point at which it is held.
    pub fn is_held(&self, point: Point) -> bool {
        let asked = |part: &str| self.repo.requests().iter().any(|path| path.contains(part));
        match point {
            Point::Phase(Phase::Checking) => asked("InRelease"),
            Point::Phase(Phase::Downloading) => asked(".deb"),
            Point::Phase(_) => self.host.exists("/run/held"),
            _ => self.has_left("stopped by SIGSTOP"),
        }
    }

    /// Whether strace tells of this end.
    pub fn has_left(&self, words: &str) -> bool {
        self.host.exists("/run/trace") && self.host.read("/run/trace").contains(words)
    }

    /// Nothing is held any more, and nothing will be.
    pub fn disarm(&self) {
        self.repo.heal();
        self.repo.stop();
        self.repo.start();
        self.host
            .sh("rm -f /run/hold-* /run/held /run/armed-* /run/fired /run/trace");
    }
}
