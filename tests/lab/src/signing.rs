//! Keys of the lab: one that hosts trust, one that they do not; each made once. gpg leaves its agent running with them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cache, machine};

/// Who signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The key a repository's hosts are given.
    Trusted,
    /// A valid key that no host trusts.
    Stranger,
}

impl Key {
    /// `text` with its signature around it, the form of an `InRelease` file.
    pub(crate) fn sign(self, text: &str) -> Result<String> {
        let mut gpg = self.gpg()?;
        let mut child = gpg
            .args(["--digest-algo", "SHA512", "--clearsign"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start gpg")?;
        child
            .stdin
            .take()
            .context("gpg takes no input")?
            .write_all(text.as_bytes())?;
        let output = child.wait_with_output().context("failed to wait for gpg")?;
        if !output.status.success() {
            bail!(
                "gpg does not sign: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The signature over a file, to be put beside it.
    pub(crate) fn sign_detached(self, file: &Path) -> Result<String> {
        let options = ["--digest-algo", "SHA512", "--armor", "--output", "-"];
        machine::run_command(self.gpg()?.args(options).arg("--detach-sign").arg(file))
    }

    /// Puts a signature beside a file, as pacman wants it.
    pub(crate) fn sign_beside(self, file: &Path) -> Result<()> {
        let mut signature = file.as_os_str().to_owned();
        signature.push(".sig");
        let options = ["--digest-algo", "SHA512", "--yes", "--output"];
        let mut gpg = self.gpg()?;
        gpg.args(options)
            .arg(signature)
            .arg("--detach-sign")
            .arg(file);
        machine::run_command(&mut gpg).map(drop)
    }

    /// Puts a signature into an rpm file.
    pub(crate) fn sign_rpm(self, file: &Path) -> Result<()> {
        let mut rpmsign = Command::new("rpmsign");
        rpmsign
            .args([
                "--define",
                &format!("_gpg_name {}@example.org", self.name()),
            ])
            .args(["--define", &format!("_gpg_path {}", self.home()?.display())])
            .args(["--define", "__gpg /usr/bin/gpg"]) // rpm of Debian 12 looks for a gpg2
            .arg("--addsign")
            .arg(file);
        machine::run_command(&mut rpmsign).map(drop)
    }

    /// The public half, as a keyring file with the suffix `.asc`.
    pub(crate) fn public(self) -> Result<String> {
        machine::run_command(self.gpg()?.args(["--armor", "--export"]))
    }

    fn gpg(self) -> Result<Command> {
        Ok(gpg(&self.home()?))
    }

    fn home(self) -> Result<PathBuf> {
        let name = self.name();
        cache::build_once("keys", name, |home| generate(home, name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Stranger => "stranger",
        }
    }
}

fn generate(home: &Path, name: &str) -> Result<()> {
    fs::create_dir_all(home)?;
    let address = format!("{name}@example.org");
    let made = machine::run_command(gpg(home).args([
        "--passphrase",
        "",
        "--quick-generate-key",
        &address,
        "ed25519",
        "sign",
        "never",
    ]));
    // the agent belongs to a directory that is about to be renamed
    let _ = machine::run_command(
        Command::new("gpgconf")
            .arg("--homedir")
            .arg(home)
            .args(["--kill", "gpg-agent"]),
    );
    made.map(drop)
}

fn gpg(home: &Path) -> Command {
    let mut command = Command::new("gpg");
    command
        .arg("--homedir")
        .arg(home)
        .args(["--batch", "--quiet", "--no-permission-warning"]);
    command
}
