//! How something is asked for on a host: the shell line of each request, for the front end it goes to.

use crate::plan::{Ask, Condition, FrontEnd};

/// The socket of Varlink.
const SOCKET: &str = "/run/linux_patch_api/request.sock";

/// Its interface.
const INTERFACE: &str = "org.linux-patch.Agent1";

/// Where requests wait, and where they are prepared.
const STATE: &str = "/var/lib/linux_patch_api";

/// How long a client waits for its job, in seconds: longer than all jobs that are ahead of it take.
pub const PATIENCE: u32 = 400;

/// What is known when something is asked for.
pub struct Known<'a> {
    /// The jobs that were heard of, the latest last.
    pub jobs: &'a [String],
    /// The version in which a package came out so many publications ago.
    pub version: &'a dyn Fn(&str, usize) -> String,
}

impl Known<'_> {
    fn job(&self, ago: usize) -> Option<&str> {
        let last = self.jobs.len().checked_sub(1)?;
        self.jobs.get(last.saturating_sub(ago)).map(String::as_str)
    }
}

/// The shell line; none while no job is known that it could be about.
pub fn line(ask: &Ask, known: &Known<'_>) -> Option<String> {
    let wait = format!("timeout {PATIENCE}");
    Some(match ask {
        Ask::Apply {
            targets,
            front_end,
            defer,
            key,
            condition,
        } => {
            let named = targets.join(" ");
            match front_end {
                FrontEnd::File => file(targets),
                FrontEnd::Varlink | FrontEnd::VarlinkAtOnce => {
                    let parameters = format!("{{\"packages\":{}}}", json(targets));
                    let follows = *front_end == FrontEnd::Varlink;
                    varlink("alice", "Apply", &parameters, follows)
                }
                FrontEnd::Unit => {
                    let instance = targets.join("-");
                    format!("{wait} systemctl start 'patch-apply@{instance}.service'")
                }
                FrontEnd::Direct => format!("{wait} patchctl apply --direct {named}"),
                FrontEnd::Bus | FrontEnd::BusAtOnce => {
                    let mut line = format!("{wait} patchctl apply {named}");
                    if *front_end == FrontEnd::BusAtOnce {
                        line += " --no-wait";
                    }
                    if *defer {
                        line += " --defer";
                    }
                    if *key {
                        line.extend([" --key ", &key_of(targets, *defer)]);
                    }
                    line + &if_so(condition, targets, known)
                }
            }
        }
        Ask::Rollback {
            ago,
            front_end: FrontEnd::Varlink,
        } => {
            let parameters = format!("{{\"job\":\"{}\"}}", known.job(*ago)?);
            // root alone may ask for that there
            varlink("root", "Rollback", &parameters, true)
        }
        Ask::Rollback { ago, front_end } => {
            let at_once = if *front_end == FrontEnd::BusAtOnce {
                " --no-wait"
            } else {
                ""
            };
            format!("{wait} patchctl rollback {}{at_once}", known.job(*ago)?)
        }
        Ask::Cancel { ago } => format!("{wait} patchctl cancel {}", known.job(*ago)?),
        Ask::Forget { ago } => format!("{wait} patchctl forget {}", known.job(*ago)?),
        Ask::Resolve { ago, apply } => {
            let decision = if *apply { "--apply" } else { "--discard" };
            // one that is in conflict, if there is any
            let any = format!(
                "job=$(ls {STATE}/conflicts | cut -d . -f 1 | sed -n '{}p'); : ${{job:={}}}",
                ago + 1,
                known.job(*ago)?
            );
            format!("{any}; {wait} patchctl resolve $job {decision}")
        }
        Ask::Refresh { unit: true } => format!("{wait} systemctl start patch-refresh.service"),
        Ask::Refresh { unit: false } => format!("{wait} patchctl refresh"),
        Ask::Read(verb) => format!("{wait} patchctl {verb}"),
    })
}

/// The options of a condition.
fn if_so(condition: &Condition, targets: &[&str], known: &Known<'_>) -> String {
    match condition {
        Condition::None => String::new(),
        Condition::Expect(ago) => {
            let version = (known.version)(targets[0], *ago);
            format!(" --expect {}={version}", targets[0])
        }
        Condition::Since => " --if-unmodified-since $(date -u -d '-3 seconds' +%FT%TZ)".to_owned(),
    }
}

/// Requests for the same have the same key.
pub fn key_of(targets: &[&str], defer: bool) -> String {
    format!("{}{}", targets.join("-"), if defer { "-later" } else { "" })
}

fn json(targets: &[&str]) -> String {
    let quoted: Vec<String> = targets
        .iter()
        .map(|target| format!("\"{target}\""))
        .collect();
    format!("[{}]", quoted.join(","))
}

/// As any program would: prepared beside the queue, and renamed. Prints its id.
fn file(targets: &[&str]) -> String {
    let entry = format!(
        r#"{{\"version\":1,\"id\":\"$id\",\"kind\":\"apply\",\"packages\":{}}}"#,
        json(targets).replace('"', "\\\"")
    );
    format!(
        "id=$(printf '%016x-%06x' $(date +%s%N) $$); cd {STATE} && echo \"{entry}\" >tmp/$id.json && \
         mv tmp/$id.json queue/ && echo $id"
    )
}

/// As a user who may only connect. One call that follows ends with the job; the other one returns at once.
fn varlink(user: &str, method: &str, parameters: &str, follow: bool) -> String {
    let more = if follow { "--more " } else { "" };
    format!(
        "runuser -u {user} -- varlinkctl call -j --timeout={PATIENCE} {more}{SOCKET} {INTERFACE}.{method} '{parameters}'"
    )
}

/// How something that was asked for came out, as far as its exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// It failed, was refused, or has to wait; the records say more.
    NotDone,
    /// The worker in it was killed.
    Killed,
    /// Nothing that may be: no answer, a front end that cannot be reached, a crash.
    Wrong,
}

/// What an exit status means; `killed` is whether workers are being killed.
pub fn answer(ask: &Ask, status: i32, killed: bool) -> Answer {
    let direct = matches!(
        ask,
        Ask::Apply {
            front_end: FrontEnd::Direct,
            ..
        }
    );
    match status {
        0 => Answer::Done,
        // killed, or asked to stop
        137 | 143 if direct && killed => Answer::Killed,
        // 2: what is no longer so by the time it is asked for, such as a conflict; 75: the host is busy
        1 | 2 | 75 => Answer::NotDone,
        _ => Answer::Wrong,
    }
}
