//! A finding as a few lines that an analyst decides on.

use std::io;

use crate::escape::escape;
use crate::finding::{ClientKind, Finding, Origin, Severity, State};
use crate::limits;
use crate::report::text::{range, thousands};

/// Samples and pids shown; JSON has the rest.
const SHOWN: usize = 3;

pub(super) fn write(finding: &Finding, colour: bool, out: &mut dyn io::Write) -> io::Result<()> {
    let (on, bold, dim, off) = if colour {
        (severity_colour(finding.severity), "\x1b[1m", "\x1b[2m", "\x1b[0m")
    } else {
        ("", "", "", "")
    };
    let severity = severity_name(finding.severity);
    let state = match finding.state {
        State::Create => "",
        State::Update => " (update)",
        State::Close => " (closed)",
    };
    let origin = if finding.origin == Origin::Selftest { "SELF-TEST, " } else { "" };
    writeln!(out, "{origin}{on}{severity}{off}{state}  {bold}{}{off}", escape(&finding.title))?;
    if finding.state == State::Update && !finding.has_risen {
        return Ok(());
    }
    let mut line = |name: &str, text: &str| {
        if text.is_empty() { Ok(()) } else { writeln!(out, "  {dim}{name:<9}{off} {}", escape(text)) }
    };
    line("who", &who(finding))?;
    line("command", finding.client.cmdline.as_deref().unwrap_or_default())?;
    line("script", finding.client.script.as_deref().unwrap_or_default())?;
    line("where", &place(finding))?;
    line("started", &ancestry(finding))?;
    if limits::is_own(finding.rule) {
        for (index, evidence) in finding.evidence.iter().enumerate() {
            let text = format!("{}, allowed {}", evidence.observed, evidence.baseline);
            line(if index == 0 { "why" } else { "" }, &text)?;
        }
        line("next", "`earthdog status` tells what is kept back and lost, `earthdog top` who asks so much.")?;
        return line("id", &finding.id);
    }
    line("zone", finding.zone.as_deref().unwrap_or("none that could be delegated"))?;
    line("resolver", finding.resolver.as_deref().unwrap_or_default())?;
    line(
        "leaked",
        &format!(
            "out {} (the least and most these names can hold), in {} to {}; {} characters of names in {} queries, {} \
             answered",
            range(finding.bytes_up),
            thousands(finding.bytes_down.low),
            thousands(finding.bytes_down.high),
            thousands(finding.name_bytes),
            thousands(finding.queries),
            thousands(finding.responses),
        ),
    )?;
    line("since", &format!("{} until {}", short_time(&finding.first_seen), short_time(&finding.last_seen)))?;
    if finding.state == State::Close {
        line("id", &finding.id)?;
        return Ok(());
    }
    for (index, sample) in finding.samples.iter().take(SHOWN).enumerate() {
        line(if index == 0 { "samples" } else { "" }, sample)?;
    }
    for (index, evidence) in finding.evidence.iter().enumerate() {
        let text = format!("{}: {}, bound {}", evidence.family, evidence.observed, evidence.baseline);
        line(if index == 0 { "why" } else { "" }, &text)?;
    }
    line("unless", &finding.counterfactual)?;
    line("exception", &finding.exception.as_ref().map(ToString::to_string).unwrap_or_default())?;
    line("next", next(finding))?;
    line(
        "attack",
        &format!(
            "{} {} (ATT&CK {}), confidence {:.2}, {}",
            finding.attack.techniques.join(" "),
            finding.attack.analytics.join(" "),
            finding.attack.version,
            finding.confidence,
            finding.id
        ),
    )
}

fn who(finding: &Finding) -> String {
    let client = &finding.client;
    let mut parts = Vec::new();
    if client.kind == ClientKind::Process {
        parts.extend(client.exe.clone().or_else(|| client.comm.clone()));
        let shown = client.pids.iter().take(SHOWN).map(u32::to_string).collect::<Vec<_>>().join(" ");
        let more = client.pids.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("pid {shown}{more}"));
        parts.extend(match (&client.user, client.uid) {
            (Some(user), Some(uid)) => Some(format!("user {user} ({uid})")),
            (Some(user), None) => Some(format!("user {user}")),
            (None, Some(uid)) => Some(format!("uid {uid}")),
            (None, None) => None,
        });
    }
    parts.extend(client.ip.map(|ip| match &client.asset {
        Some(asset) => format!("from {ip} ({asset})"),
        None => format!("from {ip}"),
    }));
    parts.extend(client.via.as_ref().map(|via| format!("via {via}")));
    if client.kind == ClientKind::Process {
        parts.push(format!("match {}", client.grade));
    }
    parts.join(", ")
}

/// Unit, container and pod; that a standard stream is a socket, as a shell's that somebody holds from elsewhere.
fn place(finding: &Finding) -> String {
    let client = &finding.client;
    let mut parts = Vec::new();
    parts.extend(client.unit.as_ref().map(|unit| format!("unit {unit}")));
    parts.extend(client.container.as_ref().map(|id| format!("container {id}")));
    parts.extend(client.pod.as_ref().map(|uid| format!("pod {uid}")));
    if client.stdio_socket == Some(true) {
        parts.push("with a socket for standard input, output or error".to_owned());
    }
    parts.join(", ")
}

/// Who started it, nearest first.
fn ancestry(finding: &Finding) -> String {
    let programs = &finding.client.ancestry;
    let mut shown = programs.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    if programs.len() > SHOWN + 1 {
        shown.push("…".to_owned());
    }
    shown.extend(programs.last().filter(|_| programs.len() > SHOWN).cloned());
    if shown.is_empty() { String::new() } else { format!("by {}", shown.join(" < ")) }
}

fn next(finding: &Finding) -> &'static str {
    match finding.client.kind {
        ClientKind::Process => {
            "Is this program meant to talk to this zone? If not, stop it, keep its binary and its open files, \
             and look who started it."
        }
        ClientKind::Address => {
            "Find the process on that host (earthdog run there names it). Is this zone known to you? If not, \
             block it at the resolver."
        }
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

fn severity_colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "\x1b[36m",
        Severity::Medium => "\x1b[33m",
        Severity::High => "\x1b[31m",
        Severity::Critical => "\x1b[1;31m",
    }
}

/// To the second, as `2026-11-21 22:53:56Z`.
fn short_time(rfc3339: &str) -> String {
    rfc3339.get(..19).map_or_else(|| rfc3339.to_owned(), |text| format!("{}Z", text.replacen('T', " ", 1)))
}
