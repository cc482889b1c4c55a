//! Traffic inside a test host: bounded in count and time, one line of result on stdout.
//!
//! ```text
//! traffic echo ADDRESS                     echo UDP datagrams until killed; says "ready"
//! traffic sink ADDRESS                     hold a UDP socket and never read it; says "ready"
//! traffic tcp-echo ADDRESS                 echo TCP connections until killed; says "ready"
//! traffic tcp-sink ADDRESS                 take TCP connections and never read them; says "ready"
//! traffic ask SOCKET REQUEST               a line to a unix socket, and the line that is answered
//! traffic dns ADDRESS                      answer every DNS query (A with 192.0.2.1, others empty); says "ready"
//! traffic ping ADDRESS COUNT GAP_US        numbered datagrams; says "sent N received M missing [...]"
//! traffic query ADDRESS COUNT GAP_US SIZE  DNS queries, each name new, SIZE bytes of message; says "sent N seconds S"
//! traffic lookup ADDRESS COUNT GAP_US       as query, each waiting for its response; says "sent N received M"
//! traffic repeat ADDRESS COUNT NAMES        the same names in turn, each waiting for its response; says "sent N received M"
//! traffic leak ADDRESS COUNT GAP_US         DNS queries that each carry 30 new bytes; says "sent N"
//! traffic spread ADDRESS FROM CLIENTS ZONES ROUNDS GAP_US  look-ups of each client (addresses from FROM on) under each
//!                                           zone, in turn; says "sent N"
//! traffic tcp-shapes ADDRESS               five DNS messages over TCP, in segments of many shapes; says "sent 5"
//! traffic gso ADDRESS COUNT                 COUNT leaking DNS queries in one send (UDP_SEGMENT); says "sent COUNT"
//! traffic attached INTERFACE               what is attached to it and to the cgroup2 root, a line each
//! ```

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use earthdog_tests::capture::leaking_name;
use earthdog_tests::deadline::{Deadline, now};
use earthdog_tests::message::{Message, Name, rtype};
use earthdog_tests::truth::serve::answer_to;
use earthdog_tests::words;

/// No sender here runs longer, whatever it is asked for.
const LIMIT_SECS: u64 = 120;

fn main() -> ExitCode {
    words::main(run)
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["echo", address] => echo(address),
        ["sink", address] => sink(address),
        ["tcp-echo", address] => tcp_echo(address),
        ["tcp-sink", address] => tcp_sink(address),
        ["ask", socket, request] => ask(socket, request),
        ["dns", address] => dns(address),
        ["ping", address, count, gap] => ping(address, count.parse()?, gap.parse()?),
        ["query", address, count, gap, size] => query(address, count.parse()?, gap.parse()?, size.parse()?),
        ["lookup", address, count, gap] => lookup(address, count.parse()?, gap.parse()?),
        ["repeat", address, count, names] => repeat(address, count.parse()?, names.parse()?),
        ["leak", address, count, gap] => leak(address, count.parse()?, gap.parse()?),
        ["spread", address, from, clients, zones, rounds, gap] => {
            let counts = [clients.parse()?, zones.parse()?, rounds.parse()?];
            spread(address, from.parse()?, counts, gap.parse()?)
        }
        ["tcp-shapes", address] => tcp_shapes(address),
        ["gso", address, count] => gso(address, count.parse()?),
        ["attached", interface] => {
            for line in earthdog_tests::attached::here(Path::new("/sys/fs/cgroup"), interface)? {
                println!("{line}");
            }
            Ok(())
        }
        _ => bail!("usage: see the head of {}", file!()),
    }
}

fn echo(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
    println!("ready");
    let mut buffer = [0; 16_384];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..len], from)?;
    }
}

/// The kernel drops what does not fit into the socket's buffer: senders never wait and get no error.
fn sink(address: &str) -> Result<()> {
    let _socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
    println!("ready");
    loop {
        std::thread::park();
    }
}

fn tcp_echo(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
    println!("ready");
    loop {
        let (mut stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while let Ok(len @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
        });
    }
}

fn tcp_sink(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
    println!("ready");
    let mut held = Vec::new();
    loop {
        held.push(listener.accept()?);
    }
}

fn ask(socket: &str, request: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect {socket}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    writeln!(stream, "{request}")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    print!("{answer}");
    Ok(())
}

fn dns(address: &str) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
    println!("ready");
    let mut buffer = [0; 4096];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        if let Some(answer) = answer_to(&buffer[..len]) {
            socket.send_to(&answer.build(), from)?;
        }
    }
}

fn ping(address: &str, count: u64, gap_us: u64) -> Result<()> {
    let socket = connected(address)?;
    let receiver = socket.try_clone()?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let reader = std::thread::spawn(move || {
        let mut seen = vec![false; count as usize];
        let mut buffer = [0; 64];
        while seen.iter().any(|seen| !seen) {
            let Ok(len) = receiver.recv(&mut buffer) else { break };
            let Some(number) = buffer[..len].first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) else {
                continue;
            };
            if let Some(seen) = seen.get_mut(number as usize) {
                *seen = true;
            }
        }
        seen
    });
    paced(count, gap_us, |number| socket.send(&number.to_be_bytes()))?;
    let seen = reader.join().map_err(|_| anyhow::anyhow!("reader panicked"))?;
    let received = seen.iter().filter(|seen| **seen).count();
    let missing: Vec<usize> =
        seen.iter().enumerate().filter(|(_, seen)| !**seen).map(|(i, _)| i).take(10).collect();
    println!("sent {count} received {received} missing {missing:?}");
    Ok(())
}

