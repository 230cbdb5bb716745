//! Which updates are pending: security behind a newer version, plans for ordinary users, replacements, pins.

use chrono::{DateTime, Utc};
use lab::fixtures::plain;
use lab::{Advisory, Asks, Deb, Host, Manager, Repo};
use serde_json::Value;

use super::Backend;
use crate::job::{applied, causes, changes, list, text};
use crate::story::{events, property, refresh_succeeds};

/// Who asks.
const ALICE: &str = "alice";

fn plan(host: &Host, target: &str) -> Value {
    let output = host.as_user(ALICE, &format!("patchctl plan --json {target}"));
    assert!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).expect("no plan")
}

/// `name candidate security` of every update of a plan or a list.
fn due(updates: &Value) -> Vec<String> {
    let updates = updates.as_array().expect("no list").iter();
    let mut due: Vec<String> = updates
        .map(|u| {
            format!(
                "{} {} {}",
                text(u, "package"),
                text(u, "candidate"),
                u["security"]
            )
        })
        .collect();
    due.sort();
    due
}

fn updates(host: &Host) -> Vec<String> {
    due(&listed(host))
}

fn listed(host: &Host) -> Value {
    let output = host.as_user(ALICE, "patchctl updates --json");
    assert!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).expect("no list")
}

fn update_of<'a>(updates: &'a Value, package: &str) -> &'a Value {
    let mut updates = updates.as_array().expect("no list").iter();
    let update = updates.find(|update| text(update, "package") == package);
    update.expect("it is not pending")
}

/// The bytes of the package file of demo, as the package manager says them.
fn size_of_demo(host: &Host, backend: Backend) -> Option<u64> {
    let asked = match backend.manager {
        Manager::Apt => "apt-cache show demo=1.2 | sed -n 's/^Size: //p'",
        Manager::Dnf => "dnf -q -C repoquery --qf '%{downloadsize}' demo-1.2",
        _ => return None,
    };
    Some(host.sh(asked).trim().parse().expect("no size"))
}

