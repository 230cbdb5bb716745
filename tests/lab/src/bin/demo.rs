//! The main job, shown on a disposable host: real pending updates from the real archive, applied by our package.

use std::process::ExitCode;

use lab::{Host, Past, Release};

const HEALTH: &str = "busctl get-property org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1 Health";

fn main() -> ExitCode {
    println!("Making a Debian 13 with some twenty packages one version behind the archive ...");
    let past = Past::usual(Release::Trixie, &[]);
    println!("Booting a disposable host of it ...");
    let host = Host::builder(Release::Trixie)
        .past(&past)
        .name("demo")
        .network_real()
        .boot();
    host.enable_real_archive();

    show(
        &host,
        "apt-get -qq update && apt list --upgradable 2>/dev/null | grep -c upgradable",
    );
    show(&host, "systemctl start patch-apply@all.service");
    show(
        &host,
        "systemctl status --no-pager --full patch-apply@all.service",
    );
    show(
        &host,
        "apt list --upgradable 2>/dev/null | grep -c upgradable",
    );
    show(&host, "journalctl --no-pager -t patchctl -o short");
    show(&host, "journalctl --no-pager -t patchctl -x -n 1");
    let health = show(&host, HEALTH);

    if health.trim() == "s \"healthy\"" {
        return ExitCode::SUCCESS;
    }
    show(&host, &HEALTH.replace(" Health", " HealthReasons"));
    eprintln!("demo: the host is not healthy");
    ExitCode::FAILURE
}

/// Runs one command as an administrator at a terminal would see it.
fn show(host: &Host, command: &str) -> String {
    println!("\nroot@demo:~# {command}");
    let output = host.try_sh(command);
    print!("{}{}", output.stdout, output.stderr);
    if !output.success() {
        println!("(exit status {})", output.status);
    }
    output.stdout
}
