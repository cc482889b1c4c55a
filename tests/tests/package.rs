//! What `cargo xtask dist` makes: installed, used, removed and purged on a machine of its own, and judged by the tools of
//! those who package.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use earthdog_tests::deadline::Deadline;
use earthdog_tests::host::{self, Host, SERVER_V4};
use earthdog_tests::iodine::{Iodine, ZONE, client_arguments};
use earthdog_tests::machine::Machine;
use earthdog_tests::process::Process;
use earthdog_tests::sensor::{Finished, binary, program};
use earthdog_tests::{require, serial};

/// Of the unit: its user with what `AmbientCapabilities=` names and no more, and the folders that systemd would make.
const AS_SERVICE: &str = "install -d -o earthdog -g earthdog /run/earthdog /var/lib/earthdog && caps=$1 && shift && \
    exec setpriv --reuid earthdog --regid earthdog --clear-groups --no-new-privs \
    --inh-caps -all,$caps --ambient-caps -all,$caps --bounding-set -all,$caps -- \"$@\"";

/// A release of the binary under test.
#[derive(Debug)]
struct Release {
    _folder: tempfile::TempDir,
    deb: PathBuf,
    rpm: PathBuf,
    sums: String,
}

impl Release {
    fn build() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut xtask = Command::new(program("xtask", "xtask")?);
        xtask.args(["dist", "--sensor"]).arg(binary()?.canonicalize().map_err(|error| error.to_string())?);
        // A debug build is long, and how small it gets is not what is tested.
        xtask.arg("--into").arg(folder.path().join("dist")).env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
        let said = Finished::of(Process::spawn(xtask));
        assert_eq!(said.code(), Some(0), "{}\n{}", said.stdout, said.stderr);
        if let Some(why) = said.stdout.lines().find_map(|line| line.strip_prefix("skipped: ")) {
            return Err(why.to_owned());
        }
        let find = |end: &str| {
            let files = std::fs::read_dir(folder.path().join("dist")).unwrap();
            let paths = files.map(|entry| entry.unwrap().path());
            paths.into_iter().find(|path| path.to_str().unwrap().ends_with(end)).unwrap()
        };
        let (deb, rpm) = (find(".deb"), find(".rpm"));
        let sums = std::fs::read_to_string(find("SHA256SUMS")).unwrap();
        Ok(Self { _folder: folder, deb, rpm, sums })
    }

    /// One for all tests.
    fn get() -> Result<&'static Self, String> {
        static RELEASE: OnceLock<Result<Release, String>> = OnceLock::new();
        RELEASE.get_or_init(Self::build).as_ref().map_err(Clone::clone)
    }
}

#[test]
fn two_builds_are_the_same_bytes() {
    let _alone = serial::lock();
    let first = require!(Release::get());
    assert_eq!(first.sums.lines().count(), 3, "{}", first.sums);
    assert_eq!(first.sums, require!(Release::build()).sums);
}

