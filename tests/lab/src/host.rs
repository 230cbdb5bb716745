//! A host: a Debian of its own under its own systemd, from the first boot to the last, with every way to lose power between.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::base::Release;
use crate::boot::{self, Running};
use crate::builder::HostBuilder;
use crate::cache;
use crate::command::{self, Output, Spawned, TIME_LIMIT};
use crate::deb::Deb;
use crate::files::{self, Tree};
use crate::manager::Manager;
use crate::mirror::{self, Mirror};
use crate::scratch::Scratch;

/// How long a host may take to go down: services have 90 seconds of their own.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);

/// A booted host. Everything it has on the machine goes when it is dropped, also while a test panics.
pub struct Host {
    // the order matters: what runs in the host is reaped before its tree is unmounted
    running: Mutex<Option<Running>>,
    scratch: Scratch,
    builder: HostBuilder,
}

impl Host {
    /// A host with our package installed.
    #[track_caller]
    pub fn boot(release: Release) -> Self {
        Self::builder(release).boot()
    }

    /// A host without our package.
    #[track_caller]
    pub fn bare(release: Release) -> Self {
        Self::builder(release).bare().boot()
    }

    /// A host with options.
    pub fn builder(release: Release) -> HostBuilder {
        HostBuilder::new(release)
    }

    /// A host, with options, that is patched by something else than apt.
    pub fn patched_by(manager: Manager) -> HostBuilder {
        HostBuilder::new(manager.release()).patched_by(manager)
    }

    /// What it is patched by.
    pub fn manager(&self) -> Manager {
        self.builder.manager
    }

    /// The release it is made of.
    pub fn release(&self) -> Release {
        self.builder.release
    }

    /// The host's tree, seen from the machine; `/run` and `/tmp` of the running host are not in it.
    pub fn root(&self) -> PathBuf {
        self.scratch.root()
    }

    /// The process id of the host's systemd, as the machine sees it.
    #[track_caller]
    pub fn pid1(&self) -> u32 {
        self.try_pid1().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Runs one program as root, and waits for it.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut spawned = Spawned::start(&self.scratch, self.try_pid1()?, arguments)?;
        spawned
            .wait_until(TIME_LIMIT)
            .with_context(|| format!("{arguments:?}"))
    }

