//! A cable between two hosts, which can be pulled out and put back.

use anyhow::Result;

use crate::host::Host;
use crate::machine;

/// What the interface is called on both sides.
const INTERFACE: &str = "lab0";

/// A veth pair that joins the networks of two hosts. It goes with the first of them.
pub struct Link {
    far: String,
}

impl Link {
    /// Joins two hosts that share no network with the machine: the first is 10.77.0.1, the second 10.77.0.2.
    #[track_caller]
    pub fn between(first: &Host, second: &Host) -> Self {
        let (near, far) = (namespace(first), namespace(second));
        ip(&[
            "link", "add", INTERFACE, "netns", &near, "type", "veth", "peer", "name", INTERFACE,
            "netns", &far,
        ]);
        for (namespace, address) in [(&near, "10.77.0.1/24"), (&far, "10.77.0.2/24")] {
            ip(&["-n", namespace, "address", "add", address, "dev", INTERFACE]);
            ip(&["-n", namespace, "link", "set", INTERFACE, "up"]);
        }
        Self { far }
    }

    /// From now on nothing arrives on either side, and neither side gets an error.
    #[track_caller]
    pub fn down(&self) {
        ip(&["-n", &self.far, "link", "set", INTERFACE, "down"]);
    }

    /// Everything arrives again.
    #[track_caller]
    pub fn up(&self) {
        ip(&["-n", &self.far, "link", "set", INTERFACE, "up"]);
    }
}

/// An interface for a host's network that leads nowhere: nmbd and its like wait for one with a broadcast address.
pub(crate) fn to_nowhere(namespace: &str) -> Result<()> {
    let (near, far) = ("lan0", "lan1");
    let add = ["link", "add", near, "type", "veth", "peer", "name", far];
    let address = [
        "address",
        "add",
        "10.78.0.1/24",
        "broadcast",
        "+",
        "dev",
        near,
    ];
    let up = |name| ["link", "set", name, "up"];
    for arguments in [&add[..], &address, &up(near), &up(far)] {
        machine::run("ip", &[&["-n", namespace], arguments].concat())?;
    }
    Ok(())
}

#[track_caller]
fn namespace(host: &Host) -> String {
    let path = host.network_namespace();
    let name = path.as_deref().and_then(|path| path.file_name());
    let name = name.expect("the host shares the machine's network");
    name.to_string_lossy().into_owned()
}

#[track_caller]
fn ip(arguments: &[&str]) {
    machine::run("ip", arguments).unwrap_or_else(|error| panic!("{error:#}"));
}