#[test]
fn a_deb_is_installed_finds_a_tunnel_and_goes() {
    let _alone = serial::lock();
    let release = require!(Release::get());
    let (client, server) = require!(host::pair());
    let machine = require!(Machine::on(&client));
    let iodine = require!(Iodine::find());

    machine.put(&release.deb, "/tmp/earthdog.deb");
    machine.run("dpkg -i /tmp/earthdog.deb");
    assert!(machine.run("dpkg -s earthdog").contains("\nStatus: install ok installed\n"));
    assert!(!Path::new("/var/lib/dpkg/info/earthdog.list").exists(), "this machine's own database");
    let wanted = "/etc/systemd/system/multi-user.target.wants/earthdog.service";
    assert!(machine.has(wanted), "the service is enabled");
    check_files(&machine);

    // As it is after the installation: nothing configured.
    assert!(machine.run("earthdog config check").contains(": valid, 0 of "));
    let sensor = start(&client, &machine);
    let tunnel_end = iodine.listen(&server);
    let mut command = machine.command(&iodine.program);
    command.args(client_arguments(&["-r"], SERVER_V4));
    let tunnel = Process::spawn(command);
    // To the journal goes what people read.
    let finding = sensor.wait_for_text(
        &format!("iodine (pid {}, root) is sending data out", tunnel.pid()),
        Deadline::secs(30),
    );
    assert!(finding.contains(ZONE), "{finding}");
    drop((tunnel, tunnel_end));

    // Members of the group are answered, others are not.
    let ask = |group: &str| {
        machine.try_run(&format!("setpriv --reuid 65534 --regid {group} --clear-groups earthdog status"))
    };
    assert!(ask("earthdog").status.success());
    assert!(!ask("nogroup").status.success());
    let mut sensor = sensor;
    assert_eq!(sensor.terminate(Deadline::secs(20)).code(), Some(0), "{}", sensor.transcript());

    // What an admin says survives the package's next version and its removal.
    machine.run("echo '[output]' >> /etc/earthdog/earthdog.toml; echo > /etc/earthdog/conf.d/local.toml");
    let ours = machine.read("/etc/earthdog/earthdog.toml");
    machine.run("systemctl disable earthdog 2>&1; dpkg -i /tmp/earthdog.deb");
    assert!(!machine.has(wanted), "a service that was disabled stays so");
    assert_eq!(machine.read("/etc/earthdog/earthdog.toml"), ours);
    machine.run("dpkg -r earthdog");
    assert!(!machine.has("/usr/bin/earthdog") && !machine.has("/usr/share/earthdog"));
    assert_eq!(machine.read("/etc/earthdog/earthdog.toml"), ours);
    assert!(machine.has("/var/lib/earthdog/store.redb"), "removal keeps what was remembered");
    machine.run("dpkg -P earthdog");
    let left = machine.run("find /etc /usr /var -xdev -name '*earthdog*' -not -path '/var/log/*' | sort");
    // An admin's own file is for the admin to remove.
    assert_eq!(left.lines().collect::<Vec<_>>(), ["/etc/earthdog"], "purged");
    assert_eq!(machine.run("find /etc/earthdog -type f").trim(), "/etc/earthdog/conf.d/local.toml");
    assert!(machine.run("getent passwd earthdog").starts_with("earthdog:"), "files elsewhere may be its");
}

#[test]
fn lintian_and_rpmlint_have_no_errors() {
    let _alone = serial::lock();
    let release = require!(Release::get());
    let host = require!(Host::new());
    let machine = require!(Machine::on(&host));
    machine.put(&release.deb, "/tmp/earthdog.deb");
    let said = machine.run("lintian --allow-root --fail-on error,warning /tmp/earthdog.deb");
    assert!(!said.contains("E: earthdog"), "{said}");
    // It does judge: a package without its copyright is one that it refuses.
    machine.run(
        "dpkg-deb -R /tmp/earthdog.deb /tmp/bad && rm /tmp/bad/usr/share/doc/earthdog/copyright && \
         dpkg-deb -Znone -b /tmp/bad /tmp/bad.deb",
    );
    let bad = machine.try_run("lintian --allow-root --fail-on error,warning /tmp/bad.deb");
    assert!(String::from_utf8_lossy(&bad.stdout).contains("E: earthdog: no-copyright-file"), "{bad:?}");

    machine.put(&release.rpm, "/tmp/earthdog.rpm");
    machine.put(&deploy("rpm/rpmlint.toml"), "/tmp/rpmlint.toml");
    machine.run("rpmlint -c /tmp/rpmlint.toml /tmp/earthdog.rpm");
}

#[test]
fn an_rpm_has_what_the_deb_has() {
    let _alone = serial::lock();
    let release = require!(Release::get());
    let host = require!(Host::new());
    let machine = require!(Machine::on(&host));
    machine.put(&release.rpm, "/tmp/earthdog.rpm");
    machine.put(&release.deb, "/tmp/earthdog.deb");
    assert!(machine.run("rpm -K --nosignature /tmp/earthdog.rpm").contains("digests OK"));
    machine.run("mkdir /tmp/deb && dpkg -x /tmp/earthdog.deb /tmp/deb");
    // Its scripts want a machine of its own; they are read instead.
    machine.run("mkdir /tmp/rpm && rpm --root /tmp/rpm -i --nodeps --noscripts /tmp/earthdog.rpm");
    machine.run("rpm --root /tmp/rpm -V --nodeps earthdog");
    let scripts = machine.run("rpm -qp --scripts /tmp/earthdog.rpm");
    for part in
        ["systemd-sysusers earthdog.conf", "preset earthdog.service", "disable --now earthdog.service"]
    {
        assert!(scripts.contains(part), "{scripts}");
    }
    assert_eq!(machine.run("rpm -qpc /tmp/earthdog.rpm").trim(), "/etc/earthdog/earthdog.toml");
    // Below var and root is rpm's own database.
    let differ = machine.try_run("cd /tmp && diff -rq -x var -x root deb rpm").stdout;
    let differ = String::from_utf8(differ).unwrap();
    let own =
        ["licenses", "lintian", "doc/earthdog: ", "vendor-completions", "site-functions", "share/zsh: "];
    let told: Vec<_> = differ.lines().filter(|line| !own.iter().any(|own| line.contains(own))).collect();
    assert_eq!(told, Vec::<&str>::new());
    assert!(machine.has("/tmp/rpm/usr/bin/earthdog"));
}

