//! Files of a host, running or not, from outside: no link in its tree leads out of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2, readlinkat,
};
use rustix::io::Errno;

/// The tree of one host. While the host runs, it has the host's own mounts such as `/run`.
pub(crate) struct Tree {
    root: OwnedFd,
}

/// What stands at a path.
pub(crate) enum Seen {
    Directory,
    File(File),
    /// What the link names.
    Link(String),
}

impl Tree {
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())
            .with_context(|| format!("failed to open the tree '{}'", root.display()))?;
        Ok(Self { root })
    }

    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file(path, OFlags::RDONLY)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .with_context(|| format!("failed to read '{path}' of the host"))?;
        Ok(bytes)
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.file(path, OFlags::PATH).is_ok()
    }

    /// What stands at a path itself: a link is not followed.
    pub(crate) fn look(&self, path: &str) -> io::Result<Seen> {
        let it = self.file(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        Ok(match FileType::from_raw_mode(fstat(&it)?.st_mode) {
            FileType::Directory => Seen::Directory,
            FileType::Symlink => {
                let target = readlinkat(&it, "", Vec::new())?;
                Seen::Link(target.to_string_lossy().into_owned())
            }
            _ => Seen::File(self.file(path, OFlags::RDONLY | OFlags::NOFOLLOW)?),
        })
    }

    /// Creates the file, and the directories above it, as needed.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(path, bytes, OFlags::TRUNC)
    }

    pub(crate) fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.put(path, bytes, OFlags::APPEND)
    }

    fn put(&self, path: &str, bytes: &[u8], how: OFlags) -> Result<()> {
        self.create_parents(path)
            .and_then(|()| self.file(path, OFlags::WRONLY | OFlags::CREATE | how))
            .and_then(|mut file| file.write_all(bytes))
            .with_context(|| format!("failed to write '{path}' of the host"))
    }

    fn create_parents(&self, path: &str) -> io::Result<()> {
        let Some(parent) = Path::new(path).parent().and_then(Path::to_str) else {
            return Ok(());
        };
        if parent.is_empty() || self.exists(parent) {
            return Ok(());
        }
        self.create_parents(parent)?;
        let (above, name) = parent.rsplit_once('/').unwrap_or(("", parent));
        let above = if above.is_empty() { "/" } else { above };
        match mkdirat(
            self.file(above, OFlags::PATH)?,
            name,
            Mode::from_raw_mode(0o755),
        ) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens as a process of the host would, so that a link to `/etc/x` means the host's.
    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o644)
        } else {
            Mode::empty()
        };
        let file = openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            mode,
            ResolveFlags::IN_ROOT,
        )?;
        Ok(File::from(file))
    }
}

/// A program's file mode must survive the way into a host.
pub(crate) fn is_executable(path: &Path) -> bool {
    rustix::fs::accessat(
        CWD,
        path,
        rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::empty(),
    )
    .is_ok()
}
