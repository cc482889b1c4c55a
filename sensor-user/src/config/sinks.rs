//! `[[sink]]`: where findings and messages go beside standard output. One table of keys, as for the sections; each entry
//! of the list has them all, and which of them mean something is up to its `type`.

use std::net::IpAddr;

use super::entries::{self, Entry, entry};
use super::keys::Least;
use super::list::Item;
use super::value::{Allowed, choice};

const DOC: &str = "Where findings and messages go beside standard output. The list has an entry `[[sink]]` for each; a later file \
                   adds to it, or replaces the entry of the same name.";
const ANY: &[Kind] = &[];
const TLS: &[Kind] = &[Kind::SyslogTls, Kind::Http];
const CONNECTED: &[Kind] = &[Kind::Unix, Kind::DnstapUnix, Kind::SyslogTcp, Kind::SyslogTls, Kind::Http];
const FILES: &[Kind] = &[Kind::File, Kind::DnstapFile];
const SPOOLED: &[Kind] = &[Kind::SyslogTcp, Kind::SyslogTls, Kind::Http];

entry! {
    /// One entry.
    Sink;
    /// What it is.
    kind("type", ANY): Kind = Kind::File, Allowed::OneOf(Kind::NAMES);
    /// Where to: a file's path; a socket's path; host:port for syslog; a URL for http. journald has a default.
    to("to", ANY): String = String::new(), Allowed::Text("a path, host:port or URL"), secret: true;
    /// Its name in `earthdog status` and in the spool; the type by default.
    name("name", ANY): String = String::new(), Allowed::Text("letters, digits, `-` and `_`, at most 64");
    /// What it takes. Empty: messages where the format has no findings, else findings.
    wants("takes", ANY): Vec<String> = Vec::new(), Allowed::List(Item::OneOf(&["findings", "messages"]));
    /// The form of a record. `auto` is ocsf for file, dnstap for the dnstap types, else json.
    format("format", ANY): SinkFormat = SinkFormat::Auto, Allowed::OneOf(SinkFormat::NAMES);
    /// Least severity of the findings that it takes.
    least("least", ANY): Least = Least::Low, Allowed::OneOf(Least::NAMES);
    /// Records that wait for it at most; findings push out messages, what finds no room is lost and counted.
    queue("queue", ANY): u64 = 2048, Allowed::Integer { min: 16, max: 1 << 20 };
    /// Size at which a file is set aside as FILE.1, MiB.
    max_mib("max_mib", FILES): u64 = 64, Allowed::Integer { min: 1, max: 1 << 20 };
    /// Files set aside that are kept.
    keep("keep", FILES): u64 = 4, Allowed::Integer { min: 1, max: 1000 };
    /// When a file is written through to the disk: left to the kernel, after each batch of records, or after each.
    sync("sync", FILES): Sync = Sync::Batch, Allowed::OneOf(Sync::NAMES);
    /// Seconds that connecting, sending or an answer may take.
    timeout_s("timeout_s", CONNECTED): u64 = 10, Allowed::Integer { min: 1, max: 600 };
    /// Records sent at once at most.
    batch("batch", &[Kind::Http]): u64 = 256, Allowed::Integer { min: 1, max: 10_000 };
    /// Directory that keeps records until they are delivered, across restarts; below it each sink has its own. "" for none.
    spool("spool", SPOOLED): String = "/var/lib/earthdog/spool".into(), Allowed::Text("an absolute path, or \"\" for none");
    /// Size of the spool at most, MiB; findings push out messages, what finds no room is lost and counted.
    spool_max_mib("spool_max_mib", SPOOLED): u64 = 64, Allowed::Integer { min: 1, max: 1 << 20 };
    /// PEM file of the authorities that the server's certificate may come from; the system's by default.
    ca("ca", TLS): String = String::new(), Allowed::Text("an absolute path, or \"\" for the system's");
    /// PEM file of this sensor's own certificate, for servers that ask for one.
    cert("cert", TLS): String = String::new(), Allowed::Text("an absolute path, or \"\" for none");
    /// PEM file of its key.
    key("key", TLS): String = String::new(), Allowed::Text("an absolute path, or \"\" for none");
    /// File whose first line is sent as `Authorization: Bearer …`.
    token_file("token_file", &[Kind::Http]): String = String::new(), Allowed::Text("an absolute path, or \"\" for none");
}

