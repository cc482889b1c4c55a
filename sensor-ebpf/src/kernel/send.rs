//! Hooks on the send path: who calls it is noted for the packet that follows (`owner`).
//!
//! Every send of the host passes here, so what is not DNS leaves after one or two reads and never touches the map.

use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::generated::bpf_get_socket_cookie;
use sensor_ebpf::abi::owner_source::SOCK_ADDR;
use sensor_ebpf::frame::DNS_PORT;

use super::maps::option;
use super::owner::{note, read};

/// `sin_port` and `sin6_port` of a socket address.
const NAME_PORT: u32 = 2;

/// `udp_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)`, `udpv6_sendmsg` alike. A v4-mapped send enters both,
/// which notes it twice the same.
///
/// The address in `msg`, or the connected one, is what the application asked for: before any translation, so Docker's
/// 127.0.0.11:53 is still port 53 here.
#[inline(always)]
pub(crate) fn udp(socket: u64, msg: u64, source: u8) {
    let (mut to, from) = ports(socket);
    let name = read::<u64>(msg, option!(offsets.msghdr_name));
    if name != 0 {
        to = read::<u16>(name, NAME_PORT);
    }
    if to == DNS_PORT.to_be() || from == DNS_PORT {
        sent(socket, source);
    }
}

/// `tcp_connect(struct sock *sk)` and `tcp_sendmsg(struct sock *sk, …)`.
#[inline(always)]
pub(crate) fn tcp(socket: u64, source: u8) {
    let (to, from) = ports(socket);
    if to == DNS_PORT.to_be() || from == DNS_PORT {
        sent(socket, source);
    }
}

/// `raw_sendmsg` and `rawv6_sendmsg`: the port, if there is one, is in the data.
#[inline(always)]
pub(crate) fn raw(socket: u64, source: u8) {
    sent(socket, source);
}

#[inline(always)]
fn sent(socket: u64, source: u8) {
    note(socket, read::<u64>(socket, option!(offsets.sock_cookie)), source);
}

/// `skc_dport`, in network order, and `skc_num`, which lies behind it (include/net/sock.h, `skc_portpair`).
#[inline(always)]
fn ports(socket: u64) -> (u16, u16) {
    let pair = read::<u32>(socket, option!(offsets.sock_ports)).to_ne_bytes();
    (u16::from_ne_bytes([pair[0], pair[1]]), u16::from_ne_bytes([pair[2], pair[3]]))
}

/// cgroup connect and sendmsg hooks: the address as the application gave it.
#[inline(always)]
pub(crate) fn address(ctx: *mut bpf_sock_addr) {
    // SAFETY: `ctx` is the program's context; the port is in network order in its lower half.
    let port = unsafe { (*ctx).user_port } as u16;
    if port == DNS_PORT.to_be() {
        // SAFETY: as above.
        let cookie = unsafe { bpf_get_socket_cookie(ctx.cast()) };
        note(cookie, cookie, SOCK_ADDR);
    }
}
