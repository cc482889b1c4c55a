//! The control socket: a running sensor answers questions in JSON lines, and `earthdog flows` asks them.
//!
//! One request a line, `{"v":1,"command":"flows"}`; one answer a line, `{"v":1,"ok":true,"data":…}` or
//! `{"v":1,"ok":false,"error":"…"}`. Lines, clients and waiting times are bounded. Still, who asks for `flows` holds
//! up the one thread that drains the rings: walking the map takes two system calls an entry. So one is answered at a time,
//! with a bounded number of rows, and the others wait.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::canary;
use crate::escape::escape;
use crate::exit::{Code, Error};

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Members of this group may ask.
pub(super) const GROUP: &str = "earthdog";
const MODE: u32 = 0o660;
const MAX_CLIENTS: usize = 8;
const MAX_REQUEST: u64 = 4096;
/// Over `flows::MAX_ROWS` rows of the longest kind.
const MAX_ANSWER: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    v: u32,
    command: String,
    /// What the command is about: a name, a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer<T> {
    v: u32,
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What this version answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Status,
    Flows,
    /// What is remembered of a name.
    Pdns(String),
    /// The habits of all clients, or of those so named.
    Baseline(Option<String>),
    /// Forgets them.
    BaselineReset(Option<String>),
    /// Who is nearest to a bound.
    Top,
    /// State changes of findings, all or those after a cursor.
    Alerts(Option<String>),
    /// Those of the findings whose id begins like this.
    Explain(String),
    /// What a self-test asks; root alone may.
    Selftest(canary::Request),
}

/// A question on its way to the loop that owns the state.
#[derive(Debug)]
pub struct Question {
    pub command: Command,
    /// Takes what `answer_line` makes.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// The socket in the file system; removed when dropped, if it is still this one.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: u64,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Puts the socket in place: under another name first, so that nobody meets it with the wrong mode, then renamed over
/// what a dead sensor left. A living sensor's socket, or anything that is no socket, is left alone.
pub fn bind(path: &Path) -> io::Result<(UnixListener, Socket)> {
    let other = |text: String| io::Error::new(io::ErrorKind::AddrInUse, text);
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        fs::create_dir(dir)?;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(other(format!("{} is there and is no socket", path.display())));
        }
        Ok(_) if StdStream::connect(path).is_ok() => {
            let message = "another sensor answers there; give this one its own live.control_socket";
            return Err(other(message.into()));
        }
        // Nothing there, or what a dead sensor left.
        _ => {}
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let _ = fs::remove_file(&new);
    let listener = StdListener::bind(&new)?;
    let placed = place(&new, path);
    if placed.is_err() {
        let _ = fs::remove_file(&new);
    }
    let socket = placed?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, socket))
}

fn place(new: &Path, path: &Path) -> io::Result<Socket> {
    fs::set_permissions(new, Permissions::from_mode(MODE))?;
    let group = fs::read_to_string("/etc/group").ok().and_then(|text| gid(&text, GROUP));
    if let Some(gid) = group {
        std::os::unix::fs::chown(new, None, Some(gid))?;
    }
    let inode = fs::symlink_metadata(new)?.ino();
    fs::rename(new, path)?;
    Ok(Socket { path: path.to_owned(), inode })
}

pub(super) fn gid(group_file: &str, name: &str) -> Option<u32> {
    group_file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Accepts clients for ever; their questions go to `questions`, whose receiver answers them.
pub async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    let flows = Arc::new(Semaphore::new(1));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (questions, flows) = (questions.clone(), Arc::clone(&flows));
                tokio::spawn(async move {
                    // A client that breaks off is its own affair.
                    let _ = client(stream, questions, &flows).await;
                    drop(place);
                });
            }
            // Out of descriptors: clients that leave will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn client(stream: UnixStream, questions: mpsc::Sender<Question>, flows: &Semaphore) -> io::Result<()> {
    let is_root = stream.peer_cred()?.uid() == 0;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MAX_REQUEST);
        let read = timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return Ok(());
        }
        let complete = line.ends_with(b"\n");
        let command = match parse(&line) {
            Ok(Command::Selftest(_)) if !is_root => Err("`selftest` is for root alone".to_owned()),
            command => command,
        };
        // Held until the answer is written, since it is large.
        let turn = match command {
            Ok(Command::Flows) => timeout(PATIENCE, flows.acquire()).await.map(Some),
            _ => Ok(None),
        };
        let answer = match (command, &turn) {
            (Ok(_), Err(_)) => Err("busy with other clients' `flows`: ask again".to_owned()),
            (Ok(command), Ok(_)) => ask(command, &questions).await,
            (Err(error), _) => Err(error),
        };
        let line = answer.unwrap_or_else(|error| error_line(&error));
        timeout(PATIENCE, writer.write_all(&line)).await??;
        drop(turn);
        if !complete {
            return Ok(());
        }
    }
}

