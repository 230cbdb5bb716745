//! What a child writes, line by line.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use super::output_handler::Line;

/// The longest line kept; the rest of a longer one is dropped.
const MAX_LINE: usize = 64 * 1024;

/// Which of a child's outputs it is.
#[derive(Debug, Clone, Copy)]
pub enum StreamKind {
    Output,
    Error,
    Status,
    /// A file that grows: it has no end and cannot be waited for.
    Log,
}

/// The reading end of one of the child's pipes, and the line that is not whole yet.
pub struct Pipe {
    pub file: File,
    pub kind: StreamKind,
    pub partial: Vec<u8>,
    pub open: bool,
}

impl Pipe {
    pub fn new(descriptor: OwnedFd, kind: StreamKind) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self {
            file: File::from(descriptor),
            kind,
            partial: Vec::new(),
            open: true,
        })
    }

    /// Reads all there is now and hands on whole lines; the last one also without its end at EOF.
    pub fn read(&mut self, deliver: &mut dyn FnMut(Line<'_>)) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.file.read(&mut buffer) {
                Ok(0) if matches!(self.kind, StreamKind::Log) => return Ok(()),
                Ok(0) => {
                    self.open = false;
                    if !self.partial.is_empty() {
                        self.flush(deliver);
                    }
                    return Ok(());
                }
                Ok(count) => self.take(&buffer[..count], deliver),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(Line<'_>)) {
        for &byte in bytes {
            // a carriage return ends a line, too: progress on a terminal is written that way
            if byte == b'\n' || byte == b'\r' {
                if !self.partial.is_empty() {
                    self.flush(deliver);
                }
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(byte);
            }
        }
    }

    pub fn flush(&mut self, deliver: &mut dyn FnMut(Line<'_>)) {
        let text = String::from_utf8_lossy(&self.partial);
        deliver(match self.kind {
            StreamKind::Output | StreamKind::Log => Line::Output(&text),
            StreamKind::Error => Line::Error(&text),
            StreamKind::Status => Line::Status(&text),
        });
        drop(text);
        self.partial.clear();
    }
}
