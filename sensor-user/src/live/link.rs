//! Network interfaces of this namespace, as rtnetlink lists them, and which of them carry the default routes.
//!
//! sysfs is not asked for more than a driver's name: it shows the namespace it was mounted in, not the caller's.
#![allow(unsafe_code)] // one socket() call: std has no netlink

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub name: String,
    pub index: u32,
    pub up: bool,
    /// `ARPHRD_*`: 1 Ethernet, 772 loopback.
    pub hardware: u16,
    /// Kind of a virtual device (`veth`, `bridge`, `tun`), else the driver's name, else empty.
    pub driver: String,
    /// Id of an XDP program that is on it already.
    pub xdp: Option<u32>,
    pub mtu: u32,
    /// Index of the bridge, bond or VRF that it belongs to; 0 for none.
    pub master: u32,
}

pub const ARPHRD_ETHER: u16 = 1;
pub const ARPHRD_LOOPBACK: u16 = 772;

impl Link {
    pub fn is_loopback(&self) -> bool {
        self.hardware == ARPHRD_LOOPBACK
    }

    /// Frames begin with an Ethernet header, which the kernel programs parse.
    pub fn has_ethernet_header(&self) -> bool {
        matches!(self.hardware, ARPHRD_ETHER | ARPHRD_LOOPBACK)
    }
}

/// Interfaces kept of one dump; a host with more than this many containers names its interfaces with `--interface`.
const MAX_LINKS: usize = 4096;
/// rtnetlink fills buffers of up to 32 KiB in a dump.
pub(super) const BUFFER: usize = 32 << 10;

/// All interfaces of the calling thread's network namespace, by index.
pub fn links() -> io::Result<Vec<Link>> {
    let mut socket = netlink(libc::NETLINK_ROUTE)?;
    socket.write_all(&dump_request::<IFINFO>(libc::RTM_GETLINK))?;
    let mut links = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = socket.read(&mut buffer)?;
        if !read_dump(&buffer[..len], libc::RTM_NEWLINK, &mut |body| links.extend(link(body)))?
            || links.len() >= MAX_LINKS
        {
            break;
        }
    }
    for link in links.iter_mut().filter(|link| link.driver.is_empty()) {
        link.driver = driver(&link.name).unwrap_or_default();
    }
    links.sort_by_key(|link| link.index);
    Ok(links)
}

/// The interface of this name in the calling thread's network namespace. Costs the same on a host with many.
pub fn named(name: &str) -> io::Result<Option<Link>> {
    // IFNAMSIZ has the terminating zero in it; a longer one the kernel refuses.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Ok(None);
    }
    let mut attribute = ((4 + name.len() + 1) as u16).to_ne_bytes().to_vec();
    attribute.extend_from_slice(&libc::IFLA_IFNAME.to_ne_bytes());
    attribute.extend_from_slice(name.as_bytes());
    attribute.push(0);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    one(0, &attribute)
}

/// The interface of this index, whatever its name is now.
pub fn numbered(index: u32) -> io::Result<Option<Link>> {
    one(index, &[])
}

fn one(index: u32, attributes: &[u8]) -> io::Result<Option<Link>> {
    let mut request = dump_request::<IFINFO>(libc::RTM_GETLINK);
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[NLMSG_HEADER + 4..NLMSG_HEADER + 8].copy_from_slice(&index.to_ne_bytes());
    request.extend_from_slice(attributes);
    let len = request.len() as u32;
    request[..4].copy_from_slice(&len.to_ne_bytes());
    let mut socket = netlink(libc::NETLINK_ROUTE)?;
    socket.write_all(&request)?;
    let mut buffer = vec![0; BUFFER];
    let len = socket.read(&mut buffer)?;
    let mut links = Vec::new();
    match read_dump(&buffer[..len], libc::RTM_NEWLINK, &mut |body| links.extend(link(body))) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
        other => other?,
    };
    let Some(mut link) = links.pop() else { return Ok(None) };
    if link.driver.is_empty() {
        link.driver = driver(&link.name).unwrap_or_default();
    }
    Ok(Some(link))
}

/// Interfaces that carry a default route, IPv4 first, each once.
pub fn default_route_interfaces() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    default_routes(&read("/proc/self/net/route"), &read("/proc/self/net/ipv6_route"))
}

