//! Which hooks to use and why: a function of what was asked, what the host has and what the kernel can.
//!
//! Nothing here touches the system; `features` and `link` gather the facts, `attach` carries the plan out.

use std::path::PathBuf;

use super::features::Feature;
use super::hook::{Hook, Point};
use super::link::Link;
use super::source::{self, Choice, Offer, Source};
use crate::cli::{Role, XdpMode};

/// What was asked on the command line.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub role: Role,
    pub interfaces: Vec<String>,
    pub xdp_mode: XdpMode,
    /// Interfaces may be named that are not there yet.
    pub waits: bool,
}

/// What the host has.
#[derive(Clone, Debug)]
pub struct Host {
    pub links: Vec<Link>,
    /// Interfaces of the default routes.
    pub default_routes: Vec<String>,
    /// Directory of the cgroup2 hierarchy to watch, or why there is none.
    pub cgroup: Result<PathBuf, String>,
    /// What works here.
    pub features: Vec<Feature>,
    /// Which owner sources can be used, and which is asked for.
    pub owners: Offer,
    /// Why exec events cannot be read, if they cannot.
    pub exec: Result<(), String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub hooks: Vec<Hook>,
    /// Who asked, in the host view.
    pub owner: Choice,
    /// What it has may be nothing yet: interfaces may come.
    pub waits: bool,
    /// There is no cgroup2: the host view is at the device.
    pub all_sockets: bool,
    /// What the operator should know, in the order it was found.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Exit code 69.
    #[error("{0}")]
    NoHook(String),
}

/// A driver and what attaching native XDP does to it.
struct Driver {
    name: &'static str,
    /// Attaching does not re-create rings and loses no packet.
    harmless: bool,
}

/// Drivers that run XDP natively (in-tree, `ndo_bpf`). All but veth stop and re-create their rings, or change their
/// buffer layout, when the first program comes; virtio_net also needs a spare queue for each CPU.
const NATIVE_XDP: &[Driver] = &[
    Driver { name: "veth", harmless: true },
    Driver { name: "atlantic", harmless: false },
    Driver { name: "bnxt_en", harmless: false },
    Driver { name: "dpaa2-eth", harmless: false },
    Driver { name: "ena", harmless: false },
    Driver { name: "gve", harmless: false },
    Driver { name: "hv_netvsc", harmless: false },
    Driver { name: "i40e", harmless: false },
    Driver { name: "ice", harmless: false },
    Driver { name: "igb", harmless: false },
    Driver { name: "igc", harmless: false },
    Driver { name: "ixgbe", harmless: false },
    Driver { name: "ixgbevf", harmless: false },
    Driver { name: "mana", harmless: false },
    Driver { name: "mlx4_en", harmless: false },
    Driver { name: "mlx4_core", harmless: false },
    Driver { name: "mlx5_core", harmless: false },
    Driver { name: "mvneta", harmless: false },
    Driver { name: "mvpp2", harmless: false },
    Driver { name: "nfp", harmless: false },
    Driver { name: "qede", harmless: false },
    Driver { name: "sfc", harmless: false },
    Driver { name: "stmmac", harmless: false },
    Driver { name: "virtio_net", harmless: false },
    Driver { name: "vmxnet3", harmless: false },
];

/// Whether what was asked makes sense with these interfaces; `plan` asks it too.
pub fn check(request: &Request, links: &[Link]) -> Result<(), Refusal> {
    let there = |name: &String| links.iter().any(|link| link.name == *name);
    if let Some(wrong) = request.interfaces.iter().find(|name| request.waits && !is_name(name)) {
        let wrong = wrong.escape_debug();
        return Err(Refusal::Usage(format!(
            "`{wrong}` can be no interface's name: 1 to 15 bytes without `/`, `:` and spaces"
        )));
    }
    if let Some(missing) = request.interfaces.iter().find(|name| !request.waits && !there(name)) {
        let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        let missing = missing.escape_debug();
        return Err(Refusal::Usage(format!(
            "no interface `{missing}`; there are: {} (live.wait_for_interfaces waits for it)",
            names.join(", ")
        )));
    }
    if request.role == Role::Gateway && request.interfaces.is_empty() {
        return Err(Refusal::Usage(
            "a gateway must name the interfaces that face its clients: --interface IF (may be repeated)"
                .into(),
        ));
    }
    Ok(())
}

