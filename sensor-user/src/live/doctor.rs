//! `earthdog doctor`: what this kernel offers, what would be attached and why, and what nobody would see.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::features::{Feature, Features, Need};
use super::link::links;
use super::plan::{self, Plan, Request};
use super::{attach, clsact, control, object, permission, sensor};
use crate::cli::DoctorArgs;
use crate::config::Config;
use crate::exit::{Code, Error};

/// What is not seen, and on which kernels.
type BlindSpot = (&'static str, fn(&Features) -> bool);

/// What no hook of this version sees, and when that is so.
const BLIND_SPOTS: &[BlindSpot] = &[
    ("queries before 6.10 without their process: this version asks the current task only", |features| {
        !features.has(Feature::CurrentTask)
    }),
    ("the process behind DNS over TCP (later segments leave from softirq); the address is known", |_| true),
    ("queries that pass NFQUEUE or wait for IPsec: the program that reinjects them may be named", |_| true),
    ("packets sent with PACKET_QDISC_BYPASS or AF_XDP: they pass no egress hook", |_| true),
    ("lookups through nss-resolve: the client sends no packet, its resolver is named instead", |_| true),
    ("VLAN tags that the network card strips before XDP", |_| true),
    ("what is inside VXLAN and Geneve: counted as encapsulated", |_| true),
    ("encrypted DNS (DoT, DoQ, DoH) and DNS on other ports than 53", |_| true),
    ("later IP fragments: counted, the first one is parsed", |_| true),
];

/// Prints the report to stdout. An error carries 69 or 77 and names what is missing.
pub fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<Code> {
    if args.clean {
        return clean(config);
    }
    let request = Request { role: args.role, interfaces: args.interfaces.clone(), xdp_mode: args.xdp_mode };
    let links = links().context("cannot list the network interfaces")?;
    plan::check(&request, &links).map_err(sensor::refused)?;
    let cgroup = args.cgroup.as_ref().map(|path| sensor::cgroup_directory(path)).transpose()?;
    let permitted = permission::permitted();
    let features = Features::probe_all();
    let plan = match permitted {
        Err(error) => Err(error),
        Ok(()) if object::is_stub() => {
            let message =
                "this binary was built without its kernel side: run `cargo xtask setup` and build again";
            Err(Error::new(Code::NoHook, message))
        }
        Ok(()) => sensor::decide(&request, &features, links, cgroup),
    };
    let text = if args.json {
        format!("{}\n", report_json(&features, plan.as_ref(), config))
    } else {
        report_text(&features, plan.as_ref(), config)
    };
    print(&text)?;
    plan.map(|_| Code::Ok).map_err(Into::into)
}

/// Removes what a sensor that was killed before 6.6 left on clsact.
fn clean(config: &Config) -> anyhow::Result<Code> {
    let socket = Path::new(&config.live.control_socket);
    if control::request(socket, "status").is_ok() {
        let message = format!("a sensor is running (it answers at {}): stop it first", socket.display());
        return Err(Error::new(Code::Failure, message).into());
    }
    permission::permitted()?;
    // Held to the end: a sensor that starts meanwhile is not taken for a dead one.
    let _lock = clsact::Lock::take(Path::new(clsact::DIRECTORY))?;
    let removed = attach::clean(&links().context("cannot list the network interfaces")?);
    let mut text = String::new();
    for what in &removed {
        let _ = writeln!(text, "removed {what}");
    }
    if removed.is_empty() {
        text.push_str("nothing was left behind\n");
    }
    print(&text)?;
    Ok(Code::Ok)
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))
}

fn owner_source(plan: Result<&Plan, &Error>) -> &'static str {
    match plan {
        Ok(plan) if plan.current_task => "current task in the packet hook (exact)",
        _ => "none",
    }
}

fn blind_spots(features: &Features) -> impl Iterator<Item = &'static str> + '_ {
    BLIND_SPOTS.iter().filter(|(_, applies)| applies(features)).map(|(text, _)| *text)
}

fn report_text(features: &Features, plan: Result<&Plan, &Error>, config: &Config) -> String {
    let mut out = format!("Linux {}\n\nKernel features\n", features.release);
    for (row, outcome) in &features.probes {
        let mark = match outcome {
            Ok(true) => "yes".to_owned(),
            Ok(false) => "no".to_owned(),
            Err(why) => format!("? ({why})"),
        };
        let _ = writeln!(out, "  {:<28} {mark:<5} since {:<5} {}", row.name, row.since, row.use_for);
    }
    match &features.offsets {
        Ok(_) => out.push_str("  process fields               found in the kernel's BTF\n"),
        Err(why) => {
            let _ = writeln!(out, "  process fields               no: {why}");
        }
    }
    match &features.cgroup {
        Ok(path) => {
            let _ = writeln!(out, "  cgroup2                      {}", path.to_string_lossy().escape_debug());
        }
        Err(why) => {
            let _ = writeln!(out, "  cgroup2                      no: {why}");
        }
    }
    match plan {
        Ok(plan) => {
            out.push_str("\nHooks\n");
            for hook in &plan.hooks {
                let _ = writeln!(out, "  {}: {}", hook.point, hook.why);
                if let Some(fallback) = &hook.fallback {
                    let _ = writeln!(out, "    if the kernel refuses: {}", fallback.point);
                }
            }
            for warning in &plan.warnings {
                let _ = writeln!(out, "  warning: {warning}");
            }
            let _ = writeln!(out, "\nWho asked: {}", owner_source(Ok(plan)));
        }
        Err(error) => {
            let _ = writeln!(out, "\nThe sensor cannot run here: {error}");
        }
    }
    out.push_str("\nNot seen\n");
    for text in blind_spots(features) {
        let _ = writeln!(out, "  {text}");
    }
    let _ = writeln!(out, "\nControl socket: {}", config.live.control_socket.escape_debug());
    out
}

fn report_json(features: &Features, plan: Result<&Plan, &Error>, config: &Config) -> Value {
    let probes: Vec<_> = features
        .probes
        .iter()
        .map(|(row, outcome)| {
            let mut probe =
                json!({"name": row.name, "since": row.since, "for": row.use_for, "required": row.need == Need::Required});
            match outcome {
                Ok(there) => probe["available"] = json!(there),
                Err(why) => probe["error"] = json!(why),
            }
            probe
        })
        .collect();
    let hooks: Vec<_> = plan.iter().flat_map(|plan| &plan.hooks).map(hook_json).collect();
    let mut report = json!({
        "release": features.release,
        "features": probes,
        "hooks": hooks,
        "warnings": plan.map_or(&[][..], |plan| &plan.warnings),
        "owner_source": owner_source(plan),
        "blind_spots": blind_spots(features).collect::<Vec<_>>(),
        "control_socket": config.live.control_socket,
    });
    match &features.cgroup {
        Ok(path) => report["cgroup2"] = json!(path.to_string_lossy()),
        Err(why) => report["cgroup2_error"] = json!(why),
    }
    if let Err(why) = &features.offsets {
        report["process_fields_error"] = json!(why);
    }
    if let Err(error) = plan {
        report["error"] = json!({"code": error.code as u8, "message": error.message});
    }
    report
}

fn hook_json(hook: &plan::Hook) -> Value {
    let mut value = json!({"hook": hook.point.to_string(), "program": hook.program, "why": hook.why});
    if let Some(fallback) = &hook.fallback {
        value["fallback"] = json!(fallback.point.to_string());
    }
    value
}
