//! What every story needs: the state of a host, read as any program would.

use lab::Host;
use linux_patch_api::journal::id;
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
    // an old one may be thrown away between the look and the reading
    let read = |name: &str| host.try_sh(&format!("cat {STATE}/jobs/{name}")).stdout;
    names
        .lines()
        .map(read)
        .filter(|text| !text.is_empty())
        .map(|text| serde_json::from_str(&text).expect("no record"))
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

/// Where requests wait.
pub const QUEUE: &str = "/var/lib/linux_patch_api/queue";

/// A request, put into the queue as any program would: prepared beside it, and renamed. Its id, whose
/// last digits are `number`.
pub fn drop_request(host: &Host, number: usize, keys: &str) -> String {
    let id = host.sh(&format!("printf '%016x-%06x' $(date +%s%N) {number}"));
    let entry = format!(r#"{{"version":1,"id":"{id}","kind":"apply",{keys}}}"#);
    let prepared = format!("{STATE}/tmp/{id}.json");
    host.write(&prepared, entry);
    host.sh(&format!("mv {prepared} {QUEUE}/"));
    id
}

/// Many requests at once; their ids, in order.
pub fn drop_requests(host: &Host, count: usize, keys: &str) -> Vec<String> {
    let script = format!(
        "cd {STATE}/tmp; time=$(date +%s%N)\n\
         for number in $(seq {count}); do\n\
           id=$(printf '%016x-%06x' $((time + number)) $number)\n\
           printf '{{\"version\":1,\"id\":\"%s\",\"kind\":\"apply\",{}}}' $id > $id.json\n\
           echo $id\n\
         done\n\
         mv ./*.json {QUEUE}/",
        keys.replace('"', "\\\"").replace('%', "%%"),
    );
    host.sh(&script.replace("\\\"", "\""))
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The record of a job, wherever it lies, as the command line gives it.
pub fn job(host: &Host, id: &str) -> Value {
    let text = host.sh(&format!("patchctl log --json {id}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The id of the latest job that was put off.
pub fn last_deferred(host: &Host) -> String {
    let names = host.sh(&format!("ls -1 {STATE}/deferred | tail -n 1"));
    names.trim().trim_end_matches(".json").to_owned()
}

/// The record of the latest job once it has ended.
pub fn last_settled(host: &Host) -> Value {
    host.wait_for("the job to end", || has_ended(&last_job(host)));
    last_job(host)
}

fn has_ended(job: &Value) -> bool {
    !matches!(job["status"].as_str(), None | Some("queued" | "running"))
}

/// The record of a job once no worker has anything to do for it.
pub fn settled(host: &Host, id: &str) -> Value {
    host.wait_for(&format!("job {id}"), || {
        let shown = host.try_sh(&format!("patchctl log --json {id}"));
        let job: Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
        has_ended(&job)
    });
    job(host, id)
}

/// The workers' lock, held by another process, so that requests can gather.
pub struct HeldLock(lab::Spawned);

/// Takes the lock of the workers.
pub fn hold_worker(host: &Host) -> HeldLock {
    let lock = "/run/linux_patch_api/worker.lock";
    host.sh("rm -f /run/let-go; mkfifo /run/let-go");
    let holder = host.spawn(&format!(
        "flock {lock} sh -c 'touch /run/held; cat /run/let-go'"
    ));
    host.wait_for("the lock", || host.exists("/run/held"));
    HeldLock(holder)
}

impl HeldLock {
    /// Lets the workers go on.
    pub fn release(self, host: &Host) {
        host.sh("rm -f /run/held; echo > /run/let-go");
        self.0.wait();
    }
}

/// Stops the D-Bus service. A call at that moment, such as a worker's, has it started again, which cancels the stop.
#[track_caller]
pub fn stop_service(host: &Host) {
    let stop = "systemctl stop patch-agent.service";
    host.wait_for("the service to stop", || host.try_sh(stop).success());
}

/// Starts a refresh as the timer does, and waits for its end.
pub fn refresh(host: &Host) -> lab::Output {
    host.try_sh("systemctl start patch-refresh.service")
}

/// A property of a unit, as `systemctl show` prints it.
pub fn unit(host: &Host, unit: &str, property: &str) -> String {
    let shown = host.sh(&format!("systemctl show -P {property} {unit}"));
    shown.trim().to_owned()
}

/// A refresh that succeeds, wherever one looks: exit code, unit, record.
#[track_caller]
pub fn refresh_succeeds(host: &Host) {
    let output = refresh(host);
    let log = || host.messages(&["-n", "30"]).join("\n");
    assert!(output.success(), "{output}\n{}", log());
    assert_eq!(unit(host, "patch-refresh.service", "Result"), "success");
    let cache = state(host, "state/cache.json");
    assert_eq!(cache["last_update_success"], true, "{cache}");
    assert_eq!(property(host, "CacheStatus"), "fresh");
}

/// A refresh that fails, wherever one looks: exit code, unit, record, bus, journal. Why it did.
#[track_caller]
pub fn refresh_fails(host: &Host) -> String {
    let before = last_cache_update(host);
    let told = events(host, "MESSAGE_ID", id::REFRESH_FAILED).len();
    let output = refresh(host);
    assert!(!output.success(), "the refresh succeeded\n{output}");
    assert_eq!(unit(host, "patch-refresh.service", "Result"), "exit-code");
    assert_eq!(unit(host, "patch-refresh.service", "ExecMainStatus"), "1");
    let cache = state(host, "state/cache.json");
    assert_eq!(cache["last_update_success"], false, "{cache}");
    assert_eq!(cache["last_cache_update"], before, "{cache}");
    let why = cache["last_error"].as_str().expect("no error").to_owned();
    assert_eq!(property(host, "CacheStatus"), "failed");
    assert_eq!(property(host, "Health"), "degraded");
    assert!(property(host, "HealthReasons").contains("the last refresh failed"));
    let events = events(host, "MESSAGE_ID", id::REFRESH_FAILED);
    assert_eq!(events.len(), told + 1, "one event for each failure");
    assert_eq!(events[told]["PATCH_ERROR"], why.as_str());
    why
}

/// The date of the last successful refresh; null when there was none.
pub fn last_cache_update(host: &Host) -> Value {
    let file = format!("{STATE}/state/cache.json");
    if !host.exists(&file) {
        return Value::Null;
    }
    state(host, "state/cache.json")["last_cache_update"].clone()
}
