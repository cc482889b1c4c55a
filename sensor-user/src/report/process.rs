//! Evidence from who asked: interpreters and shells, jobs, reverse shells, programs that lie where programs do not.
//!
//! A pure function of what is known of the client. It joins a finding that has evidence of what was sent or when, and
//! never opens one: most interpreters that ask for names are honest. Browsers and resolvers ask for others, so only where
//! their file lies counts of them.
//!
//! | key | MITRE's name | |
//! |---|---|---|
//! | `process.daemon_allow_list` | DaemonAllowList (AN1122) | these weigh less; not with payload-bearing types or EDNS data |
//! | `process.process_image_filter` | ProcessImageFilter (AN1121) | executables and scripts below these paths count |
//! | `process.uncommon_process_context` | UncommonProcessContext (AN1123) | which of the contexts count |
//!
//! Classes of programs and weights are `data/programs.json`. Files that the process read shortly before it asked (T11)
//! belong here as one more [`Facts`] field and one more line of [`contexts`], as soon as a source of records tells them:
//! a read below a list of sensitive paths is context like the others.

use sensor_ebpf::abi::exec::STDIN_SOCKET;

use crate::attribute::programs::{Class, DELETED, Weights, class, file_name, programs};
use crate::config;
use crate::finding::{Client, ClientKind, Evidence};
use crate::verdict::family;

/// Names of the evidence.
pub(super) const CONTEXT: &str = "process_context";
pub(super) const ALLOWED: &str = "daemon_allow_list";

/// Contexts that `process.uncommon_process_context` can name.
pub const CONTEXTS: &[&str] = &[
    "interpreter",
    "shell",
    "lookup_tool",
    "shell_above",
    "timer_above",
    "server_above",
    "reverse_shell",
    "unreachable_image",
];

/// What is known of who asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) client: &'a Client,
    /// `sensor_ebpf::abi::exec::STDIO` bits, if known.
    pub(super) stdio: Option<u16>,
    /// NULL, types nobody publishes, EDNS data or trailing bytes were seen in the finding's queries.
    pub(super) has_payload: bool,
}

/// Ancestors that say something of a process: further up is the session, then the machine.
const NEAR: usize = 8;

/// The client's part of a finding's evidence, if it has any.
pub(super) fn evidence(facts: &Facts<'_>, settings: &config::Process) -> Vec<Evidence> {
    let client = facts.client;
    if client.kind != ClientKind::Process {
        return Vec::new();
    }
    let weights = &programs().weights;
    let mut list = Vec::new();
    let found = contexts(facts, settings, weights);
    let heaviest = found.iter().map(|(weight, _)| *weight).fold(0.0, f64::max);
    if heaviest > 0.0 {
        let words: Vec<_> = found.iter().map(|(_, words)| words.as_str()).collect();
        list.push(Evidence {
            family: family::PROCESS,
            name: CONTEXT,
            observed: words.join("; "),
            baseline: "a program installed with the system, started by it or by a desktop".to_owned(),
            weight: heaviest + weights.further * (found.len() - 1) as f64,
        });
    }
    if !facts.has_payload
        && let Some(entry) = allowed(client, settings)
    {
        list.push(Evidence {
            family: family::PROCESS,
            name: ALLOWED,
            observed: format!("{} is on the allow list of daemons, as {entry}", program(client)),
            baseline: "no allowance: every other evidence weighs more by as much".to_owned(),
            weight: weights.allow_listed,
        });
    }
    list
}

