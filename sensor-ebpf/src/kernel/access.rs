//! Bytes of a packet, by hook: direct loads from linear memory, helpers for what may lie outside.
//!
//! A helper call costs 10 ns and more where returns are guarded (retbleed, SRSO), a direct load one.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::abi::CAP_RESPONSE;
use sensor_ebpf::describe::hidden;
use sensor_ebpf::frame::{self, Frame, Link, Load, Located, Skip, min};
use sensor_ebpf::limits::{MAX_CHUNKS, XDP_CHUNKS, XDP_LEGACY_CHUNKS};
use sensor_ebpf::plain::{self, Head, Outlook};

use super::maps::volatile;

/// The verifier takes packet offsets below this only (MAX_PACKET_OFF).
const MAX_OFFSET: u32 = 0x7fff;

/// A hook's packet.
pub(crate) trait Access: Sized {
    /// Whether the hook runs preemptible, so that counting has to be atomic.
    const ATOMIC: bool;
    /// Records from one packet at most.
    const CHUNKS: u32;
    /// Length of the packet, bytes that cannot be loaded directly included.
    fn size(&self) -> u32;
    /// What may be loaded directly. Asked for anew at each step: what the verifier knows about a pointer would keep the
    /// paths of the step before apart.
    fn linear(&self) -> Linear;
    /// Copies `len` bytes from `offset` to `to`, wherever they lie. False if the packet refuses, or if `len` is not 1 to
    /// `CAP_RESPONSE`.
    ///
    /// `len` is in map memory and loaded at each step, so that the verifier does not follow what one step learns of it
    /// into all that comes after.
    ///
    /// # Safety
    /// `to` points at `CAP_RESPONSE` writable bytes, aligned to eight.
    unsafe fn copy(&self, offset: u32, to: *mut u64, len: &u32) -> bool;
    /// See `frame::locate`.
    #[inline(always)]
    fn locate(&self, link: Link) -> Result<Located, Skip> {
        frame::locate(&Direct::new(self), link)
    }
    /// See `plain::plain`.
    #[inline(always)]
    fn plain(&self, link: Link) -> Outlook {
        let linear = self.linear();
        let head = if matches!(link, Link::Ethernet) { linear.head::<14>() } else { linear.head::<0>() };
        head.map_or(Outlook::Unclear, |head| plain::plain(&head, link, linear.len()))
    }
    /// See `frame::complete`.
    #[inline(always)]
    fn complete(&self, at: &Located, frame: &mut Frame) -> Result<(), Skip> {
        frame::complete(&Direct::new(self), at, frame)
    }
    /// Interface index, 0 if the hook has none.
    fn ifindex(&self) -> u32;
    /// Bytes of payload of each datagram in a GSO burst, 0 if it is none.
    #[inline(always)]
    fn gso_size(&self) -> u32 {
        0
    }
    /// VLAN id that the stack has taken out of the frame already.
    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        None
    }
    /// The socket buffer, where the hook has one.
    #[inline(always)]
    fn skb(&self) -> Option<*mut __sk_buff> {
        None
    }
    /// Of a packet that this host sends: whether an IP socket sends it. `None` for one that only passes through.
    #[inline(always)]
    fn sender(&self) -> Option<bool> {
        None
    }
}

/// XDP, 5.18 and later.
pub(crate) struct Xdp(*mut xdp_md);

/// XDP before 5.18.
pub(crate) struct XdpLegacy(Xdp);

/// tc and tcx, or cgroup_skb (`HOST`).
pub(crate) struct Skb<const HOST: bool>(*mut __sk_buff);

/// Headers by direct loads.
struct Direct<'p, P> {
    packet: &'p P,
    linear: Linear,
}

impl<'p, P: Access> Direct<'p, P> {
    #[inline(always)]
    fn new(packet: &'p P) -> Self {
        Self { packet, linear: packet.linear() }
    }
}

impl<P: Access> Load for Direct<'_, P> {
    #[inline(always)]
    fn size(&self) -> u32 {
        self.packet.size()
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.linear.load(offset)
    }

    #[inline(always)]
    fn reach(&self, end: u32) -> u32 {
        if end <= self.linear.len() { end } else { min(end, self.packet.size()) }
    }
}

/// A length that helpers take, 1 to `CAP_RESPONSE`.
///
/// By way of one less: before 6.8 (linux d028f87517d6) the verifier did not learn from `len != 0` that it is at least 1,
/// and LLVM would turn any other check into that one.
#[inline(always)]
fn bounded(len: &u32) -> Option<u32> {
    let less = hidden(volatile(len).wrapping_sub(1) as usize) as u32;
    if less < CAP_RESPONSE as u32 { Some(less + 1) } else { None }
}

/// What of a packet programs may load from directly.
#[derive(Clone, Copy)]
pub(crate) struct Linear {
    data: usize,
    data_end: usize,
}

