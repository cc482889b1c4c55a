//! `earthdog doctor`: what this kernel offers, what would be attached and why, and what nobody would see.

pub mod hints;
#[cfg(test)]
mod operating;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::features::{Features, Need};
use super::hook::Hook;
use super::link::links;
use super::pins::Pins;
use super::plan::{self, Plan, Request};
use super::programs::PROGRAMS;
use super::rollout::Rollout;
use super::{attach, clsact, control, object, permission, start, status};
use crate::cli::DoctorArgs;
use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use hints::{Facts, Hint};

/// Of the answer in JSON.
const VERSION: u32 = 1;

/// What no hook of this version sees.
const BLIND_SPOTS: &[&str] = &[
    "packets sent with PACKET_QDISC_BYPASS or through AF_XDP: they pass no egress hook",
    "queries of AF_PACKET sockets on other interfaces than the watched ones",
    "lookups through nss-resolve: the client sends no packet, its resolver is named instead",
    "queries that an IPsec policy of this host encrypts before a hook sees them",
    "VLAN tags that the network card strips before XDP",
    "what is inside VXLAN and Geneve: counted as encapsulated",
    "encrypted DNS (DoT, DoQ, DoH) and DNS on other ports than 53",
    "later IP fragments: counted, the first one is parsed",
];

/// Prints the report to stdout. An error carries 69 or 77 and names what is missing.
pub fn run(args: &DoctorArgs, config: &Config) -> anyhow::Result<Code> {
    if args.clean {
        return clean(config, args.keep_pins && config.live.pin);
    }
    let found = examine(args, config)?;
    print(&if args.json { format!("{}\n", found.json(config)) } else { found.text(config) })?;
    found.plan.map(|_| Code::Ok).map_err(Into::into)
}

/// What the kernel and the host offer, and what would be done with it.
#[derive(Debug)]
pub struct Found {
    features: Features,
    /// Or why the sensor cannot run here.
    plan: Result<Plan, Error>,
    hints: Vec<Hint>,
}

/// Looks; nothing is attached. An error says what of the request cannot be.
pub fn examine(args: &DoctorArgs, config: &Config) -> anyhow::Result<Found> {
    let request = Request {
        role: args.role,
        interfaces: args.interfaces.clone(),
        xdp_mode: args.xdp_mode,
        waits: config.live.wait_for_interfaces,
    };
    let links = links().context("cannot list the network interfaces")?;
    plan::check(&request, &links).map_err(start::refused)?;
    let cgroup = args.cgroup.as_ref().map(|path| start::cgroup_directory(path)).transpose()?;
    let permitted = permission::permitted();
    let features = Features::probe();
    let plan = match permitted {
        Err(error) => Err(error),
        Ok(()) if object::is_stub() => {
            let message =
                "this binary was built without its kernel side: run `cargo xtask setup` and build again";
            Err(Error::new(Code::NoHook, message))
        }
        Ok(()) => start::host(&features, links, cgroup, config)
            .and_then(|host| plan::plan(&request, &host).map_err(start::refused)),
    };
    let hints = hints::hints(&Facts::read(&features, plan.as_ref().err(), config));
    Ok(Found { features, plan, hints })
}

impl Found {
    /// As `doctor --json` prints it.
    pub fn json(&self, config: &Config) -> Value {
        report_json(&self.features, self.plan.as_ref(), &self.hints, config)
    }

    fn text(&self, config: &Config) -> String {
        report_text(&self.features, self.plan.as_ref(), &self.hints, config)
    }
}

/// Removes what a sensor that was killed before 6.6 left on clsact, and what one with `live.pin` left in the kernel.
fn clean(config: &Config, keep_pins: bool) -> anyhow::Result<Code> {
    let socket = Path::new(&config.live.control_socket);
    if control::request(socket, "status").is_ok() {
        let message = format!("a sensor is running (it answers at {}): stop it first", socket.display());
        return Err(Error::new(Code::Failure, message).into());
    }
    permission::permitted()?;
    // Held to the end: a sensor that starts meanwhile is not taken for a dead one.
    let _lock = clsact::Lock::take(Path::new(clsact::DIRECTORY))?;
    let mut removed = attach::clean(&links().context("cannot list the network interfaces")?);
    if !keep_pins {
        removed.extend(Pins::clean(config)?);
    }
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

fn report_text(features: &Features, plan: Result<&Plan, &Error>, hints: &[Hint], config: &Config) -> String {
    let mut out = format!("Linux {}\n\nKernel features\n", features.release);
    for (row, outcome) in &features.probes {
        let mark = match outcome {
            Ok(true) => "yes".to_owned(),
            Ok(false) => "no".to_owned(),
            Err(why) => format!("? ({why})"),
        };
        let _ = writeln!(out, "  {:<28} {mark:<5} since {:<5} {}", row.name, row.since, row.use_for);
    }
    out.push_str("\nPrograms\n");
    for program in PROGRAMS {
        let missing = program.missing(features);
        let mark = if missing.is_empty() { "yes".to_owned() } else { format!("no {missing:?}") };
        let _ =
            writeln!(out, "  {:<28} {mark:<5} {:<11} {}", program.name, program.kernels(), program.use_for);
    }
    out.push_str("\nHost\n");
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
            let _ = writeln!(out, "\nWho asked: {}", plan.owner);
            for text in plan.owner.misses() {
                let _ = writeln!(out, "  it misses {text}");
            }
        }
        Err(error) => {
            let _ = writeln!(out, "\nThe sensor cannot run here: {error}");
        }
    }
    out.push_str("\nNot seen\n");
    for text in BLIND_SPOTS {
        let _ = writeln!(out, "  {text}");
    }
    out.push_str("\nTo do\n");
    if hints.is_empty() {
        out.push_str("  nothing\n");
    }
    for Hint { row, problem } in hints {
        let _ = writeln!(out, "  {}: {}", row.id, escape(problem));
        let _ = writeln!(out, "    it costs {}", row.costs);
        let _ = writeln!(out, "    {}", row.fix);
    }
    if config.rollout.percent < 100.0 {
        let _ = writeln!(out, "\nRollout: {}", Rollout::new(config));
    }
    let _ = writeln!(out, "\nControl socket: {}", config.live.control_socket.escape_debug());
    out
}

fn report_json(features: &Features, plan: Result<&Plan, &Error>, hints: &[Hint], config: &Config) -> Value {
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
        "v": VERSION,
        "hints": hints.iter().map(Hint::json).collect::<Vec<_>>(),
        "release": features.release,
        "features": probes,
        "programs": PROGRAMS.iter().map(|program| json!({
            "name": program.name,
            "since": program.since,
            "until": program.until,
            "needs": program.needs.iter().map(|feature| format!("{feature:?}")).collect::<Vec<_>>(),
            "loads": program.missing(features).is_empty(),
            "for": program.use_for,
        })).collect::<Vec<_>>(),
        "hooks": hooks,
        "warnings": plan.map_or(&[][..], |plan| &plan.warnings),
        "owner_source": plan.ok().map(|plan| status::owner_json(&plan.owner)),
        "blind_spots": BLIND_SPOTS,
        "control_socket": config.live.control_socket,
        "rollout": Rollout::new(config).json(),
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

fn hook_json(hook: &Hook) -> Value {
    let mut value = json!({"hook": hook.point.to_string(), "program": hook.program, "why": hook.why});
    if let Some(fallback) = &hook.fallback {
        value["fallback"] = json!(fallback.point.to_string());
    }
    value
}
