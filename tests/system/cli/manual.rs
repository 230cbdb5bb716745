//! What is installed for the command line's users: manual pages and shell completions.

use lab::{Host, Release};

/// Completions of bash for the program.
const BASH: &str = "/usr/share/bash-completion/completions/patchctl";

#[test]
fn its_manual_and_completions_are_installed() {
    let host = Host::boot(Release::Trixie);
    every_page_is_there(&host);
    the_manual_names_what_there_is(&host);
    the_interface_is_described(&host);
    words_are_completed(&host);
}

fn every_page_is_there(host: &Host) {
    let pages = host.sh("find /usr/share/man -name '*.gz' -exec basename {} .gz \\;");
    let is_there = |page: &str| pages.lines().any(|name| name == page);
    for page in [
        "patchctl.1",
        "linux_patch_api.toml.5",
        "org.linux_patch.Agent1.5",
        "patchctl-hooks.7",
        "patch-apply@.service.8",
    ] {
        assert!(is_there(page), "{page}: {pages}");
    }
    let documented = host.sh("grep -h ^Documentation= /usr/lib/systemd/system/patch-*");
    for page in documented
        .split([' ', '=', '\n'])
        .filter_map(|word| word.strip_prefix("man:"))
    {
        assert!(
            is_there(&page.replace('(', ".").replace(')', "")),
            "{page}: {pages}"
        );
    }
}

fn the_manual_names_what_there_is(host: &Host) {
    let manual = host.sh("zcat /usr/share/man/man1/patchctl.1.gz");
    for verb in [
        "status", "health", "updates", "refresh", "apply", "jobs", "log", "wait",
    ] {
        assert!(manual.contains(verb), "{verb}");
    }
    // every action of the policy, every value of an option, and what a manual has besides
    let policy = host.read("/usr/share/polkit-1/actions/org.linux_patch.agent1.policy");
    let actions = policy.split("<action id=\"").skip(1);
    let actions: Vec<&str> = actions
        .filter_map(|action| action.split('"').next())
        .collect();
    assert_eq!(actions.len(), 7);
    let unescaped = manual.replace('\\', "");
    for word in actions.into_iter().chain([
        ".SH ENVIRONMENT",
        ".SH FILES",
        ".SH EXAMPLES",
        ".SH JSON",
        "when-needed",
        "never",
        "safe",
        "NO_COLOR",
    ]) {
        assert!(unescaped.contains(word), "{word}");
    }
}

fn the_interface_is_described(host: &Host) {
    let interface = host.sh("zcat /usr/share/man/man5/org.linux_patch.Agent1.5.gz");
    let xml = host.read("/usr/share/dbus-1/interfaces/org.linux_patch.Agent1.xml");
    for member in ["<method name=\"", "<signal name=\"", "<property name=\""] {
        for name in xml
            .split(member)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
        {
            assert!(interface.contains(&format!("\n.B {name}")), "{name}");
        }
    }
}

fn words_are_completed(host: &Host) {
    let completed = host.sh(&format!(
        "bash -c 'source {BASH}*; COMP_WORDS=(patchctl he) COMP_CWORD=1; _patchctl patchctl he patchctl; echo ${{COMPREPLY[@]}}'"
    ));
    assert!(completed.contains("health"), "{completed}");
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let current = words.split(' ').next_back().unwrap_or_default();
        host.sh(&format!(
            "bash -c 'source {BASH}*; COMP_WORDS=({words}) COMP_CWORD={count}; _patchctl_with_values patchctl {current} patchctl; \
             echo ${{COMPREPLY[@]}}'"
        ))
    };
    let job = host
        .try_sh("patchctl refresh")
        .stdout
        .split([' ', ':'])
        .nth(1)
        .unwrap()
        .to_owned();
    assert_eq!(complete(&format!("patchctl log {}", &job[..6])).trim(), job);
    assert_eq!(complete("patchctl acknowledge roll").trim(), "rolled-back");
    assert_eq!(
        complete("patchctl apply linux-patch").trim(),
        "linux-patch-api"
    );
    assert!(complete("patchctl apply --re").contains("--reboot"));
    assert_eq!(
        complete("patchctl ru").trim(),
        "",
        "the verb of the units is not offered"
    );
    for file in [
        "/usr/share/zsh/vendor-completions/_patchctl",
        "/usr/share/fish/vendor_completions.d/patchctl.fish",
    ] {
        assert!(host.read(file).contains("health"), "{file}");
    }
}
