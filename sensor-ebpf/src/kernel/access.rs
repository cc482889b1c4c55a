//! Bytes of a packet, by hook: direct loads for XDP headers, helpers for what may lie outside linear memory.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use sensor_ebpf::frame::{Link, Load};
use sensor_ebpf::limits::{MAX_CHUNKS, XDP_CHUNKS, XDP_LEGACY_CHUNKS};

/// The verifier takes packet offsets below this only (MAX_PACKET_OFF).
const MAX_OFFSET: u32 = 0x7fff;

/// A hook's packet.
pub(crate) trait Access: Load {
    /// Whether the hook runs preemptible, so that counting has to be atomic.
    const ATOMIC: bool;
    /// Records from one packet at most.
    const CHUNKS: u32;
    /// Copies `len` bytes from `offset` to `to`. False if the packet refuses.
    ///
    /// # Safety
    /// `to` points at `CAP` writable bytes, and `1 <= len <= CAP`, known to the verifier.
    unsafe fn copy<const CAP: usize>(&self, offset: u32, to: *mut u8, len: u32) -> bool;
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

/// Bytes at an even address, so that two of them are one load.
#[derive(Clone, Copy)]
#[repr(C, align(2))]
struct Even<const N: usize>([u8; N]);

/// XDP, 5.18 and later.
pub(crate) struct Xdp {
    ctx: *mut xdp_md,
    data: usize,
    data_end: usize,
}

/// XDP before 5.18.
pub(crate) struct XdpLegacy(Xdp);

/// tc and tcx, or cgroup_skb (`HOST`).
pub(crate) struct Skb<const HOST: bool> {
    skb: *mut __sk_buff,
}

impl Xdp {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, data: ctx.data(), data_end: ctx.data_end() }
    }
}

impl Load for Xdp {
    #[inline(always)]
    fn size(&self) -> u32 {
        // SAFETY: `ctx` is the program's context.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as u32 }
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
        // SAFETY: the N bytes lie between data and data_end, checked above. Headers begin at even offsets of a frame
        // that drivers place at an even address, and the verifier checks what the CPU does not allow.
        Some(unsafe { (*(start as *const Even<N>)).0 })
    }
}

impl Access for Xdp {
    const ATOMIC: bool = false;
    const CHUNKS: u32 = XDP_CHUNKS;

    #[inline(always)]
    unsafe fn copy<const CAP: usize>(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller's promise about `to` and `len`; the helper checks the packet.
        unsafe { bpf_xdp_load_bytes(self.ctx, offset, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: `ctx` is the program's context.
        unsafe { (*self.ctx).ingress_ifindex }
    }
}

impl XdpLegacy {
    #[inline(always)]
    pub(crate) fn new(ctx: &XdpContext) -> Self {
        let mut xdp = Xdp::new(ctx);
        // Hides that the addresses are 32 bits wide, or LLVM turns `at + 1 > end` into `at >= end`, from which the
        // verifier learns nothing.
        xdp.data = core::hint::black_box(xdp.data);
        Self(xdp)
    }
}

impl Load for XdpLegacy {
    #[inline(always)]
    fn size(&self) -> u32 {
        (self.0.data_end - self.0.data) as u32
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset)
    }
}

impl Access for XdpLegacy {
    const ATOMIC: bool = false;
    const CHUNKS: u32 = XDP_LEGACY_CHUNKS;

    #[inline(always)]
    unsafe fn copy<const CAP: usize>(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        if offset > MAX_OFFSET {
            return false;
        }
        let start = self.0.data + offset as usize;
        let mut done = 0usize;
        for _ in 0..CAP / 8 {
            if done + 8 > len as usize {
                break;
            }
            let from = start + done;
            if from + 8 > self.0.data_end || done > CAP - 8 {
                return false;
            }
            // SAFETY: eight bytes inside the packet and inside `to`, both checked above. Single bytes on the packet
            // side would be eight loads; the verifier allows the misaligned one where the CPU does.
            unsafe { *to.add(done).cast::<u64>() = *(from as *const u64) };
            done += 8;
        }
        // Read anew, so that the verifier does not take the tail for a different one after each round above.
        let len = core::hint::black_box(len) as usize;
        if len > CAP {
            return false;
        }
        done = len & !7;
        for _ in 0..7 {
            if done >= len {
                break;
            }
            // Hidden, or the compiler would drop a bound that it can prove, and the verifier cannot.
            let at = core::hint::black_box(done);
            let from = start + at;
            if at >= CAP || from + 1 > self.0.data_end {
                return false;
            }
            // SAFETY: as above, for one byte.
            unsafe { *to.add(at) = *(from as *const u8) };
            done += 1;
        }
        true
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.0.ifindex()
    }
}

impl<const HOST: bool> Skb<HOST> {
    #[inline(always)]
    pub(crate) const fn new(skb: *mut __sk_buff) -> Self {
        Self { skb }
    }
}

impl<const HOST: bool> Load for Skb<HOST> {
    #[inline(always)]
    fn size(&self) -> u32 {
        // SAFETY: `skb` is the program's context.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: `skb` is the program's context and `bytes` has N bytes; the helper fills all or fails.
        unsafe {
            let done = bpf_skb_load_bytes(self.skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
            (done == 0).then(|| bytes.assume_init())
        }
    }
}

impl<const HOST: bool> Access for Skb<HOST> {
    const ATOMIC: bool = HOST;
    const CHUNKS: u32 = MAX_CHUNKS;

    #[inline(always)]
    unsafe fn copy<const CAP: usize>(&self, offset: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: the caller's promise about `to` and `len`; the helper checks the packet.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), offset, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: `skb` is the program's context.
        unsafe { (*self.skb).ifindex }
    }

    #[inline(always)]
    fn gso_size(&self) -> u32 {
        // SAFETY: `skb` is the program's context.
        unsafe { (*self.skb).gso_size }
    }

    #[inline(always)]
    fn stripped_vlan(&self) -> Option<u16> {
        // SAFETY: `skb` is the program's context.
        unsafe { ((*self.skb).vlan_present != 0).then(|| (*self.skb).vlan_tci as u16 & 0x0fff) }
    }

    #[inline(always)]
    fn skb(&self) -> Option<*mut __sk_buff> {
        Some(self.skb)
    }

    #[inline(always)]
    fn sender(&self) -> Option<bool> {
        /// linux/socket.h.
        const AF_INET: u32 = 2;
        const AF_INET6: u32 = 10;
        // SAFETY: `skb` is the program's context, and its socket is read where there is one.
        unsafe {
            let sock = (*self.skb).__bindgen_anon_2.sk;
            if sock.is_null() {
                return ((*self.skb).ingress_ifindex == 0).then_some(false);
            }
            let family = (*sock).family;
            Some(family == AF_INET || family == AF_INET6)
        }
    }
}

/// What a hook's packets begin with.
pub(crate) const WIRE_LINK: Link = Link::Ethernet;
/// See `WIRE_LINK`: cgroup hooks see packets from the network header.
pub(crate) const HOST_LINK: Link = Link::Ip;
