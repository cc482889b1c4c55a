//! Where a process belongs, by the path of its cgroup: systemd unit, container, Kubernetes pod.

use super::clients::text;

/// What a cgroup path says. Names come from whoever may make cgroups: sinks escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// systemd unit; of a user's own manager as `user@1000.service/NAME`.
    pub unit: Option<String>,
    /// Container id, or its name where the runtime has no ids.
    pub container: Option<String>,
    /// Kubernetes pod uid.
    pub pod: Option<String>,
    /// What stays the same from one run of a job to the next: goes into the client key.
    pub key: String,
}

/// How a container runtime names a cgroup.
struct Naming {
    prefix: &'static str,
    suffix: &'static str,
    id: Id,
}

#[derive(Clone, Copy, PartialEq)]
enum Id {
    /// 64 hexadecimal digits.
    Hex,
    /// Whatever the operator called it.
    Name,
}

const fn naming(prefix: &'static str, suffix: &'static str, id: Id) -> Naming {
    Naming { prefix, suffix, id }
}

/// One directory of the path names the container. First the longer prefixes.
const CONTAINERS: &[Naming] = &[
    // systemd drivers.
    naming("docker-", ".scope", Id::Hex),
    naming("cri-containerd-", ".scope", Id::Hex),
    naming("crio-conmon-", ".scope", Id::Hex),
    naming("crio-", ".scope", Id::Hex),
    naming("libpod-conmon-", ".scope", Id::Hex),
    naming("libpod-", ".scope", Id::Hex),
    naming("nerdctl-", ".scope", Id::Hex),
    naming("buildkit-", ".scope", Id::Hex),
    naming("machine-", ".scope", Id::Name),
    naming("systemd-nspawn@", ".service", Id::Name),
    // cgroupfs drivers.
    naming("libpod-", "", Id::Hex),
    naming("crio-", "", Id::Hex),
    naming("lxc.payload.", "", Id::Name),
    // docker, containerd, kubepods: the bare id below a directory of theirs.
    naming("", "", Id::Hex),
];

/// Parts of a pod's directory name before its uid, and its end.
const PODS: &[(&str, &str)] = &[
    ("kubepods-besteffort-pod", ".slice"),
    ("kubepods-burstable-pod", ".slice"),
    ("kubepods-pod", ".slice"),
    ("pod", ""),
];

/// Units that systemd or a session gives a new name for every run: what comes first stays.
const RUNS: &[(&str, &str)] =
    &[("session-", ".scope"), ("run-", ".scope"), ("run-", ".service"), ("vte-spawn-", ".scope")];

/// Bytes of a path looked at: a pod's container takes 200.
pub const MAX_PATH: usize = 1024;

/// Reads a path below the root of the cgroup hierarchy, with or without the leading slash.
pub fn place(path: &[u8]) -> Place {
    let path = text(&path[..path.len().min(MAX_PATH)]);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // The innermost: a cluster in a container has containers of its own.
    let found = parts.iter().enumerate().rev().find_map(|(at, part)| Some((at, container(part)?)));
    let pod = parts.iter().rev().find_map(|part| pod(part));
    let below = match &found {
        Some((at, _)) => &parts[at + 1..],
        None => &parts[..],
    };
    let unit = unit(below);
    let container = found.map(|(_, id)| id.to_owned());
    let key = match (&container, &unit) {
        (Some(id), _) => format!("container {id}"),
        (None, Some(unit)) => format!("unit {}", stable(unit)),
        (None, None) => format!("cgroup /{}", parts.join("/")),
    };
    Place { unit, container, pod, key }
}

fn container(part: &str) -> Option<&str> {
    CONTAINERS.iter().find_map(|naming| {
        let id = part.strip_prefix(naming.prefix)?.strip_suffix(naming.suffix)?;
        let fits = match naming.id {
            Id::Hex => id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            Id::Name => !id.is_empty(),
        };
        fits.then_some(id)
    })
}

/// The systemd driver writes underscores for the uid's dashes.
fn pod(part: &str) -> Option<String> {
    PODS.iter().find_map(|(prefix, suffix)| {
        let uid = part.strip_prefix(prefix)?.strip_suffix(suffix)?.replace('_', "-");
        let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
        let dashes = uid.bytes().filter(|b| *b == b'-').count();
        // A static pod's uid is a hash without dashes.
        (digits == 32 && digits + dashes == uid.len() && [0, 4].contains(&dashes)).then_some(uid)
    })
}

/// The unit as systemd's own `cg_path_get_unit` finds it: slices are passed over, the first other directory is the
/// unit. What lies deeper was made by the unit itself and may have any name; only a user's manager is gone into.
fn unit(parts: &[&str]) -> Option<String> {
    let first = first_unit(parts)?;
    if parts[first].starts_with("user@")
        && let below = &parts[first + 1..]
        && let Some(own) = first_unit(below)
    {
        return Some(format!("{}/{}", parts[first], below[own]));
    }
    Some(parts[first].to_owned())
}

fn first_unit(parts: &[&str]) -> Option<usize> {
    let is = |part: &str, suffix: &str| part.strip_suffix(suffix).is_some();
    let at = parts.iter().position(|part| !is(part, ".slice"))?;
    [".service", ".scope"].iter().any(|suffix| is(parts[at], suffix)).then_some(at)
}

/// A unit's name without what is new in every run.
fn stable(unit: &str) -> String {
    let (before, name) = unit.rsplit_once('/').map_or(("", unit), |(manager, name)| (manager, name));
    let name = match RUNS.iter().find(|(prefix, suffix)| name.starts_with(prefix) && name.ends_with(suffix)) {
        Some((prefix, suffix)) => format!("{prefix}*{suffix}"),
        None => instance(name).unwrap_or_else(|| name.to_owned()),
    };
    if before.is_empty() { name } else { format!("{before}/{name}") }
}

