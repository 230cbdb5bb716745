//! Writes the man page and the shell completions of patchctl into a directory: run when packaging.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use linux_patch_api::cli::Cli;

fn main() -> std::io::Result<()> {
    let directory = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .ok_or_else(|| std::io::Error::other("usage: manuals DIRECTORY"))?,
    );
    std::fs::create_dir_all(&directory)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "patchctl", &directory)?;
    }
    let manual = clap_mangen::Man::new(command)
        .date("")
        .source("linux-patch-api")
        .manual("");
    let mut page = Vec::new();
    manual.render(&mut page)?;
    std::fs::write(directory.join("patchctl.1"), page)
}