/// Each file that the package promises, as its reader reads it.
fn check_files(machine: &Machine<'_>) {
    let config = machine.read("/etc/earthdog/earthdog.toml");
    assert_eq!(String::from_utf8(config).unwrap(), machine.run("earthdog config print --defaults"));
    assert!(machine.has("/etc/earthdog/conf.d"));
    assert!(
        machine.run("dpkg-query -W -f '${Conffiles}' earthdog").contains(" /etc/earthdog/earthdog.toml ")
    );
    assert_eq!(
        machine.read("/usr/lib/systemd/system/earthdog.service"),
        std::fs::read(deploy("systemd/earthdog.service")).unwrap()
    );
    // DynamicUser= takes the user of its name where there is one; a group without its user it refuses.
    assert!(machine.run("id earthdog").contains("(earthdog) gid="));

    let help = machine.run("setpriv --reuid 65534 --clear-groups earthdog help");
    // Two blanks before a command, more before what goes on of its description.
    let named =
        help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with([' ', '-']));
    let commands: BTreeSet<_> = named.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 12 && commands.contains("completions"), "{help}");
    let pages = machine.run("ls /usr/share/man/man1 | grep '^earthdog'");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(pages.contains(&format!("earthdog-{command}.1.gz\n")), "{command}");
    }
    let page = unzipped(&machine.read("/usr/share/man/man5/earthdog.toml.5.gz"));
    for key in earthdog::config::KEYS {
        assert!(page.contains(&key.name.replace('-', "\\-")), "{}", key.name);
    }
    // An ordinary user's shell completes.
    let complete = "source /usr/share/bash-completion/completions/earthdog; COMP_WORDS=(earthdog com); COMP_CWORD=1; \
                    _earthdog earthdog com earthdog; echo ${COMPREPLY[@]}";
    let user = "setpriv --reuid 65534 --clear-groups";
    assert_eq!(machine.run(&format!("{user} bash -c '{complete}'")).trim(), "completions");
    for (shell, path) in [
        ("bash", "bash-completion/completions/earthdog"),
        ("zsh", "zsh/vendor-completions/_earthdog"),
        ("fish", "fish/vendor_completions.d/earthdog.fish"),
    ] {
        let asked = machine.run(&format!("{user} earthdog completions {shell}"));
        assert_eq!(String::from_utf8(machine.read(&format!("/usr/share/{path}"))).unwrap(), asked, "{shell}");
    }
    let licences = unzipped(&machine.read("/usr/share/doc/earthdog/third-party.gz"));
    assert!(licences.contains("\naya 0.") && licences.contains("Permission is hereby granted"));
    assert!(!licences.contains("\nrstest "), "what only tests need is not shipped");
}

/// What the installed unit starts, as it starts it.
fn start(client: &Host, machine: &Machine<'_>) -> Process {
    let unit = machine.run("cat /usr/lib/systemd/system/earthdog.service");
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let lower = |name: &str| format!("+{}", name.trim_start_matches("CAP_").to_lowercase());
    let capabilities: Vec<_> = of("AmbientCapabilities=").split(' ').map(lower).collect();
    let mut command = machine.command("sh");
    command.args(["-c", AS_SERVICE, "sh", &capabilities.join(",")]).args(of("ExecStart=").split(' '));
    let sensor = Process::spawn(command);
    sensor.wait_for_text("watching with ", Deadline::secs(30));
    assert!(!earthdog_tests::attached::to(client, env!("CARGO_BIN_EXE_traffic")).is_empty());
    assert!(!sensor.transcript().contains("refused"), "{}", sensor.transcript());
    sensor
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sensor-user/deploy").join(name)
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}
