//! Reading files that an unprivileged account may have prepared.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Why an entry that another account prepared could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is gone: another process took it.
    Gone,
    /// It is not what an entry may be: a link, a directory, too large, …
    Refused(String),
    /// The disk or the kernel failed.
    Failed(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads a file from a directory that unprivileged accounts may write to: links are not followed, a fifo does not
/// block, only a regular file with a single name and at most `limit` bytes is read. Type and size are those of the open
/// descriptor, so that replacing the file after the check has no effect.
pub fn read_untrusted(directory: &Path, name: &Path, limit: u64) -> Result<Vec<u8>, Unreadable> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).map_err(io::Error::from)?;
    // no openat2(2), which RestrictSUIDSGID= forbids the front ends: for a single name, NOFOLLOW is enough
    if name.file_name() != Some(name.as_os_str()) {
        return Err(refused("it is not in this directory"));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Err(Unreadable::Gone),
        Err(rustix::io::Errno::LOOP) => return Err(refused("it is a symbolic link")),
        Err(rustix::io::Errno::NXIO) => return Err(refused("it is a socket")),
        // fcntl(2), F_SETLEASE: its owner can delay the opening
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(refused("another process holds a lease on it"));
        }
        Err(error) => return Err(Unreadable::Failed(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is not a regular file"));
    }
    if std::os::unix::fs::MetadataExt::nlink(&metadata) > 1 {
        return Err(refused("it has a second name (hard link)"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(refused(&format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn refused(why: &str) -> Unreadable {
    Unreadable::Refused(why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_small_regular_files_with_one_name_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let read = |name: &str| read_untrusted(directory.path(), Path::new(name), 4);
        fs::write(at("good"), b"1234").unwrap();
        fs::write(at("large"), b"12345").unwrap();
        fs::write(at("twice"), b"1").unwrap();
        fs::hard_link(at("twice"), at("again")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink(at("good"), at("link")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, Mode::RUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

        assert_eq!(read("good").unwrap(), b"1234");
        for name in ["large", "twice", "directory", "link", "fifo", "socket"] {
            assert!(
                matches!(read(name), Err(Unreadable::Refused(_))),
                "{name}: {:?}",
                read(name)
            );
        }
        assert!(matches!(read("missing"), Err(Unreadable::Gone)));
        for name in ["../x", "directory/../good", "directory/", "..", "."] {
            assert!(read(name).is_err(), "{name}");
        }
    }
}
