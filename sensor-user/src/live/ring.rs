//! The two rings: drained by timer (records come without wake-ups), every field checked, merged by time.
//!
//! A drain takes a bounded batch, so that signals, the control socket and the status line get their turn under load.
//! Payloads of one batch share one arena: no allocation per record.

use aya::maps::{MapData, RingBuf};
use bytes::{Bytes, BytesMut};
use sensor_ebpf::abi::{
    self, ExecRecord, ExitRecord, ForkRecord, Owner, RecordHeader, flag, grade, kind, no_owner, owner_source,
    view,
};
use zerocopy::{FromBytes, FromZeros as _, IntoBytes as _};

use crate::clock::BootClock;
use crate::event::{self, Event, Exec, Exit, Fork, Kind, Packet, Transport, View};

/// Records taken in one drain: 2 ms of work at 2 million records a second.
const MAX_BATCH: usize = 4096;
/// Payload bytes taken in one drain: bounds what a batch keeps alive.
const MAX_ARENA: usize = 2 << 20;
/// What one drain holds at most: payloads (the last one may go over the mark), records, and their order.
pub const WORST_CASE_BYTES: usize =
    MAX_ARENA + 2 * abi::CAP_RESPONSE + MAX_BATCH * (size_of::<Entry>() + size_of::<(u64, u32)>());
/// How far a record's clock may be ahead of ours before it is called damaged.
const FUTURE_NS: u64 = 60_000_000_000;

/// Why a ring entry is no record this version understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Short,
    Tag,
    Length,
    Transport,
    View,
    Kind,
    Owner,
    Time,
}

/// Label of each `Bad`, in its order.
pub const BAD_NAMES: [&str; 8] = ["short", "tag", "length", "transport", "view", "kind", "owner", "time"];

/// What came out of the rings so far.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub packets: u64,
    pub execs: u64,
    pub forks: u64,
    pub exits: u64,
    /// Entries that were refused, by `Bad`.
    pub bad: [u64; BAD_NAMES.len()],
}

impl Stats {
    /// Entries that were taken out of the rings, those included that were refused.
    pub fn taken(&self) -> u64 {
        self.packets + self.execs + self.forks + self.exits + self.bad.iter().sum::<u64>()
    }
}

/// The consumer side of both rings.
pub struct Rings {
    /// Bulk first: an exec event is always committed before the packets of that process, so by the time the small
    /// ring is read it holds every exec that a packet just read depends on.
    rings: [RingBuf<MapData>; 2],
    batch: Batch,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Rings").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Rings {
    pub fn new(alert: RingBuf<MapData>, bulk: RingBuf<MapData>) -> Self {
        Self { rings: [bulk, alert], batch: Batch::default() }
    }

    /// Hands over what the rings hold, oldest first, up to a batch; true if there may be more.
    pub fn drain(&mut self, clock: &BootClock, now_boot_ns: u64, sink: &mut dyn FnMut(Event)) -> bool {
        let mut more = false;
        for ring in &mut self.rings {
            let limit = self.batch.entries.len() + MAX_BATCH / 2;
            let bytes = self.batch.arena.len() + MAX_ARENA / 2;
            loop {
                if self.batch.entries.len() >= limit || self.batch.arena.len() >= bytes {
                    more = true;
                    break;
                }
                let Some(entry) = ring.next() else { break };
                self.batch.take(&entry, clock, now_boot_ns);
            }
        }
        self.batch.deliver(sink);
        more
    }

    pub fn stats(&self) -> &Stats {
        &self.batch.stats
    }
}

/// Records of one drain, before they are put in order.
#[derive(Debug, Default)]
struct Batch {
    arena: BytesMut,
    entries: Vec<Entry>,
    /// (time, index into `entries`): sorting these moves 16 bytes, not a record.
    order: Vec<(u64, u32)>,
    stats: Stats,
}

#[derive(Debug)]
struct Entry {
    /// A packet's payload is still empty.
    event: Option<Event>,
    /// Where the payload begins in the arena, and its length.
    start: u32,
    len: u32,
}

impl Batch {
    fn take(&mut self, entry: &[u8], clock: &BootClock, now_boot_ns: u64) {
        match decode(entry, clock, now_boot_ns) {
            Ok(Decoded { event, time_ns, body }) => {
                match event {
                    Event::Packet(_) => self.stats.packets += 1,
                    Event::Exec(_) => self.stats.execs += 1,
                    Event::Fork(_) => self.stats.forks += 1,
                    Event::Exit(_) => self.stats.exits += 1,
                }
                let start = self.arena.len() as u32;
                self.arena.extend_from_slice(body);
                self.order.push((time_ns, self.entries.len() as u32));
                self.entries.push(Entry { event: Some(event), start, len: body.len() as u32 });
            }
            Err(bad) => self.stats.bad[bad as usize] += 1,
        }
    }