async fn ask(command: Command, questions: &mpsc::Sender<Question>) -> Result<Vec<u8>, String> {
    let (answer, wait) = oneshot::channel();
    let stopping = || "the sensor is stopping".to_owned();
    questions.send(Question { command, answer }).await.map_err(|_| stopping())?;
    wait.await.map_err(|_| stopping())
}

/// Fuzz entry: any line is a command or is refused in one line that a terminal can show.
pub fn fuzz(line: &[u8]) {
    if let Err(error) = parse(line) {
        let answer = error_line(&error);
        assert_eq!(answer.iter().position(|byte| *byte == b'\n'), Some(answer.len() - 1), "{error:?}");
        assert!(error.len() <= 16 * MAX_REQUEST as usize, "{} bytes for {}", error.len(), line.len());
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

/// What is refused says so in words that are safe to print: parts of them are the client's.
fn parse(line: &[u8]) -> Result<Command, String> {
    read(line).map_err(|why| escape(&why).into_owned())
}

fn read(line: &[u8]) -> Result<Command, String> {
    let request: Request = serde_json::from_slice(line).map_err(|error| {
        format!("not a request ({error}): send {{\"v\":{VERSION},\"command\":\"status\"}}")
    })?;
    if request.v != VERSION {
        return Err(format!("protocol version {} is not spoken here, {VERSION} is", request.v));
    }
    match request.command.as_str() {
        "status" => Ok(Command::Status),
        "flows" => Ok(Command::Flows),
        "pdns" => match request.about {
            Some(name) => Ok(Command::Pdns(name)),
            None => Err("`pdns` is about a name: send it as \"about\"".to_owned()),
        },
        "baseline" => Ok(Command::Baseline(request.about)),
        "baseline_reset" => Ok(Command::BaselineReset(request.about)),
        "top" => Ok(Command::Top),
        "alerts" => Ok(Command::Alerts(request.about)),
        "explain" => match request.about {
            Some(id) => Ok(Command::Explain(id)),
            None => Err("`explain` is about a finding: send the beginning of its id as \"about\"".to_owned()),
        },
        "selftest" => serde_json::from_str(request.about.as_deref().unwrap_or_default())
            .map(Command::Selftest)
            .map_err(|error| format!("`selftest` asks nothing that is known: {error}")),
        other => Err(format!(
            "unknown command `{}`; there are: status, flows, top, alerts, explain, pdns, baseline, baseline_reset, selftest",
            other.escape_debug()
        )),
    }
}

/// The line that answers with `data`.
pub fn answer_line(data: &impl Serialize) -> Vec<u8> {
    line(&Answer { v: VERSION, ok: true, data: Some(data), error: None })
}

/// The line that answers with JSON that is there already.
pub fn json_line(data: &[u8]) -> Vec<u8> {
    let head = format!("{{\"v\":{VERSION},\"ok\":true,\"data\":");
    [head.as_bytes(), data, b"}\n"].concat()
}

/// The line that answers with what was wrong.
pub fn error_line(error: &str) -> Vec<u8> {
    line(&Answer::<()> { v: VERSION, ok: false, data: None, error: Some(error.into()) })
}

fn line(answer: &Answer<impl Serialize>) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Asks the sensor at `path`.
pub fn request(path: &Path, command: &str) -> Result<serde_json::Value, Error> {
    request_about(path, command, None)
}

/// As `request`, about a name or a client.
pub fn request_about(path: &Path, command: &str, about: Option<&str>) -> Result<serde_json::Value, Error> {
    let place = path.display();
    let failed = |what: &str| Error::new(Code::Failure, format!("the sensor at {place} {what}"));
    let mut stream = StdStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Error::new(
            Code::NotPermitted,
            format!("not permitted to ask the sensor at {place}: be root or in the group `{GROUP}`"),
        ),
        _ => Error::new(
            Code::Failure,
            format!(
                "no sensor answers at {place} ({error}): start one with `earthdog run`, or name the configuration of \
                 the running one with -c FILE"
            ),
        ),
    })?;
    let exchange = |stream: &mut StdStream| -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let about = about.map(str::to_owned);
        let request = Request { v: VERSION, command: command.to_owned(), about };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        io::BufReader::new(stream.take(MAX_ANSWER)).read_until(b'\n', &mut answer)?;
        Ok(answer)
    };
    let answer = exchange(&mut stream).map_err(|error| failed(&format!("does not answer: {error}")))?;
    let answer: Answer<serde_json::Value> = serde_json::from_slice(&answer)
        .map_err(|error| failed(&format!("gave no answer to read: {error}")))?;
    match answer {
        Answer { v, .. } if v != VERSION => {
            Err(failed(&format!("speaks protocol version {v}, this is {VERSION}")))
        }
        Answer { ok: true, data: Some(data), .. } => Ok(data),
        Answer { error, .. } => Err(failed(&format!("says: {}", error.unwrap_or_default().escape_debug()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_safe_to_print() {
        // An unknown variant of an enumeration, which the message repeats.
        let about = "\\\"sho\u{7f}\u{202e}\\\"";
        let line = format!("{{\"v\":1,\"command\":\"selftest\",\"about\":\"{about}\"}}");
        let error = parse(line.as_bytes()).unwrap_err();
        assert!(error.contains("\\x7f\\u{202e}"), "{error}");
    }

    #[test]
    fn requests_are_read_strictly() {
        assert_eq!(parse(br#"{"v":1,"command":"flows"}"#), Ok(Command::Flows));
        let about = br#"{"v":1,"command":"pdns","about":"example.com"}"#;
        assert_eq!(parse(about), Ok(Command::Pdns("example.com".to_owned())));
        assert_eq!(parse(br#"{"v":1,"command":"baseline"}"#), Ok(Command::Baseline(None)));
        for (line, says) in [
            (&br#"{"v":2,"command":"flows"}"#[..], "version 2"),
            (br#"{"v":1,"command":"pdns"}"#, "about a name"),
            (br#"{"v":1,"command":"explain"}"#, "about a finding"),
            (br#"{"v":1,"command":"rm \u001b"}"#, "unknown command `rm \\u{1b}`"),
            (b"GET / HTTP/1.1", "not a request"),
            (b"", "not a request"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_group_is_looked_up() {
        assert_eq!(gid("root:x:0:\nearthdog:x:990:ann,bob\n", GROUP), Some(990));
        assert_eq!(gid("earthdogs:x:990:\nearthdog:x:?:\n", GROUP), None);
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_question_is_answered_and_the_socket_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/control.sock");
        runtime().block_on(async {
            let (listener, socket) = bind(&path).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, MODE);
            let (send, mut receive) = mpsc::channel(1);
            let server = tokio::spawn(serve(listener, send));
            tokio::spawn(async move {
                while let Some(question) = receive.recv().await {
                    let _ = question.answer.send(answer_line(&format!("{:?}", question.command)));
                }
            });
            let asked = path.clone();
            let answers =
                tokio::task::spawn_blocking(move || [request(&asked, "status"), request(&asked, "nonsense")]);
            let [status, unknown] = answers.await.unwrap();
            assert_eq!(status.unwrap(), "Status");
            assert!(unknown.unwrap_err().message.contains("unknown command"));
            assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            server.abort();
            drop(socket);
            assert!(!path.exists());
        });
    }

    #[test]
    fn what_a_dead_sensor_left_is_replaced_and_what_is_no_socket_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(StdListener::bind(&path).unwrap());
        runtime().block_on(async {
            let (_listener, old) = bind(&path).unwrap();
            let (_new_listener, socket) = {
                fs::remove_file(&path).unwrap();
                bind(&path).unwrap()
            };
            drop(old);
            assert!(path.exists(), "the socket of another sensor stays");
            drop(socket);
            fs::write(&path, "precious").unwrap();
            assert!(bind(&path).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        });
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        runtime().block_on(async {
            let (listener, _socket) = bind(&path).unwrap();
            let (send, _receive) = mpsc::channel(1);
            tokio::spawn(serve(listener, send));
            let mut stream = UnixStream::connect(&path).await.unwrap();
            stream.write_all(&vec![b'x'; MAX_REQUEST as usize]).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("not a request") && answer.lines().count() == 1, "{answer}");
        });
    }

    #[test]
    fn one_flows_is_answered_at_a_time_and_status_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        runtime().block_on(async {
            let (listener, _socket) = bind(&path).unwrap();
            let (send, mut receive) = mpsc::channel(1);
            tokio::spawn(serve(listener, send));
            let client = |command| {
                let path = path.clone();
                tokio::task::spawn_blocking(move || request(&path, command))
            };
            let first = client("flows");
            let asked = receive.recv().await.unwrap();
            let (second, status) = (client("flows"), client("status"));
            let between = receive.recv().await.unwrap();
            assert_eq!((asked.command, between.command), (Command::Flows, Command::Status));
            between.answer.send(answer_line(&"fine")).unwrap();
            assert_eq!(status.await.unwrap().unwrap(), "fine");
            let early = timeout(Duration::from_millis(100), receive.recv()).await;
            assert!(early.is_err(), "{early:?}");
            asked.answer.send(answer_line(&1)).unwrap();
            assert_eq!(first.await.unwrap().unwrap(), 1);
            receive.recv().await.unwrap().answer.send(answer_line(&2)).unwrap();
            assert_eq!(second.await.unwrap().unwrap(), 2);
        });
    }

    #[test]
    fn without_a_sensor_the_error_says_what_to_do() {
        let error = request(Path::new("/nonexistent/control.sock"), "flows").unwrap_err();
        assert_eq!(error.code, Code::Failure);
        assert!(error.message.contains("earthdog run"), "{}", error.message);
    }
}
