//! An HTTP server that takes lines of JSON, and fails when it is told to.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 200.
    Takes,
    /// Another status.
    Status(u16),
    /// Reads all of it, and does not answer.
    Silent,
    /// Hangs up in the middle of the request: with data unread that is a reset.
    Resets,
    /// Takes it, and hangs up without an answer.
    HangsUp,
    /// Answers something else than HTTP.
    Babbles,
    /// 200 to requests with one record, 413 to others.
    OneByOne,
    /// 400 to what contains this word, in a batch or alone.
    Dislikes(&'static str),
}

#[derive(Debug)]
struct State {
    mode: Mutex<Mode>,
    /// Lines of requests that were answered 2xx, in order.
    lines: Mutex<Vec<String>>,
    heads: Mutex<Vec<String>>,
    requests: Mutex<u64>,
    ends: AtomicBool,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Collector {
    pub address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// On a port of its own.
    pub fn start(mode: Mode) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(free, mode).unwrap_or_else(|error| panic!("listen on loopback: {error}"))
    }

    /// On a port that one before it had.
    pub fn at(address: SocketAddr, mode: Mode) -> io::Result<Self> {
        Self::listen(address, mode, None)
    }

    /// On a port of its own, over TLS with this certificate and key.
    pub fn tls(mode: Mode, certificate: &Path, key: &Path) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(io::Error::other)?;
        Self::listen(([127, 0, 0, 1], 0).into(), mode, Some(Arc::new(config)))
    }

    fn listen(address: SocketAddr, mode: Mode, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            mode: Mutex::new(mode),
            lines: Mutex::default(),
            heads: Mutex::default(),
            requests: Mutex::default(),
            ends: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.ends.load(Ordering::SeqCst) {
                    break;
                }
                let (Ok(stream), state, tls) = (stream, Arc::clone(&shared), tls.clone()) else { continue };
                // Ends with its connection, which a read timeout bounds.
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_mins(1)));
                    match tls.map(ServerConnection::new) {
                        None => serve(stream, &state),
                        Some(Ok(session)) => serve(StreamOwned::new(session, stream), &state),
                        Some(Err(error)) => panic!("TLS: {error}"),
                    }
                });
            }
        });
        Ok(Self { address, state, thread: Some(thread) })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn mode(&self, mode: Mode) {
        *locked(&self.state.mode) = mode;
    }

    /// Lines acknowledged so far.
    pub fn lines(&self) -> Vec<String> {
        locked(&self.state.lines).clone()
    }

    /// As many as differ.
    pub fn distinct(&self) -> usize {
        locked(&self.state.lines).iter().collect::<BTreeSet<_>>().len()
    }

    /// Heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        locked(&self.state.heads).clone()
    }

    pub fn requests(&self) -> u64 {
        *locked(&self.state.requests)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.state.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("another thread of the collector panicked")
}

fn serve(stream: impl Read + Write, state: &State) {
    let mut reader = BufReader::new(stream);
    while request(&mut reader, state).unwrap_or(false) {}
}

/// Whether the connection goes on.
fn request(reader: &mut BufReader<impl Read + Write>, state: &State) -> io::Result<bool> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        head.push_str(&line);
    }
    if state.ends.load(Ordering::SeqCst) {
        return Ok(false);
    }
    *locked(&state.requests) += 1;
    let mode = *locked(&state.mode);
    if mode == Mode::Resets {
        return Ok(false);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let text = String::from_utf8(body).map_err(io::Error::other)?;
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let status = match mode {
        Mode::Status(status) => status,
        Mode::OneByOne if lines.len() > 1 => 413,
        Mode::Dislikes(word) if text.contains(word) => 400,
        Mode::Takes | Mode::OneByOne | Mode::Dislikes(_) => 200,
        Mode::Silent => {
            // Until the client gives up.
            let _ = reader.read(&mut [0]);
            return Ok(false);
        }
        Mode::HangsUp | Mode::Resets => return Ok(false),
        Mode::Babbles => {
            reader.get_mut().write_all(b"220 smtp.example ESMTP\r\n")?;
            return Ok(false);
        }
    };
    if (200..300).contains(&status) {
        locked(&state.lines).extend(lines);
        locked(&state.heads).push(head);
    }
    let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 3\r\n\r\nok\n");
    reader.get_mut().write_all(answer.as_bytes())?;
    Ok(true)
}