    fn deliver(&mut self, sink: &mut dyn FnMut(Event)) {
        let arena = self.arena.split().freeze();
        self.order.sort_unstable();
        for (_, index) in self.order.drain(..) {
            let entry = &mut self.entries[index as usize];
            let (start, end) = (entry.start as usize, (entry.start + entry.len) as usize);
            let Some(mut event) = entry.event.take() else { continue };
            if let Event::Packet(packet) = &mut event {
                packet.payload = arena.slice(start..end);
            }
            sink(event);
        }
        self.entries.clear();
    }
}

struct Decoded<'e> {
    event: Event,
    /// CLOCK_BOOTTIME, for the order.
    time_ns: u64,
    /// Of a packet.
    body: &'e [u8],
}

/// One ring entry, read in place. The entry may be longer than what it says it holds.
fn decode<'e>(entry: &'e [u8], clock: &BootClock, now_boot_ns: u64) -> Result<Decoded<'e>, Bad> {
    let tag = entry.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)).ok_or(Bad::Short)?;
    let decoded = match tag {
        abi::TAG_PACKET => packet(entry, clock),
        abi::TAG_EXEC => exec(entry, clock),
        abi::TAG_FORK => fork(entry, clock),
        abi::TAG_EXIT => exit(entry, clock),
        _ => Err(Bad::Tag),
    }?;
    if decoded.time_ns > now_boot_ns.saturating_add(FUTURE_NS) {
        return Err(Bad::Time);
    }
    Ok(decoded)
}

fn packet<'e>(entry: &'e [u8], clock: &BootClock) -> Result<Decoded<'e>, Bad> {
    let (header, rest) = RecordHeader::ref_from_prefix(entry).map_err(|_| Bad::Short)?;
    let view = match header.view {
        view::WIRE_INGRESS => View::WireIngress,
        view::WIRE_EGRESS => View::WireEgress,
        view::HOST_EGRESS => View::HostEgress,
        view::HOST_INGRESS => View::HostIngress,
        _ => return Err(Bad::View),
    };
    let (owner, rest) = match view {
        View::HostEgress | View::HostIngress => {
            let (owner, rest) = Owner::read_from_prefix(rest).map_err(|_| Bad::Short)?;
            (owner, rest)
        }
        _ => (event::no_owner(no_owner::WIRE_VIEW), rest),
    };
    let body = rest.get(..header.cap_len as usize).ok_or(Bad::Length)?;
    if header.cap_len > header.true_len || header.true_len > 65_535 {
        return Err(Bad::Length);
    }
    let transport = match header.transport {
        17 => Transport::Udp,
        6 => Transport::Tcp,
        _ => return Err(Bad::Transport),
    };
    let kind = match (header.kind, transport) {
        (kind::MESSAGE, Transport::Udp) => Kind::Message,
        (kind::DATAGRAM, Transport::Udp) => Kind::Datagram,
        (kind::SEGMENT, Transport::Tcp) => Kind::Segment,
        _ => return Err(Bad::Kind),
    };
    if owner.grade > grade::SNAPSHOT || owner.source > owner_source::SNAPSHOT {
        return Err(Bad::Owner);
    }
    let address = |ip, port| (event::ip_from_abi(ip), port).into();
    let vlan = header.vlan.map(|id| (id != 0xffff).then_some(id & 0x0fff));
    let time_ns = clock.boot_of_awake_ns(header.time_ns);
    let event = Event::Packet(Packet {
        time_ns: clock.unix_ns(time_ns),
        view,
        kind,
        transport,
        src: address(header.src, header.src_port),
        dst: address(header.dst, header.dst_port),
        ifindex: header.ifindex,
        vlan,
        tcp_seq: header.tcp_seq,
        flags: header.flags & KNOWN_FLAGS,
        true_len: header.true_len,
        payload: Bytes::new(),
        owner,
    });
    Ok(Decoded { event, time_ns, body })
}

const KNOWN_FLAGS: u16 = flag::FRAGMENT
    | flag::BAD_QUESTION
    | flag::GSO
    | flag::TCP_SYN
    | flag::TCP_FIN
    | flag::TCP_RST
    | flag::RESPONSE
    | flag::ALERT
    | flag::TO_SERVER
    | flag::TO_REPEAT;