impl Linear {
    /// Hides that the addresses are 32 bits wide, or LLVM turns `at + 1 > end` into `at >= end`, from which the verifier
    /// learns nothing.
    #[inline(always)]
    fn new(data: u32, data_end: u32) -> Self {
        Self { data: hidden(data as usize), data_end: data_end as usize }
    }

    #[inline(always)]
    const fn len(&self) -> u32 {
        (self.data_end - self.data) as u32
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.data + offset as usize;
        if start + N > self.data_end {
            return None;
        }
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the N bytes lie between data and data_end, checked above, and `bytes` has room for them. An unaligned
        // read would become N loads; the verifier allows the misaligned one where the CPU does.
        unsafe {
            let to = bytes.as_mut_ptr();
            match N {
                1 => to.cast::<u8>().write(*(start as *const u8)),
                2 => to.cast::<u16>().write_unaligned(*(start as *const u16)),
                4 => to.cast::<u32>().write_unaligned(*(start as *const u32)),
                8 => to.cast::<u64>().write_unaligned(*(start as *const u64)),
                _ => const { assert!(matches!(N, 1 | 2 | 4 | 8)) },
            }
            Some(bytes.assume_init())
        }
    }

    /// Sixteen bytes in two words, as they lie there.
    #[inline(always)]
    pub(crate) fn begin(&self, offset: u32) -> Option<[u64; 2]> {
        let word = |at| self.load::<8>(at).map(u64::from_ne_bytes);
        Some([word(offset)?, word(offset + 8)?])
    }

    /// The head of a packet whose network header is `NETWORK` bytes behind its first byte.
    #[inline(always)]
    fn head<const NETWORK: usize>(&self) -> Option<Head> {
        let at = self.data + NETWORK;
        if self.data + NETWORK + 28 > self.data_end {
            return None;
        }
        // SAFETY: all between data and data_end, checked above. Unaligned as in `load`.
        unsafe {
            Some(Head {
                ethertype: if NETWORK == 0 { 0 } else { *((at - 2) as *const u16) },
                first: *(at as *const u64),
                second: *((at + 8) as *const u16),
                addresses: *((at + 12) as *const u64),
                transport: *((at + 20) as *const u64),
            })
        }
    }

    /// Copies up to LIMIT bytes by words, of which the last is filled up with zeroes. False if they do not lie
    /// here.
    ///
    /// # Safety
    /// `to` points at `LIMIT` writable bytes, aligned to eight.
    #[inline(always)]
    pub(crate) unsafe fn copy<const LIMIT: u32>(&self, offset: u32, to: *mut u64, len: &u32) -> bool {
        const BLOCK: usize = 32;
        // The last eight bytes are loaded at once, so headers have to precede what is shorter.
        if !(8..=MAX_OFFSET - LIMIT).contains(&offset) {
            return false;
        }
        // Once more as a mask, since the compiler may check another register than the one it adds.
        let offset = hidden(offset as usize) & MAX_OFFSET as usize;
        let start = self.data + offset;
        let blocks = volatile(len) as usize / BLOCK;
        for block in 0..LIMIT as usize / BLOCK {
            if block >= blocks {
                break;
            }
            // SAFETY: `to` has room for whole blocks up to LIMIT.
            if !unsafe { self.words::<{ BLOCK / 8 }>(start + block * BLOCK, to.byte_add(block * BLOCK)) } {
                return false;
            }
        }
        // Loaded again, so that the verifier takes the rest for the same one after each number of blocks.
        let len = hidden(volatile(len) as usize);
        if len > LIMIT as usize {
            return false;
        }
        let mut done = len & !(BLOCK - 1);
        if len & 16 != 0 {
            // SAFETY: as above; `done + 16 <= len`.
            if !unsafe { self.words::<2>(start + done, to.byte_add(done)) } {
                return false;
            }
            done += 16;
        }
        if len & 8 != 0 {
            // SAFETY: as above; `done + 8 <= len`.
            if !unsafe { self.words::<1>(start + done, to.byte_add(done)) } {
                return false;
            }
            done += 8;
        }
        let rest = len & 7;
        if rest != 0 {
            // Hidden, or the compiler compares the sum without the 8 and the verifier does not see what that is about.
            let from = self.data + (hidden(offset + len - 8) & MAX_OFFSET as usize);
            if from + 8 > self.data_end {
                return false;
            }
            // SAFETY: inside the packet, checked above; `done < len`, so `to` has a word there. As for `words`.
            unsafe { to.byte_add(done).write(*(from as *const u64) >> (64 - rest * 8)) };
        }
        true
    }

    /// # Safety
    /// `to` points at `COUNT` writable words.
    #[inline(always)]
    unsafe fn words<const COUNT: usize>(&self, from: usize, to: *mut u64) -> bool {
        if from + COUNT * 8 > self.data_end {
            return false;
        }
        for word in 0..COUNT {
            // SAFETY: inside the packet, checked above, and inside `to` by the caller's promise. An unaligned read would
            // become eight loads; the verifier allows the misaligned one where the CPU does.
            unsafe { to.add(word).write(*(from as *const u64).add(word)) };
        }
        true
    }
}

