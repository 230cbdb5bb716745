//! Writes the man page and the shell completions of patchctl into a directory: run when packaging.

#[path = "completions.rs"]
mod completions;
#[path = "interface.rs"]
mod interface;

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
    let mut offered = visible(&command);
    for (shell, file) in [
        (Shell::Bash, "patchctl.bash"),
        (Shell::Zsh, "_patchctl"),
        (Shell::Fish, "patchctl.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut offered, "patchctl", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        std::fs::write(
            directory.join(file),
            completions::with_values(shell, script),
        )?;
    }
    command.build();
    std::fs::write(
        directory.join("org.linux_patch.Agent1.5"),
        interface::page(),
    )?;
    std::fs::write(directory.join("patchctl.1"), page(&command)?)
}

/// The command line without the verbs that are not for people.
fn visible(command: &Command) -> Command {
    let shown = Command::new("patchctl").args(command.get_arguments().cloned());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    shown.subcommands(verbs.cloned())
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
    page.extend_from_slice(MORE.as_bytes());
    Ok(page)
}

/// What the grammar does not say.
const MORE: &str = include_str!("patchctl.roff");

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
        !matches!(
            argument.get_id().as_str(),
            "help" | "host" | "color" | "utc"
        ) && !argument.is_hide_set()
    };
    for argument in verb.get_arguments().filter(own) {
        text.control("TP", []);
        text.text([bold(argument.to_string())]);
        if let Some(help) = argument.get_help() {
            text.text([roman(format!("{help}."))]);
        }
        for value in argument
            .get_possible_values()
            .iter()
            .filter(|_| argument.get_action().takes_values())
        {
            let help = value
                .get_help()
                .map_or_else(String::new, |help| format!(": {help}"));
            text.text([bold(value.get_name()), roman(format!("{help} "))]);
            text.control("br", []);
        }
    }
    text.control("RE", []);
    text.to_writer(page)?;
    page.flush()
}
