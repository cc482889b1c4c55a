//! The eBPF programs. Every one passes every packet on, whatever it finds: XDP_PASS, cgroup 1, TCX_NEXT.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// Atomic read-modify-write: BPF has it, the standard atomics of this target do not (kernel/maps.rs).
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics), allow(internal_features))]

#[cfg(target_arch = "bpf")]
mod kernel;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::{cgroup_skb, classifier, raw_tracepoint, xdp};
    use aya_ebpf::programs::{RawTracePointContext, SkBuffContext, TcContext, XdpContext};
    use sensor_ebpf::abi::view;

    use crate::kernel::access::{Skb, Xdp, XdpLegacy};
    use crate::kernel::{exec, observe};

    /// linux/bpf.h `enum xdp_action`.
    const XDP_PASS: u32 = 2;
    /// linux/bpf.h `TCX_NEXT`, the same as `TC_ACT_UNSPEC`: the next program or filter decides.
    const TCX_NEXT: i32 = -1;
    /// cgroup_skb: let the packet through.
    const CGROUP_PASS: i32 = 1;

    /// Wire view, 5.18 and later.
    #[xdp(frags)]
    fn xdp_dns(ctx: XdpContext) -> u32 {
        observe::wire(&Xdp::new(&ctx), view::WIRE_INGRESS);
        XDP_PASS
    }

    /// Wire view before 5.18: no `xdp.frags`, no `bpf_xdp_load_bytes`.
    #[xdp]
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
    fn tc_ingress(ctx: TcContext) -> i32 {
        observe::wire(&Skb::<false>::new(ctx.skb.skb), view::WIRE_INGRESS);
        TCX_NEXT
    }

    /// Answers on the client-side interface of a masquerading gateway, after NAT is undone.
    #[classifier]
    fn tc_egress(ctx: TcContext) -> i32 {
        observe::wire(&Skb::<false>::new(ctx.skb.skb), view::WIRE_EGRESS);
        TCX_NEXT
    }

    /// Host view, in the sender's context for UDP.
    #[cgroup_skb]
    fn host_egress(ctx: SkBuffContext) -> i32 {
        observe::host(&Skb::<true>::new(ctx.skb.skb), view::HOST_EGRESS);
        CGROUP_PASS
    }

    /// Host view, arriving.
    #[cgroup_skb]
    fn host_ingress(ctx: SkBuffContext) -> i32 {
        observe::host(&Skb::<true>::new(ctx.skb.skb), view::HOST_INGRESS);
        CGROUP_PASS
    }

    /// Processes that replace their image, so that short-lived ones keep their name.
    #[raw_tracepoint(tracepoint = "sched_process_exec")]
    fn sched_exec(ctx: RawTracePointContext) -> i32 {
        exec::observe(&ctx);
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
