//! The processes of a self-test: senders, each with sockets of its own, and the resolver that answers them. Each is this
//! binary again; what it does comes through its standard input, and it ends when that does.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::UdpSocket;
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;

use super::bed;
use crate::cli::PartArgs;
use crate::clock;
use crate::emulate::tape::PORT;
use crate::exit::{Code, Error};

/// How long a socket waits for its answer, as stubs do at least.
const PATIENCE_NS: u64 = 2_000_000_000;
/// Bytes of a plan that is read.
const PLAN_MAX: u64 = 256 << 20;

/// A datagram to be sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shot {
    /// Nanoseconds behind the start.
    pub at_ns: u64,
    pub src: SocketAddrV4,
    pub dst: SocketAddrV4,
    pub payload: Vec<u8>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sending {
    /// Unix time, nanoseconds.
    pub start_ns: u64,
    /// In the order of time.
    pub shots: Vec<Shot>,
}

/// What a sender did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub sent: u64,
    pub failed: u64,
    pub answered: u64,
}

/// An answer, and the query that it belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    pub client: Ipv4Addr,
    pub server: Ipv4Addr,
    pub query: Vec<u8>,
    pub after_ns: u64,
    pub payload: Vec<u8>,
}

/// What the hidden subcommand does.
pub fn run(args: &PartArgs) -> anyhow::Result<Code> {
    match args.what.as_str() {
        "enter" => enter(args),
        "send" => alone(send()),
        "answer" => alone(answer()),
        _ => Err(Error::new(Code::Usage, "a part of the self-test: run `earthdog selftest`").into()),
    }
}

/// Moves into the cgroup, then starts anew, so that the program is known to run there.
fn enter(args: &PartArgs) -> anyhow::Result<Code> {
    if let Some(cgroup) = &args.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    let role = args.role.as_deref().unwrap_or_default();
    let mut next = Command::new(bed::own_binary()?);
    next.args(["selftest-part", role, &args.label]);
    Err(next.exec().into())
}

fn alone(work: impl Future<Output = io::Result<()>>) -> anyhow::Result<Code> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)?;
    Ok(Code::Ok)
}

/// Reads a plan: its length, then itself.
fn plan<T: for<'de> Deserialize<'de>>() -> io::Result<T> {
    let mut input = io::stdin().lock();
    let mut len = [0; 8];
    input.read_exact(&mut len)?;
    let mut bytes = Vec::new();
    input.take(u64::from_ne_bytes(len).min(PLAN_MAX)).read_to_end(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

/// What `plan` reads.
pub fn write_plan(mut to: impl io::Write, plan: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_allocvec(plan).map_err(io::Error::other)?;
    to.write_all(&(bytes.len() as u64).to_ne_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Nothing comes behind the plan: the end of the input is the end of the self-test, however that ended.
async fn over() -> io::Result<()> {
    let mut input = Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let mut rest = [0; 1];
    while !matches!(input.read(&mut rest).await, Ok(0) | Err(_)) {}
    Ok(())
}

async fn send() -> io::Result<()> {
    let plan: Sending = plan()?;
    let mut sockets: BTreeMap<SocketAddrV4, (UdpSocket, u64)> = BTreeMap::new();
    let mut sent = Sent::default();
    let mut over = std::pin::pin!(over());
    for shot in &plan.shots {
        let due = plan.start_ns.saturating_add(shot.at_ns);
        tokio::select! {
            _ = &mut over => break,
            () = sleep(Duration::from_nanos(due.saturating_sub(clock::unix_ns()))) => {}
        }
        let now = clock::unix_ns();
        sockets.retain(|_, (socket, used)| {
            let waits = *used + PATIENCE_NS > now;
            if !waits {
                sent.answered += answers(socket);
            }
            waits
        });
        match one(&mut sockets, shot, now).await {
            Ok(()) => sent.sent += 1,
            Err(_) => sent.failed += 1,
        }
    }
    // The last answers.
    sleep(Duration::from_millis(200)).await;
    sent.answered += sockets.values().map(|(socket, _)| answers(socket)).sum::<u64>();
    writeln!(io::stdout(), "{}", serde_json::to_string(&sent)?)
}

/// From the port that the tool would take, if it is free.
async fn one(
    sockets: &mut BTreeMap<SocketAddrV4, (UdpSocket, u64)>,
    shot: &Shot,
    now: u64,
) -> io::Result<()> {
    if let Some((socket, used)) = sockets.get_mut(&shot.src) {
        *used = now;
        socket.send_to(&shot.payload, shot.dst).await?;
        return Ok(());
    }
    let socket = match UdpSocket::bind(shot.src).await {
        Ok(socket) => socket,
        Err(_) => UdpSocket::bind((*shot.src.ip(), 0)).await?,
    };
    socket.send_to(&shot.payload, shot.dst).await?;
    sockets.insert(shot.src, (socket, now));
    Ok(())
}

fn answers(socket: &UdpSocket) -> u64 {
    let mut bytes = [0; 2048];
    let mut count = 0;
    while socket.try_recv(&mut bytes).is_ok() {
        count += 1;
    }
    count
}

/// Client, server and query; when each answer is due, and what it is.
type Key = (Ipv4Addr, Ipv4Addr, Vec<u8>);
type Waiting = BTreeMap<Key, VecDeque<(u64, Vec<u8>)>>;

/// The resolvers of all cases: what the tape says to each query, after as long.
async fn answer() -> io::Result<()> {
    let replies: Vec<Reply> = plan()?;
    let mut waiting = Waiting::new();
    let mut servers: Vec<Ipv4Addr> = replies.iter().map(|reply| reply.server).collect();
    servers.sort_unstable();
    servers.dedup();
    for reply in replies {
        let key = (reply.client, reply.server, reply.query);
        waiting.entry(key).or_default().push_back((reply.after_ns, reply.payload));
    }
    let waiting = Arc::new(Mutex::new(waiting));
    for server in servers {
        let socket = UdpSocket::bind((server, PORT)).await?;
        tokio::spawn(serve(Arc::new(socket), server, Arc::clone(&waiting)));
    }
    writeln!(io::stdout(), "ready")?;
    over().await
}

async fn serve(socket: Arc<UdpSocket>, server: Ipv4Addr, waiting: Arc<Mutex<Waiting>>) {
    let mut bytes = vec![0; 65_536];
    loop {
        let Ok((len, client)) = socket.recv_from(&mut bytes).await else { continue };
        let SocketAddr::V4(v4) = client else { continue };
        let key = (*v4.ip(), server, bytes[..len].to_vec());
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((after_ns, payload)) = waiting.get_mut(&key).and_then(VecDeque::pop_front) else { continue };
        let socket = Arc::clone(&socket);
        tokio::spawn(async move {
            sleep(Duration::from_nanos(after_ns)).await;
            // Whoever asked may be gone.
            let _ = socket.send_to(&payload, client).await;
        });
    }
}
