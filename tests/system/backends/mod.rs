//! The life of an update, told once and run with every package manager.

mod builds;
mod dnf5_gate;
mod failures;
mod installonly;
mod mirrors;
mod mistyped_names;
mod pending;
mod pending_count;
mod reboots;
mod rollback;
mod table;
mod updates;

use lab::{Deb, Host, Manager, Repo};

use crate::apply::service_restarts;
use crate::verify::{hooks, verdict};
use table::Row;

/// A package manager: how a host of it is made, and what its administrators type.
#[derive(Clone, Copy)]
pub struct Backend {
    pub manager: Manager,
    /// What the configuration calls it.
    name: &'static str,
    /// Locks `demo` at its version.
    hold: &'static str,
    /// Upgrades `other` by hand.
    by_hand: &'static str,
}

impl Backend {
    fn apt() -> Self {
        Self {
            manager: Manager::Apt,
            name: "apt",
            hold: "apt-mark hold demo",
            by_hand: "apt-get -q -y install other",
        }
    }

    fn dnf4() -> Self {
        Self {
            manager: Manager::Dnf,
            name: "dnf",
            hold: "echo 'excludepkgs=demo' >> /etc/dnf/dnf.conf",
            by_hand: "dnf -y upgrade other",
        }
    }

    fn dnf5() -> Self {
        Self {
            manager: Manager::Dnf5,
            name: "dnf",
            hold: "dnf5 -y versionlock add demo",
            by_hand: "dnf5 -y upgrade other",
        }
    }

    fn zypper() -> Self {
        Self {
            manager: Manager::Zypper,
            name: "zypper",
            hold: "zypper addlock demo",
            by_hand: "zypper --non-interactive update other",
        }
    }

    fn pacman() -> Self {
        Self {
            manager: Manager::Pacman,
            name: "pacman",
            hold: "sed -i '/^HoldPkg/a IgnorePkg = demo' /etc/pacman.conf",
            by_hand: "pacman -Sy --noconfirm other",
        }
    }

    /// By a stand-in that keeps its state.
    fn apk() -> Self {
        Self {
            manager: Manager::Apk,
            name: "apk",
            hold: "false",
            by_hand: "apk update && apk upgrade other",
        }
    }

    /// A host that is patched by it, with these packages and a repository, empty yet.
    pub fn host_with(self, packages: &[Deb]) -> (Host, Repo) {
        let host = if self.manager == Manager::Apt {
            Host::boot(self.manager.release())
        } else {
            Host::patched_by(self.manager).boot()
        };
        let configuration = format!("backend = \"{}\"\n", self.name);
        host.write("/etc/linux_patch_api/config.toml", configuration);
        if self.manager == Manager::Apk {
            stand_in(&host);
        }
        if !packages.is_empty() {
            host.put_on(packages);
        }
        let repo = Repo::new(&host);
        repo.enable(&host);
        (host, repo)
    }

    /// Whether a part of what is pending can be asked for.
    pub fn takes_parts(self) -> bool {
        self.manager != Manager::Pacman
    }

    /// What is asked for when it is about this package: everything, where a part cannot be had.
    pub fn target(self, package: &str) -> &str {
        if self.takes_parts() { package } else { "all" }
    }

    /// Whether its repositories say which updates are for security.
    pub fn says_security(self) -> bool {
        !matches!(self.manager, Manager::Pacman | Manager::Apk)
    }