/// What closes the hole is in every later version, too, whichever source has that.
pub fn security_is_seen_behind_a_newer_version(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.0"), plain("tool", "1.0")]);
    repo.add(&plain("tool", "1.1"));
    let security = (backend.manager == Manager::Apt).then(|| Repo::builder("security").security());
    let security = security.map(|builder| builder.build(&host));
    if let Some(security) = &security {
        security.enable(&host);
        security.add(&plain("demo", "1.1"));
    } else {
        repo.add(&plain("demo", "1.1"));
        repo.advise("demo=1.1", Advisory::Security);
    }
    repo.add(&plain("demo", "1.2"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");
    let version = |version: &str| backend.version(version);
    assert_eq!(
        updates(&host),
        [
            format!("demo {} true", version("1.2")),
            format!("tool {} false", version("1.1"))
        ]
    );

    let first = listed(&host);
    let demo = update_of(&first, "demo");
    let names = if backend.manager == Manager::Apt {
        Vec::new()
    } else {
        vec![format!("LAB-demo-{}", version("1.1"))]
    };
    assert_eq!(demo["advisories"], Value::from(names.clone()), "{first:#}");
    match (demo["size"].as_u64(), size_of_demo(&host, backend)) {
        // dnf 4 rounds it
        (Some(told), Some(size)) => assert!(told.abs_diff(size) <= size / 20, "{first:#}, {size}"),
        (told, size) => assert_eq!(told, size, "{first:#}"),
    }
    let seen = |updates: &Value, package: &str| -> DateTime<Utc> {
        let seen = text(update_of(updates, package), "first_seen").parse();
        seen.expect("not seen")
    };
    let shown = host.as_user(ALICE, "patchctl updates").stdout;
    assert!(shown.contains(" AGE "), "{shown}");
    assert_eq!(shown.contains(" SIZE "), !demo["size"].is_null(), "{shown}");
    assert_eq!(
        shown.contains(" ADVISORIES\n"),
        !names.is_empty(),
        "{shown}"
    );
    repo.add(&plain("tool", "1.2"));
    refresh_succeeds(&host);
    let second = listed(&host);
    assert_eq!(seen(&second, "demo"), seen(&first, "demo"));
    assert!(seen(&second, "tool") > seen(&first, "tool"));
    let plan = plan(&host, "security");
    assert_eq!(plan["updates"][0], *update_of(&second, "demo"), "{plan:#}");

    let job = applied(&host, "security");

    let expected = format!("demo {} -> {}", version("1.0"), version("1.2"));
    assert_eq!(changes(&job), [expected], "{job:#}");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// Every user may ask what an update would do, also where only root may ask the package manager, and where
/// root alone can read which repositories there are.
pub fn a_plan_of_one_package(backend: Backend) {
    let packages = [plain("demo", "1.0"), plain("tool", "1.0")];
    let installed = if backend.takes_parts() {
        &packages[..]
    } else {
        &packages[..1]
    };
    let (host, repo) = backend.host_with(installed);
    repo.add(&plain("demo", "1.1").depends("libnew"));
    repo.add(&plain("libnew", "1.0"));
    repo.add(&plain("tool", "1.1"));
    if backend.says_security() && backend.manager != Manager::Apt {
        repo.advise("demo", Advisory::Security);
    }
    refresh_succeeds(&host);
    let version = |version: &str| backend.version(version);
    let security = backend.says_security() && backend.manager != Manager::Apt;
    let expected = [
        format!("demo {} {security}", version("1.1")),
        format!("libnew {} false", version("1.0")),
    ];
    let demo = plan(&host, "demo");
    assert_eq!(due(&demo["updates"]), expected, "{demo:#}");

    // many who ask the same at once are answered at once
    let asked = "for i in $(seq 12); do patchctl plan demo >/dev/null & done; wait";
    let before = planner_runs(&host);
    host.sh("touch /var/lib/linux_patch_api/inquiries/.somebody-else-s");
    let many = host.as_user(ALICE, asked);
    assert!(many.success(), "{many}");
    assert!(
        planner_runs(&host) - before <= 1,
        "nothing has changed since"
    );
    if security {
        let plan = plan(&host, "security");
        assert_eq!(due(&plan["updates"]), expected, "{plan:#}");
    }
    let unknown = host.as_user(ALICE, "patchctl plan nosuch");
    assert_eq!(unknown.status, 2, "{unknown}");
    assert!(
        unknown.stderr.contains("nosuch is not installed"),
        "{unknown}"
    );

    // the database changes, and root alone can read what says where packages come from
    host.sh(&format!("chmod 0600 {}", backend.sources()));
    if backend.takes_parts() {
        host.sh(&backend.by_hand.replace("other", "tool"));
    }
    assert_eq!(updates(&host), expected);
    assert_eq!(due(&plan(&host, "all")["updates"]), expected);
    assert_eq!(property(&host, "Health"), "healthy");
    assert_eq!(backend.installed(&host, "demo"), version("1.0"));
}

/// How often the planner was started.
fn planner_runs(host: &Host) -> usize {
    let unit = "patch-plan.service";
    let started = "39f53479d3a045ac8e11786248231fbf";
    let entries = events(host, "MESSAGE_ID", started).into_iter();
    entries.filter(|entry| entry["UNIT"] == unit).count()
}

/// The replaced package stays, and so does what would replace it; nothing else has to wait for that.
pub fn an_update_that_replaces_a_package_keeps_only_itself_back(backend: Backend) {
    let names = ["app", "applib", "demo", "tool"];
    let (host, repo) = backend.host_with(&names.map(|name| plain(name, "1.0")));
    repo.add(&replacing(backend, plain("app", "1.1"), "applib"));
    repo.add(&plain("demo", "1.1"));
    repo.add(&plain("tool", "1.1"));
    let advised = backend.says_security() && backend.manager != Manager::Apt;
    if advised {
        repo.advise("app", Advisory::Security);
        repo.advise("tool", Advisory::Security);
    }
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    let all = plan(&host, "all");
    assert_eq!(causes(&all), ["app removal"], "{all:#}");
    assert_eq!(all["kept_back"][0]["security"], advised, "{all:#}");
    let reason = text(&all["kept_back"][0], "reason");
    assert!(reason.contains("applib"), "{reason}");

    if advised {
        let security = applied(&host, "security");
        assert_eq!(changes(&security).len(), 1, "{security:#}");
        assert_eq!(causes(&security), ["app removal"], "{security:#}");
    }
    let job = applied(&host, "all");

    assert!(!changes(&job).is_empty(), "{job:#}");
    assert_eq!(causes(&job), ["app removal"], "{job:#}");
    assert_eq!(job["kept_back"][0]["security"], advised, "{job:#}");
    assert_eq!(job["reached"], false, "{job:#}");
    assert!(
        text(&job["kept_back"][0], "reason").contains("applib"),
        "{job:#}"
    );
    let installed = |name: &str| backend.installed(&host, name);
    let (old, new) = (backend.version("1.0"), backend.version("1.1"));
    assert_eq!(["app", "applib"].map(installed), [old.clone(), old]);
    assert_eq!(["demo", "tool"].map(installed), [new.clone(), new]);
    assert_eq!(property(&host, "Health"), "healthy");
    let app = plan(&host, "app");
    assert_eq!(causes(&app), ["app removal"], "{app:#}");
}

/// A package in whose place another one goes, in the words of each format.
fn replacing(backend: Backend, package: Deb, replaced: &str) -> Deb {
    let package = package.field("Replaces", replaced);
    match backend.manager {
        Manager::Apt | Manager::Pacman => package.conflicts(replaced),
        _ => package,
    }
}

/// Wherever an administrator says that an older version is to be preferred, the package stays as it is, is no
/// update, and holds nothing up.
pub fn a_pin_to_an_older_version_stops_nothing(backend: Backend) {
    let (host, repo) = backend.host_with(&[plain("demo", "1.1"), plain("tool", "1.0")]);
    let preferred = Repo::builder("a-preferred").build(&host);
    preferred.add(&plain("demo", "1.0"));
    preferred.enable(&host);
    backend.prefer(&host, "a-preferred", "demo", "1.0");
    // where what is installed is newer than what is preferred, these two take the newest there is (measured)
    if !matches!(backend.manager, Manager::Dnf | Manager::Zypper) {
        repo.add(&plain("demo", "1.2"));
    }
    repo.add(&plain("tool", "1.1"));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "1");

    let job = applied(&host, "all");

    let version = |version: &str| backend.version(version);
    let expected = format!("tool {} -> {}", version("1.0"), version("1.1"));
    assert_eq!(changes(&job), [expected], "{job:#}");
    // the others know of no update then
    let pinned: &[&str] = match backend.manager {
        Manager::Apt => &["demo pinned"],
        _ => &[],
    };
    assert_eq!(causes(&job), pinned, "{job:#}");
    assert_eq!(backend.installed(&host, "demo"), version("1.1"));
    assert_eq!(property(&host, "Health"), "healthy");
    for target in ["all", backend.target("demo")] {
        let again = applied(&host, target);
        assert!(changes(&again).is_empty(), "{again:#}");
    }
}

/// Whatever `zypper patch` would do: it passes over a patch with a message or a reboot flag, and takes no other
/// while one asks to restart zypper.
#[test]
fn with_zypper_security_counts_whatever_its_patch_asks_for() {
    let backend = Backend::zypper();
    let names = ["booting", "other", "plain", "reading", "restarting", "tool"];
    let (host, repo) = backend.host_with(&names.map(|name| plain(name, "1.0")));
    names.iter().for_each(|name| repo.add(&plain(name, "1.1")));
    let asking = Advisory::SecurityThatAsksFor;
    repo.advise("booting", asking(Asks::Reboot));
    repo.advise("plain", Advisory::Security);
    repo.advise("reading", asking(Asks::Reading));
    repo.advise("tool", Advisory::Bugfix);
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "6");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "3");

    repo.advise("restarting", asking(Asks::Restart));
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingSecurityUpdates"), "4");

    let job = applied(&host, "security");

    let done = ["booting", "plain", "reading", "restarting"];
    assert_eq!(
        changes(&job),
        done.map(|name| format!("{name} 1.0-1 -> 1.1-1")),
        "{job:#}"
    );
    assert_eq!(job["reached"], true, "{job:#}");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "0");
    assert_eq!(property(&host, "PendingUpdates"), "2");
}