/// As the kernel takes it (net/core/dev.c, dev_valid_name).
fn is_name(name: &str) -> bool {
    let bad = |byte: u8| matches!(byte, b'/' | b':') || byte.is_ascii_whitespace();
    (1..=15).contains(&name.len()) && name != "." && name != ".." && !name.bytes().any(bad)
}

/// Chooses the hooks.
pub fn plan(request: &Request, host: &Host) -> Result<Plan, Refusal> {
    check(request, &host.links)?;
    let mut plan = Plan { waits: request.waits, ..Plan::default() };
    let links = chosen_links(request, host, &mut plan.warnings);
    owner_source(host, &mut plan)?;
    host_view(host, &mut plan);
    plan.all_sockets = request.role == Role::Host && host.cgroup.is_err();
    for link in links {
        wire_view(request, host, link, &mut plan);
    }
    if !request.waits && !plan.hooks.iter().any(|hook| hook.point.sees_packets()) {
        let reasons = plan.warnings.join("; ");
        return Err(Refusal::NoHook(format!("no usable hook: {reasons}")));
    }
    exec_events(host, &mut plan);
    Ok(plan)
}

/// The hooks for one interface that came later, and what the operator should know; by the same rules.
pub fn wire(request: &Request, host: &Host, link: &Link) -> Plan {
    let mut plan = Plan::default();
    wire_view(request, host, link, &mut plan);
    plan
}

/// Interfaces for the wire view.
fn chosen_links<'h>(request: &Request, host: &'h Host, warnings: &mut Vec<String>) -> Vec<&'h Link> {
    let find = |name: &String| host.links.iter().find(|link| link.name == *name);
    if request.xdp_mode == XdpMode::Off {
        warnings.push("no wire view: --xdp-mode off".into());
        return Vec::new();
    }
    let named = !request.interfaces.is_empty();
    let names = if named { &request.interfaces } else { &host.default_routes };
    let mut links: Vec<&Link> = Vec::new();
    for link in names.iter().filter_map(find) {
        if !links.iter().any(|known| known.index == link.index) {
            links.push(link);
        }
    }
    if links.is_empty() && named {
        warnings.push("no wire view yet: none of the named interfaces is there".into());
    } else if links.is_empty() {
        warnings.push("no wire view: there is no default route; name interfaces with --interface".into());
    }
    links
}

/// Chooses the owner source and attaches what notes senders before any packet is looked at.
fn owner_source(host: &Host, plan: &mut Plan) -> Result<(), Refusal> {
    plan.owner = source::choose(&host.owners, host.cgroup.is_ok()).map_err(Refusal::NoHook)?;
    let mut add = |program, point, why: &str| {
        plan.hooks.push(Hook { program, point, why: why.into(), fallback: None });
    };
    match plan.owner.source {
        None => plan.warnings.push(format!("queries without their process: {}", plan.owner)),
        Some(Source::CurrentTask) => {}
        Some(Source::Kprobe) => {
            for (function, _, program) in SEND_PATH {
                add(program, Point::Kprobe { function }, "who sends");
            }
        }
        Some(Source::Fentry) => {
            for (function, program, _) in SEND_PATH {
                add(program, Point::Fentry { function }, "who sends");
            }
        }
        Some(Source::SockAddr) => {
            for (program, path) in SOCK_ADDR.iter().zip(host.cgroup.iter().cycle()) {
                add(program, Point::SockAddr { path: path.clone(), call: program }, "who connects and sends");
            }
        }
    }
    Ok(())
}

/// Kernel functions that make a socket send, with the fentry and the kprobe program for each. The first is the one
/// without which a source is not used; IPv6 may be off.
pub const SEND_PATH: [(&str, &str, &str); 6] = [
    ("udp_sendmsg", "enter_udp", "probe_udp"),
    ("udpv6_sendmsg", "enter_udp6", "probe_udp"),
    ("raw_sendmsg", "enter_raw", "probe_raw"),
    ("rawv6_sendmsg", "enter_raw6", "probe_raw"),
    ("tcp_connect", "enter_tcp_connect", "probe_tcp"),
    ("tcp_sendmsg", "enter_tcp_send", "probe_tcp"),
];

/// Programs on connect() and sendmsg(), named after their hook.
const SOCK_ADDR: [&str; 4] = ["connect4", "connect6", "sendmsg4", "sendmsg6"];

