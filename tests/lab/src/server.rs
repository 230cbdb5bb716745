//! An HTTP/1.1 server inside a host's network that serves one directory, well or as badly as it is told to.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const CAPTIVE_PORTAL: &[u8] =
    b"<!DOCTYPE html>\n<html><body><h1>Please log in to use this network</h1></body></html>\n";

/// How a request is answered when it is not answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status, and no file.
    Status(u16),
    /// The connection is accepted; an answer does not come before the fault is healed.
    Hang,
    /// One byte of the file per second.
    Drip,
    /// The connection is reset.
    Reset,
    /// Half of the promised file, then the end of the connection.
    Truncate,
    /// Success, and the page of a captive portal in place of the file.
    Html,
    /// A redirection to the same place.
    RedirectLoop,
    /// A redirection to another place, where the file is.
    Moved,
    /// The file with one bit of it changed.
    FlipBit,
}

/// Where files are that have moved.
const ELSEWHERE: &str = "/elsewhere";

/// The server. It is listening from its making to its end, unless it is stopped.
pub(crate) struct Server {
    shared: Arc<Shared>,
    namespace: Option<PathBuf>,
    address: SocketAddr,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

/// What the connections share with the thread that controls the server.
struct Shared {
    directory: PathBuf,
    faults: Mutex<Vec<(String, Fault)>>,
    requests: Mutex<Vec<String>>,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

impl Server {
    /// Serves `directory` on the loopback of that network namespace; port 0 takes a free one.
    pub(crate) fn start_in(
        namespace: Option<PathBuf>,
        port: u16,
        directory: PathBuf,
    ) -> Result<Self> {
        let shared = Shared {
            directory,
            faults: Mutex::default(),
            requests: Mutex::default(),
            connections: Mutex::default(),
        };
        let mut server = Self {
            shared: Arc::new(shared),
            namespace,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            listening: Mutex::default(),
        };
        server.start()?;
        if let Some(listening) = &*lock(&server.listening) {
            server.address = listening.listener.local_addr()?;
        }
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Listens again after a stop.
    pub(crate) fn start(&self) -> Result<()> {
        let mut listening = lock(&self.listening);
        if listening.is_none() {
            let listener = bind(self.namespace.clone(), self.address)?;
            let shared = Arc::clone(&self.shared);
            let acceptor = listener.try_clone()?;
            let thread = std::thread::spawn(move || accept(&acceptor, &shared));
            *listening = Some(Listening { listener, thread });
        }
        Ok(())
    }

    /// Connections are refused from now on, and those that are open end.
    pub(crate) fn stop(&self) {
        let Some(listening) = lock(&self.listening).take() else {
            return;
        };
        let _ = rustix::net::shutdown(&listening.listener, rustix::net::Shutdown::Both);
        let _ = listening.thread.join();
        for connection in lock(&self.shared.connections).values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Requests whose path contains `part` meet this fault; a later one for the same part replaces it.
    pub(crate) fn set_fault(&self, part: &str, fault: Fault) {
        let mut faults = lock(&self.shared.faults);
        faults.retain(|(other, _)| other != part);
        faults.push((part.to_owned(), fault));
    }

    /// Every request is answered as it should be from now on, also that of a client that is left hanging.
    pub(crate) fn clear_faults(&self) {
        lock(&self.shared.faults).clear();
        for connection in lock(&self.shared.connections).values() {
            // what is being sent is sent to its end
            let _ = connection.shutdown(Shutdown::Read);
        }
    }

    /// Takes the paths asked for since the last call, in their order.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn fault_for(&self, path: &str) -> Option<Fault> {
        let faults = lock(&self.faults);
        faults
            .iter()
            .rev()
            .find(|(part, _)| path.contains(part.as_str()))
            .map(|(_, fault)| *fault)
    }
}

/// A socket belongs for ever to the network namespace of the thread that made it.
fn bind(namespace: Option<PathBuf>, address: SocketAddr) -> Result<TcpListener> {
    let make = move || {
        if let Some(path) = namespace {
            let file = File::open(&path)
                .with_context(|| format!("failed to open '{}'", path.display()))?;
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&file),
                Some(LinkNameSpaceType::Network),
            )
            .with_context(|| format!("failed to enter '{}'", path.display()))?;
        }
        TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))
    };
    std::thread::spawn(make)
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((connection, _)) = listener.accept() else {
            return;
        };
        let Ok(control) = connection.try_clone() else {
            return;
        };
        lock(&shared.connections).insert(number, control);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            let reset = serve(&connection, &shared).is_ok_and(|end| end == End::Reset);
            if reset {
                let _ = set_socket_linger(&connection, Some(Duration::ZERO));
            } else {
                let _ = connection.shutdown(Shutdown::Both);
            }
            lock(&shared.connections).remove(&number);
        });
    }
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    KeepAlive,
    Close,
    Reset,
}

struct Request {
    head_only: bool,
    path: String,
    if_modified_since: Option<String>,
    close: bool,
}