/// Each has its own reason, in the plan and in the job, and nothing else waits for any of them.
#[test]
fn with_zypper_everything_that_is_kept_back_has_its_own_reason() {
    let backend = Backend::zypper();
    let names = [
        "conflicts",
        "gone",
        "lacks",
        "needs",
        "old",
        "tool",
        "victim",
        "viewer",
    ];
    let mut packages: Vec<Deb> = names.iter().map(|name| plain(name, "1.0")).collect();
    packages.push(plain("ours", "1.0").field("Vendor", "Lab"));
    let (host, repo) = backend.host_with(&packages);
    repo.add(&plain("conflicts", "1.1").conflicts("victim"));
    repo.add(&plain("lacks", "1.1").depends("nowhere"));
    // the new library takes the place of one that another package is
    repo.add(&plain("needs", "1.1").depends("libnew"));
    repo.add(&plain("libnew", "1.0").field("Replaces", "gone"));
    repo.add(&plain("new", "2.0").field("Replaces", "old (<< 2)"));
    repo.add(&plain("ours", "1.1").field("Vendor", "Others"));
    repo.add(&plain("viewer", "1.1"));
    repo.add(&plain("tool", "1.1"));
    for name in ["lacks", "needs", "ours", "tool"] {
        repo.advise(name, Advisory::Security);
    }
    refresh_succeeds(&host);
    assert_eq!(property(&host, "PendingUpdates"), "2");
    assert_eq!(property(&host, "PendingSecurityUpdates"), "1");
    let expected = [
        "conflicts removal false victim",
        "gone removal false libnew",
        "lacks dependency true nowhere",
        "needs removal true gone",
        "old removal false new",
        "ours pinned false vendor",
    ];
    // the cause, whether it is for security, and a word of the reason
    let kept = |answer: &Value| -> Vec<String> {
        let kept_back = list(answer, "kept_back");
        let shown = |(kept, expected): (&Value, &&str)| {
            let word = expected.rsplit(' ').next().unwrap_or_default();
            let reason = text(kept, "reason");
            let why = if reason.contains(word) { word } else { reason };
            let [package, cause] = ["package", "cause"].map(|key| text(kept, key));
            format!("{package} {cause} {} {why}", kept["security"])
        };
        let mut sorted: Vec<&Value> = kept_back.iter().collect();
        sorted.sort_by_key(|kept| text(kept, "package").to_owned());
        assert_eq!(sorted.len(), expected.len(), "{answer:#}");
        sorted.into_iter().zip(&expected).map(shown).collect()
    };
    let planned = plan(&host, "all");
    assert_eq!(kept(&planned), expected, "{planned:#}");

    let security = applied(&host, "security");
    assert_eq!(changes(&security), ["tool 1.0-1 -> 1.1-1"], "{security:#}");
    let all = applied(&host, "all");

    assert_eq!(changes(&all), ["viewer 1.0-1 -> 1.1-1"], "{all:#}");
    assert_eq!(kept(&all), expected, "{all:#}");
    let planned = plan(&host, "all");
    assert_eq!(kept(&planned), expected, "{planned:#}");
    assert_eq!(property(&host, "Health"), "healthy");
}