impl Xdp {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self(ctx.ctx)
    }
}

impl Access for Xdp {
    const ATOMIC: bool = false;
    const CHUNKS: u32 = XDP_CHUNKS;

    #[inline(always)]
    fn size(&self) -> u32 {
        // SAFETY: the program's context.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }

    #[inline(always)]
    fn linear(&self) -> Linear {
        // SAFETY: the program's context.
        unsafe { Linear::new((*self.0).data, (*self.0).data_end) }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut u64, len: &u32) -> bool {
        let Some(len) = bounded(len) else { return false };
        // SAFETY: the caller's promise about `to`, and `len` is no more; the helper checks the packet.
        unsafe { bpf_xdp_load_bytes(self.0, offset, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the program's context.
        unsafe { (*self.0).ingress_ifindex }
    }
}

impl XdpLegacy {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self(Xdp::new(ctx))
    }
}

impl Access for XdpLegacy {
    const ATOMIC: bool = false;
    const CHUNKS: u32 = XDP_LEGACY_CHUNKS;

    #[inline(always)]
    fn size(&self) -> u32 {
        self.linear().len()
    }

    #[inline(always)]
    fn linear(&self) -> Linear {
        self.0.linear()
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut u64, len: &u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.linear().copy::<{ CAP_RESPONSE as u32 }>(offset, to, len) }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ifindex()
    }
}

impl<const HOST: bool> Skb<HOST> {
    #[inline(always)]
    pub(crate) const fn new(skb: *mut __sk_buff) -> Self {
        Self(skb)
    }
}

/// Headers by a helper, for those that do not lie in linear memory.
struct ByHelper<'p, const HOST: bool>(&'p Skb<HOST>);

impl<const HOST: bool> Load for ByHelper<'_, HOST> {
    #[inline(always)]
    fn size(&self) -> u32 {
        self.0.size()
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the program's context, and `bytes` has N bytes; the helper fills all or fails.
        unsafe {
            let done = bpf_skb_load_bytes(self.0.0.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
            (done == 0).then(|| bytes.assume_init())
        }
    }
}

impl<const HOST: bool> Access for Skb<HOST> {
    const ATOMIC: bool = HOST;
    const CHUNKS: u32 = MAX_CHUNKS;

    #[inline(always)]
    fn size(&self) -> u32 {
        // SAFETY: the program's context.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn linear(&self) -> Linear {
        // SAFETY: the program's context.
        unsafe { Linear::new((*self.0).data, (*self.0).data_end) }
    }

    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut u64, len: &u32) -> bool {
        let Some(len) = bounded(len) else { return false };
        // SAFETY: the caller's promise about `to`, and `len` is no more; the helper checks the packet.
        unsafe { bpf_skb_load_bytes(self.0.cast(), offset, to.cast(), len) == 0 }
    }

    /// Directly where the headers are linear, which is nearly always; else by helpers.
    #[inline(always)]
    fn locate(&self, link: Link) -> Result<Located, Skip> {
        match frame::locate(&Direct::new(self), link) {
            Err(Skip::Truncated) if self.size() > self.linear().len() => frame::locate(&ByHelper(self), link),
            other => other,
        }
    }

    #[inline(always)]
    fn complete(&self, at: &Located, frame: &mut Frame) -> Result<(), Skip> {
        if frame::complete(&Direct::new(self), at, frame).is_ok() {
            return Ok(());
        }
        frame::complete(&ByHelper(self), at, frame)
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: the program's context.
        unsafe { (*self.0).ifindex }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: the program's context.
        unsafe { (*self.0).gso_size }
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        // SAFETY: the program's context.
        unsafe { ((*self.0).vlan_present != 0).then(|| (*self.0).vlan_tci as u16 & 0x0fff) }
    }

    #[inline(always)]
    fn skb(&self) -> Option<*mut __sk_buff> {
        Some(self.0)
    }

    #[inline(always)]
    fn sender(&self) -> Option<bool> {
        /// linux/socket.h.
        const AF_INET: u32 = 2;
        const AF_INET6: u32 = 10;
        // SAFETY: `skb` is the program's context, and its socket is read where there is one.
        unsafe {
            let sock = (*self.0).__bindgen_anon_2.sk;
            if sock.is_null() {
                return ((*self.0).ingress_ifindex == 0).then_some(false);
            }
            let family = (*sock).family;
            Some(family == AF_INET || family == AF_INET6)
        }
    }
}

/// What a hook's packets begin with.
pub(crate) const WIRE_LINK: Link = Link::Ethernet;
/// See `WIRE_LINK`: cgroup hooks see packets from the network header.
pub(crate) const HOST_LINK: Link = Link::Socket;