fn host_view(host: &Host, plan: &mut Plan) {
    let path = match &host.cgroup {
        Ok(path) if host.features.contains(&Feature::CgroupSkb) => path,
        Ok(_) => {
            plan.warnings.push("no host view at the socket: this kernel refuses cgroup_skb programs".into());
            return;
        }
        Err(why) => {
            plan.warnings.push(format!("no host view at the socket: {why}"));
            return;
        }
    };
    plan.hooks.push(Hook {
        program: "host_egress",
        point: Point::CgroupEgress { path: path.clone() },
        why: "queries at the sender's socket, every container and namespace below".into(),
        fallback: None,
    });
    plan.hooks.push(Hook {
        program: "host_ingress",
        point: Point::CgroupIngress { path: path.clone() },
        why: "answers as the receiving socket gets them".into(),
        fallback: None,
    });
}

fn wire_view(request: &Request, host: &Host, link: &Link, plan: &mut Plan) {
    let name = &link.name;
    if !link.has_ethernet_header() {
        plan.warnings.push(format!(
            "no wire view on {name}: its packets have no Ethernet header (type {})",
            link.hardware
        ));
        return;
    }
    match ingress(request, host, link) {
        Ok(hook) => plan.hooks.push(hook),
        Err(why) => plan.warnings.push(format!("no wire view on {name}: {why}")),
    }
    let (program, why) = match (request.role, &host.cgroup) {
        (Role::Gateway, _) => ("tc_egress", "answers to clients behind this gateway, after NAT is undone"),
        (Role::Host, Err(_)) => {
            ("packet_egress", "queries that leave, since there is no cgroup2 to see them at the socket")
        }
        (Role::Host, Ok(_)) => {
            ("packet_egress", "queries of AF_PACKET sockets, which pass no hook at the socket")
        }
    };
    match tc_egress(host, program, name, why) {
        Some(hook) => plan.hooks.push(hook),
        None => {
            plan.warnings.push(format!("nothing leaving {name} is seen: this kernel refuses tc programs"));
        }
    }
}

fn ingress(request: &Request, host: &Host, link: &Link) -> Result<Hook, String> {
    let name = link.name.clone();
    let has = |feature| host.features.contains(&feature);
    let program = if has(Feature::XdpFrags) { "xdp_dns" } else { "xdp_dns_legacy" };
    let xdp = |point, why: String, fallback: Option<Hook>| {
        let fallback = fallback.map(Box::new);
        Ok(Hook { program, point, why, fallback })
    };
    let tc = |why: String| {
        tc_ingress(host, &name, why.clone()).ok_or(format!("{why}, and this kernel refuses tc programs"))
    };
    let usable = if !has(Feature::Xdp) {
        Err("this kernel refuses XDP programs".to_owned())
    } else if let Some(id) = link.xdp {
        Err(format!("XDP program {id} is there already and is left alone"))
    } else {
        Ok(())
    };
    match (request.xdp_mode, usable) {
        (XdpMode::Off, _) => Err("--xdp-mode off".into()),
        (XdpMode::Tcx, _) => tc("--xdp-mode tcx".into()),
        (XdpMode::Auto | XdpMode::Native | XdpMode::Generic, Err(why)) => tc(why),
        (XdpMode::Native, Ok(())) => {
            xdp(Point::XdpNative { interface: name }, "--xdp-mode native".into(), None)
        }
        (XdpMode::Generic, Ok(())) => {
            xdp(Point::XdpGeneric { interface: name }, "--xdp-mode generic".into(), None)
        }
        (XdpMode::Auto, Ok(())) => {
            let shown = if link.driver.is_empty() { "this device" } else { link.driver.as_str() };
            let native = |why: String| {
                let fallback = tc_ingress(host, &name, "native XDP was refused".into());
                xdp(Point::XdpNative { interface: name.clone() }, why, fallback)
            };
            match (NATIVE_XDP.iter().find(|driver| driver.name == link.driver), request.role) {
                (Some(driver), _) if driver.harmless => {
                    native(format!("attaching to {shown} disturbs no packet"))
                }
                (Some(_), Role::Gateway) => native(format!("{shown} runs XDP natively")),
                (Some(_), Role::Host) => {
                    tc(format!("native XDP makes {shown} restart its rings (--xdp-mode native to do it)"))
                }
                (None, _) => tc(format!("native XDP is not known to work on {shown}")),
            }
        }
    }
}