fn query(address: &str, count: u64, gap_us: u64, size: usize) -> Result<()> {
    let socket = connected(address)?;
    let began = now();
    let fixed = Message::query(Name::of_len(40, "flood.example"), rtype::A).build().len();
    paced(count, gap_us, |number| {
        let name = numbered(number);
        let tail = vec![0; size.saturating_sub(fixed + 1)];
        socket.send(&Message::query(name, rtype::A).id(number as u16).tail(&tail).build())
    })?;
    println!("sent {count} seconds {:.6}", began.elapsed().as_secs_f64());
    Ok(())
}

/// A name never asked before: one label of 25 bytes below flood.example.
fn numbered(number: u64) -> Name {
    Name::new().label(format!("n{number:024}")).raw(Name::from("flood.example").as_bytes())
}

fn lookup(address: &str, count: u64, gap_us: u64) -> Result<()> {
    let socket = connected(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut received = 0;
    paced(count, gap_us, |number| {
        let sent = socket.send(&Message::query(numbered(number), rtype::A).id(number as u16).build())?;
        received += u64::from(socket.recv(&mut [0; 512]).is_ok());
        Ok(sent)
    })?;
    println!("sent {count} received {received}");
    Ok(())
}

fn repeat(address: &str, count: u64, names: u64) -> Result<()> {
    let socket = connected(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut received = 0;
    paced(count, 0, |number| {
        let query = Message::query(format!("n{}.repeat.example", number % names), rtype::A);
        let sent = socket.send(&query.id(number as u16).build())?;
        received += u64::from(socket.recv(&mut [0; 512]).is_ok());
        Ok(sent)
    })?;
    println!("sent {count} received {received}");
    Ok(())
}

fn leak(address: &str, count: u64, gap_us: u64) -> Result<()> {
    let socket = connected(address)?;
    paced(count, gap_us, |number| {
        let query = Message::query(leaking_name(number as u32), rtype::A).id(number as u16);
        socket.send(&query.build())
    })?;
    println!("sent {count}");
    Ok(())
}

fn spread(address: &str, from: Ipv4Addr, [clients, zones, rounds]: [u64; 3], gap_us: u64) -> Result<()> {
    ensure!((1..=200).contains(&clients) && zones > 0, "1 to 200 clients, and a zone at least");
    let to: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
    let sockets = (0..clients).map(|number| {
        let own = Ipv4Addr::from(u32::from(from) + number as u32);
        let socket = UdpSocket::bind((own, 0)).with_context(|| format!("bind {own}"))?;
        socket.connect(to)?;
        Ok(socket)
    });
    let sockets = sockets.collect::<Result<Vec<_>>>()?;
    let count = clients * zones * rounds;
    paced(count, gap_us, |number| {
        let (client, zone) = (number % clients, number / clients % zones);
        let query = Message::query(format!("www.zone{zone}.example"), rtype::A).id(number as u16);
        sockets[client as usize].send(&query.build())
    })?;
    println!("sent {count}");
    Ok(())
}

/// Queries of one size, handed to the kernel at once; it cuts them into datagrams behind the egress hook (udp(7)).
#[allow(unsafe_code, reason = "std has no UDP_SEGMENT")]
fn gso(address: &str, count: u32) -> Result<()> {
    let queries: Vec<Vec<u8>> = (0..count)
        .map(|number| Message::query(leaking_name(number), rtype::A).id(number as u16).build())
        .collect();
    let size = queries.first().context("at least one query")?.len();
    ensure!(queries.iter().all(|query| query.len() == size), "a burst is of datagrams of one size");
    let socket = connected(address)?;
    let value = libc::c_int::try_from(size)?;
    // SAFETY: an int option of an open socket, passed with its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    ensure!(result == 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
    socket.send(&queries.concat())?;
    println!("sent {count}");
    Ok(())
}

/// One message in one segment, two in one, one in two (cut inside its length), one in many. Each write waits for its
/// echo, so that the kernel does not put two together.
fn tcp_shapes(address: &str) -> Result<()> {
    let message = |name: &str| Message::query(name, rtype::A).prefixed();
    let two = [message("b.shapes.example"), message("c.shapes.example")].concat();
    let halves = message("d.shapes.example");
    let bytes = message("e.shapes.example");
    let mut writes = vec![message("a.shapes.example"), two, halves[..1].to_vec(), halves[1..].to_vec()];
    writes.extend(bytes.chunks(3).map(<[u8]>::to_vec));

    let mut stream = TcpStream::connect(address).with_context(|| format!("connect {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    for bytes in writes {
        stream.write_all(&bytes)?;
        stream.read_exact(&mut vec![0; bytes.len()])?;
    }
    println!("sent 5");
    Ok(())
}

fn connected(address: &str) -> Result<UdpSocket> {
    let to: SocketAddr = address.parse().with_context(|| format!("address {address}"))?;
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    Ok(socket)
}

/// Sends numbers 0 to `count` with a gap between; a refused connection (nobody listens) is not an error here.
fn paced(count: u64, gap_us: u64, mut send: impl FnMut(u64) -> std::io::Result<usize>) -> Result<()> {
    let limit = Deadline::secs(LIMIT_SECS);
    let began = now();
    for number in 0..count {
        if limit.passed() {
            bail!("stopped after {number} datagrams: {LIMIT_SECS} s are over");
        }
        let due = Duration::from_micros(gap_us * number);
        while gap_us > 0 && began.elapsed() < due {
            std::thread::park_timeout(due.saturating_sub(began.elapsed()));
        }
        match send(number) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionRefused => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