choice! {
    /// What a sink is.
    Kind {
        File = "file",
        Unix = "unix",
        UnixDatagram = "unix_datagram",
        Journald = "journald",
        SyslogUdp = "syslog_udp",
        SyslogTcp = "syslog_tcp",
        SyslogTls = "syslog_tls",
        Http = "http",
        DnstapFile = "dnstap_file",
        DnstapUnix = "dnstap_unix",
    }
}

choice! {
    /// The form of a record.
    SinkFormat {
        Auto = "auto",
        Json = "json",
        Human = "human",
        Ocsf = "ocsf",
        Ecs = "ecs",
        Zeek = "zeek",
        Cof = "cof",
        Dnstap = "dnstap",
    }
}

choice! {
    /// When a file is written through to the disk.
    Sync { Never = "never", Batch = "batch", Record = "record" }
}

/// What a sink takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    pub findings: bool,
    pub messages: bool,
}

impl Sink {
    /// Its name, as `status` tells it.
    pub fn name(&self) -> &str {
        if self.name.is_empty() { self.kind.name() } else { &self.name }
    }

    /// The format that `auto` stands for.
    pub fn format(&self) -> SinkFormat {
        match (self.format, self.kind) {
            (SinkFormat::Auto, Kind::File) => SinkFormat::Ocsf,
            (SinkFormat::Auto, Kind::DnstapFile | Kind::DnstapUnix) => SinkFormat::Dnstap,
            (SinkFormat::Auto, _) => SinkFormat::Json,
            (format, _) => format,
        }
    }

    pub fn takes(&self) -> Takes {
        let is_of_messages = matches!(self.format(), SinkFormat::Zeek | SinkFormat::Cof | SinkFormat::Dnstap);
        if self.wants.is_empty() {
            return Takes { findings: !is_of_messages, messages: is_of_messages };
        }
        let has = |what: &str| self.wants.iter().any(|wanted| wanted == what);
        Takes { findings: has("findings"), messages: has("messages") }
    }

    /// TCP port that it connects to, or the UDP port that it sends to.
    pub fn port(&self) -> Option<u16> {
        match self.kind {
            Kind::Http => Url::parse(self.to()).ok().map(|url| url.port),
            _ => host_port(self.to()).map(|(_, port)| port),
        }
    }

    /// Where to, journald's default included.
    pub fn to(&self) -> &str {
        match (self.to.as_str(), self.kind) {
            ("", Kind::Journald) => "/run/systemd/journal/socket",
            (to, _) => to,
        }
    }
}