/// A netlink socket of a family (`NETLINK_*`).
pub(crate) fn netlink(family: libc::c_int) -> io::Result<File> {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, family) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned by socket() and is owned by nobody else. Reads and writes of a netlink socket
    // without an address go to and come from the kernel, so a File serves.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A socket that is told of changes, and never waits: of interfaces, and where asked for of routes.
pub(super) fn subscription(with_routes: bool) -> io::Result<File> {
    let groups =
        libc::RTMGRP_LINK | if with_routes { libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE } else { 0 };
    let socket = netlink(libc::NETLINK_ROUTE)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: all zeros is a valid address; the call reads it before it returns, and its size is given.
    let bound = unsafe {
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups.cast_unsigned();
        let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        libc::bind(fd, (&raw const address).cast(), size)
    };
    // SAFETY: no pointers are passed.
    if bound != 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// What one message of a subscription is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Link { index: u32, name: String },
    DefaultRoute,
}

/// Changes in one buffer; what is cut or of another kind is passed over.
pub(super) fn changes(mut buffer: &[u8], take: &mut impl FnMut(Change)) {
    while let (Some(len), Some(kind)) = (u32_at(buffer, 0), u16_at(buffer, 4)) {
        let Some(body) = buffer.get(NLMSG_HEADER..len as usize) else { return };
        match kind {
            libc::RTM_NEWLINK | libc::RTM_DELLINK => {
                if let Some(link) = link(body) {
                    take(Change::Link { index: link.index, name: link.name });
                }
            }
            // struct rtmsg: family, length of the destination's prefix.
            libc::RTM_NEWROUTE | libc::RTM_DELROUTE if body.get(1) == Some(&0) => take(Change::DefaultRoute),
            _ => {}
        }
        buffer = &buffer[(len as usize).next_multiple_of(4).min(buffer.len())..];
    }
}

const NLMSG_HEADER: usize = 16;
const IFINFO: usize = 16;

/// A request of a kind (`RTM_GET*`) as a dump; its own header, of `HEADER` bytes, is left empty.
pub(super) fn dump_request<const HEADER: usize>(kind: u16) -> Vec<u8> {
    let mut request = vec![0; NLMSG_HEADER + HEADER];
    request[..4].copy_from_slice(&((NLMSG_HEADER + HEADER) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request[8..12].copy_from_slice(&1u32.to_ne_bytes());
    request
}

/// Hands on the bodies of one buffer's messages of a kind (`RTM_NEW*`); false after the last one.
pub(super) fn read_dump(mut buffer: &[u8], wanted: u16, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
    while let (Some(len), Some(kind)) = (u32_at(buffer, 0), u16_at(buffer, 4)) {
        let len = len as usize;
        if len < NLMSG_HEADER || len > buffer.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "rtnetlink message with a wrong length"));
        }
        let body = &buffer[NLMSG_HEADER..len];
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => {
                let code = u32_at(body, 0).unwrap_or(0).cast_signed();
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            _ if kind == wanted => take(body),
            _ => {}
        }
        buffer = &buffer[len.next_multiple_of(4).min(buffer.len())..];
    }
    Ok(true)
}

const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_INFO_KIND: u16 = 1;