fn tc_ingress(host: &Host, interface: &str, why: String) -> Option<Hook> {
    let interface = interface.to_owned();
    let point = match tc_kind(host)? {
        Tc::Tcx => Point::TcxIngress { interface },
        Tc::Clsact => Point::ClsactIngress { interface },
    };
    Some(Hook { program: "tc_ingress", point, why, fallback: None })
}

fn tc_egress(host: &Host, program: &'static str, interface: &str, why: &str) -> Option<Hook> {
    let interface = interface.to_owned();
    let point = match tc_kind(host)? {
        Tc::Tcx => Point::TcxEgress { interface },
        Tc::Clsact => Point::ClsactEgress { interface },
    };
    Some(Hook { program, point, why: why.to_owned(), fallback: None })
}

enum Tc {
    Tcx,
    Clsact,
}

fn tc_kind(host: &Host) -> Option<Tc> {
    if host.features.contains(&Feature::Tcx) {
        Some(Tc::Tcx)
    } else {
        host.features.contains(&Feature::Tc).then_some(Tc::Clsact)
    }
}

/// Programs on raw tracepoints, in the order they are attached.
const PROCESS_HOOKS: &[(&str, &str, &str)] = &[
    ("sched_fork", "sched_process_fork", "who started whom"),
    ("sched_exit", "sched_process_exit", "which processes can be forgotten"),
    (
        "sched_exec",
        "sched_process_exec",
        "path and arguments of processes that live too short to be read from /proc",
    ),
];

fn exec_events(host: &Host, plan: &mut Plan) {
    if !host.features.contains(&Feature::RawTracepoint) {
        plan.warnings.push("no exec events: this kernel refuses raw tracepoints".into());
    } else if let Err(why) = &host.exec {
        plan.warnings.push(format!("no exec events: {why}"));
    } else {
        for (program, tracepoint, why) in PROCESS_HOOKS {
            let point = Point::Process { tracepoint };
            plan.hooks.push(Hook { program, point, why: (*why).into(), fallback: None });
        }
    }
}

