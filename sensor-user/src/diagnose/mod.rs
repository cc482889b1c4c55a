//! `earthdog diagnose`: one file with what somebody else needs to help, and nothing that is this host's own.

mod redact;

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::cli::{DiagnoseArgs, DoctorArgs};
use crate::config::Config;
use crate::exit::{Code, Error};
use crate::live::{control, doctor::examine, link::links};
use crate::selftest::{outcome::Outcome, state};
use crate::{clock, finding};
use redact::Redactor;

const README: &str = "\
What earthdog says of this host and of itself, for somebody who helps. Left out are queried names, clients, findings, log
lines and what the store holds. Texts that are the host's own (names of interfaces, paths, addresses, whatever the
configuration says in words) are `redacted-` and a number: the same text has the same number in this bundle, and another in
the next one. Look through it before you pass it on: `earthdog diagnose --show` prints it all.
";

/// Part of the bundle.
struct Part {
    file: &'static str,
    what: &'static str,
    text: String,
}

/// Writes the bundle. Where no sensor answers, its part says why.
pub fn run(args: &DiagnoseArgs, config: &Config) -> anyhow::Result<Code> {
    let parts = parts(config);
    if args.show {
        let mut text = String::new();
        for part in &parts {
            let _ = writeln!(text, "==> {} <==\n{}", part.file, part.text);
        }
        return to_stdout(text.as_bytes());
    }
    let now_ns = clock::unix_ns();
    let bundle = archive(&parts, now_ns / 1_000_000_000)
        .map_err(|error| Error::new(Code::Failure, format!("cannot pack the bundle: {error}")))?;
    match &args.output {
        Some(path) if path == Path::new("-") => to_stdout(&bundle),
        path => {
            let path = path.clone().unwrap_or_else(|| default_name(now_ns));
            write(&path, &bundle)?;
            for part in &parts {
                eprintln!("{:<14} {}", part.file, part.what);
            }
            println!("{}", path.display());
            Ok(Code::Ok)
        }
    }
}

fn parts(config: &Config) -> Vec<Part> {
    let redactor = Redactor::new(own_names());
    let json = |value: Result<Value, String>| match value {
        Ok(mut value) => {
            redactor.json(&mut value);
            format!("{value:#}\n")
        }
        Err(why) => format!("{}\n", redactor.text(&why)),
    };
    let mut parts = vec![
        Part {
            file: "host.json",
            what: "kernel, memory, settings of the kernel, interfaces",
            text: format!("{:#}\n", host(&redactor)),
        },
        Part {
            file: "doctor.json",
            what: "what the kernel offers, which hooks would be used, what to do",
            text: json(doctor(config)),
        },
        Part {
            file: "status.json",
            what: "what the running sensor sees, loses, holds and costs",
            text: json(status(config)),
        },
        Part {
            file: "config.txt",
            what: "keys that are not at their default",
            text: settings(&redactor, config),
        },
        Part { file: "selftest.json", what: "the last self-test", text: json(selftest(config)) },
    ];
    let mut text = format!("{README}\n");
    for part in &parts {
        let _ = writeln!(text, "{:<14} {}", part.file, part.what);
    }
    parts.insert(0, Part { file: "README.txt", what: "what is in it, and what is not", text });
    parts
}

/// Names of this host that text of our own may hold.
fn own_names() -> Vec<String> {
    let mut names: Vec<_> = links().unwrap_or_default().into_iter().map(|link| link.name).collect();
    names.extend(fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()));
    names
}

/// Files of one value that say how the kernel is set up.
const SETTINGS: &[&str] = &[
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/net/core/bpf_jit_harden",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/bpf_stats_enabled",
    "/sys/kernel/security/lockdown",
    "/sys/kernel/security/lsm",
];

fn host(redactor: &Redactor) -> Value {
    let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let settings: serde_json::Map<_, _> =
        SETTINGS.iter().filter_map(|path| Some(((*path).to_owned(), json!(line(path)?)))).collect();
    let system = line("/etc/os-release").unwrap_or_default();
    let system: Vec<_> =
        system.lines().filter(|line| line.starts_with("ID=") || line.starts_with("VERSION_ID=")).collect();
    let memory = line("/proc/meminfo").unwrap_or_default();
    let pressure = line("/proc/pressure/cpu");
    let links = links().unwrap_or_default();
    json!({
        "v": 1,
        "earthdog": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "release": line("/proc/sys/kernel/osrelease"),
        "system": system,
        "cpus": std::thread::available_parallelism().map(usize::from).ok(),
        "memory": memory.lines().take(3).collect::<Vec<_>>(),
        "cpu_pressure": pressure,
        "settings": settings,
        "links": links.iter().map(|link| json!({
            "name": if link.is_loopback() { link.name.clone() } else { redactor.token(&link.name) },
            "driver": link.driver,
            "up": link.up,
            "hardware": link.hardware,
            "has_xdp": link.xdp.is_some(),
        })).collect::<Vec<_>>(),
    })
}

fn doctor(config: &Config) -> Result<Value, String> {
    let found = examine(&DoctorArgs::default(), config).map_err(|error| format!("{error:#}"))?;
    Ok(found.json(config))
}

fn status(config: &Config) -> Result<Value, String> {
    control::request(Path::new(&config.live.control_socket), "status").map_err(|error| error.to_string())
}

fn selftest(config: &Config) -> Result<Value, String> {
    let last =
        state::read::<Outcome>(config)?.ok_or("none was run, or there is no store to keep it beside")?;
    serde_json::to_value(last).map_err(|error| error.to_string())
}

fn settings(redactor: &Redactor, config: &Config) -> String {
    let mut text = String::new();
    for (key, allowed, shown) in config.other_than_default() {
        let _ = writeln!(text, "{key} = {}", redactor.setting(allowed, &shown));
    }
    if text.is_empty() { "every key is at its default\n".to_owned() } else { text }
}

fn default_name(now_ns: u64) -> PathBuf {
    let time: String = finding::time(now_ns).chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    format!("earthdog-diagnose-{time}Z.tar.gz").into()
}

/// A new file that nobody else may read; one that is there already is left alone.
fn write(path: &Path, bundle: &[u8]) -> Result<(), Error> {
    let failed = |error: io::Error| {
        let what = if error.kind() == io::ErrorKind::AlreadyExists {
            "is there already: name another with -o".to_owned()
        } else {
            error.to_string()
        };
        Error::new(Code::Failure, format!("{}: {what}", path.display()))
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bundle).and_then(|()| file.sync_all()).map_err(failed)
}

fn archive(parts: &[Part], unix_s: u64) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(unix_s);
        tar.append_data(&mut header, format!("earthdog-diagnose/{}", part.file), part.text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}

fn to_stdout(bytes: &[u8]) -> anyhow::Result<Code> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| Error::stdout(&error))?;
    Ok(Code::Ok)
}