/// Copied, unlike payloads: who the process is stays known for as long as it lives, and a slice of the arena would keep
/// the whole of it.
fn exec<'e>(entry: &'e [u8], clock: &BootClock) -> Result<Decoded<'e>, Bad> {
    const HEAD: usize = size_of::<ExecRecord>() - abi::EXEC_ARGS;
    // The record ends with its arguments; the rest is as if it had been zero.
    let mut record = ExecRecord::new_zeroed();
    let len = entry.len().min(size_of::<ExecRecord>());
    if len < HEAD {
        return Err(Bad::Short);
    }
    record.as_mut_bytes()[..len].copy_from_slice(&entry[..len]);
    let path = record.path.get(..usize::from(record.path_len)).ok_or(Bad::Length)?;
    let file = record.file.get(..usize::from(record.file_len)).ok_or(Bad::Length)?;
    if HEAD + usize::from(record.args_len) > entry.len() {
        return Err(Bad::Length);
    }
    let args = record.args.get(..usize::from(record.args_len)).ok_or(Bad::Length)?;
    let time_ns = clock.boot_of_awake_ns(record.time_ns);
    let event = Event::Exec(Exec {
        time_ns: clock.unix_ns(time_ns),
        tgid: record.tgid,
        ppid: record.ppid,
        uid: record.uid,
        start_boot_ns: record.start_boot_ns,
        parent_start_boot_ns: record.parent_start_boot_ns,
        cgroup_id: record.cgroup_id,
        stdio: record.flags & abi::exec::STDIO,
        is_script: record.flags & abi::exec::SCRIPT != 0,
        exe: own_path(file, record.flags),
        path: Bytes::copy_from_slice(path),
        args: Bytes::copy_from_slice(args),
    });
    Ok(Decoded { event, time_ns, body: &[] })
}

/// Directory entries from the file up, as a path; as /proc/PID/exe has it where the file lies in no directory.
fn own_path(names: &[u8], flags: u16) -> Option<Bytes> {
    let mut path = Vec::with_capacity(names.len() + 12);
    for name in names.strip_suffix(b"\0")?.rsplit(|byte| *byte == 0) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if flags & abi::exec::UNREACHABLE != 0 {
        path.extend_from_slice(b" (deleted)");
    } else if flags & abi::exec::WHOLE == 0 {
        return None;
    }
    Some(path.into())
}

fn fork<'e>(entry: &'e [u8], clock: &BootClock) -> Result<Decoded<'e>, Bad> {
    let (record, _) = ForkRecord::ref_from_prefix(entry).map_err(|_| Bad::Short)?;
    let time_ns = clock.boot_of_awake_ns(record.time_ns);
    let event = Event::Fork(Fork {
        time_ns: clock.unix_ns(time_ns),
        tgid: record.tgid,
        ppid: record.ppid,
        uid: record.uid,
        start_boot_ns: record.start_boot_ns,
        parent_start_boot_ns: record.parent_start_boot_ns,
        cgroup_id: record.cgroup_id,
    });
    Ok(Decoded { event, time_ns, body: &[] })
}

