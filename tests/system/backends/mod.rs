//! The life of an update, told once and run with every package manager.

mod beside;
mod stories;

use lab::{Deb, Host, Manager, Repo};

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
    /// A host that is patched by it, with these packages and a repository, empty yet.
    pub fn host_with(self, packages: &[Deb]) -> (Host, Repo) {
        let host = if self.manager == Manager::Apt {
            Host::boot(self.manager.release())
        } else {
            Host::patched_by(self.manager).boot()
        };
        let configuration = format!("backend = \"{}\"\n", self.name);
        host.write("/etc/linux_patch_api/config.toml", configuration);
        host.put_on(packages);
        let repo = Repo::new(&host);
        repo.enable(&host);
        (host, repo)
    }

    /// A version as its database has it.
    pub fn version(self, version: &str) -> String {
        self.manager.version(version)
    }

    /// Every installed version of a package, as its own tool tells it.
    pub fn installed(self, host: &Host, package: &str) -> String {
        let shown = host.sh(&match self.manager {
            Manager::Apt => format!("dpkg-query -W -f='${{Version}}\\n' {package}"),
            Manager::Pacman => format!("pacman -Q {package} | cut -d ' ' -f 2"),
            Manager::Dnf | Manager::Dnf5 | Manager::Zypper => {
                format!("rpm -q --qf '%{{VERSION}}-%{{RELEASE}}\\n' {package}")
            }
        });
        shown.lines().collect::<Vec<_>>().join(" ")
    }
}

/// Tells every story with every backend: a module of tests for each backend.
macro_rules! tell {
    ($stories:tt with $($backend:ident = $description:expr;)*) => {
        $(mod $backend {
            pub const BACKEND: super::Backend = $description;
            tell!(@ $stories);
        })*

        /// The names of the stories, and of the backends they are told with.
        const TOLD: (&[&str], &[&str]) = (tell!(# $stories), &[$(stringify!($backend)),*]);
    };
    (@ [$($story:ident),* $(,)?]) => {
        $(
            #[test]
            fn $story() {
                super::stories::$story(BACKEND);
            }
        )*
    };
    (# [$($story:ident),* $(,)?]) => {
        &[$(stringify!($story)),*]
    };
}

tell! {
    [
        an_update_is_applied_and_then_there_is_nothing_to_do,
        offline_nothing_changes_and_the_host_says_so,
        a_superseded_package_is_followed_by_refreshing_once,
        a_package_that_stays_away_fails_the_job,
        a_failing_script_fails_the_job_and_the_next_version_heals,
        a_service_that_no_longer_starts_goes_back,
        a_power_cut_in_the_middle_is_healed_at_the_next_boot,
        somebody_else_s_transaction_is_waited_for,
        security_updates_alone_or_a_word_that_nobody_can_tell,
        a_locked_package_is_kept_back,
    ] with
    dnf4 = super::Backend {
        manager: lab::Manager::Dnf,
        name: "dnf",
        hold: "echo 'excludepkgs=demo' >> /etc/dnf/dnf.conf",
        by_hand: "dnf -y upgrade other",
    };
    dnf5 = super::Backend {
        manager: lab::Manager::Dnf5,
        name: "dnf",
        hold: "dnf5 -y versionlock add demo",
        by_hand: "dnf5 -y upgrade other",
    };
    zypper = super::Backend {
        manager: lab::Manager::Zypper,
        name: "zypper",
        hold: "zypper addlock demo",
        by_hand: "zypper --non-interactive update other",
    };
}

#[test]
fn what_dnf_4_has_downloaded_ahead_is_not_fetched_again() {
    stories::what_was_downloaded_ahead_is_not_fetched_again(dnf4::BACKEND);
}

#[test]
fn what_dnf_5_has_downloaded_ahead_is_not_fetched_again() {
    stories::what_was_downloaded_ahead_is_not_fetched_again(dnf5::BACKEND);
}

#[test]
fn what_zypper_has_downloaded_ahead_is_not_fetched_again() {
    stories::what_was_downloaded_ahead_is_not_fetched_again(zypper::BACKEND);
}

/// The README's table of what is shown with which package manager is what the stories are.
#[test]
fn the_table_in_the_readme_is_what_is_told() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let readme = readme.expect("no README");
    let (stories, backends) = TOLD;
    let mut table = format!("| what is shown | {} |\n|---|", backends.join(" | "));
    table.push_str(&"---|".repeat(backends.len()));
    for story in stories {
        let words = story.replace("_s_", "'s ").replace('_', " ");
        table.extend(["\n| ", &words, " |", &" yes |".repeat(backends.len())]);
    }
    assert!(
        readme.contains(&table),
        "the README's table should be:\n{table}"
    );
}
