//! The socket of the bus, on which no message is read that is larger than a call can be.
//!
//! Every local user may send the service calls and signals of up to 32 MiB (the limit of the bus), and zbus reads a
//! message whole before anything looks at it.

use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::{Address, Message};
use zruntime::{AsyncIo, Shared, SharedRuntime};

/// The most bytes of a message: twice what a request of 64 KiB takes.
const MAX_MESSAGE: usize = 128 * 1024;

/// The fixed part of a message's header, up to the length of the fields that follow.
const FIXED: usize = 16;

/// Where the length of the body stands in it, and that of the fields (D-Bus specification, "Message Format").
const BODY_LENGTH: usize = 4;
const FIELDS_LENGTH: usize = 12;

type Stream = Arc<AsyncIo<UnixStream, Shared>>;

/// A connection to the system bus that is yet to be made, as zbus would make it; only with a bus that is no local
/// socket it is one without the limit.
pub fn system_bus(runtime: &SharedRuntime) -> zbus::Result<Builder<'static>> {
    let address = Address::system()?;
    let Some(path) = path(&address) else {
        return Ok(Builder::address(address));
    };
    let stream = UnixStream::connect(path)?;
    let stream = Arc::new(AsyncIo::new(runtime, stream)?);
    Ok(Builder::socket(Bounded(stream)))
}

fn path(address: &Address) -> Option<PathBuf> {
    match address.transport() {
        Transport::Unix(unix) => match unix.path() {
            UnixSocket::File(path) => Some(path.clone()),
            _ => None,
        },
        _ => None,
    }
}

struct Bounded(Stream);

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader(Raw(Arc::clone(&self.0))), Writer(self.0))
    }
}

/// Reads bytes, and leaves it to zbus to make messages of them. No descriptor is ever passed: no half says it can.
#[derive(Debug)]
struct Raw(Stream);

#[async_trait]
impl ReadHalf for Raw {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        let read = self.0.read_with(|mut stream| stream.read(buffer)).await?;
        Ok((read, Vec::new()))
    }
}

/// Reads messages. Of one that is too large the header is kept and its body taken away, so that the call is
/// answered as one without arguments is: with an error.
#[derive(Debug)]
struct Reader(Raw);

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        number: u64,
        received: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        loop {
            self.read_up_to(received, FIXED).await?;
            let lengths = Lengths::of(received)?;
            if lengths.whole() <= MAX_MESSAGE {
                break;
            }
            if lengths.header > MAX_MESSAGE {
                self.pass_over(received, lengths.whole()).await?;
                continue;
            }
            self.read_up_to(received, lengths.header).await?;
            let rest = received.split_off(lengths.header);
            let header = std::mem::replace(received, rest);
            self.pass_over(received, lengths.body).await?;
            received.splice(0..0, without_body(header));
            break;
        }
        self.0.receive_message(number, received, descriptors).await
    }

    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        self.0.recvmsg(buffer).await
    }
}