fn link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        name: String::new(),
        hardware: u16_at(body, 2)?,
        index: u32_at(body, 4)?,
        up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
        driver: String::new(),
        xdp: None,
        mtu: 0,
        master: 0,
    };
    for (kind, value) in attributes(body.get(IFINFO..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_LINKINFO => {
                link.driver = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map_or_else(String::new, |(_, v)| text(v));
            }
            libc::IFLA_MTU => link.mtu = u32_at(value, 0)?,
            libc::IFLA_MASTER => link.master = u32_at(value, 0)?,
            IFLA_XDP => {
                let id = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_XDP_PROG_ID)
                    .and_then(|(_, v)| u32_at(v, 0));
                link.xdp = id.filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Type and value of each attribute; ends at the first that does not fit.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = u16_at(rest, 0)? as usize;
        // The two top bits say "nested" and "network byte order".
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(super) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

/// Driver of a physical device. A name with a slash cannot be an interface's, so this stays below /sys/class/net.
fn driver(name: &str) -> Option<String> {
    let target = fs::read_link(Path::new("/sys/class/net").join(name).join("device/driver")).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

const RTF_UP: u32 = 0x1;
const RTF_REJECT: u32 = 0x200;

fn default_routes(v4: &str, v6: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str, flags: &str| {
        let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
        let usable = flags & RTF_UP != 0 && flags & RTF_REJECT == 0 && name != "lo";
        if usable && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    // Iface Destination Gateway Flags RefCnt Use Metric Mask …
    for line in v4.lines().skip(1) {
        if let [name, "00000000", _, flags, _, _, _, "00000000", ..] =
            line.split_whitespace().collect::<Vec<_>>()[..]
        {
            add(name, flags);
        }
    }
    // destination prefix source prefix next-hop metric refcnt use flags device
    for line in v6.lines() {
        if let [to, "00", _, _, _, _, _, _, flags, name] = line.split_whitespace().collect::<Vec<_>>()[..]
            && to.bytes().all(|digit| digit == b'0')
        {
            add(name, flags);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").expect("every namespace has lo");
        assert!(lo.is_loopback() && lo.has_ethernet_header() && lo.index == 1 && lo.xdp.is_none());
    }

    #[test]
    fn one_interface_is_asked_for_by_name_and_by_index() {
        let lo = named("lo").unwrap().expect("every namespace has lo");
        assert_eq!(numbered(lo.index).unwrap(), Some(lo));
        for none in ["", "earthdog-none0", "a name of more than fifteen bytes"] {
            assert_eq!(named(none).unwrap(), None, "{none}");
        }
        assert_eq!(numbered(u32::MAX >> 1).unwrap(), None);
    }

    #[test]
    fn a_message_is_read_and_a_cut_one_refused() {
        let mut body = vec![0, 0];
        body.extend_from_slice(&ARPHRD_ETHER.to_ne_bytes());
        body.extend_from_slice(&7u32.to_ne_bytes());
        body.extend_from_slice(&1u32.to_ne_bytes());
        body.extend_from_slice(&0u32.to_ne_bytes());
        let attribute = |kind: u16, value: &[u8]| {
            let mut out = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
            out.extend_from_slice(&kind.to_ne_bytes());
            out.extend_from_slice(value);
            out.resize(out.len().next_multiple_of(4), 0);
            out
        };
        body.extend(attribute(libc::IFLA_IFNAME, b"veth0\0"));
        body.extend(attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes()));
        body.extend(attribute(libc::IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0")));
        body.extend(attribute(IFLA_XDP | 0x8000, &attribute(IFLA_XDP_PROG_ID, &9u32.to_ne_bytes())));
        let expected = Link {
            name: "veth0".into(),
            index: 7,
            up: true,
            hardware: 1,
            driver: "veth".into(),
            xdp: Some(9),
            mtu: 1500,
            master: 0,
        };
        assert_eq!(link(&body), Some(expected));

        let mut message = ((body.len() + NLMSG_HEADER) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        message.resize(NLMSG_HEADER, 0);
        message.extend_from_slice(&body);
        let mut told = Vec::new();
        changes(&message, &mut |change| told.push(change));
        assert_eq!(told, [Change::Link { index: 7, name: "veth0".into() }]);
        changes(&message[..message.len() - 1], &mut |change| panic!("{change:?}"));
        let mut links = Vec::new();
        assert!(read_dump(&message, libc::RTM_NEWLINK, &mut |body| links.extend(link(body))).unwrap());
        assert_eq!(links.len(), 1);
        assert!(read_dump(&message[..message.len() - 1], libc::RTM_NEWLINK, &mut |_| {}).is_err());
        for cut in 0..body.len() {
            let _any = link(&body[..cut]); // must not panic
        }
    }

    #[test]
    fn default_routes_of_both_families() {
        let v4 = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
            wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            bad\t00000000\t00000000\t0203\t0\t0\t0\t00000000\t0\t0\t0\n";
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth1\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200 lo\n\
             fe80000000000000{} 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001 eth2\n",
            "0".repeat(16)
        );
        assert_eq!(default_routes(v4, &v6), ["eth0", "wlan0", "eth1"]);
        assert!(default_routes("", "").is_empty());
    }
}
