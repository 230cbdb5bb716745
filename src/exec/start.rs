//! Starting a program: what it finds in its environment, and where its output goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::pipe::{Pipe, StreamKind};
use super::program::Program;

/// What a child finds in its environment, and nothing else: a variable like `APT_CONFIG` from the
/// caller's would run hooks of the caller's choice as root (FACTS 27).
const ENVIRONMENT: [(&str, &str); 11] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("LANGUAGE", ""),
    ("TERM", "dumb"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("DEBIAN_PRIORITY", "critical"),
    ("UCF_FORCE_CONFFOLD", "1"),
    ("APT_LISTCHANGES_FRONTEND", "none"),
    ("APT_LISTBUGS_FRONTEND", "none"),
    // needrestart would restart the unit of the worker; the next run of needrestart does what is needed
    ("NEEDRESTART_SUSPEND", "1"),
];

impl Program {
    /// The program itself, or this one, which guards it (see [`run_guarded`](super::run_guarded)).
    fn command(&self) -> Command {
        if !self.die_with_parent {
            return Command::new(&self.path);
        }
        // by the link, because an update may have replaced the file since this process started
        let mut command = Command::new("/proc/self/exe");
        let parent = std::process::id().to_string();
        command.args(["run", "leashed", &parent]).arg(&self.path);
        command
    }

    /// A file in memory: this process would have to feed a pipe while the child runs.
    fn standard_input(&self) -> io::Result<Stdio> {
        let Some(bytes) = &self.input else {
            return Ok(Stdio::null());
        };
        let memory = rustix::fs::memfd_create("input", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = File::from(memory);
        file.write_all(bytes)?;
        file.rewind()?;
        Ok(file.into())
    }

    /// Starts the program; what it writes comes through the pipes.
    pub fn spawn(&self) -> io::Result<(Child, Vec<Pipe>)> {
        if let Some(cache) = &self.cache {
            cache.remove_where_in_doubt();
        }
        let mut command = self.command();
        let usual = if self.bare { 1 } else { ENVIRONMENT.len() };
        command
            .env_clear()
            .envs(ENVIRONMENT.into_iter().take(usual))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .current_dir(&self.directory);
        command
            .stdin(self.standard_input()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(path) = &self.log {
            let log = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(path)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        // the writing end must stay open until the child has it, and no longer
        let mut pipes = Vec::new();
        let writer = match self.status_option {
            Some(option) => {
                let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
                pipes.push(Pipe::new(reader, StreamKind::Status)?);
                rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty())?;
                command
                    .arg("-o")
                    .arg(format!("{option}={}", writer.as_raw_fd()));
                Some(writer)
            }
            None => None,
        };
        command.args(&self.arguments);
        if let Some(path) = &self.log {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::End(0))?;
            pipes.push(Pipe {
                file,
                kind: StreamKind::Log,
                partial: Vec::new(),
                open: true,
            });
        }
        let mut child = command.spawn()?;
        drop(writer);
        if let Some(output) = child.stdout.take() {
            pipes.push(Pipe::new(output.into(), StreamKind::Output)?);
        }
        if let Some(errors) = child.stderr.take() {
            pipes.push(Pipe::new(errors.into(), StreamKind::Error)?);
        }
        Ok((child, pipes))
    }
}

/// Starts a program in the caller's environment whose standard input and output are these, and whose standard
/// error is read through a pipe.
pub(super) fn spawn_transport(
    program: &str,
    arguments: &[String],
    input: OwnedFd,
    output: OwnedFd,
) -> io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
}

/// Starts a program in the caller's environment and at the caller's terminal, and tells it of a descriptor by this
/// option. The other end is a pipe that ends when the program closes the descriptor.
pub(super) fn spawn_notifying(
    program: &str,
    option: &str,
    arguments: &[&str],
) -> io::Result<(Child, File)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty())?;
    let child = Command::new(program)
        .args([option, &writer.as_raw_fd().to_string()])
        .args(arguments)
        .spawn()?;
    Ok((child, reader.into()))
}