    /// The files that say where packages come from.
    pub fn sources(self) -> &'static str {
        match self.manager {
            Manager::Apt => "/etc/apt/sources.list.d/*",
            Manager::Dnf | Manager::Dnf5 => "/etc/yum.repos.d/*",
            Manager::Zypper => "/etc/zypp/repos.d/*",
            Manager::Pacman => "/etc/pacman.conf /etc/pacman.d/repos/*",
            Manager::Apk => "/etc/apk/repositories",
        }
    }

    /// Has packages of this repository go before newer ones of others; with apt, this version of the package.
    pub fn prefer(self, host: &Host, repository: &str, package: &str, version: &str) {
        match self.manager {
            Manager::Apt => host.write(
                "/etc/apt/preferences.d/older",
                format!("Package: {package}\nPin: version {version}\nPin-Priority: 1001\n"),
            ),
            Manager::Dnf | Manager::Dnf5 | Manager::Zypper => {
                let definition = format!(
                    "{}/{repository}.repo",
                    self.sources().trim_end_matches("/*")
                );
                host.append(&definition, "priority=1\n");
            }
            // the first that has a package is the one it comes from
            Manager::Pacman | Manager::Apk => {}
        }
    }

    /// Asks for an update that is about this package, in the background.
    pub fn start(self, host: &Host, package: &str) -> lab::Spawned {
        let target = self.target(package);
        host.spawn(&format!("systemctl start patch-apply@{target}.service"))
    }

    /// Publishes a package and installs it, so that its package manager can find this version again:
    /// pacman and apk look for it in their caches alone.
    pub fn install(self, host: &Host, repo: &Repo, package: &Deb) {
        repo.add(package);
        let name = package.name();
        match self.manager {
            Manager::Pacman => drop(host.sh(&format!("pacman -Sy --noconfirm {name}"))),
            _ => host.put_on(std::slice::from_ref(package)),
        }
        if self.manager == Manager::Apk {
            let version = self.version(package.version());
            let ours = "apk --cache-dir /var/cache/linux_patch_api/apk";
            host.sh(&format!("{ours} cache --upgrade download {name}={version}"));
        }
    }

    /// Whether the change list names the package files.
    pub fn names_files(self) -> bool {
        self.manager != Manager::Apk
    }

    /// A version as its database has it.
    pub fn version(self, version: &str) -> String {
        self.manager.version(version)
    }

    /// What the name of this version's file begins with.
    pub fn file(self, package: &str, version: &str) -> String {
        let between = match self.manager {
            Manager::Apt => '_',
            _ => '-',
        };
        format!("{package}{between}{version}")
    }

    /// Every installed version of a package, as its own tool tells it.
    pub fn installed(self, host: &Host, package: &str) -> String {
        let shown = host.sh(&match self.manager {
            Manager::Apt => format!("dpkg-query -W -f='${{Version}}\\n' {package}"),
            Manager::Pacman => format!("pacman -Q {package} | cut -d ' ' -f 2"),
            Manager::Apk => {
                format!("sed -n '/^P:{package}$/{{n;s/^V://p}}' /lib/apk/db/installed")
            }
            Manager::Dnf | Manager::Dnf5 | Manager::Zypper => {
                format!("rpm -q --qf '%{{VERSION}}-%{{RELEASE}}\\n' {package}")
            }
        });
        shown.lines().collect::<Vec<_>>().join(" ")
    }
}

/// Gives a host the stand-in for apk, with nothing installed.
fn stand_in(host: &Host) {
    host.write("/usr/bin/apk", include_str!("apk.sh"));
    for empty in [
        "/etc/apk/world",
        "/lib/apk/db/installed",
        "/lib/apk/db/lock",
    ] {
        host.write(empty, "");
    }
    host.sh("chmod 0755 /usr/bin/apk");
}

/// Tells each story with the backends in the first brackets: a module for each story, in it a test for each
/// backend. The brackets behind name those that it cannot be told with, and why.
macro_rules! tell {
    ($($room:ident::$story:ident [$($backend:ident)*] $([$($other:ident)*: $why:expr])*;)*) => {
        $(mod $story {
            $(#[test]
            fn $backend() {
                super::$room::$story(super::Backend::$backend());
            })*
        })*

        /// The rows of the table in the README.
        const TOLD: &[Row] = &[$(Row {
            story: stringify!($story),
            told: &[$(stringify!($backend)),*],
            not: &[$((&[$(stringify!($other)),*], $why)),*],
        }),*];
    };
}

/// Why the stand-in for apk is asked no more.
const STAND_IN: &str = "the stand-in keeps apk's state, and has neither its solver nor its formats";