impl Entry for Sink {
    const SECTION: &'static str = "sink";
    const DOC: &'static str = DOC;
    const EXAMPLE: &'static [&'static str] = &["type = \"file\"", "to = \"/var/log/earthdog/findings.json\""];
    /// Each has a thread and a queue of its own.
    const MAX: usize = 16;
    const KEYS: &'static [entries::Key<Self>] = KEYS;
    const NEEDED: &'static [&'static str] = &["type"];
    const RESTART: Option<&'static str> = Some("sinks are opened at the start");
    type Kind = Kind;

    fn kind(&self) -> Kind {
        self.kind
    }

    fn kind_name(kind: Kind) -> &'static str {
        kind.name()
    }

    fn name(&self) -> &str {
        Self::name(self)
    }

    fn summary(&self) -> String {
        format!("{} to {}", self.kind.name(), self.to().split('?').next().unwrap_or_default())
    }

    fn check(&self) -> Result<(), String> {
        let (kind, format, takes) = (self.kind.name(), self.format(), self.takes());
        let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !self.name.chars().all(word) || self.name.len() > 64 {
            return Err("sink.name is not allowed: use letters, digits, `-` and `_`, at most 64".into());
        }
        let to = self.to();
        match self.kind {
            Kind::SyslogUdp | Kind::SyslogTcp | Kind::SyslogTls if host_port(to).is_none() => {
                Err(format!("a sink of type {kind} needs `to`: host:port, such as \"192.0.2.1:514\""))
            }
            Kind::Http => Url::parse(to).and_then(|url| {
                if url.tls || self.token_file.is_empty() || url.is_of_this_host() {
                    return Ok(());
                }
                Err("sink.token_file would send a secret in the clear: use a URL with https".into())
            }),
            Kind::SyslogUdp | Kind::SyslogTcp | Kind::SyslogTls => Ok(()),
            _ if to.starts_with('/') => Ok(()),
            _ => Err(format!("a sink of type {kind} needs `to`: an absolute path")),
        }?;
        let is_dnstap = matches!(self.kind, Kind::DnstapFile | Kind::DnstapUnix);
        if is_dnstap != (format == SinkFormat::Dnstap) {
            return Err(
                "format \"dnstap\" belongs to the types dnstap_file and dnstap_unix, and to no other".into(),
            );
        }
        if takes.findings && matches!(format, SinkFormat::Zeek | SinkFormat::Cof | SinkFormat::Dnstap) {
            return Err(format!("format \"{}\" has no findings: use takes = [\"messages\"]", format.name()));
        }
        if format == SinkFormat::Human && (takes.messages || self.kind != Kind::File) {
            return Err("format \"human\" is for findings in a file: use json, ocsf or ecs".into());
        }
        if self.cert.is_empty() != self.key.is_empty() {
            return Err("sink.cert and sink.key belong together: give both, or none".into());
        }
        Ok(())
    }
}

/// `host:port` or `[v6]:port`.
pub fn host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != '@');
    Some((host, port.parse().ok().filter(|port| *port > 0)?)).filter(|_| plain)
}

/// Where an HTTP sink posts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// With the query.
    pub path: String,
    /// As the Host field has it.
    pub authority: String,
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("a sink of type http needs `to`: {why}");
        let example = "a URL like \"https://collector.example/findings\"";
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(refused(example)),
        };
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.contains('@') {
            return Err(refused("a URL without a password; use `token_file`"));
        }
        let with_port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => authority.to_owned(),
            _ => format!("{authority}:{}", if tls { 443 } else { 80 }),
        };
        let (host, port) = host_port(&with_port).ok_or_else(|| refused(example))?;
        if !path.chars().all(|c| c.is_ascii_graphic()) || path.contains('#') {
            return Err(refused(example));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_owned(), port, path, authority: authority.to_owned() })
    }
}