    /// What a shell script printed; it has to succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script);
        assert!(
            output.success(),
            "on {}: {script}\n{output}\n{}",
            self.builder.name,
            self.log_tail()
        );
        output.stdout
    }

    /// Runs a shell script that may fail.
    #[track_caller]
    pub fn try_sh(&self, script: &str) -> Output {
        self.run(&["sh", "-c", script])
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.log_tail()))
    }

    /// Mounts something, by the arguments of mount(8).
    #[track_caller]
    pub fn mount(&self, arguments: &str) {
        // from Debian 14 on it comes in a package of its own, which no host needs to boot
        self.provide("mount");
        self.provide("umount");
        self.sh(&format!("mount {arguments}"));
    }

    /// Copies a program of the machine's util-linux to a host that has none.
    #[track_caller]
    fn provide(&self, program: &str) {
        if !self.try_sh(&format!("command -v {program}")).success() {
            let copy = format!("/usr/local/bin/{program}");
            self.copy_in(&Path::new("/usr/bin").join(program), &copy);
            self.sh(&format!("chmod 0755 {copy}"));
        }
    }

    /// Runs a shell script as an ordinary user, who is created when missing.
    #[track_caller]
    pub fn as_user(&self, user: &str, script: &str) -> Output {
        self.sh(&format!(
            "id -u {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {user}"
        ));
        let (home, name) = (format!("HOME=/home/{user}"), format!("USER={user}"));
        let switch = [
            "setpriv",
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "env",
            &home,
            &name,
        ];
        self.run(&[&switch[..], &["sh", "-c", script]].concat())
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.log_tail()))
    }

    /// Starts a shell script and returns at once.
    #[track_caller]
    pub fn spawn(&self, script: &str) -> Spawned {
        self.try_pid1()
            .and_then(|pid1| Spawned::start(&self.scratch, pid1, &["sh", "-c", script]))
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Gives the caller's terminal a root shell on the host, or runs what standard input says when that is no terminal;
    /// returns the shell's exit status.
    pub fn shell(&self) -> Result<i32> {
        // a terminal of the host's own, for job control: util-linux's `script` makes one
        let script = "cd /root; exec script -q -e -c 'exec bash -l' /dev/null";
        let arguments: &[&str] = if std::io::stdin().is_terminal() {
            self.provide("script");
            &["sh", "-c", script]
        } else {
            &["bash"]
        };
        command::run_attached(&self.scratch, self.try_pid1()?, arguments)
    }

    /// Writes a file, and the directories above it. Also while the host is off.
    #[track_caller]
    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        self.tree()
            .and_then(|tree| tree.write(path, bytes.as_ref()))
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Adds to the end of a file.
    #[track_caller]
    pub fn append(&self, path: &str, bytes: impl AsRef<[u8]>) {
        self.tree()
            .and_then(|tree| tree.append(path, bytes.as_ref()))
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The text of a file; bytes that are not UTF-8 are replaced.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let bytes = self
            .tree()
            .and_then(|tree| tree.read(path))
            .unwrap_or_else(|error| panic!("{error:#}"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether there is something at that path.
    #[track_caller]
    pub fn exists(&self, path: &str) -> bool {
        self.tree()
            .unwrap_or_else(|error| panic!("{error:#}"))
            .exists(path)
    }

    /// Copies a file of the machine into the host; a program stays executable.
    #[track_caller]
    pub fn copy_in(&self, local: &Path, remote: &str) {
        let bytes = fs::read(local)
            .unwrap_or_else(|error| panic!("failed to read '{}': {error}", local.display()));
        self.write(remote, bytes);
        if files::is_executable(local) {
            self.run(&["chmod", "0755", remote])
                .unwrap_or_else(|error| panic!("{error:#}"));
        }
    }

    /// Installs a package file from outside, as an administrator would by hand.
    #[track_caller]
    pub fn install(&self, file: &Path) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let remote = format!("/root/{name}");
        self.copy_in(file, &remote);
        let manager = if name.ends_with(".deb") {
            Manager::Apt
        } else {
            self.manager()
        };
        let install = manager.install_command();
        self.sh(&format!("{install} {remote} 2>&1 && rm {remote}"));
    }

    /// Unpacks and configures fixtures below any package manager, all at once; one that fails is the test's to find.
    #[track_caller]
    pub fn put_on(&self, packages: &[Deb]) {
        for package in packages {
            let file = self.manager().build(package);
            self.copy_in(&file, &format!("/root/by-hand/{}", package.name()));
        }
        let put = self.manager().put_command();
        let said = self.try_sh(&format!("{put} /root/by-hand/* 2>&1; rm -r /root/by-hand"));
        // shown when the test fails
        println!("{}", said.stdout);
    }

    /// Gives the host the archive the machine is installed from: the release, its updates, its security updates.
    #[track_caller]
    pub fn enable_real_archive(&self) {
        let mirror = Mirror::of_this_machine().unwrap_or_else(|error| panic!("{error:#}"));
        let codename = self.builder.release.codename();
        let signed =
            "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        let sources = format!(
            "Types: deb\nURIs: {}\nSuites: {codename} {codename}-updates\n{signed}\n\
             Types: deb\nURIs: {}\nSuites: {codename}-security\n{signed}",
            mirror.main, mirror.security,
        );
        self.write("/etc/apt/sources.list.d/debian.sources", sources);
        if let Some(line) = mirror::proxy() {
            self.write("/etc/apt/apt.conf.d/50proxy", line + "\n");
        }
    }

    /// An orderly reboot; returns when the host is up again.
    #[track_caller]
    pub fn reboot(&self) {
        self.ask_to_go_down("reboot");
        self.wait_for_reboot();
    }

    /// Waits for a reboot that was asked for inside the host; returns when the host is up again.
    #[track_caller]
    pub fn wait_for_reboot(&self) {
        let status = self.wait_until_off();
        assert_eq!(
            status,
            boot::REBOOT,
            "the host went down, but not for a reboot\n{}",
            self.log_tail()
        );
        self.start();
    }

    /// An orderly shutdown.
    #[track_caller]
    pub fn poweroff(&self) {
        self.ask_to_go_down("poweroff");
        let status = self.wait_until_off();
        assert_eq!(
            status,
            0,
            "the host did not shut down cleanly\n{}",
            self.log_tail()
        );
    }

    /// Every process of the host dies in this instant; the network namespace stays.
    #[track_caller]
    pub fn power_cut(&self) {
        self.scratch
            .cgroup()
            .and_then(|cgroup| cgroup.kill())
            .unwrap_or_else(|error| panic!("{error:#}"));
        self.wait_until_off();
    }

    /// Boots a host that is off.
    #[track_caller]
    pub fn start(&self) {
        self.try_start()
            .unwrap_or_else(|error| panic!("failed to start the host: {error:#}"));
    }

    /// The network namespace its servers belong in; none when it shares the machine's.
    pub(crate) fn network_namespace(&self) -> Option<PathBuf> {
        self.scratch.network_namespace()
    }

    /// A directory beside the host's tree that goes with it.
    pub(crate) fn side_directory(&self, name: &str) -> PathBuf {
        self.scratch.directory().join(name)
    }

    /// Shuts the host down and makes a layer of what it has written, without what is true of this one host only.
    pub(crate) fn into_layer(self, destination: &Path) -> Result<()> {
        self.poweroff();
        for own in [
            "etc/hostname",
            "etc/hosts",
            "etc/machine-id",
            "etc/resolv.conf",
            "var/lib/systemd/timers", // or every host catches up with what the layer has missed
            "var/log/journal",
        ] {
            cache::remove(&self.root().join(own))?;
        }
        fs::create_dir(self.root().join("var/log/journal"))?;
        self.scratch.give_away_upper(destination)
    }

    /// The end of the journal or, when the host is off, of its console: the last part of every panic.
    pub(crate) fn log_tail(&self) -> String {
        let script = "systemctl --failed --no-legend --no-pager; journalctl -q -n 60 --no-pager";
        match self.run(&["sh", "-c", script]) {
            Ok(output) => format!(
                "--- failed units, journal\n{}{}",
                output.stdout, output.stderr
            ),
            Err(_) => format!("--- console\n{}", boot::console(&self.scratch)),
        }
    }

    /// The first boot of a host on its own tree.
    pub(crate) fn first_boot(scratch: Scratch, builder: HostBuilder) -> Result<Self> {
        let host = Self {
            running: Mutex::new(None),
            scratch,
            builder,
        };
        host.give_identity()?;
        host.try_start()?;
        Ok(host)
    }

    fn give_identity(&self) -> Result<()> {
        let name = &self.builder.name;
        let id = cache::sha256(self.scratch.id().as_bytes());
        let tree = self.tree()?;
        tree.write("/etc/machine-id", format!("{}\n", &id[..32]).as_bytes())?;
        tree.write("/etc/hostname", format!("{name}\n").as_bytes())?;
        tree.write(
            "/etc/hosts",
            format!("127.0.0.1 localhost {name}\n::1 localhost\n").as_bytes(),
        )?;
        let resolver = if self.builder.real_network {
            fs::read("/etc/resolv.conf").unwrap_or_default()
        } else {
            Vec::new()
        };
        tree.write("/etc/resolv.conf", &resolver)
    }

    fn try_start(&self) -> Result<()> {
        let mut running = self.running();
        if running.is_some() {
            bail!("the host is running already");
        }
        *running = Some(Running::boot(&self.scratch, &self.builder.name)?);
        Ok(())
    }

    /// The one who asks may be among the first to be ended.
    #[track_caller]
    fn ask_to_go_down(&self, how: &str) {
        let output = self.try_sh(&format!("systemctl {how} --no-wall"));
        let ended_by_signal = output.status > 128;
        assert!(
            output.success() || ended_by_signal,
            "{how}: {output}\n{}",
            self.log_tail()
        );
    }

    #[track_caller]
    fn wait_until_off(&self) -> i32 {
        let mut running = self.running().take().expect("the host is off already");
        let status = running.wait(SHUTDOWN_LIMIT);
        let status = status.and_then(|status| self.scratch.cgroup()?.end().map(|()| status));
        status.unwrap_or_else(|error| {
            panic!("{error:#}\n--- console\n{}", boot::console(&self.scratch))
        })
    }

    fn try_pid1(&self) -> Result<u32> {
        Ok(self.running().as_ref().context("the host is off")?.pid1())
    }

    pub(crate) fn tree(&self) -> Result<Tree> {
        match self.try_pid1() {
            Ok(pid1) => Tree::open(Path::new(&format!("/proc/{pid1}/root"))),
            Err(_) => Tree::open(&self.root()),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.scratch.cgroup().and_then(|cgroup| cgroup.kill());
        if let Some(mut running) = self.running().take() {
            let _ = running.wait(SHUTDOWN_LIMIT);
        }
    }
}
