//! Which host this is: its names, its operating system, its kernel.

use std::fs;

use crate::checksum::{hexadecimal, hmac_sha256};
use crate::paths::Paths;

/// The application for which a host's id is derived: made at random, once.
const APPLICATION: [u8; 16] = [
    0x6b, 0x0c, 0x1a, 0x5e, 0x8f, 0x2d, 0x4c, 0x37, 0x9a, 0x41, 0xd3, 0x5b, 0x27, 0xe8, 0x60, 0x94,
];

/// The name that the host goes by.
#[must_use]
pub fn hostname() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The machine's architecture, as `uname -m` prints it.
#[must_use]
pub fn architecture() -> String {
    let name = rustix::system::uname();
    name.machine().to_string_lossy().into_owned()
}

/// An id of this installation that is the same for ever and does not tell the machine id, which is confidential:
/// `sd_id128_get_machine_app_specific(3)` for `APPLICATION`. None where there is no machine id.
#[must_use]
pub fn host_id(paths: &Paths) -> Option<String> {
    let text = fs::read_to_string(paths.host("/etc/machine-id")).ok()?;
    derived(text.trim(), APPLICATION)
}

/// The id that is derived from a machine id for an application; pure.
fn derived(machine: &str, application: [u8; 16]) -> Option<String> {
    let machine = u128::from_str_radix(machine, 16)
        .ok()
        .filter(|_| machine.len() == 32)?;
    let code = hmac_sha256(&machine.to_be_bytes(), &application);
    let mut id = [0; 16];
    id.copy_from_slice(&code[..16]);
    // a UUID of version 4, variant DCE (RFC 9562)
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Some(hexadecimal(&id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_one_that_systemd_derives() {
        // systemd-id128 machine-id --app-specific=
        let application = APPLICATION;
        let id = derived("0123456789abcdef0123456789abcdef", application).unwrap();
        assert_eq!((id.len(), &id[12..13]), (32, "4"));
        assert_ne!(
            derived("00000000000000000000000000000001", application),
            Some(id)
        );
        assert_eq!(derived("uninitialized", application), None);
        assert_eq!(derived("12", application), None);
    }
}