impl Plan {
    /// Whether a filter may come to stand on clsact, which outlives this process.
    pub fn needs_clsact(&self) -> bool {
        self.hooks.iter().any(Hook::needs_clsact)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::link::{ARPHRD_ETHER, ARPHRD_LOOPBACK};
    use super::*;

    fn link(index: u32, name: &str, driver: &str) -> Link {
        let hardware = if name == "lo" { ARPHRD_LOOPBACK } else { ARPHRD_ETHER };
        Link {
            name: name.into(),
            index,
            up: true,
            hardware,
            driver: driver.into(),
            xdp: None,
            mtu: 1500,
            master: 0,
        }
    }

    /// 6.18 with everything.
    fn host() -> Host {
        let mut tun = link(4, "tun0", "tun");
        tun.hardware = 65534;
        let mut busy = link(5, "busy0", "veth");
        busy.xdp = Some(77);
        Host {
            links: vec![
                link(1, "lo", ""),
                link(2, "eth0", "virtio_net"),
                link(3, "veth0", "veth"),
                tun,
                busy,
                link(6, "br0", "bridge"),
            ],
            default_routes: vec!["eth0".into()],
            cgroup: Ok("/cg".into()),
            features: Feature::ALL.to_vec(),
            owners: Offer { forced: None, nfqueue: false, usable: [const { Ok(()) }; 4] },
            exec: Ok(()),
        }
    }

    fn without(features: &[Feature]) -> Host {
        let mut host = host();
        host.features.retain(|feature| !features.contains(feature));
        host
    }

    fn request(role: Role, xdp_mode: XdpMode, interfaces: &[&str]) -> Request {
        let interfaces = interfaces.iter().map(|&name| name.into()).collect();
        Request { role, xdp_mode, interfaces, waits: false }
    }

    fn wire(plan: &Plan) -> Vec<String> {
        plan.hooks
            .iter()
            .filter(|hook| hook.point.interface().is_some())
            .map(|hook| format!("{}@{}", hook.program, hook.point))
            .collect()
    }

    use Feature::{Tc, Tcx, Xdp, XdpFrags};
    use Role::{Gateway, Host as HostRole};
    use XdpMode::{Auto, Generic, Native};

    #[rstest]
    // Host role: native only where it is known to be harmless.
    #[case(HostRole, Auto, &[], &[], &["tc_ingress@tcx ingress eth0", "packet_egress@tcx egress eth0"])]
    #[case(HostRole, Auto, &["veth0"], &[], &["xdp_dns@xdp (native) veth0", "packet_egress@tcx egress veth0"])]
    #[case(HostRole, Auto, &["veth0", "veth0"], &[], &["xdp_dns@xdp (native) veth0", "packet_egress@tcx egress veth0"])]
    #[case(HostRole, Auto, &["br0"], &[], &["tc_ingress@tcx ingress br0", "packet_egress@tcx egress br0"])]
    #[case(HostRole, Auto, &["lo"], &[], &["tc_ingress@tcx ingress lo", "packet_egress@tcx egress lo"])]
    // A foreign XDP program stays.
    #[case(HostRole, Auto, &["busy0"], &[], &["tc_ingress@tcx ingress busy0", "packet_egress@tcx egress busy0"])]
    #[case(HostRole, Native, &["busy0"], &[], &["tc_ingress@tcx ingress busy0", "packet_egress@tcx egress busy0"])]
    // By choice.
    #[case(HostRole, Native, &[], &[], &["xdp_dns@xdp (native) eth0", "packet_egress@tcx egress eth0"])]
    #[case(HostRole, Generic, &["lo"], &[], &["xdp_dns@xdp (generic) lo", "packet_egress@tcx egress lo"])]
    #[case(HostRole, XdpMode::Tcx, &["veth0"], &[], &["tc_ingress@tcx ingress veth0", "packet_egress@tcx egress veth0"])]
    #[case(HostRole, XdpMode::Off, &["veth0"], &[], &[])]
    // No Ethernet header.
    #[case(HostRole, Auto, &["tun0"], &[], &[])]
    // Older kernels.
    #[case(HostRole, Auto, &["veth0"], &[XdpFrags, Tcx], &["xdp_dns_legacy@xdp (native) veth0", "packet_egress@clsact egress veth0"])]
    #[case(HostRole, Auto, &[], &[Tcx], &["tc_ingress@clsact ingress eth0", "packet_egress@clsact egress eth0"])]
    #[case(HostRole, Auto, &["veth0"], &[Xdp], &["tc_ingress@tcx ingress veth0", "packet_egress@tcx egress veth0"])]
    #[case(HostRole, Auto, &["eth0"], &[Tc, Tcx], &[])]
    // Gateways see both directions.
    #[case(Gateway, Auto, &["eth0"], &[], &["xdp_dns@xdp (native) eth0", "tc_egress@tcx egress eth0"])]
    #[case(Gateway, Auto, &["br0"], &[Tcx], &["tc_ingress@clsact ingress br0", "tc_egress@clsact egress br0"])]
    fn wire_hooks(
        #[case] role: Role,
        #[case] mode: XdpMode,
        #[case] interfaces: &[&str],
        #[case] missing: &[Feature],
        #[case] want: &[&str],
    ) {
        let plan = plan(&request(role, mode, interfaces), &without(missing)).unwrap();
        assert_eq!(wire(&plan), want, "{plan:#?}");
        // A harmless driver's native XDP falls back to it.
        let clsact = want.iter().any(|hook| hook.contains("clsact") || hook.contains("native"));
        assert_eq!(plan.needs_clsact(), missing.contains(&Tcx) && !missing.contains(&Tc) && clsact);
        let explained = plan.hooks.iter().all(|hook| !hook.why.is_empty());
        assert!(explained && (!want.is_empty() || !plan.warnings.is_empty()));
    }

    #[test]
    fn a_host_has_both_views_and_names_the_process() {
        let plan = plan(&Request::default(), &host()).unwrap();
        let programs: Vec<_> = plan.hooks.iter().map(|hook| hook.program).collect();
        let packets = ["host_egress", "host_ingress", "tc_ingress", "packet_egress"];
        let process = ["sched_fork", "sched_exit", "sched_exec"];
        assert_eq!(programs, [&packets[..], &process].concat());
        assert!(plan.owner.source == Some(Source::CurrentTask) && plan.warnings.is_empty());
    }

    #[test]
    fn only_what_auto_chose_may_fall_back() {
        let auto = plan(&request(HostRole, Auto, &["veth0"]), &host()).unwrap();
        let xdp = auto.hooks.iter().find(|hook| hook.program == "xdp_dns").unwrap();
        let fallback = xdp.fallback.as_ref().unwrap();
        assert_eq!(fallback.point, Point::TcxIngress { interface: "veth0".into() });
        let native = plan(&request(HostRole, Native, &["veth0"]), &host()).unwrap();
        assert!(native.hooks.iter().all(|hook| hook.fallback.is_none()));
    }

    #[test]
    fn without_cgroup2_the_wire_shows_both_directions() {
        let mut host = host();
        host.cgroup = Err("there is no cgroup2 mount".into());
        let plan = plan(&Request::default(), &host).unwrap();
        assert_eq!(wire(&plan), ["tc_ingress@tcx ingress eth0", "packet_egress@tcx egress eth0"]);
        assert_eq!(plan.warnings, ["no host view at the socket: there is no cgroup2 mount"]);
        assert_eq!((plan.owner.source, plan.all_sockets), (Some(Source::Fentry), true));
    }

    #[test]
    fn a_kernel_that_hides_the_task_is_a_warning() {
        let mut host = host();
        host.owners.usable =
            [const { Err(String::new()) }; 4].map(|_: Result<(), _>| Err("locked down".into()));
        let plan = plan(&Request::default(), &host).unwrap();
        assert_eq!(plan.owner.source, None);
        assert!(
            plan.warnings[0].starts_with("queries without their process:")
                && plan.warnings[0].contains("locked down"),
            "{:?}",
            plan.warnings
        );
    }

    #[rstest]
    #[case(Source::CurrentTask, &[])]
    #[case(Source::Fentry, &["enter_udp@fentry udp_sendmsg", "enter_udp6@fentry udpv6_sendmsg",
        "enter_raw@fentry raw_sendmsg", "enter_raw6@fentry rawv6_sendmsg",
        "enter_tcp_connect@fentry tcp_connect", "enter_tcp_send@fentry tcp_sendmsg"])]
    #[case(Source::Kprobe, &["probe_udp@kprobe udp_sendmsg", "probe_udp@kprobe udpv6_sendmsg",
        "probe_raw@kprobe raw_sendmsg", "probe_raw@kprobe rawv6_sendmsg",
        "probe_tcp@kprobe tcp_connect", "probe_tcp@kprobe tcp_sendmsg"])]
    #[case(Source::SockAddr, &["connect4@cgroup connect4 /cg", "connect6@cgroup connect6 /cg",
        "sendmsg4@cgroup sendmsg4 /cg", "sendmsg6@cgroup sendmsg6 /cg"])]
    fn each_source_brings_its_hooks(#[case] forced: Source, #[case] want: &[&str]) {
        let mut host = host();
        host.owners.forced = Some(forced);
        let plan = plan(&Request::default(), &host).unwrap();
        let noted: Vec<_> = plan
            .hooks
            .iter()
            .filter(|hook| hook.point.notes_senders())
            .map(|hook| format!("{}@{}", hook.program, hook.point))
            .collect();
        assert_eq!(noted, want);
        assert!(
            plan.hooks[..noted.len()].iter().all(|hook| hook.point.notes_senders()),
            "before the packets"
        );

        host.owners.refuse(forced, "not here".into());
        let refused = super::plan(&Request::default(), &host).unwrap_err();
        assert!(matches!(&refused, Refusal::NoHook(why) if why.contains("not here")), "{refused:?}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        let missing = plan(&request(HostRole, Auto, &["nope"]), &host()).unwrap_err();
        let Refusal::Usage(message) = &missing else { panic!("{missing:?}") };
        assert_eq!(
            message,
            "no interface `nope`; there are: lo, eth0, veth0, tun0, busy0, br0 (live.wait_for_interfaces waits for it)"
        );
        let waiting = Request { waits: true, ..request(Gateway, Auto, &["nope"]) };
        let waits = plan(&waiting, &host()).unwrap();
        assert!(wire(&waits).is_empty() && waits.warnings[0].contains("none of the named"), "{waits:?}");
        let bad = Request { waits: true, ..request(Gateway, Auto, &["a/b"]) };
        assert!(matches!(plan(&bad, &host()), Err(Refusal::Usage(why)) if why.contains("`a/b`")));
        let gateway = plan(&request(Gateway, Auto, &[]), &host()).unwrap_err();
        assert!(matches!(&gateway, Refusal::Usage(text) if text.contains("--interface")), "{gateway:?}");

        let mut bare = host();
        bare.cgroup = Err("there is no cgroup2 mount".into());
        bare.default_routes.clear();
        let none = plan(&Request::default(), &bare).unwrap_err();
        assert!(
            matches!(&none, Refusal::NoHook(text) if text.contains("cgroup2") && text.contains("default route"))
        );
    }
}