/// What says that it replaces an older version of a package stands beside a newer one.
#[test]
fn with_pacman_the_version_that_is_replaced_counts() {
    let backend = Backend::pacman();
    let names = ["app", "applib", "tool"];
    let (host, repo) = backend.host_with(&names.map(|name| plain(name, "2.0")));
    repo.add(&plain("app", "2.1").field("Replaces", "applib (<< 2)"));
    repo.add(&plain("tool", "2.1").field("Replaces", "applib (<= 2.0-1)"));
    refresh_succeeds(&host);

    let job = applied(&host, "all");

    assert_eq!(changes(&job), ["app 2.0-1 -> 2.1-1"], "{job:#}");
    assert_eq!(causes(&job), ["tool removal"], "{job:#}");
    assert_eq!(backend.installed(&host, "applib"), "2.0-1");
}

/// dnf's plugin `local` keeps copies of what was installed in a repository of its own: it goes on doing so, and
/// nothing comes from there. With dnf 4 that repository has no index at first, and fails.
#[test]
fn with_dnf4_the_copies_of_its_plugin_are_no_source() {
    let host = Host::patched_by(Manager::Dnf)
        .extra_packages(&["dnf-plugins-core"])
        .boot();
    the_copies_of_the_plugin_are_no_source(&host, "_dnf_local");
}

#[test]
fn with_dnf5_the_copies_of_its_plugin_are_no_source() {
    let host = Host::patched_by(Manager::Dnf5).boot();
    let plugin = "/etc/dnf/libdnf5-plugins/local.conf";
    // in a container it is off
    host.sh(&format!("sed -i 's/= host-only/= 1/' {plugin}"));
    the_copies_of_the_plugin_are_no_source(&host, "_dnf_local");
}

fn the_copies_of_the_plugin_are_no_source(host: &Host, id: &str) {
    let former = plain("demo", "1.0");
    host.write("/etc/linux_patch_api/config.toml", "backend = \"dnf\"\n");
    host.put_on(std::slice::from_ref(&former));
    let repo = Repo::new(host);
    repo.enable(host);
    repo.add(&plain("demo", "1.1"));
    refresh_succeeds(host);
    assert_eq!(updates(host), ["demo 1.1-1 false"]);

    let job = applied(host, "all");

    assert_eq!(changes(&job), ["demo 1.0-1 -> 1.1-1"], "{job:#}");
    let copy = "/var/lib/dnf/plugins/local/demo-1.1-1.noarch.rpm";
    assert!(host.exists(copy), "the plugin is the administrator's");
    host.put_on(std::slice::from_ref(&former));
    refresh_succeeds(host);
    let output = host.as_user(ALICE, "patchctl updates --json");
    let listed: Value = serde_json::from_str(&output.stdout).expect("no list");
    assert_eq!(listed[0]["origin"], "lab", "{listed:#}");
    let status = host.sh("patchctl status");
    assert!(!status.contains(id), "{status}");
    let job = applied(host, "demo");
    assert_eq!(changes(&job), ["demo 1.0-1 -> 1.1-1"], "{job:#}");
}