fn exit<'e>(entry: &'e [u8], clock: &BootClock) -> Result<Decoded<'e>, Bad> {
    let (record, _) = ExitRecord::ref_from_prefix(entry).map_err(|_| Bad::Short)?;
    let time_ns = clock.boot_of_awake_ns(record.time_ns);
    let event = Event::Exit(Exit {
        time_ns: clock.unix_ns(time_ns),
        tgid: record.tgid,
        start_boot_ns: record.start_boot_ns,
    });
    Ok(Decoded { event, time_ns, body: &[] })
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    const CLOCK: BootClock = BootClock::with_distance(1_000);
    const NOW: u64 = 1 << 40;

    fn header(payload: &[u8]) -> RecordHeader {
        let mut header = RecordHeader::new_zeroed();
        header.tag = abi::TAG_PACKET;
        header.cap_len = payload.len() as u32;
        header.true_len = payload.len() as u32;
        header.time_ns = 50;
        header.src = "::ffff:10.0.0.1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        header.dst = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        (header.src_port, header.dst_port) = (40_000, 53);
        header.vlan = [7, 0xffff];
        (header.transport, header.view, header.kind) = (17, view::HOST_EGRESS, kind::MESSAGE);
        header.flags = flag::TO_SERVER | 1 << 15;
        header
    }

    fn entry<T: IntoBytes + zerocopy::Immutable>(head: &T, payload: &[u8]) -> Vec<u8> {
        [head.as_bytes(), payload].concat()
    }

    /// A record of the host view.
    fn packet(header: &RecordHeader, payload: &[u8]) -> Vec<u8> {
        entry(header, &entry(&Owner { tgid: 9, ..Owner::new_zeroed() }, payload))
    }

    fn drained(entries: &[Vec<u8>]) -> (Vec<Event>, Stats) {
        let mut batch = Batch::default();
        for entry in entries {
            batch.take(entry, &CLOCK, NOW);
        }
        let mut events = Vec::new();
        batch.deliver(&mut |event| events.push(event));
        (events, batch.stats)
    }

    #[test]
    fn a_record_becomes_a_packet() {
        let mut long = packet(&header(b"message"), b"message");
        long.extend_from_slice(b"what an earlier record left behind");
        let (events, stats) = drained(&[long]);
        let Event::Packet(packet) = &events[0] else { panic!("{events:?}") };
        assert_eq!((&packet.payload[..], packet.true_len, packet.time_ns), (&b"message"[..], 7, 1_050));
        assert_eq!(packet.src, "10.0.0.1:40000".parse().unwrap());
        assert_eq!(packet.dst, "[2001:db8::1]:53".parse().unwrap());
        assert_eq!((packet.vlan, packet.flags), ([Some(7), None], flag::TO_SERVER));
        assert_eq!(
            (packet.view, packet.kind, packet.transport),
            (View::HostEgress, Kind::Message, Transport::Udp)
        );
        assert_eq!((stats.packets, stats.bad), (1, [0; 8]));
    }

    #[test]
    fn only_the_host_view_has_an_owner() {
        let wire = RecordHeader { view: view::WIRE_INGRESS, ..header(b"message") };
        let (events, _) = drained(&[packet(&header(b"message"), b"message"), entry(&wire, b"message")]);
        let owners: Vec<_> = events
            .iter()
            .map(|event| {
                let Event::Packet(packet) = event else { panic!("{event:?}") };
                assert_eq!(&packet.payload[..], b"message");
                (packet.owner.tgid, packet.owner.reason)
            })
            .collect();
        assert_eq!(owners, [(9, no_owner::HAS_OWNER), (0, no_owner::WIRE_VIEW)]);
    }

    #[test]
    fn both_rings_come_out_in_the_order_of_time() {
        let at = |time_ns, payload: &[u8]| packet(&RecordHeader { time_ns, ..header(payload) }, payload);
        let mut exec = ExecRecord::new_zeroed();
        (exec.tag, exec.time_ns, exec.tgid) = (abi::TAG_EXEC, 15, 9);
        (exec.path_len, exec.args_len) = (4, 6);
        exec.path[..4].copy_from_slice(b"/bin");
        exec.args[..6].copy_from_slice(b"a\0b\0c\0");
        let (events, stats) =
            drained(&[at(10, b"ten"), at(30, b"thirty"), entry(&exec, b""), at(20, b"twenty")]);
        let shown: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::Packet(packet) => String::from_utf8_lossy(&packet.payload).into_owned(),
                Event::Exec(exec) => format!("{:?} {:?}", exec.path, exec.args),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(shown, ["ten", r#"b"/bin" b"a\0b\0c\0""#, "twenty", "thirty"]);
        assert_eq!((stats.packets, stats.execs), (3, 1));
        let Event::Exec(exec) = &events[1] else { panic!("{events:?}") };
        assert!(exec.path.is_unique() && exec.args.is_unique(), "an exec keeps nothing but itself");
    }

    #[test]
    fn process_records_become_events() {
        let mut exec = ExecRecord::new_zeroed();
        (exec.tag, exec.time_ns, exec.tgid, exec.ppid) = (abi::TAG_EXEC, 1, 9, 8);
        exec.flags = abi::exec::SCRIPT | abi::exec::WHOLE | abi::exec::STDOUT_SOCKET;
        (exec.path_len, exec.file_len) = (6, 13);
        exec.path[..6].copy_from_slice(b"./tool");
        exec.file[..13].copy_from_slice(b"dash\0bin\0usr\0");
        // As the kernel sends it: without the room for arguments.
        let exec = entry(&exec, b"")[..size_of::<ExecRecord>() - abi::EXEC_ARGS].to_vec();
        let mut fork = ForkRecord::new_zeroed();
        (fork.tag, fork.time_ns, fork.tgid, fork.ppid) = (abi::TAG_FORK, 2, 10, 9);
        (fork.start_boot_ns, fork.parent_start_boot_ns, fork.cgroup_id) = (3, 4, 5);
        let mut exit = ExitRecord::new_zeroed();
        (exit.tag, exit.time_ns, exit.tgid, exit.start_boot_ns) = (abi::TAG_EXIT, 3, 10, 3);
        let (events, stats) = drained(&[exec, entry(&fork, b""), entry(&exit, b"")]);
        let [Event::Exec(exec), Event::Fork(fork), Event::Exit(exit)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(exec.exe.as_deref(), Some(&b"/usr/bin/dash"[..]));
        assert_eq!((&exec.path[..], exec.is_script), (&b"./tool"[..], true));
        assert_eq!((exec.stdio, exec.args.len()), (abi::exec::STDOUT_SOCKET, 0));
        assert_eq!((fork.tgid, fork.ppid, fork.parent_start_boot_ns, fork.cgroup_id), (10, 9, 4, 5));
        assert_eq!((exit.tgid, exit.start_boot_ns, exit.time_ns), (10, 3, 1_003));
        assert_eq!((stats.execs, stats.forks, stats.exits), (1, 1, 1));
    }

    #[test]
    fn an_own_path_is_whole_or_outside_the_tree() {
        use abi::exec::{UNREACHABLE, WHOLE};
        for (names, flags, want) in [
            (&b"dig\0bin\0"[..], WHOLE, Some(&b"/bin/dig"[..])),
            (b"dig\0", WHOLE, Some(b"/dig")),
            (b"memfd:x\0", UNREACHABLE, Some(b"/memfd:x (deleted)")),
            (b"dig\0bin\0", 0, None),
            (b"dig\0bin", WHOLE, None),
            (b"", WHOLE, None),
        ] {
            assert_eq!(own_path(names, flags).as_deref(), want);
        }
    }

    #[test]
    fn every_field_is_checked() {
        let good = header(b"x");
        let mut wrong = vec![
            (packet(&RecordHeader { tag: 1, ..good }, b"x"), Bad::Tag),
            (packet(&RecordHeader { cap_len: 2, true_len: 2, ..good }, b"x"), Bad::Length),
            (packet(&RecordHeader { true_len: 0, ..good }, b"x"), Bad::Length),
            (packet(&RecordHeader { true_len: 65_536, ..good }, b"x"), Bad::Length),
            (packet(&RecordHeader { transport: 1, ..good }, b"x"), Bad::Transport),
            (packet(&RecordHeader { transport: 6, ..good }, b"x"), Bad::Kind),
            (packet(&RecordHeader { kind: 9, ..good }, b"x"), Bad::Kind),
            (packet(&RecordHeader { view: 0, ..good }, b"x"), Bad::View),
            (packet(&RecordHeader { time_ns: u64::MAX, ..good }, b"x"), Bad::Time),
            (vec![], Bad::Short),
            (abi::TAG_EXEC.to_ne_bytes().to_vec(), Bad::Short),
        ];
        let owner = Owner { grade: 5, ..Owner::new_zeroed() };
        wrong.push((entry(&good, &entry(&owner, b"x")), Bad::Owner));
        wrong.push((entry(&good, b"x"), Bad::Short));
        let mut exec = ExecRecord::new_zeroed();
        (exec.tag, exec.args_len) = (abi::TAG_EXEC, 513);
        wrong.push((entry(&exec, b""), Bad::Length));
        (exec.args_len, exec.file_len) = (0, 513);
        wrong.push((entry(&exec, b""), Bad::Length));
        // More arguments than the entry has.
        (exec.args_len, exec.file_len) = (1, 0);
        wrong.push((entry(&exec, b"")[..size_of::<ExecRecord>() - abi::EXEC_ARGS].to_vec(), Bad::Length));
        for tag in [abi::TAG_FORK, abi::TAG_EXIT] {
            wrong.push((tag.to_ne_bytes().to_vec(), Bad::Short));
        }
        for (bytes, want) in wrong {
            let (events, stats) = drained(&[bytes]);
            assert!(events.is_empty());
            assert_eq!(stats.bad[want as usize], 1, "{want:?} {stats:?}");
        }
    }

    #[test]
    fn bytes_at_random_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..2_000 {
            let mut bytes = packet(&header(b"payload"), b"payload");
            for _ in 0..4 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] = state as u8;
            }
            bytes.truncate(bytes.len() - round % bytes.len());
            let (events, stats) = drained(&[bytes]);
            assert_eq!(events.len() as u64 + stats.bad.iter().sum::<u64>(), 1);
        }
    }
}
