//! One connection, held to its limits: how long a message may take, how long nothing may be said, how
//! long an answer may lie unread.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::message::{Messages, TooLarge};

/// From the first byte of a message to its last. A client that writes a message writes all of it.
const MESSAGE_LIMIT: Duration = Duration::from_secs(5);

/// Between two messages: enough for a program that thinks, too little to keep a process for nothing.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// For the client to take an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is read at once; what a client sends ahead of that waits in the kernel.
const CHUNK: usize = 16 * 1024;

/// A client that talks to us.
pub struct Connection {
    stream: UnixStream,
    messages: Messages,
}

/// The connection is over: closed, broken, or at one of its limits. No client waits for an answer.
#[derive(Debug)]
pub struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    /// A connection on which nothing was said yet.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            messages: Messages::default(),
        })
    }

    /// The next message, within the limits of one who may talk. Messages that were sent ahead are
    /// taken one by one: the next is not read before this one is answered.
    pub fn next(&mut self) -> Result<Result<Vec<u8>, TooLarge>, Gone> {
        self.next_within(IDLE_LIMIT)
    }

    /// The next message, when it begins within `idle`.
    pub fn next_within(&mut self, idle: Duration) -> Result<Result<Vec<u8>, TooLarge>, Gone> {
        let limit = |partial| if partial { MESSAGE_LIMIT } else { idle };
        let mut deadline = Instant::now() + limit(self.messages.is_partial());
        let mut chunk = [0; CHUNK];
        loop {
            match self.messages.take() {
                Ok(Some(message)) => return Ok(Ok(message.to_vec())),
                Ok(None) => {}
                Err(TooLarge) => return Ok(Err(TooLarge)),
            }
            self.wait(PollFlags::IN, deadline)?;
            let begun = self.messages.is_partial();
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.messages.push(&chunk[..count]),
                Err(error) if is_temporary(&error) => continue,
                Err(_) => return Err(Gone),
            }
            if !begun {
                deadline = Instant::now() + MESSAGE_LIMIT;
            }
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Gone> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut rest = message;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if is_temporary(&error) => self.wait(PollFlags::OUT, deadline)?,
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Waits until there is something to read from `other`, for `limit` at most. A client that only
    /// says no more is still there; one that has gone is not waited for.
    pub fn watch(&self, other: Option<BorrowedFd<'_>>, limit: Duration) -> Result<(), Gone> {
        let mut descriptors = vec![PollFd::new(&self.stream, PollFlags::empty())];
        descriptors.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut descriptors, Timespec::try_from(limit).ok().as_ref()) {
            Ok(_) if descriptors[0].revents().is_empty() => Ok(()),
            Err(Errno::INTR) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Until the connection is ready, or the deadline.
    fn wait(&self, ready: PollFlags, deadline: Instant) -> Result<(), Gone> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| Gone)?;
            match poll(&mut [PollFd::new(&self.stream, ready)], Some(&timeout)) {
                Ok(0) => return Err(Gone),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, Connection) {
        let (client, server) = UnixStream::pair().unwrap();
        (client, Connection::new(server).unwrap())
    }

    #[test]
    fn messages_come_in_order_and_the_end_is_the_end() {
        let (mut client, mut connection) = pair();
        client.write_all(b"one\0two\0thr").unwrap();
        assert_eq!(connection.next().unwrap().unwrap(), b"one");
        assert_eq!(connection.next().unwrap().unwrap(), b"two");
        client.write_all(b"ee\0").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(connection.next().unwrap().unwrap(), b"three");
        assert!(connection.watch(None, Duration::from_millis(1)).is_ok());
        assert!(connection.next().is_err());
        connection.send(b"answer\0").unwrap();
        drop(client);
        assert!(connection.watch(None, Duration::from_secs(10)).is_err());
        assert!(connection.send(b"answer\0").is_err());
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_limit() {
        let (mut client, mut connection) = pair();
        let begun = Instant::now();
        assert!(connection.next_within(Duration::from_millis(20)).is_err());
        assert!(begun.elapsed() < Duration::from_secs(2));
        // one byte now and then does not make a message last longer
        let drip = std::thread::spawn(move || {
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let begun = Instant::now();
        assert!(connection.next().is_err());
        let took = begun.elapsed();
        assert!(
            took >= MESSAGE_LIMIT && took < MESSAGE_LIMIT + Duration::from_secs(2),
            "{took:?}"
        );
        drop(connection);
        drip.join().unwrap();
    }

    #[test]
    fn what_is_too_large_ends_the_reading() {
        let (mut client, mut connection) = pair();
        let writer = std::thread::spawn(move || {
            let _ = client.write_all(&vec![b'x'; 3 * 1024 * 1024]);
        });
        assert_eq!(connection.next().unwrap(), Err(TooLarge));
        drop(connection);
        writer.join().unwrap();
    }
}
