//! Writes the man page and the shell completions of patchctl into a directory: run when packaging.

use std::io::Write;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use linux_patch_api::cli::Cli;

fn main() -> std::io::Result<()> {
    let usage = || std::io::Error::other("usage: manuals DIRECTORY");
    let directory = PathBuf::from(std::env::args_os().nth(1).ok_or_else(usage)?);
    std::fs::create_dir_all(&directory)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "patchctl", &directory)?;
    }
    command.build();
    std::fs::write(directory.join("patchctl.1"), page(&command)?)
}

/// The whole manual on one page: the verbs have no pages of their own.
fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let manual = Man::new(command.clone())
        .date("")
        .source("linux-patch-api")
        .manual("");
    let mut page = Vec::new();
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    Roff::new()
        .control("SH", ["COMMANDS"])
        .to_writer(&mut page)?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        render_verb(verb, &mut page)?;
    }
    manual.render_options_section(&mut page)?;
    let mut see = Roff::new();
    see.control("SH", ["SEE ALSO"]);
    see.text([
        bold("patch-apply@.service"),
        roman("(8), "),
        bold("linux_patch_api.toml"),
        roman("(5), "),
        bold("journalctl"),
        roman("(1), "),
        bold("systemctl"),
        roman("(1)"),
    ]);
    see.to_writer(&mut page)?;
    Ok(page)
}

/// One verb: its usage, what it does, its arguments.
fn render_verb(verb: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let mut text = Roff::new();
    let usage = verb.clone().render_usage().to_string();
    text.control("TP", []);
    text.text([bold(usage.trim_start_matches("Usage: "))]);
    if let Some(about) = verb.get_about() {
        text.text([roman(format!("{about}."))]);
    }
    text.control("RS", []);
    let own = |argument: &&clap::Arg| {
        !matches!(argument.get_id().as_str(), "help" | "host") && !argument.is_hide_set()
    };
    for argument in verb.get_arguments().filter(own) {
        text.control("TP", []);
        text.text([bold(argument.to_string())]);
        if let Some(help) = argument.get_help() {
            text.text([roman(format!("{help}."))]);
        }
    }
    text.control("RE", []);
    text.to_writer(page)?;
    page.flush()
}
