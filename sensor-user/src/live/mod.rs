//! The live sensor: kernel programs, their hooks and rings, and what the running host tells about processes.

pub mod cgroup;
pub mod features;
pub mod hook;
pub mod link;
pub mod log;
mod neighbours;
pub mod permission;
pub mod plan;
pub mod programs;
pub mod source;

pub mod btf;
pub mod object;

pub mod attach;
pub mod clsact;
mod held;
pub mod maps;
pub mod pins;
pub mod self_probe;
pub mod snapshot;

pub mod ring;

pub mod cgroup_path;
pub mod local;
pub mod process;

mod fit;
mod pace;
mod priority;
mod start;

pub mod rollout;
pub mod split;

pub mod sensor;
mod service;
mod stop;
mod watch;

mod output;

pub mod cost;
pub mod memory;
pub mod status;

pub mod canary;
pub mod control;
pub mod flows;
pub mod metrics;
pub mod overview;

pub mod doctor;

use std::io::{self, Write as _};
use std::path::Path;

use crate::cli::{AskArgs, DoctorArgs, RunArgs};
use crate::config::Config;
use crate::exit::{Code, Error};

/// Watches this machine until it is told to stop, once it takes part in the rollout.
pub fn run(args: &RunArgs, config: &Config) -> anyhow::Result<Code> {
    match rollout::wait(args, config)? {
        Some((config, waited)) => sensor::run(args, &config, waited),
        None => Ok(Code::Ok),
    }
}

/// The part of `run` that has the rights, in a process of its own.
pub fn attacher(args: &RunArgs) -> anyhow::Result<Code> {
    split::run(args)
}

/// Prints what this kernel offers.
pub fn doctor(args: &DoctorArgs, config: &Config) -> anyhow::Result<Code> {
    doctor::run(args, config)
}

/// Prints the running sensor's flow map.
pub fn flows(args: &AskArgs, config: &Config) -> anyhow::Result<Code> {
    let socket = Path::new(&config.live.control_socket);
    let data = control::request(socket, "flows")?;
    let text = if args.json {
        let (flows, total) = (&data["flows"], &data["total"]);
        format!("{}\n", serde_json::json!({ "v": control::VERSION, "flows": flows, "total": total }))
    } else {
        let flows: flows::Flows = serde_json::from_value(data).map_err(|error| {
            Error::new(
                Code::Failure,
                format!("the sensor is of another version, its flows cannot be read: {error}"),
            )
        })?;
        flows::table(&flows)
    };
    print(&text)
}

/// Prints what the running sensor says of itself.
pub fn status(args: &AskArgs, config: &Config) -> anyhow::Result<Code> {
    let data = control::request(Path::new(&config.live.control_socket), "status")?;
    print(&if args.json { format!("{data}\n") } else { overview::text(&data) })
}

fn print(text: &str) -> anyhow::Result<Code> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
    Ok(Code::Ok)
}
