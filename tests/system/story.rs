//! What every story needs: the state of a host, read as any program would.

use lab::Host;
use serde_json::Value;

/// Where the state lies.
pub const STATE: &str = "/var/lib/linux_patch_api";

/// A state file, such as `state/cache.json`, parsed.
pub fn state(host: &Host, file: &str) -> Value {
    let text = host.sh(&format!("cat {STATE}/{file}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}: {text}"))
}

/// The records of all jobs, oldest first.
pub fn jobs(host: &Host) -> Vec<Value> {
    let names = host.sh(&format!(
        "cd {STATE}/jobs && ls -1 | grep '\\.json$' || true"
    ));
    names
        .lines()
        .map(|name| state(host, &format!("jobs/{name}")))
        .collect()
}

/// The record of the latest job.
pub fn last_job(host: &Host) -> Value {
    jobs(host).pop().expect("there is no job")
}

/// A property of the agent, as `busctl get-property` prints it without its type: `healthy`, `3`.
pub fn property(host: &Host, name: &str) -> String {
    let agent = "org.linux_patch.Agent1 /org/linux_patch/Agent1 org.linux_patch.Agent1";
    let shown = host.sh(&format!("busctl get-property {agent} {name}"));
    let (_, value) = shown.trim().split_once(' ').expect("no value");
    value.trim_matches('"').to_owned()
}

/// The version of an installed package, with its state, as dpkg says it: `1.1 installed`.
pub fn installed(host: &Host, package: &str) -> String {
    host.sh(&format!(
        "dpkg-query -W -f='${{Version}} ${{db:Status-Status}}' {package}"
    ))
}

/// The journal entries that have this field value.
pub fn events(host: &Host, field: &str, value: &str) -> Vec<Value> {
    host.journal(&[&format!("{field}={value}")])
}