impl Url {
    /// Whether what is sent stays on this machine.
    fn is_of_this_host(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn sinks(text: &str) -> Vec<Sink> {
        Config::parse(text, "x").unwrap().sinks
    }

    #[test]
    fn an_entry_of_each_type_is_read_and_reads_back() {
        for kind in Kind::NAMES {
            let to = match *kind {
                "http" => "https://collector.example:8443/in?x=1",
                "syslog_udp" | "syslog_tcp" | "syslog_tls" => "[2001:db8::1]:514",
                _ => "/run/x",
            };
            let text = format!("[[sink]]\ntype = \"{kind}\"\nto = \"{to}\"\nleast = \"medium\"\n");
            let config = Config::parse(&text, "x").unwrap();
            assert_eq!((config.sinks.len(), config.sinks[0].least), (1, Least::Medium));
            let printed = config.to_toml();
            assert_eq!(Config::parse(&printed, "printed").unwrap(), config, "{printed}");
        }
        let url = Url::parse("https://collector.example:8443/in?x=1").unwrap();
        assert_eq!((url.tls, url.host.as_str(), url.port), (true, "collector.example", 8443));
        assert_eq!((url.path.as_str(), url.authority.as_str()), ("/in?x=1", "collector.example:8443"));
        assert_eq!(Url::parse("http://[::1]").unwrap().port, 80);
    }

    #[test]
    fn what_is_not_said_follows_from_the_type() {
        let of = |keys: &str| {
            let sink = sinks(&format!("[[sink]]\n{keys}\n")).remove(0);
            (sink.format(), sink.takes().findings, sink.takes().messages)
        };
        assert_eq!(of("type = \"file\"\nto = \"/x\""), (SinkFormat::Ocsf, true, false));
        assert_eq!(of("type = \"journald\""), (SinkFormat::Json, true, false));
        assert_eq!(of("type = \"dnstap_unix\"\nto = \"/x\""), (SinkFormat::Dnstap, false, true));
        assert_eq!(of("type = \"file\"\nto = \"/x\"\nformat = \"zeek\""), (SinkFormat::Zeek, false, true));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_do() {
        for (text, says) in [
            ("[sink]\ntype = \"file\"", "write [[sink]]"),
            ("[[sink]]\nto = \"/x\"", "needs its `type`"),
            ("[[sink]]\ntype = \"fil\"", "one of \"file\""),
            ("[[sink]]\ntype = \"file\"\npath = \"/x\"", "unknown key `path`"),
            ("[[sink]]\ntype = \"file\"", "an absolute path"),
            ("[[sink]]\ntype = \"file\"\nto = \"x\"", "an absolute path"),
            ("[[sink]]\ntype = \"syslog_udp\"\nto = \"/x\"", "host:port"),
            ("[[sink]]\ntype = \"syslog_udp\"\nto = \"h:0\"", "host:port"),
            ("[[sink]]\ntype = \"http\"\nto = \"ftp://x\"", "a URL like"),
            ("[[sink]]\ntype = \"http\"\nto = \"http://a:b@x/\"", "token_file"),
            ("[[sink]]\ntype = \"http\"\nto = \"http://x/\"\ntoken_file = \"/x\"", "with https"),
            (
                "[[sink]]\ntype = \"http\"\nto = \"http://x/\"\nkeep = 3",
                "means nothing for type http, but for file",
            ),
            ("[[sink]]\ntype = \"file\"\nto = \"/x\"\nformat = \"dnstap\"", "dnstap_file"),
            ("[[sink]]\ntype = \"unix\"\nto = \"/x\"\nformat = \"human\"", "in a file"),
            (
                "[[sink]]\ntype = \"file\"\nto = \"/x\"\nformat = \"cof\"\ntakes = [\"findings\"]",
                "has no findings",
            ),
            ("[[sink]]\ntype = \"file\"\nto = \"/x\"\nname = \"a/b\"", "sink.name"),
            ("[[sink]]\ntype = \"syslog_tls\"\nto = \"x:1\"\ncert = \"/x\"", "belong together"),
            (
                "[[sink]]\ntype = \"journald\"\n[[sink]]\ntype = \"journald\"",
                "two of [[sink]] are called `journald`",
            ),
        ] {
            let error = Config::parse(text, "x.toml").unwrap_err();
            assert!(error.message.contains(says), "{text:?}: {}", error.message);
            assert!(error.message.starts_with("x.toml:"), "{}", error.message);
        }
    }

    #[test]
    fn a_key_is_explained_with_what_is_in_force() {
        let all = sinks("[[sink]]\ntype = \"journald\"\nqueue = 99\n");
        let text = entries::explain(&all, Some("queue")).unwrap();
        assert!(text.contains("default  2048") && text.contains("in force 99 for journald"), "{text}");
        assert!(entries::explain(&all, None).unwrap().contains("sink.spool_max_mib\n"));
        assert!(entries::explain(&all, Some("que")).unwrap_err().contains("did you mean `queue`?"));
    }
}