impl Reader {
    /// Reads until there are at least so many bytes.
    async fn read_up_to(&mut self, received: &mut Vec<u8>, count: usize) -> io::Result<()> {
        while received.len() < count {
            let before = received.len();
            received.resize(count, 0);
            let read = self.0.recvmsg(&mut received[before..]).await;
            received.truncate(before + read.as_ref().map_or(0, |(read, _)| *read));
            if read?.0 == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// Takes the next bytes away, those first that were received already.
    async fn pass_over(&mut self, received: &mut Vec<u8>, count: usize) -> io::Result<()> {
        let mut left = count - received.drain(..count.min(received.len())).len();
        let mut chunk = vec![0; left.min(MAX_MESSAGE)];
        while left > 0 {
            let most = left.min(chunk.len());
            let (read, _) = self.0.recvmsg(&mut chunk[..most]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= read;
        }
        Ok(())
    }
}

/// How long the parts of a message are.
#[derive(Debug, PartialEq, Eq)]
struct Lengths {
    /// The header, with what fills it up to a multiple of eight.
    header: usize,
    body: usize,
}

impl Lengths {
    /// What the fixed part of the header says.
    fn of(fixed: &[u8]) -> io::Result<Self> {
        let number = |at: usize| -> io::Result<usize> {
            let bytes = fixed
                .get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok());
            let bytes: [u8; 4] = bytes.ok_or(io::ErrorKind::InvalidData)?;
            let number = match fixed[0] {
                b'l' => u32::from_le_bytes(bytes),
                b'B' => u32::from_be_bytes(bytes),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            };
            usize::try_from(number).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        Ok(Self {
            header: (FIXED + number(FIELDS_LENGTH)?).next_multiple_of(8),
            body: number(BODY_LENGTH)?,
        })
    }

    fn whole(&self) -> usize {
        self.header.saturating_add(self.body)
    }
}

/// The same header, of a message without a body: pure. Zero is zero in either order of the bytes.
fn without_body(mut header: Vec<u8>) -> Vec<u8> {
    header[BODY_LENGTH..BODY_LENGTH + 4].fill(0);
    header
}

/// Writes messages.
#[derive(Debug)]
struct Writer(Stream);

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write_with(|mut stream| stream.write(buffer)).await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.0.get_ref().shutdown(std::net::Shutdown::Both)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// What a reader makes of these messages, one after the other.
    fn read(messages: &[Message]) -> Vec<Message> {
        let (mut there, here) = UnixStream::pair().unwrap();
        let sent: Vec<u8> = messages.iter().flat_map(|m| m.data().to_vec()).collect();
        let writer = std::thread::spawn(move || there.write_all(&sent).unwrap());
        let count = messages.len();
        let read = zbus::block_on(async {
            let runtime = SharedRuntime::current().unwrap();
            let stream = Arc::new(AsyncIo::new(&runtime, here).unwrap());
            let (mut reader, mut received) = (Reader(Raw(stream)), Vec::new());
            let mut read = Vec::new();
            for number in 0..count {
                let mut none = Vec::new();
                let message = reader.receive_message(number as u64, &mut received, &mut none);
                read.push(message.await.unwrap());
            }
            read
        });
        writer.join().unwrap();
        read
    }

    fn call(member: &'static str, text: &str) -> Message {
        let arguments = (HashMap::from([(text, zbus::Variant::from(1_u32))]),);
        let call = Message::method_call("/a", member);
        call.build(&arguments).unwrap()
    }

    #[test]
    fn a_message_that_is_too_large_loses_its_body_and_the_next_one_is_whole() {
        let large = "x".repeat(10 * 1024 * 1024);
        let sent = [
            call("First", "a"),
            call("Large", &large),
            call("Next", "b"),
            call("Large", &"y".repeat(MAX_MESSAGE)),
            call("Last", &"z".repeat(MAX_MESSAGE / 2)),
        ];
        let read = read(&sent);
        let bodies: Vec<usize> = read.iter().map(|message| message.body().len()).collect();
        for (place, (sent, read)) in sent.iter().zip(&read).enumerate() {
            assert_eq!(read.header().member(), sent.header().member());
            let body = if [1, 3].contains(&place) {
                0
            } else {
                sent.body().len()
            };
            assert_eq!(bodies[place], body, "{place}");
        }
        let arguments = read[1]
            .body()
            .deserialize::<HashMap<String, zbus::OwnedVariant>>();
        assert!(arguments.is_err());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        assert!(Lengths::of(b"l\x01\0\x01\0\0").is_err());
        assert!(Lengths::of(&[b'x'; 16]).is_err());
        let lengths = Lengths::of(b"B\x01\0\x01\0\0\0\x05\0\0\0\x01\0\0\0\x09").unwrap();
        assert_eq!(
            lengths,
            Lengths {
                header: 32,
                body: 5
            }
        );
    }
}