/// `app-NAME-12345.scope` (XDG desktop applications): the number is the launcher's, new every time.
fn instance(name: &str) -> Option<String> {
    let stem = name.strip_prefix("app-")?.strip_suffix(".scope")?;
    let (stem, number) = stem.rsplit_once('-')?;
    number.bytes().all(|b| b.is_ascii_digit()).then(|| format!("app-{stem}-*.scope"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case::docker_systemd("/system.slice/docker-ID.scope", "", "ID", "")]
    #[case::docker_cgroupfs("/docker/ID", "", "ID", "")]
    #[case::docker_with_systemd_inside("/docker/ID/system.slice/cron.service", "cron.service", "ID", "")]
    #[case::containerd_pod(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podAB_C.slice/cri-containerd-ID.scope",
        "",
        "ID",
        "POD"
    )]
    #[case::kubepods_cgroupfs("/kubepods/besteffort/podA-B-C/ID", "", "ID", "POD")]
    #[case::guaranteed("/kubepods.slice/kubepods-podAB_C.slice/cri-containerd-ID.scope/x", "", "ID", "POD")]
    #[case::crio("/kubepods.slice/kubepods-podAB_C.slice/crio-ID.scope", "", "ID", "POD")]
    #[case::crio_monitor("/kubepods.slice/kubepods-podAB_C.slice/crio-conmon-ID.scope", "", "ID", "POD")]
    #[case::podman("/machine.slice/libpod-ID.scope/container", "", "ID", "")]
    #[case::podman_rootless(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        "",
        "ID",
        ""
    )]
    #[case::podman_cgroupfs("/libpod_parent/libpod-ID", "", "ID", "")]
    #[case::nerdctl("/system.slice/nerdctl-ID.scope", "", "ID", "")]
    #[case::nspawn("/machine.slice/machine-web.scope/payload/system.slice", "", "web", "")]
    #[case::nspawn_service("/machine.slice/systemd-nspawn@web.service/payload", "", "web", "")]
    #[case::lxc("/lxc.payload.web/system.slice/nginx.service", "nginx.service", "web", "")]
    #[case::service("/system.slice/cron.service", "cron.service", "", "")]
    #[case::nested_slices(
        "/system.slice/system-getty.slice/getty@tty1.service",
        "getty@tty1.service",
        "",
        ""
    )]
    #[case::delegated("/system.slice/docker.service/sshd.service", "docker.service", "", "")]
    #[case::session("/user.slice/user-0.slice/session-3.scope", "session-3.scope", "", "")]
    #[case::user_unit(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/tunnel.service",
        "user@1000.service/tunnel.service",
        "",
        ""
    )]
    #[case::user_manager(
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        "user@1000.service/init.scope",
        "",
        ""
    )]
    #[case::init("/init.scope", "init.scope", "", "")]
    #[case::root("/", "", "", "")]
    #[case::slice("/system.slice", "", "", "")]
    #[case::own("/earthdog-test-1-0", "", "", "")]
    #[case::too_short("/docker/0123", "", "", "")]
    #[case::no_pod("/kubepods/podium/x", "", "", "")]
    fn paths_of_every_manager(
        #[case] path: &str,
        #[case] unit: &str,
        #[case] container: &str,
        #[case] pod: &str,
    ) {
        const POD: &str = "01234567-89ab-cdef-0123-456789abcdef";
        let fill =
            |text: &str| text.replace("AB_C", &POD.replace('-', "_")).replace("A-B-C", POD).replace("ID", ID);
        let found = place(fill(path).as_bytes());
        let some = |text: String| (!text.is_empty()).then_some(text);
        assert_eq!(found.unit, some(unit.to_owned()));
        assert_eq!(found.container, some(fill(container)));
        assert_eq!(found.pod, some(pod.replace("POD", POD)));
    }

    #[test]
    fn a_static_pod_has_a_uid_without_dashes() {
        let found = place(b"/kubepods/burstable/pod0123456789abcdef0123456789abcdef/x");
        assert_eq!(found.pod.as_deref(), Some("0123456789abcdef0123456789abcdef"));
    }

    #[test]
    fn runs_of_one_job_have_one_key_and_units_have_their_own() {
        let key = |path: &str| place(path.as_bytes()).key;
        let session = "/user.slice/user-0.slice/session-";
        assert_eq!(key(&format!("{session}3.scope")), key(&format!("{session}c41.scope")));
        assert_eq!(key("/system.slice/run-r0a1.service"), key("/system.slice/run-u99.service"));
        let app = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.x.Term-";
        assert_eq!(key(&format!("{app}123.scope")), key(&format!("{app}456.scope")));
        assert_ne!(key("/system.slice/a.service"), key("/system.slice/b.service"));
        assert_ne!(key("/system.slice/a@1.service"), key("/system.slice/a@2.service"));
        assert_ne!(key("/a"), key("/b"));
        assert_ne!(key(&format!("/docker/{ID}")), key(&format!("/docker/{}", ID.replace('0', "1"))));
    }

    proptest! {
        #[test]
        fn any_path_has_a_place(path in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = place(&path);
            prop_assert!(!found.key.is_empty());
            if let Some(unit) = &found.unit {
                let kind = unit.rsplit('.').next();
                prop_assert!(kind == Some("service") || kind == Some("scope"));
            }
        }

        /// Whatever lies around it.
        #[test]
        fn an_id_is_found_anywhere(before in "(/[a-z.-]{1,12}){0,4}", id in "[0-9a-f]{64}", scope: bool) {
            let part = if scope { format!("docker-{id}.scope") } else { id.clone() };
            prop_assert_eq!(place(format!("{before}/{part}").as_bytes()).container, Some(id));
        }
    }
}
