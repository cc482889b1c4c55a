//! `cargo xtask vm`: boots other kernels in software emulation; there the sensor meets a live tunnel, and every way to
//! send DNS under each of its owner sources.
//!
//! A run passes when the guest's serial console says that every program loaded and that the verifier walked none further
//! than its ceiling (tests/data/verified.toml), that the sensor ended well as a gateway
//! and as a host with no hook refused, carries a finding that names iodine and its zone, and a summary for each owner
//! source whose table came out as expected (tests/src/truth).

mod initramfs;
mod kernels;

use std::env::consts::ARCH;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::cache::Cache;
use crate::process;
use crate::setup::{self, Needs};
use initramfs::Initramfs;
use kernels::{Image, Kernel};

/// Emulated machines are slow and share two cores with the tests; a good run takes one to three minutes.
const SILENCE_MAX: Duration = Duration::from_mins(6);

/// As in init.sh.
const ZONE: &str = "t.vm.example";

/// What init.sh runs, whose exit it prints as `vm:<name> <code>`.
const RUNS: [&str; 4] = ["load", "gateway", "exit", "truth"];

/// Racing sends for each owner source: enough that every kind of race comes, few enough for an emulated machine.
const RACES: u32 = 200;

const MODULES: [&str; 4] = ["veth", "tun", "sch_ingress", "cls_bpf"];

/// Programs of the test peers that the guest runs.
const PEERS: [(&str, &str); 3] =
    [("peers/iodine", "usr/sbin/iodine"), ("peers/iodined", "usr/sbin/iodined"), ("peers/ip", "bin/ip")];

/// Our programs that the guest runs.
const PROGRAMS: [&str; 5] = ["earthdog", "load-programs", "truth", "sender", "owner-cost"];

