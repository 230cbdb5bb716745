//! The archive this machine itself is installed from: hosts are bootstrapped from it, and patch themselves from it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine;

/// Where Debian comes from, and its security updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) main: String,
    pub(crate) security: String,
}

impl Mirror {
    /// Asks apt for this machine's sources and takes the Debian ones, never a third party's.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let format = "$(ORIGIN)\t$(REPO_URI)\t$(COMPONENT)";
        let targets = machine::run(
            "apt-get",
            &["indextargets", "--format", format, "Identifier: Packages"],
        )?;
        let mut mirror =
            parse(&targets).context("this machine's apt sources name no Debian archive")?;
        mirror.main = resolve(&mirror.main);
        mirror.security = resolve(&mirror.security);
        Ok(mirror)
    }
}

/// The proxy this machine's apt goes through, as a line of apt configuration.
pub(crate) fn proxy() -> Option<String> {
    let shell = machine::run("apt-config", &["shell", "PROXY", "Acquire::http::Proxy"]).ok()?;
    let address = shell.trim().strip_prefix("PROXY='")?.strip_suffix('\'')?;
    (!address.is_empty()).then(|| format!("Acquire::http::Proxy \"{address}\";"))
}

fn parse(targets: &str) -> Option<Mirror> {
    let debian: Vec<&str> = targets
        .lines()
        .filter_map(|line| {
            let [origin, uri, component] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            (component == "main" && is_debian(origin, uri)).then_some(uri)
        })
        .collect();
    let is_security = |uri: &&&str| uri.contains("security");
    let main = *debian.iter().find(|uri| !is_security(uri))?;
    let security = debian.iter().find(is_security).map_or_else(
        || format!("{}-security/", main.trim_end_matches('/')),
        ToString::to_string,
    );
    Some(Mirror {
        main: main.to_owned(),
        security,
    })
}

/// By what the index says of itself; without an index, only a `/debian` at the top of a host is taken for Debian.
fn is_debian(origin: &str, uri: &str) -> bool {
    if !origin.is_empty() && !origin.starts_with('$') {
        return origin == "Debian";
    }
    let path = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'));
    let list = uri.starts_with("mirror+file:") && uri.contains("debian");
    list || path
        .is_some_and(|(_, path)| matches!(path.trim_end_matches('/'), "debian" | "debian-security"))
}

/// Cloud images name a file with the addresses in it, which a host does not have.
fn resolve(uri: &str) -> String {
    uri.strip_prefix("mirror+file:")
        .and_then(|path| fs::read_to_string(Path::new(path.trim_end_matches('/'))).ok())
        .and_then(|list| {
            list.lines()
                .find_map(|line| line.split_whitespace().next().map(str::to_owned))
        })
        .unwrap_or_else(|| uri.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn third_parties_are_not_debian() {
        let targets = "\
            Docker\thttps://third.example/linux/debian/\tstable\n\
            \thttps://third.example/runner/debian/\tmain\n\
            Debian\thttp://archive.example/debian-security/\tmain\n\
            Debian\thttp://archive.example/debian/\tmain\n";
        let mirror = parse(targets).unwrap();
        assert_eq!(mirror.main, "http://archive.example/debian/");
        assert_eq!(mirror.security, "http://archive.example/debian-security/");
    }

    #[test]
    fn without_an_index_the_address_decides() {
        let mirror = parse("\thttp://archive.example/debian/\tmain\n").unwrap();
        assert_eq!(mirror.security, "http://archive.example/debian-security/");
        assert_eq!(parse("\thttp://third.example/tool/debian/\tmain\n"), None);
    }
}