/// Every fact with its weight and words.
fn contexts(facts: &Facts<'_>, settings: &config::Process, weights: &Weights) -> Vec<(f64, String)> {
    let Facts { client, stdio, .. } = *facts;
    let mut list = Vec::new();
    let counts = |context: &str| settings.uncommon_process_context.iter().any(|name| name == context);
    let mut add = |context: &str, weight: f64, words: String| {
        if counts(context) {
            list.push((weight, words));
        }
    };
    let own = class_of(client);
    let name = program(client);
    let exe = client.exe.as_deref().unwrap_or_default();
    let below_filter = filtered(exe, settings);
    if let Some(path) = exe.strip_suffix(DELETED) {
        if path.starts_with("/memfd:") || below_filter {
            add(
                "unreachable_image",
                weights.unreachable_image,
                format!("{name} has no file any more: {exe}"),
            );
        } else {
            add(
                "unreachable_image",
                weights.replaced_image,
                format!("{name}'s file was deleted or replaced"),
            );
        }
    }
    let above = || client.ancestry.iter().take(NEAR).map(|exe| (class(exe), exe));
    if !matches!(own, Some(Class::Browser | Class::Resolver)) || below_filter {
        match own {
            Some(Class::Interpreter) => {
                let what = client.script.as_deref().map_or("code of its own", |script| script);
                add("interpreter", weights.interpreter, format!("{name} asks itself, running {what}"));
            }
            Some(Class::Shell) => add("shell", weights.shell, format!("the shell {name} asks itself")),
            Some(Class::LookupTool) => add("lookup_tool", weights.lookup_tool, asked_with(client, &name)),
            _ => {}
        }
        let parent = above().find(|(class, _)| *class != Some(Class::Wrapper));
        if let Some((Some(Class::Shell), exe)) = parent {
            add("shell_above", weights.shell_above, format!("started from {}", file_name(exe)));
        }
        if let Some((_, exe)) = above().find(|(class, _)| *class == Some(Class::Timer)) {
            add("timer_above", weights.timer_above, format!("in a job of {}", file_name(exe)));
        }
        let is_script = |class: Option<Class>| matches!(class, Some(Class::Shell | Class::Interpreter));
        let script_at = above().position(|(class, _)| is_script(class));
        let server_at = above().position(|(class, _)| class == Some(Class::Server));
        if let Some(server) = server_at
            && (is_script(own) || script_at.is_some_and(|at| at < server))
        {
            let server = file_name(&client.ancestry[server]);
            add(
                "server_above",
                weights.server_above,
                format!("in a shell or script below the server {server}"),
            );
        }
        if stdio.is_some_and(|bits| bits & STDIN_SOCKET != 0) && (is_script(own) || script_at.is_some()) {
            let (weight, words) = if above().any(|(class, _)| class == Some(Class::RemoteLogin)) {
                (weights.remote_login, "standard input is a socket, as of a remote command")
            } else {
                (weights.reverse_shell, "standard input is a socket in a line with a shell: a reverse shell")
            };
            add("reverse_shell", weight, words.to_owned());
        }
    }
    let script = client.script.as_deref().filter(|script| filtered(script, settings));
    if let Some(path) = script.or(below_filter.then_some(exe)) {
        list.push((weights.filtered_image, format!("runs from {path}")));
    }
    list
}

fn asked_with(client: &Client, name: &str) -> String {
    match client.pids.len() {
        0 | 1 => format!("asked with {name}"),
        count => format!("asked with {name}, {count} processes of it or more"),
    }
}

/// The entry of the allow list that holds a client. A name stands for a file where only packages put files: whoever can
/// write elsewhere can also choose a name.
fn allowed<'a>(client: &Client, settings: &'a config::Process) -> Option<&'a str> {
    let exe = client.exe.as_deref()?;
    settings.daemon_allow_list.iter().find(|entry| is_program(entry, exe)).map(String::as_str)
}

/// Whether an executable is the one that is named, or that lies at this path. A file that is gone is none.
pub(crate) fn is_program(named: &str, exe: &str) -> bool {
    let fits = if named.starts_with('/') {
        named == exe
    } else {
        named == file_name(exe) && SYSTEM.iter().any(|path| exe.starts_with(path))
    };
    fits && !exe.ends_with(DELETED)
}

/// Where only the superuser can put programs.
const SYSTEM: [&str; 7] = ["/usr/", "/bin/", "/sbin/", "/lib/", "/opt/", "/snap/", "/nix/store/"];

fn filtered(path: &str, settings: &config::Process) -> bool {
    settings.process_image_filter.iter().any(|prefix| {
        let below = path.strip_prefix(prefix.as_str());
        below.is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    })
}

fn class_of(client: &Client) -> Option<Class> {
    let by_exe = client.exe.as_deref().map(class);
    let by_name = || client.comm.as_deref().and_then(class);
    match by_exe {
        None | Some(Some(Class::MultiCall)) => by_name(),
        Some(class) => class,
    }
}