/// Runs each kernel (all of the matrix where none is named) and prints a line for its tunnel and one for each owner
/// source; an error when one did not pass.
pub(crate) fn run(cache: &Cache, releases: &[String]) -> Result<()> {
    let matrix = if releases.is_empty() {
        kernels::KERNELS.iter().collect()
    } else {
        releases.iter().map(|release| kernels::find(release)).collect::<Result<Vec<_>>>()?
    };
    setup::run(cache, Needs { toolchain: true, peers: true, vm: true, ..Needs::default() })?;
    let programs = static_programs()?;
    let mut failed = Vec::new();
    for kernel in matrix {
        let result = kernels::fetch(cache, kernel).and_then(|image| {
            Ok((boot(cache, kernel, &image, &initramfs(cache, kernel, &image, &programs)?)?, image.version))
        });
        match result {
            Ok((passed, version)) => {
                println!("vm {} ({version}; {}): {}", kernel.release, kernel.covers, passed.finding);
                println!("vm {} programs: {}", kernel.release, passed.loaded);
                for line in passed.truths {
                    println!("vm {line}");
                }
                for line in passed.costs {
                    println!("vm {} cost: {line}", kernel.release);
                }
            }
            Err(error) => {
                println!("vm {} ({}): FAILED: {error:#}", kernel.release, kernel.covers);
                failed.push(kernel.release);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("failed on {}", failed.join(", ")) }
}

/// The folder of our programs, with glibc linked in: guests (and the hosts of their age) have an older one.
fn static_programs() -> Result<PathBuf> {
    let triple = format!("{ARCH}-unknown-linux-gnu");
    let target = process::workspace().join("target/static");
    process::run(
        process::cargo()
            .args(["build", "--locked", "--release", "--quiet", "--target", &triple])
            .args(["-p", "sensor-user", "-p", "earthdog-tests"])
            .args(PROGRAMS.iter().flat_map(|name| ["--bin", name]))
            .arg("--target-dir")
            .arg(&target)
            .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
            // Not measured there, so built faster.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    )?;
    Ok(target.join(triple).join("release"))
}

fn initramfs(cache: &Cache, kernel: &Kernel, image: &Image, programs: &Path) -> Result<PathBuf> {
    let mut initramfs = Initramfs::default();
    initramfs.file("init", include_bytes!("init.sh"));
    for folder in ["proc", "sys", "dev", "run", "tmp", "etc", "var"] {
        initramfs.folder(folder);
    }
    initramfs.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n");
    initramfs.file("etc/group", b"root:x:0:\n");
    initramfs.copy("bin/busybox", &cache.path("vm/root/bin/busybox"))?;
    let words = format!("--source {} --races {RACES}\n", kernel.sources.join(" --source "));
    initramfs.file("etc/truth", words.as_bytes());
    if kernel.costs {
        initramfs.file("etc/costs", b"");
    }
    for name in PROGRAMS {
        initramfs.copy(&format!("bin/{name}"), &programs.join(name))?;
    }
    let peers = cache.path("peers/root");
    for (name, path) in PEERS {
        initramfs.copy(name, &peers.join(path))?;
        for (name, path) in kernels::libraries(&peers.join(path), &peers)? {
            initramfs.copy(&name, &path)?;
        }
    }
    for (number, (name, bytes)) in kernels::modules(cache, image, &MODULES)?.iter().enumerate() {
        initramfs.file(&format!("modules/{number:02}-{name}.ko"), bytes);
    }
    let path = process::workspace().join(format!("target/static/initramfs-{}", image.version));
    fs::write(&path, initramfs.finish()).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// What a good run showed.
#[derive(Debug, PartialEq)]
struct Passed {
    finding: String,
    /// How many programs were refused or over their ceiling, and which is nearest to its own.
    loaded: String,
    /// One for each owner source, and one for its races.
    truths: Vec<String>,
    /// What each owner source costs a send, in emulated time: to compare them with each other, not with a budget.
    costs: Vec<String>,
}

/// What a kernel says of a breakpoint that it did not set, or has taken back. A processor of the emulator may still run one
/// that another has patched away (text_poke_bp of linux arch/x86/kernel/alternative.c, which switches the kernel's static
/// keys): no program of ours can set one, so that such a run shows nothing.
const STALE_BREAKPOINT: &str = "Oops: int3";

/// Boots, once more after a fault of the emulator's; what that showed, or why it did not pass with the console's last lines.
fn boot(cache: &Cache, kernel: &Kernel, image: &Image, initramfs: &Path) -> Result<Passed> {
    let mut log = console(cache, image, initramfs)?;
    if log.iter().any(|line| line.contains(STALE_BREAKPOINT)) {
        println!(
            "vm {}: the emulator ran a stale breakpoint ({STALE_BREAKPOINT}); once more",
            kernel.release
        );
        log = console(cache, image, initramfs)?;
    }
    judge(&log, kernel.sources, kernel.costs)
        .map_err(|why| anyhow!("{why}; the console said:\n{}", tail(&log)))
}

/// The console's lines, up to the end of the run.
fn console(cache: &Cache, image: &Image, initramfs: &Path) -> Result<Vec<String>> {
    let mut guest = Guest(
        Command::new(cache.path("vm/bin/qemu-system-x86_64"))
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"])
            .args([
                "-nographic",
                "-no-reboot",
                "-nic",
                "none",
                "-append",
                // On a busy machine the emulated timer may be too late for the kernel's check of it, which panics.
                "console=ttyS0 loglevel=3 panic=-1 no_timer_check",
            ])
            .arg("-L")
            .arg(cache.path("vm/root/usr/share/qemu"))
            .arg("-L")
            .arg(cache.path("vm/root/usr/share/seabios"))
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("cannot start qemu")?,
    );
    let console = guest.0.stdout.take().context("qemu has no stdout")?;
    let (sender, lines) = sync_channel(1024);
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });

    let mut log = Vec::new();
    let mut ended = false;
    while !ended {
        match lines.recv_timeout(SILENCE_MAX) {
            Ok(line) => {
                ended = line.ends_with("vm:end");
                log.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                log.push(format!("(nothing for {} s)", SILENCE_MAX.as_secs()));
                break;
            }
        }
    }
    Ok(log)
}

/// What the run showed, or why it did not pass.
fn judge(log: &[String], sources: &[&str], costs: bool) -> Result<Passed, String> {
    for run in RUNS.into_iter().chain(costs.then_some("cost")) {
        let line = log.iter().find_map(|line| line.split_once("vm:")?.1.strip_prefix(run)?.strip_prefix(' '));
        match line {
            Some("0") => {}
            Some(code) if run == "load" => return Err(format!("{run} ended with {code}{}", unloaded(log))),
            Some(code) if run == "truth" => return Err(format!("{run} ended with {code}{}", untrue(log))),
            Some(code) => return Err(format!("{run} ended with {code}")),
            None => return Err(format!("{run} did not end")),
        }
    }
    if let Some(line) = log.iter().find(|line| line.starts_with("sensor: ") && line.contains("was refused")) {
        return Err(line.clone());
    }
    let mut findings = log.iter().filter_map(|line| line.split_once("vm:finding ")?.1.parse::<Value>().ok());
    let finding = findings
        .find_map(|finding| names_iodine(&finding))
        .ok_or(format!("no finding that names iodine and {ZONE}"))?;
    let loaded =
        log.iter().find_map(|line| line.strip_prefix("load: in all: ")).ok_or("no sum of the programs")?;
    let mut truths = Vec::new();
    for source in sources {
        for what in ["truth", "races"] {
            let line = log.iter().find_map(|line| {
                let line = line.strip_prefix("truth: ")?.strip_prefix(what)?.trim_start();
                let of = line.split_once(": ")?.0.split_once(' ')?.1;
                (of == *source).then(|| line.to_owned())
            });
            let line = line.ok_or_else(|| format!("no {what} of {source}"))?;
            truths.push(if what == "races" { line.replacen(':', " races:", 1) } else { line });
        }
    }
    let costs = log.iter().filter_map(|line| line.strip_prefix("cost: ")).map(str::to_owned).collect();
    Ok(Passed { finding, loaded: loaded.to_owned(), truths, costs })
}

/// Which programs were refused, and how far the others were walked.
fn unloaded(log: &[String]) -> String {
    let lines = log.iter().filter_map(|line| line.strip_prefix("load: "));
    let mut told: Vec<_> = lines.clone().filter(|line| line.contains("REFUSED")).collect();
    told.extend(lines.skip_while(|line| !line.starts_with("verified on")));
    told.into_iter().fold(String::new(), |text, line| text + "\n  " + line)
}

/// What the truth tables say against the sensor, and their summaries.
fn untrue(log: &[String]) -> String {
    let telling = ["WRONG", "UNEXPECTED", "FAILED", "not here", " right, ", " sends, ", "panicked"];
    let lines = log.iter().filter_map(|line| line.strip_prefix("truth: "));
    lines
        .filter(|line| telling.iter().any(|text| line.contains(text)))
        .fold(String::new(), |text, line| text + "\n  " + line)
}

fn names_iodine(finding: &Value) -> Option<String> {
    let client = &finding["client"];
    let exe = client["exe"].as_str().filter(|exe| exe.ends_with("/iodine"))?;
    let zone = finding["zone"].as_str().filter(|zone| *zone == ZONE || *zone == "vm.example")?;
    Some(format!("{} finding: {exe} (pid {}), zone {zone}", finding["severity"].as_str()?, client["pid"]))
}

fn tail(log: &[String]) -> String {
    let from = log.len().saturating_sub(80);
    log[from..].join("\n")
}

/// The emulator, ended with us.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_iodine_and_its_zone_pass() {
        let finding = serde_json::json!({
            "severity": "medium", "zone": ZONE, "client": { "exe": "/bin/iodine", "pid": 71 },
        });
        assert_eq!(
            names_iodine(&finding).unwrap(),
            "medium finding: /bin/iodine (pid 71), zone t.vm.example"
        );
        let mut other = finding.clone();
        other["client"]["exe"] = "/bin/dig".into();
        assert_eq!(names_iodine(&other), None);
        let mut elsewhere = finding;
        elsewhere["zone"] = "example.net".into();
        assert_eq!(names_iodine(&elsewhere), None);
    }

    #[test]
    fn a_refused_program_or_hook_fails_the_run() {
        let finding = format!(
            "vm:finding {{\"severity\":\"medium\",\"zone\":\"{ZONE}\",\"client\":{{\"exe\":\"/bin/iodine\",\"pid\":71}}}}"
        );
        let good = [
            "vm:load 0",
            "load: in all: 0 refused",
            "[1.0] vm:gateway 0",
            "sensor: watching eth0",
            "vm:exit 0",
            finding.as_str(),
            "vm:truth 0",
            "truth: truth 6.1 kprobe: 31/31 right, 0 wrong, 0 none",
            "truth: races 6.1 kprobe: 200 sends, 0 wrong",
            "vm:cost 0",
            "cost: kprobe 1",
        ];
        let judged = |lines: &[&str]| {
            judge(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>(), &["kprobe"], true)
        };
        let passed = judged(&good).unwrap();
        assert_eq!(passed.finding, "medium finding: /bin/iodine (pid 71), zone t.vm.example");
        assert_eq!(
            passed.truths,
            ["6.1 kprobe: 31/31 right, 0 wrong, 0 none", "6.1 kprobe races: 200 sends, 0 wrong"]
        );
        assert_eq!((passed.loaded.as_str(), passed.costs), ("0 refused", vec!["kprobe 1".to_owned()]));
        let rows = [
            (9, "vm:cost 1", "cost ended with 1"),
            (
                6,
                "vm:truth 1",
                "truth ended with 1\n  truth 6.1 kprobe: 31/31 right, 0 wrong, 0 none\n  \
                 races 6.1 kprobe: 200 sends, 0 wrong",
            ),
            (7, "truth: truth 6.1 fentry: 31/31 right", "no truth of kprobe"),
            (8, "", "no races of kprobe"),
            (0, "vm:load 1", "load ended with 1"),
            (1, "", "no sum of the programs"),
            (2, "", "gateway did not end"),
            (3, "sensor: tcx egress eth0 was refused: no", "sensor: tcx egress eth0 was refused: no"),
            (4, "vm:exit 69", "exit ended with 69"),
            (5, "", "no finding that names iodine and t.vm.example"),
        ];
        for (at, line, why) in rows {
            let mut lines = good;
            lines[at] = line;
            assert_eq!(judged(&lines).unwrap_err(), why);
        }
    }
}
