//! Programs that tests, the demo and VMs run against earthdog: unpacked privately, each behind a wrapper in `bin/`.
//!
//! None is installed: several of them would start a daemon or take port 53.

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::cache::{self, Cache};
use crate::setup::toolchain::wrapper;

/// For tests, demo and CI.
pub(crate) const TESTS: Group = Group {
    name: "peers",
    purpose: "test peers (tunnels, resolvers, clients)",
    tools: &[
        tool("iodine", "iodine", "usr/sbin/iodine"),
        tool("iodined", "iodine", "usr/sbin/iodined"),
        tool("dns2tcpc", "dns2tcp", "usr/bin/dns2tcpc"),
        tool("dns2tcpd", "dns2tcp", "usr/bin/dns2tcpd"),
        tool("unbound", "unbound", "usr/sbin/unbound"),
        tool("dnsmasq", "dnsmasq-base", "usr/sbin/dnsmasq"),
        tool("dig", "bind9-dnsutils", "usr/bin/dig"),
        tool("dnsperf", "dnsperf", "usr/bin/dnsperf"),
        tool("ip", "iproute2", "bin/ip"),
        tool("tc", "iproute2", "sbin/tc"),
        tool("nft", "nftables", "usr/sbin/nft"),
        tool("rsyslogd", "rsyslog", "usr/sbin/rsyslogd"),
        tool("fstrm_capture", "fstrm-bin", "usr/bin/fstrm_capture"),
        tool("dnstap-ldns", "dnstap-ldns", "usr/bin/dnstap-ldns"),
        tool("openssl", "openssl", "usr/bin/openssl"),
        tool("tmux", "tmux", "usr/bin/tmux"),
    ],
    beside: &["rsyslog-openssl"],
    libraries: &[],
};

/// For the tests of metrics.
pub(crate) const METRICS: Group = Group {
    name: "metrics",
    purpose: "Prometheus (scrapes the sensor, checks alert rules)",
    tools: &[
        tool("prometheus", "prometheus", "usr/bin/prometheus"),
        tool("promtool", "prometheus", "usr/bin/promtool"),
    ],
    beside: &[],
    libraries: &[],
};

/// For `cargo xtask vm`.
pub(crate) const VM: Group = Group {
    name: "vm",
    purpose: "VM runner (emulator and the guest's shell)",
    tools: &[
        tool("qemu-system-x86_64", "qemu-system-x86", "usr/bin/qemu-system-x86_64"),
        tool("busybox", "busybox-static", "bin/busybox"),
    ],
    beside: &[],
    libraries: &[],
};

/// For `cargo xtask dist` and the tests of packages.
pub(crate) const PACKAGES: Group = Group {
    name: "packages",
    purpose: "package tools (build and judge packages, read deployment recipes)",
    tools: &[
        tool("rpm", "rpm", "usr/bin/rpm"),
        tool("rpmbuild", "rpm", "usr/bin/rpmbuild"),
        tool("rpmlint", "rpmlint", "usr/bin/rpmlint"),
        tool("lintian", "lintian", "usr/bin/lintian"),
        tool("ansible-playbook", "ansible-core", "usr/bin/ansible-playbook"),
    ],
    beside: &[],
    libraries: &[],
};

/// For the test that renders a finding's page.
pub(crate) const BROWSER: Group = Group {
    name: "browser",
    purpose: "browser (renders the page of a finding)",
    tools: &[tool("chromium", "chromium", "usr/lib/chromium/chromium")],
    beside: &["fonts-dejavu-core"],
    // Where libpulse looks by the path that it was built for.
    libraries: &["pulseaudio"],
};

/// For `cargo xtask bench pipeline`: what else reads DNS out of a capture.
pub(crate) const READERS: Group = Group {
    name: "readers",
    purpose: "other readers of captures (compared with in a bench)",
    tools: &[tool("tshark", "tshark", "usr/bin/tshark"), tool("dnscap", "dnscap", "usr/bin/dnscap")],
    beside: &[],
    libraries: &[],
};

/// The same; of Debian's backports, where the version is that of its makers.
pub(crate) const SURICATA: Group = Group {
    name: "suricata",
    purpose: "suricata (compared with in a bench)",
    tools: &[tool("suricata", "suricata", "usr/bin/suricata")],
    beside: &[],
    libraries: &[],
};

/// Tools that are fetched together.
#[derive(Debug)]
pub(crate) struct Group {
    /// Folder in the cache: `<name>/root` and `<name>/bin`.
    name: &'static str,
    purpose: &'static str,
    tools: &'static [Tool],
    /// Packages that the tools need and do not ask for, such as modules.
    beside: &'static [&'static str],
    /// Folders of libraries below the usual one.
    libraries: &'static [&'static str],
}

#[derive(Debug)]
struct Tool {
    name: &'static str,
    package: &'static str,
    path: &'static str,
}

const fn tool(name: &'static str, package: &'static str, path: &'static str) -> Tool {
    Tool { name, package, path }
}

impl Group {
    pub(crate) fn is_done(&self, cache: &Cache) -> bool {
        cache.is_done(&self.stamp(), &self.recipe())
    }

    pub(crate) fn fetch(&self, cache: &Cache, apt: Option<&Apt>) -> Result<()> {
        let packages = self.packages();
        let Some(apt) = apt else {
            // Building does not need them: tests that do say that they are skipped.
            eprintln!(
                "setup: no apt here, so without {}: install {} yourself",
                self.purpose,
                packages.join(" ")
            );
            return Ok(());
        };
        let root = cache.path(&format!("{}/root", self.name));
        let partial = cache::partial(&root)?;
        apt.unpack(self.purpose, &packages, &partial)?;
        cache::commit(&root)?;
        for tool in self.tools {
            let candidates = [root.join(tool.path), root.join("usr").join(tool.path)];
            let real = candidates.iter().find(|path| path.is_file());
            let real = real.with_context(|| format!("package {} has no {}", tool.package, tool.path))?;
            let script = cache.path(&format!("{}/bin/{}", self.name, tool.name));
            cache::write(&script, &wrapper(&root, real, self.libraries), true)?;
        }
        cache.done(&self.stamp(), &self.recipe())
    }

    fn stamp(&self) -> String {
        format!("{}/complete", self.name)
    }

    /// Changes with the table, so that a new tool is fetched.
    fn recipe(&self) -> String {
        let lines = self.tools.iter().map(|tool| format!("{} {} {}\n", tool.name, tool.package, tool.path));
        let more = self.beside.iter().chain(self.libraries);
        lines.chain(more.map(|name| format!("{name}\n"))).collect()
    }

    fn packages(&self) -> Vec<&'static str> {
        let beside = self.beside.iter().copied();
        let mut names: Vec<_> = self.tools.iter().map(|tool| tool.package).chain(beside).collect();
        names.dedup();
        names
    }
}
