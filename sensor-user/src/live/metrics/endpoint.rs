//! The HTTP endpoint of the metrics, on loopback or a unix socket: `/metrics`, `/healthz`, `/readyz`.
//!
//! One request a connection, bounded in size and time; so are connections. The state is asked for as the control socket
//! does, once a second at most, however many ask here: who scrapes must not hold up the thread that drains the rings.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::request::{HEAD_MAX, Page, Request, parse};
use super::{Form, render};
use crate::clock;
use crate::live::control::{self, Command, Question};

/// Connections at once; who comes beyond is told to come again.
const CONNECTIONS: usize = 16;
/// For a whole request and its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the sensor's own answer.
const SENSOR_PATIENCE: Duration = Duration::from_secs(2);
/// For which an answer is given again.
const FRESH: Duration = Duration::from_secs(1);

/// Listens; dropping it stops.
#[derive(Debug)]
pub struct Endpoint {
    /// Where, as it is told; a port that was 0 is the one it became.
    pub place: String,
    task: tokio::task::JoinHandle<()>,
    _socket: Option<control::Socket>,
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Binds `metrics.listen`; must be called inside the runtime.
pub fn start(listen: &str, questions: mpsc::Sender<Question>) -> io::Result<Endpoint> {
    let sensor = Arc::new(Sensor { questions, last: Mutex::new(None) });
    if listen.starts_with('/') {
        let (listener, socket) = control::bind(Path::new(listen))?;
        let task = tokio::spawn(serve_unix(listener, sensor));
        return Ok(Endpoint { place: listen.to_owned(), task, _socket: Some(socket) });
    }
    let address: SocketAddr =
        listen.parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no address and port"))?;
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let place = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(serve_tcp(TcpListener::from_std(listener)?, sensor));
    Ok(Endpoint { place, task, _socket: None })
}

/// The loop that owns the state, and what it last said.
struct Sensor {
    questions: mpsc::Sender<Question>,
    last: Mutex<Option<(Instant, Arc<Value>)>>,
}

impl Sensor {
    /// What `status` tells; `None` if it does not answer in time.
    async fn status(&self) -> Option<Arc<Value>> {
        let mut last = self.last.lock().await;
        if let Some((at, status)) = &*last
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(status));
        }
        let (answer, wait) = oneshot::channel();
        let ask = async {
            self.questions.send(Question { command: Command::Status, answer }).await.ok()?;
            wait.await.ok()
        };
        let line = timeout(SENSOR_PATIENCE, ask).await.ok()??;
        let mut status: Value = serde_json::from_slice(&line).ok()?;
        let status = Arc::new(status["data"].take());
        *last = Some((Instant::from_std(clock::monotonic()), Arc::clone(&status)));
        Some(status)
    }
}

async fn serve_tcp(listener: TcpListener, sensor: Arc<Sensor>) {
    let places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream, &places, &sensor),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn serve_unix(listener: UnixListener, sensor: Arc<Sensor>) {
    let places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => take(stream, &places, &sensor),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// How many may be served, and how many told that there are too many.
struct Places {
    served: Arc<Semaphore>,
    sent_away: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(CONNECTIONS));
        Self { served: places(), sent_away: places() }
    }
}

fn take<S>(mut stream: S, places: &Places, sensor: &Arc<Sensor>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Places { served, sent_away } = places;
    if let Ok(place) = Arc::clone(served).try_acquire_owned() {
        let sensor = Arc::clone(sensor);
        tokio::spawn(async move {
            // Who breaks off, or is too slow to read the answer, is left alone.
            let _ = timeout(2 * PATIENCE, client(&mut stream, &sensor)).await;
            drop(place);
        });
    } else if let Ok(place) = Arc::clone(sent_away).try_acquire_owned() {
        tokio::spawn(async move {
            let busy = answer("503 Service Unavailable", "text/plain", "too many connections\n", false);
            let _ = timeout(Duration::from_secs(1), finish(&mut stream, &busy)).await;
            drop(place);
        });
    }
    // Beyond that many they are closed without a word.
}

/// Writes an answer, and reads what is still unread: the close would be a reset, and the answer might be lost with it.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if !matches!(timeout(Duration::from_millis(200), stream.read(&mut rest)).await, Ok(Ok(1..))) {
            break;
        }
    }
    Ok(())
}

async fn client<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, sensor: &Sensor) -> io::Result<()> {
    let request = match timeout(PATIENCE, head(stream)).await {
        Err(_) => Err("408 Request Timeout"),
        Ok(read) => match read? {
            None => return Ok(()),
            Some(request) => request.map_err(super::request::Refusal::status),
        },
    };
    let bytes = match request {
        Ok(request) => page(request, sensor).await,
        Err(status) => {
            let reason = status.split_once(' ').map_or(status, |(_, words)| words);
            answer(status, "text/plain", &format!("{reason}\n"), false)
        }
    };
    finish(stream, &bytes).await
}

/// Reads until the head is there; `None` if the client went away before.
async fn head<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<Option<Result<Request, super::request::Refusal>>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if stream.take((HEAD_MAX + 1 - bytes.len()) as u64).read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        if let Some(request) = parse(&bytes) {
            return Ok(Some(request));
        }
    }
}

async fn page(Request { page, is_head, form }: Request, sensor: &Sensor) -> Vec<u8> {
    let Some(status) = sensor.status().await else {
        return answer("503 Service Unavailable", "text/plain", "the sensor does not answer\n", is_head);
    };
    match page {
        Page::Metrics => answer("200 OK", form.content_type(), &render(&status, form), is_head),
        Page::Health => answer("200 OK", Form::Text.content_type(), "ok\n", is_head),
        Page::Ready => match unready(&status) {
            None => answer("200 OK", Form::Text.content_type(), "ready\n", is_head),
            Some(why) => {
                answer("503 Service Unavailable", Form::Text.content_type(), &format!("{why}\n"), is_head)
            }
        },
    }
}

/// Why it does not watch.
fn unready(status: &Value) -> Option<String> {
    let hooks = status["hooks"].as_array().map_or(0, Vec::len);
    (hooks == 0).then(|| "no hook is in force".to_owned())
}

fn answer(status: &str, content_type: &str, body: &str, is_head: bool) -> Vec<u8> {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if is_head { head.into_bytes() } else { (head + body).into_bytes() }
}

#[cfg(test)]
mod tests;
