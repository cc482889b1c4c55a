//! The eBPF programs. Every one passes every packet on, whatever it finds: XDP_PASS, cgroup 1, TCX_NEXT.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// Atomic read-modify-write: BPF has it, the standard atomics of this target do not (kernel/maps.rs).
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics), allow(internal_features))]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr, classifier, fentry, kprobe, raw_tracepoint, xdp};
    use aya_ebpf::programs::{
        FEntryContext, ProbeContext, RawTracePointContext, SkBuffContext, SockAddrContext, TcContext,
        XdpContext,
    };
    use sensor_ebpf::abi::owner_source::{FENTRY, KPROBE};
    use sensor_ebpf::abi::view;

    use crate::kernel::access::{Skb, Xdp, XdpLegacy};
    use crate::kernel::{exec, observe, owner, process, send};

    /// linux/bpf.h `enum xdp_action`.
    const XDP_PASS: u32 = 2;
    /// linux/bpf.h `TCX_NEXT`, the same as `TC_ACT_UNSPEC`: the next program or filter decides.
    const TCX_NEXT: i32 = -1;
    /// cgroup hooks: let the packet or the call through.
    const CGROUP_PASS: i32 = 1;

    // What sees packets is inlined into its entry: a call costs 10 ns and more, and if it leaves an address on the stack in
    // the register of its result, which nobody reads, the verifier takes that for returning it.

    /// Wire view, 5.18 and later.
    #[xdp(frags)]
    #[inline(always)]
    fn xdp_dns(ctx: XdpContext) -> u32 {
        observe::wire(&Xdp::new(&ctx), view::WIRE_INGRESS);
        XDP_PASS
    }

    /// Wire view before 5.18: no `xdp.frags`, no `bpf_xdp_load_bytes`.
    #[xdp]
    #[inline(always)]
    fn xdp_dns_legacy(ctx: XdpContext) -> u32 {
        observe::wire(&XdpLegacy::new(&ctx), view::WIRE_INGRESS);
        XDP_PASS
    }

    /// The floor that benches subtract.
    #[xdp(frags)]
    fn xdp_floor(_ctx: XdpContext) -> u32 {
        XDP_PASS
    }

    /// Wire view where XDP would harm.
    #[classifier]
    #[inline(always)]
    fn tc_ingress(ctx: TcContext) -> i32 {
        observe::wire(&Skb::<false>::new(ctx.skb.skb), view::WIRE_INGRESS);
        TCX_NEXT
    }

    /// Answers on the client-side interface of a masquerading gateway, after NAT is undone.
    #[classifier]
    #[inline(always)]
    fn tc_egress(ctx: TcContext) -> i32 {
        observe::wire(&Skb::<false>::new(ctx.skb.skb), view::WIRE_EGRESS);
        TCX_NEXT
    }

    /// Host view of AF_PACKET senders, which pass no cgroup hook.
    #[classifier]
    #[inline(always)]
    fn packet_egress(ctx: TcContext) -> i32 {
        observe::device(&Skb::<true>::new(ctx.skb.skb));
        TCX_NEXT
    }

    /// Host view, in the sender's context for UDP.
    #[cgroup_skb]
    #[inline(always)]
    fn host_egress(ctx: SkBuffContext) -> i32 {
        observe::host(&Skb::<true>::new(ctx.skb.skb), view::HOST_EGRESS);
        CGROUP_PASS
    }

    /// Host view, arriving.
    #[cgroup_skb]
    #[inline(always)]
    fn host_ingress(ctx: SkBuffContext) -> i32 {
        observe::host(&Skb::<true>::new(ctx.skb.skb), view::HOST_INGRESS);
        CGROUP_PASS
    }

    /// The floor that benches subtract, in a cgroup.
    #[cgroup_skb]
    fn host_floor(_ctx: SkBuffContext) -> i32 {
        CGROUP_PASS
    }

    /// Run once by hand before anything is attached: what it notes must be the sensor itself.
    #[cgroup_skb]
    #[inline(always)]
    fn self_probe(ctx: SkBuffContext) -> i32 {
        owner::note_self(&Skb::<true>::new(ctx.skb.skb));
        CGROUP_PASS
    }

    /// Who sends UDP: `udp_sendmsg`, `udpv6_sendmsg`.
    #[kprobe]
    fn probe_udp(ctx: ProbeContext) -> u32 {
        send::udp(ctx.arg(0).unwrap_or(0), ctx.arg(1).unwrap_or(0), KPROBE);
        0
    }

    /// Who sends through raw sockets: `raw_sendmsg`, `rawv6_sendmsg`.
    #[kprobe]
    fn probe_raw(ctx: ProbeContext) -> u32 {
        send::raw(ctx.arg(0).unwrap_or(0), KPROBE);
        0
    }

    /// Who opens a TCP connection and who sends on it: `tcp_connect`, `tcp_sendmsg`.
    #[kprobe]
    fn probe_tcp(ctx: ProbeContext) -> u32 {
        send::tcp(ctx.arg(0).unwrap_or(0), KPROBE);
        0
    }

    // A fentry program is for one function.

    #[fentry(function = "udp_sendmsg")]
    fn enter_udp(ctx: FEntryContext) -> u32 {
        send::udp(ctx.arg(0), ctx.arg(1), FENTRY);
        0
    }

    #[fentry(function = "udpv6_sendmsg")]
    fn enter_udp6(ctx: FEntryContext) -> u32 {
        send::udp(ctx.arg(0), ctx.arg(1), FENTRY);
        0
    }

    #[fentry(function = "raw_sendmsg")]
    fn enter_raw(ctx: FEntryContext) -> u32 {
        send::raw(ctx.arg(0), FENTRY);
        0
    }

    #[fentry(function = "rawv6_sendmsg")]
    fn enter_raw6(ctx: FEntryContext) -> u32 {
        send::raw(ctx.arg(0), FENTRY);
        0
    }

    #[fentry(function = "tcp_connect")]
    fn enter_tcp_connect(ctx: FEntryContext) -> u32 {
        send::tcp(ctx.arg(0), FENTRY);
        0
    }

    #[fentry(function = "tcp_sendmsg")]
    fn enter_tcp_send(ctx: FEntryContext) -> u32 {
        send::tcp(ctx.arg(0), FENTRY);
        0
    }

    /// Who connects to port 53.
    #[cgroup_sock_addr(connect4)]
    fn connect4(ctx: SockAddrContext) -> i32 {
        send::address(ctx.sock_addr);
        CGROUP_PASS
    }

    #[cgroup_sock_addr(connect6)]
    fn connect6(ctx: SockAddrContext) -> i32 {
        send::address(ctx.sock_addr);
        CGROUP_PASS
    }

    /// Who sends to port 53 through an unconnected socket.
    #[cgroup_sock_addr(sendmsg4)]
    fn sendmsg4(ctx: SockAddrContext) -> i32 {
        send::address(ctx.sock_addr);
        CGROUP_PASS
    }

    #[cgroup_sock_addr(sendmsg6)]
    fn sendmsg6(ctx: SockAddrContext) -> i32 {
        send::address(ctx.sock_addr);
        CGROUP_PASS
    }

    /// Processes that replace their image, so that short-lived ones keep their name.
    #[raw_tracepoint(tracepoint = "sched_process_exec")]
    fn sched_exec(ctx: RawTracePointContext) -> i32 {
        exec::observe(&ctx);
        0
    }

    /// New processes, so that everybody has a parent.
    #[raw_tracepoint(tracepoint = "sched_process_fork")]
    fn sched_fork(ctx: RawTracePointContext) -> i32 {
        process::fork(&ctx);
        0
    }

    /// Processes that end.
    #[raw_tracepoint(tracepoint = "sched_process_exit")]
    fn sched_exit(ctx: RawTracePointContext) -> i32 {
        process::exit(&ctx);
        0
    }

    /// The kernel asks for this section, since some helpers are for GPL-compatible programs only.
    #[allow(unsafe_code)] // a name and a section that the loader looks for
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        loop {}
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("this is a BPF object; build it with `cargo build --release -p sensor-user`");
}
