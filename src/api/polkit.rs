//! Whether the caller may do what it asks for: polkit decides, and any error on the way means no.

use std::collections::HashMap;
use std::time::Duration;

use zbus::fdo;
use zbus::message::Header;
use zbus::{Connection, Variant};

use crate::host::bus::Object;
use crate::request::{Kind, Request};

/// The rights that polkit gives, one for each changing method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolkitAction {
    /// Refresh the index.
    Refresh,
    /// Apply updates.
    Apply,
    /// End a job.
    Cancel,
    /// End a conflict.
    Resolve,
    /// Undo what a job has changed, or offer it again.
    Rollback,
    /// End alerts that were seen.
    Acknowledge,
    /// Reboot the host.
    Reboot,
}

/// How long a person may take to give a password.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// `AllowUserInteraction`, polkit's only flag.
const INTERACTIVE: u32 = 1;

/// polkit.
const AUTHORITY: Object = Object {
    service: "org.freedesktop.PolicyKit1",
    path: "/org/freedesktop/PolicyKit1/Authority",
    interface: "org.freedesktop.PolicyKit1.Authority",
};

impl PolkitAction {
    /// The actions that a request takes, each of which the caller has to be authorised for: pure. A reboot
    /// is a right of its own, also where it is an option of an apply.
    #[must_use]
    pub fn needed(request: &Request) -> Vec<Self> {
        let action = match request.kind {
            Kind::Refresh => Self::Refresh,
            Kind::Apply | Kind::Update => Self::Apply,
            Kind::Rollback => Self::Rollback,
        };
        let reboot = request.options.asks_for_reboot().then_some(Self::Reboot);
        std::iter::once(action).chain(reboot).collect()
    }

    /// The action's id, as in the installed policy.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Refresh => "org.linux-patch.agent1.refresh",
            Self::Apply => "org.linux-patch.agent1.apply",
            Self::Cancel => "org.linux-patch.agent1.cancel",
            Self::Resolve => "org.linux-patch.agent1.resolve",
            Self::Rollback => "org.linux-patch.agent1.rollback",
            Self::Acknowledge => "org.linux-patch.agent1.acknowledge",
            Self::Reboot => "org.linux-patch.agent1.reboot",
        }
    }
}

/// Whether the caller of this message, who is that user, may do it. The question is about the caller's
/// name on the bus, which cannot be passed on to another process as a process id can.
pub async fn authorise(
    bus: &Connection,
    header: &Header<'_>,
    uid: u32,
    action: PolkitAction,
) -> fdo::Result<()> {
    let sender = header
        .sender()
        .ok_or_else(|| fdo::Error::AccessDenied("the caller has no name on the bus".to_owned()))?;
    if uid == 0 {
        return Ok(());
    }
    let interactive = header
        .primary()
        .flags()
        .contains(zbus::message::Flags::ALLOW_INTERACTIVE_AUTH);
    let flags = if interactive { INTERACTIVE } else { 0 };
    let asked = ask(bus, sender.as_str(), action.id(), flags);
    let answer = zruntime::SharedRuntime::current()
        .map_err(|error| fdo::Error::Failed(error.to_string()))?
        .timeout(ANSWER_LIMIT, asked)
        .await;
    match answer {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(fdo::Error::AccessDenied(format!(
            "polkit does not authorise user {uid} for {}",
            action.id(),
        ))),
        Ok(Err(error)) => Err(fdo::Error::AccessDenied(format!(
            "polkit cannot be asked: {error}"
        ))),
        Err(_) => Err(fdo::Error::AccessDenied(
            "polkit did not answer in time".to_owned(),
        )),
    }
}

async fn ask(bus: &Connection, sender: &str, action: &str, flags: u32) -> zbus::Result<bool> {
    let subject = (
        "system-bus-name",
        HashMap::from([("name", Variant::from(sender))]),
    );
    // the caller, what it wants, no details, and no name to take the question back by
    let question = (subject, action, HashMap::<&str, &str>::new(), flags, "");
    let asked = AUTHORITY.call(bus, "CheckAuthorization", &question).await?;
    let (authorised, _, _): (bool, bool, HashMap<String, String>) = asked;
    Ok(authorised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Requester, Target};

    const ALL: [PolkitAction; 7] = [
        PolkitAction::Refresh,
        PolkitAction::Apply,
        PolkitAction::Cancel,
        PolkitAction::Resolve,
        PolkitAction::Rollback,
        PolkitAction::Acknowledge,
        PolkitAction::Reboot,
    ];

    #[test]
    fn every_action_is_in_the_installed_policy() {
        let policy = include_str!("../../units/polkit-1/actions/org.linux_patch.agent1.policy");
        for action in ALL {
            assert!(
                policy.contains(&format!("<action id=\"{}\">", action.id())),
                "{action:?}"
            );
        }
        assert_eq!(policy.matches("<action id=").count(), ALL.len());
        let owner = r#"<annotate key="org.freedesktop.policykit.owner">unix-user:linux-patch<"#;
        assert_eq!(
            policy.matches("<action id=").count(),
            policy.matches(owner).count()
        );
    }

    #[test]
    fn an_apply_takes_the_right_to_reboot_only_where_it_asks_for_one() {
        let needed = |options: &str| {
            let options = serde_json::from_str(options).unwrap();
            let requester = Requester::at("dbus", Some(1000));
            PolkitAction::needed(&Request::apply(Target::All, options, requester).unwrap())
        };
        assert_eq!(needed("{}"), [PolkitAction::Apply]);
        assert_eq!(needed(r#"{"restart":"safe"}"#), [PolkitAction::Apply]);
        assert_eq!(needed(r#"{"reboot":"never"}"#), [PolkitAction::Apply]);
        for reboot in ["when-needed", "always"] {
            let options = format!(r#"{{"reboot":"{reboot}"}}"#);
            assert_eq!(
                needed(&options),
                [PolkitAction::Apply, PolkitAction::Reboot]
            );
        }
    }
}
