//! The server that senders ask: DNS over UDP, TCP with fast open, and MPTCP where the kernel has it.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use super::{ZONE, sys};
use crate::message::{Message, Name, rtype};

/// Before a name that was asked.
pub(super) const SERVED: &str = "served ";

/// Answers on port 53 of each address until killed; says "ready", then `served NAME` for each query of the zone.
pub fn serve(addresses: &[IpAddr]) -> io::Result<()> {
    // Server, no cookie asked for, every listener: fast open in one round trip from the first connection on
    // (kernel: Documentation/networking/ip-sysctl.rst).
    if let Err(error) = std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1538") {
        eprintln!("no TCP fast open: {error}");
    }
    for &address in addresses {
        let address = SocketAddr::new(address, 53);
        let socket = UdpSocket::bind(address)?;
        thread::spawn(move || udp(&socket));
        let listener = listener(address)?;
        thread::spawn(move || tcp(&listener));
    }
    println!("ready");
    loop {
        thread::park();
    }
}

/// MPTCP on v6 where there is any (it takes plain TCP too); v4 stays plain, for fast open.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv4() {
        return TcpListener::bind(address);
    }
    let Ok(socket) = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, sys::IPPROTO_MPTCP) else {
        return TcpListener::bind(address);
    };
    bound(socket, address)
}

fn bound(socket: OwnedFd, address: SocketAddr) -> io::Result<TcpListener> {
    sys::set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sys::bind(&socket, &address.into())?;
    sys::listen(&socket)?;
    Ok(socket.into())
}

fn udp(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    loop {
        // An ICMP error about an answer is not ours to care about.
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer_to(&buffer[..len]) {
            tell(&buffer[12..len]);
            let _ = socket.send_to(&answer.build(), from);
        }
    }
}

fn tcp(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || conversation(stream));
    }
}

fn conversation(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(answer) = answer_to(&query) else { return };
        tell(&query[12..]);
        if stream.write_all(&answer.prefixed()).is_err() {
            return;
        }
    }
}

/// Says which name was asked, where it is one of a sender's.
fn tell(mut question: &[u8]) {
    let mut labels = Vec::new();
    while let Some((&len @ 1.., rest)) = question.split_first() {
        let Some((label, rest)) = rest.split_at_checked(usize::from(len)) else { return };
        labels.push(String::from_utf8_lossy(label));
        question = rest;
    }
    let name = labels.join(".");
    if name.ends_with(ZONE) {
        println!("{SERVED}{name}");
    }
}

/// NOERROR with one address for A, without records for the rest; `None` for what is not a query.
pub fn answer_to(query: &[u8]) -> Option<Message> {
    if query.len() < 17 || query[2] & 0x80 != 0 {
        return None;
    }
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let qtype = u16::from_be_bytes([*query.get(end + 1)?, *query.get(end + 2)?]);
    let name = Name::new().raw(&query[12..=end]);
    let message = Message::response(name, qtype).id(u16::from_be_bytes([query[0], query[1]]));
    Some(if qtype == rtype::A { message.answer(rtype::A, 60, [192, 0, 2, 1]) } else { message })
}