fn program(client: &Client) -> String {
    let exe = client.exe.as_deref().map(file_name).filter(|name| !name.is_empty());
    exe.or(client.comm.as_deref()).unwrap_or("the program").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::{Names, Settings};
    use crate::report::who;

    fn client(exe: &str, ancestry: &[&str]) -> Client {
        let mut client = who::describe(None, &Names::new(&Settings::default()), &Settings::default());
        client.kind = ClientKind::Process;
        client.exe = Some(exe.to_owned());
        client.ancestry = ancestry.iter().map(|exe| (*exe).to_owned()).collect();
        client
    }

    fn of(client: &Client, stdio: u16) -> Vec<Evidence> {
        evidence(&Facts { client, stdio: Some(stdio), has_payload: false }, &config::Process::default())
    }

    fn weight(exe: &str, ancestry: &[&str]) -> f64 {
        of(&client(exe, ancestry), 0).first().map_or(0.0, |evidence| evidence.weight)
    }

    const SESSION: &[&str] = &["/usr/bin/bash", "/usr/sbin/sshd", "/usr/lib/systemd/systemd"];
    const SERVICE: &[&str] = &["/usr/lib/systemd/systemd"];

    #[test]
    fn programs_out_of_place_weigh_and_the_rest_does_not() {
        for (exe, ancestry, least, most) in [
            ("/usr/sbin/ntpd", SERVICE, 0.0, 0.0),
            ("/usr/lib/systemd/systemd-resolved", SERVICE, 0.0, 0.0),
            ("/usr/bin/firefox", SESSION, 0.0, 0.0),
            ("/usr/sbin/nginx (deleted)", SERVICE, 0.1, 0.9),
            ("/usr/bin/python3.11", SERVICE, 1.0, 1.0),
            ("/usr/sbin/iodine", SESSION, 1.0, 1.0),
            ("/usr/sbin/iodine", &["/usr/bin/sudo", "/usr/bin/zsh"], 1.0, 1.0),
            ("/usr/bin/dig", SESSION, 1.2, 1.5),
            ("/usr/bin/dig", &["/usr/bin/dash", "/usr/sbin/cron"], 1.4, 2.0),
            ("/usr/bin/bash", SERVICE, 1.5, 1.5),
            ("/tmp/dnsmasq", SERVICE, 1.5, 1.5),
            ("/tmp/firefox", SESSION, 1.6, 2.0),
            ("/memfd:x (deleted)", SERVICE, 2.0, 2.0),
            ("/dev/shm/x (deleted)", SERVICE, 2.0, 2.5),
            ("/tmpfs/x", SERVICE, 0.0, 0.0),
            ("/usr/bin/curl", &["/usr/bin/dash", "/usr/sbin/php-fpm8.2"], 1.5, 2.0),
        ] {
            let weight = weight(exe, ancestry);
            assert!((least..=most).contains(&weight), "{exe} {ancestry:?}: {weight}");
        }
    }

    #[test]
    fn a_shell_on_a_socket_is_a_reverse_shell_but_a_service_that_logs_is_none() {
        let shell = client("/usr/bin/curl", &["/usr/bin/bash", "/usr/bin/python3"]);
        assert!(of(&shell, STDIN_SOCKET)[0].observed.contains("reverse shell"));
        assert!(of(&client("/usr/sbin/ntpd", SERVICE), 6).is_empty(), "output to the journal");
        let remote = client("/usr/bin/curl", SESSION);
        assert!(of(&remote, STDIN_SOCKET)[0].weight < 1.5, "{:?}", of(&remote, STDIN_SOCKET));
    }

    #[test]
    fn a_script_below_the_filter_counts_by_its_path() {
        let mut script = client("/usr/bin/python3", SERVICE);
        script.script = Some("/tmp/x.py".to_owned());
        let evidence = &of(&script, 0)[0];
        assert!(evidence.observed.contains("runs from /tmp/x.py") && evidence.weight > 1.5, "{evidence:?}");
    }

    #[test]
    fn the_allow_list_lowers_by_name_only_where_packages_are_and_never_with_payload() {
        let settings =
            config::Process { daemon_allow_list: vec!["agentd".to_owned()], ..config::Process::default() };
        let with = |exe: &str, has_payload| {
            let client = client(exe, SERVICE);
            let list = evidence(&Facts { client: &client, stdio: None, has_payload }, &settings);
            list.iter().map(|e| e.weight).find(|weight| *weight < 0.0)
        };
        assert_eq!(with("/usr/sbin/agentd", false), Some(-0.5));
        assert_eq!(with("/usr/sbin/agentd", true), None);
        assert_eq!(with("/tmp/agentd", false), None);
        assert_eq!(with("/usr/sbin/agentd (deleted)", false), None);
        assert_eq!(with("/usr/sbin/other", false), None);
    }

    #[test]
    fn contexts_can_be_left_out() {
        let settings = config::Process {
            uncommon_process_context: vec!["timer_above".to_owned()],
            ..config::Process::default()
        };
        let client = client("/usr/bin/python3", &["/usr/bin/bash"]);
        assert!(evidence(&Facts { client: &client, stdio: None, has_payload: false }, &settings).is_empty());
    }
}