tell! {
    updates::an_update_is_applied_and_then_there_is_nothing_to_do
        [apt dnf4 dnf5 zypper pacman apk];
    mistyped_names::a_name_that_is_not_installed_is_refused_by_every_front_end
        [apt dnf4 dnf5 zypper pacman apk];
    pending_count::what_others_have_updated_is_no_longer_counted
        [apt dnf4 dnf5 zypper pacman apk];
    updates::what_was_downloaded_ahead_is_not_fetched_again [apt dnf4 dnf5 zypper pacman]
        [apk: "not offered for it"];
    updates::security_updates_are_applied_alone [apt dnf4 dnf5 zypper]
        [pacman apk: "its repositories do not say which updates are for security"];
    updates::security_is_refused_where_repositories_do_not_mark_it [dnf4 dnf5 zypper pacman apk]
        [apt: "Debian's archives say it by their names"];
    updates::a_locked_package_is_kept_back [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    updates::what_has_no_room_is_kept_back_and_the_rest_applied [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    pending::security_is_seen_behind_a_newer_version [apt dnf4 dnf5 zypper]
        [pacman apk: "its repositories do not say which updates are for security"];
    pending::a_plan_of_one_package [apt dnf4 dnf5 zypper pacman apk];
    pending::an_update_that_replaces_a_package_keeps_only_itself_back [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    pending::a_pin_to_an_older_version_stops_nothing [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    mirrors::offline_nothing_changes_and_the_host_says_so
        [apt dnf4 dnf5 zypper pacman apk];
    mirrors::a_superseded_package_is_followed_by_refreshing_once
        [apt dnf4 dnf5 zypper pacman apk];
    mirrors::a_package_that_stays_away_fails_the_job
        [apt dnf4 dnf5 zypper pacman apk];
    mirrors::a_dead_repository_fails_everything_unless_it_is_tolerated
        [apt dnf4 dnf5 zypper pacman]
        [apk: "its index does not tell which packages come from where, so nothing is applied"];
    mirrors::a_web_page_or_an_index_signed_by_another_key_is_refused [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    mirrors::an_older_index_served_again_raises_an_alarm [apt dnf4 dnf5 zypper]
        [pacman apk: "its index carries no date"];
    mirrors::an_unsigned_package_is_refused [dnf4 dnf5 pacman]
        [apt zypper: "the signed index vouches for the packages, whose checksums it has"]
        [apk: STAND_IN];
    failures::a_failing_script_fails_the_job_and_the_next_version_heals
        [apt dnf4 dnf5 zypper pacman apk];
    failures::the_tool_s_own_words_of_a_failure_are_in_the_error [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    failures::an_update_that_is_only_pretended_is_no_success [apt dnf4 dnf5 zypper]
        [pacman apk: "no configuration of theirs has them only pretend"];
    failures::a_read_only_file_system_is_named_before_anything_changes
        [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    failures::a_gate_that_cannot_be_run_from_var_is_run_from_elsewhere
        [apt dnf4 dnf5 zypper pacman apk];
    failures::a_service_that_no_longer_starts_goes_back
        [apt dnf4 dnf5 zypper pacman apk];
    verdict::a_failed_script_for_the_files_of_another_package_is_a_note
        [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    verdict::an_unrelated_failed_unit_undoes_nothing
        [apt dnf4 dnf5 zypper pacman apk];
    hooks::a_check_that_could_not_be_run_fails_the_job_before_anything_changes
        [apt dnf4 dnf5 zypper pacman apk];
    service_restarts::a_service_that_is_at_work_is_listed_and_not_restarted
        [apt dnf4 dnf5 zypper pacman apk];
    rollback::every_file_of_a_package_comes_back_with_it [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    rollback::an_update_that_breaks_its_package_manager_is_undone_by_the_tool_below
        [apt dnf4 dnf5 zypper pacman]
        [apk: "no tool of its own lies below it"];
    rollback::what_differs_in_etc_after_going_back_is_named [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    failures::a_power_cut_in_the_middle_is_healed_at_the_next_boot
        [apt dnf4 dnf5 zypper pacman apk];
    failures::a_script_that_hangs_is_named_and_left_alone [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    failures::a_transaction_of_another_process_is_waited_for
        [apt dnf4 dnf5 zypper pacman apk];
    failures::a_package_that_is_put_on_by_hand_is_waited_for [apt dnf4 dnf5 zypper]
        [pacman apk: "no tool of its own lies below it"];
    builds::a_change_of_architecture_is_one_change [apt dnf4 dnf5 zypper pacman]
        [apk: STAND_IN];
    builds::another_build_of_the_same_version_is_a_change [apt]
        [dnf4 dnf5 zypper pacman: "its upgrade leaves a package alone whose version is the same"]
        [apk: STAND_IN];
    reboots::a_scheduled_reboot_is_taken_back_while_packages_change
        [apt dnf4 dnf5 zypper pacman apk];
    reboots::what_was_updated_before_the_start_asks_for_no_reboot
        [apt dnf4 dnf5 zypper pacman]
        [apk: "nothing but a kernel asks for a reboot there"];
}

/// The README's table of what is shown with which package manager is what the stories are. Where
/// `STORY_RESULTS` names the output of a run of them, the table is made from that instead, and written.
#[test]
fn the_table_in_the_readme_is_what_is_told() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(readme).expect("no README");
    if let Some(results) = std::env::var_os("STORY_RESULTS") {
        let output = std::fs::read_to_string(results).expect("no results");
        let passed = table::passed(&output);
        let table = table::of(TOLD, &|story, backend| {
            passed.contains(&(story.to_owned(), backend.to_owned()))
        });
        std::fs::write(readme, table::replaced(&text, &table)).expect("the README is not writable");
    } else {
        // that each passes is for the stories themselves to say
        let table = table::of(TOLD, &|_, _| true);
        let is_it = text == table::replaced(&text, &table);
        assert!(is_it, "run `tests/run table`; it should be:\n{table}");
    }
}
