//! Another host, as the command line names it.

use std::fmt;
use std::str::FromStr;

/// A host that ssh reaches: `[USER@]HOST[:PORT][/CONTAINER]`, the form of `systemctl --host=`
/// (`bus_set_address_system_remote` of sd-bus). An IPv6 address is put into brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// The text that was parsed.
    text: String,
    login: String,
    port: Option<u16>,
    container: Option<String>,
}

impl Remote {
    /// `[USER@]HOST` without brackets, as one argument of ssh.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The port of sshd, if it differs from ssh's own configuration.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The container on that host whose bus is used, as `machinectl` names it.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let form = "[USER@]HOST[:PORT][/CONTAINER], with an IPv6 address in brackets";
            format!("'{}' is not {form}", text.escape_debug())
        };
        let (user, address) = match text.split_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, text),
        };
        let (host, rest) = split_host(address).ok_or_else(wrong)?;
        let (port, container) = split_rest(rest).ok_or_else(wrong)?;
        let is_plain = |part: &str, more: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            // what begins with a dash would be an option of ssh
            !part.is_empty() && !part.starts_with('-') && part.chars().all(plain)
        };
        let sound = user.is_none_or(|user| is_plain(user, "._-"))
            && is_plain(host, ".-_:%")
            && container.is_none_or(|name| is_plain(name, ".-"));
        if !sound {
            return Err(wrong());
        }
        let login = user.map_or_else(|| host.to_owned(), |user| format!("{user}@{host}"));
        Ok(Self {
            text: text.to_owned(),
            login,
            port,
            container: container.map(str::to_owned),
        })
    }
}

/// The host, and what comes after it.
fn split_host(address: &str) -> Option<(&str, &str)> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return (rest.is_empty() || rest.starts_with([':', '/'])).then_some((host, rest));
    }
    let end = address.find([':', '/']).unwrap_or(address.len());
    Some(address.split_at(end))
}

/// The port and the container of `:PORT/CONTAINER`, each of which may be missing. A name after the colon is also a
/// container, because older versions of systemctl had it there.
fn split_rest(rest: &str) -> Option<(Option<u16>, Option<&str>)> {
    let (port, container) = match rest.split_once('/') {
        Some((port, container)) => (port, Some(container)),
        None => (rest, None),
    };
    let Some(port) = port.strip_prefix(':') else {
        return port.is_empty().then_some((None, container));
    };
    if port.starts_with(|c: char| c.is_ascii_digit()) {
        return port.parse().ok().map(|port| (Some(port), container));
    }
    container.is_none().then_some((None, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_as_systemctl_names_it() {
        for (text, login, port, container) in [
            ("web", "web", None, None),
            ("root@web.example", "root@web.example", None, None),
            ("web:2222", "web", Some(2222), None),
            ("root@web:2222/box", "root@web", Some(2222), Some("box")),
            ("web/box", "web", None, Some("box")),
            ("web:box", "web", None, Some("box")),
            ("[fe80::1%eth0]", "fe80::1%eth0", None, None),
            ("root@[::1]:22", "root@::1", Some(22), None),
        ] {
            let remote: Remote = text.parse().unwrap();
            assert_eq!(remote.login(), login, "{text}");
            assert_eq!(remote.port(), port, "{text}");
            assert_eq!(remote.container(), container, "{text}");
            assert_eq!(remote.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "-oProxyCommand=x",
            "a b",
            "root@",
            "@web",
            "a@b@c",
            "root@-x",
            "web:",
            "web:99999",
            "web:22x",
            "web:22:23",
            "web/",
            "web/-x",
            "fe80::1",
            "[::1",
            "[::1]x",
            "[]",
            "web:-x",
            "a,argv5=x",
            "web:box/box",
        ] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }
}