fn serve(connection: &TcpStream, shared: &Shared) -> io::Result<End> {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read_request(&mut reader)? {
        // before the request is listed: a test that sees it there may remove the fault at once
        let fault = shared.fault_for(&request.path);
        lock(&shared.requests).push(request.path.clone());
        let end = match fault {
            None => answer(connection, shared, &request)?,
            Some(fault) => misbehave(connection, shared, &request, fault, &mut reader)?,
        };
        if end != End::KeepAlive || request.close {
            return Ok(end);
        }
    }
    Ok(End::Close)
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut request = Request {
        head_only: method == "HEAD",
        path: decode(path.split('?').next().unwrap_or_default()),
        if_modified_since: None,
        close: false,
    };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else {
            return Ok(Some(request));
        };
        match name.to_ascii_lowercase().as_str() {
            "if-modified-since" => request.if_modified_since = Some(value.trim().to_owned()),
            "connection" => request.close = value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// The file, or "not modified" when the client has just this one: an older file is served again as it is.
fn answer(connection: &TcpStream, shared: &Shared, request: &Request) -> io::Result<End> {
    let Some((body, modified)) = load(&shared.directory, &request.path) else {
        return send(connection, request, "404 Not Found", "", b"Not Found\n");
    };
    if request.if_modified_since.as_ref() == Some(&modified) {
        return send(connection, request, "304 Not Modified", "", b"");
    }
    send(
        connection,
        request,
        "200 OK",
        &format!("Last-Modified: {modified}\r\n"),
        &body,
    )
}

fn misbehave(
    connection: &TcpStream,
    shared: &Shared,
    request: &Request,
    fault: Fault,
    reader: &mut impl Read,
) -> io::Result<End> {
    let file = || {
        load(&shared.directory, &request.path)
            .map(|(body, _)| body)
            .unwrap_or_default()
    };
    match fault {
        Fault::Status(code) => send(
            connection,
            request,
            &format!("{code} Fault"),
            "",
            b"as told\n",
        ),
        Fault::Html => send(
            connection,
            request,
            "200 OK",
            "Content-Type: text/html\r\n",
            CAPTIVE_PORTAL,
        ),
        Fault::RedirectLoop => {
            let location = format!("Location: {}\r\n", request.path);
            send(connection, request, "302 Found", &location, b"")
        }
        Fault::Moved => {
            let Some(path) = request.path.strip_prefix(ELSEWHERE) else {
                let location = format!("Location: {ELSEWHERE}{}\r\n", request.path);
                return send(connection, request, "302 Found", &location, b"");
            };
            let there = Request {
                path: path.to_owned(),
                if_modified_since: request.if_modified_since.clone(),
                ..*request
            };
            answer(connection, shared, &there)
        }
        Fault::FlipBit => {
            let mut body = file();
            flip_bit(&mut body);
            send(connection, request, "200 OK", "", &body)
        }
        Fault::Truncate => {
            let body = file();
            send_head(connection, "200 OK", "", body.len())?;
            let mut connection = connection;
            connection.write_all(&body[..body.len() / 2])?;
            Ok(End::Close)
        }
        Fault::Drip => {
            let body = file();
            send_head(connection, "200 OK", "", body.len())?;
            drip(connection, &body).map(|()| End::Close)
        }
        Fault::Hang => {
            io::copy(reader, &mut io::sink())?;
            if shared.fault_for(&request.path).is_none() {
                answer(connection, shared, request)?;
            }
            Ok(End::Close)
        }
        Fault::Reset => Ok(End::Reset),
    }
}

fn drip(mut connection: &TcpStream, body: &[u8]) -> io::Result<()> {
    for byte in body {
        connection.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

fn send(
    connection: &TcpStream,
    request: &Request,
    status: &str,
    headers: &str,
    body: &[u8],
) -> io::Result<End> {
    send_head(connection, status, headers, body.len())?;
    let mut connection = connection;
    if !request.head_only {
        connection.write_all(body)?;
    }
    Ok(End::KeepAlive)
}

fn send_head(
    mut connection: &TcpStream,
    status: &str,
    headers: &str,
    length: usize,
) -> io::Result<()> {
    let length = if status.starts_with("304") {
        String::new()
    } else {
        format!("Content-Length: {length}\r\n")
    };
    connection.write_all(format!("HTTP/1.1 {status}\r\n{length}{headers}\r\n").as_bytes())
}

/// A file of the directory, with the time of its last change.
fn load(directory: &Path, path: &str) -> Option<(Vec<u8>, String)> {
    let file = directory.join(path.trim_start_matches('/'));
    let modified = fs::metadata(&file).ok()?.modified().ok()?;
    Some((fs::read(file).ok()?, httpdate::fmt_http_date(modified)))
}

/// Changes one bit in the middle: the size stays as it was.
pub(crate) fn flip_bit(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

/// Undoes `%2b` and its like, which apt writes for a `+`.
fn decode(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => decoded.extend([&char::from(byte).to_string(), &part[2..]]),
            None => decoded.extend(["%", part]),
        }
    }
    decoded
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
