//! The recipes beside the packages (image, Kubernetes, Ansible): they can be read, say what the unit says, and their
//! configuration is one that the sensor takes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::{Path, PathBuf};

use earthdog_tests::host::Host;
use earthdog_tests::machine::Machine;
use earthdog_tests::{require, sensor};
use serde_json::Value;

const TO_JSON: &str = "/usr/bin/python3 -c 'import json, sys, yaml; \
    print(json.dumps([d for f in sys.argv[1:] for d in yaml.safe_load_all(open(f))]))'";

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sensor-user/deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap()
}

/// The words of a line of the unit.
fn unit(key: &str) -> String {
    let unit = read("systemd/earthdog.service");
    unit.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned()
}

#[test]
fn the_daemon_set_says_what_the_unit_says() {
    let host = require!(Host::new());
    let machine = require!(Machine::on(&host));
    machine.put(&deploy("kubernetes/earthdog.yaml"), "/tmp/earthdog.yaml");
    let documents: Value = machine.run(&format!("{TO_JSON} /tmp/earthdog.yaml")).trim().parse().unwrap();
    let of =
        |kind: &str| documents.as_array().unwrap().iter().find(|document| document["kind"] == kind).unwrap();
    let pod = &of("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!((&pod["hostNetwork"], &pod["hostPID"]), (&true.into(), &true.into()));
    let [container] = &pod["containers"].as_array().unwrap()[..] else { panic!("one container: {pod}") };

    let security = &container["securityContext"];
    let added = security["capabilities"]["add"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    let added: Vec<_> = added.map(|name| format!("CAP_{name}")).collect();
    assert_eq!(added.join(" "), unit("CapabilityBoundingSet="));
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(
        (&security["privileged"], &security["allowPrivilegeEscalation"]),
        (&false.into(), &false.into())
    );

    // As the unit's limit, in MiB both; above the sensor's own.
    let limit = container["resources"]["limits"]["memory"].as_str().unwrap();
    assert_eq!(limit.strip_suffix("Mi"), unit("MemoryMax=").strip_suffix('M'));
    let own = earthdog::config::Config::default().limits;
    assert!(limit.strip_suffix("Mi").unwrap().parse::<u64>().unwrap() > own.memory_mib);
    let cores: f64 = container["resources"]["limits"]["cpu"].as_str().unwrap().parse().unwrap();
    assert!(cores > own.cpu_share);

    // What is mounted is a volume, and every folder that the unit has is there.
    let names = |list: &Value| -> Vec<String> {
        let mut names: Vec<_> =
            list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&container["volumeMounts"]), names(&pod["volumes"]));
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mounted = |path: &str| mounts.iter().any(|mount| mount["mountPath"] == path);
    for path in ["/run/earthdog", "/var/lib/earthdog", "/etc/earthdog/conf.d", "/sys/fs/bpf"] {
        assert!(mounted(path), "{path}");
    }
    let arguments: Vec<_> =
        container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(matches!(arguments[..], ["run", "--cgroup", path] if mounted(path)), "{arguments:?}");

    // The configuration is taken, and the probes ask where it listens.
    let text = of("ConfigMap")["data"]["kubernetes.toml"].as_str().unwrap();
    let config = earthdog::config::Config::parse(text, "kubernetes.toml").unwrap();
    for (probe, path) in
        [("startupProbe", "/readyz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["path"], path, "{probe}");
        assert_eq!(
            format!("{}:{}", get["host"].as_str().unwrap(), get["port"]),
            config.metrics.listen,
            "{probe}"
        );
    }
}

#[test]
fn the_role_is_one_that_ansible_runs() {
    let host = require!(Host::new());
    let machine = require!(Machine::on(&host));
    machine.run("mkdir -p /tmp/roles/earthdog/tasks /tmp/roles/earthdog/handlers /tmp/roles/earthdog/defaults /tmp/roles/earthdog/meta");
    for part in ["tasks", "handlers", "defaults", "meta"] {
        machine.put(
            &deploy(&format!("ansible/{part}/main.yml")),
            &format!("/tmp/roles/earthdog/{part}/main.yml"),
        );
    }
    machine.run("printf -- '- hosts: all\\n  gather_facts: false\\n  roles: [earthdog]\\n' > /tmp/play.yml");
    let play =
        "cd /tmp && HOME=/tmp PATH=/usr/bin:/usr/sbin:$PATH ansible-playbook -i localhost, -c local play.yml";
    machine.run(&format!("{play} --syntax-check"));
    // It runs, and says first what it lacks.
    let refused = machine.try_run(&format!("{play} -e earthdog_package=earthdog.tar"));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        !refused.status.success() && said.contains("name a .deb or .rpm of `cargo xtask dist`"),
        "{said}"
    );
    // A task that ansible does not know is found by that.
    machine.run("sed -i s/builtin.systemd/builtin.sistemd/ /tmp/roles/earthdog/tasks/main.yml");
    assert!(!machine.try_run(&format!("{play} --syntax-check")).status.success());

    // Its files are where the package's are, and its check of them is a command that there is.
    let tasks = read("ansible/tasks/main.yml");
    assert!(tasks.contains("dest: /etc/earthdog/conf.d/ansible.toml"));
    assert!(tasks.contains("validate: /usr/bin/earthdog config check -c %s"));
    let file = tempfile::NamedTempFile::new().unwrap();
    for (text, code) in [("[output]\nobserve = true\n", 0), ("[output]\nobserv = true\n", 2)] {
        std::fs::write(file.path(), text).unwrap();
        let checked = require!(sensor::run(&["config", "check", "-c", file.path().to_str().unwrap()]));
        assert_eq!(checked.code(), Some(code), "{}", checked.stderr);
    }
}

#[test]
fn the_image_starts_what_the_unit_starts() {
    let recipe = read("oci/Containerfile");
    let line =
        |word: &str| recipe.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim().to_owned();
    let list = |word: &str| serde_json::from_str::<Vec<String>>(&line(word)).unwrap();
    let words = [list("ENTRYPOINT"), list("CMD")].concat();
    assert_eq!(words.join(" "), unit("ExecStart="));
    assert!(line("COPY ").ends_with(&words[0]), "what is started is what is copied");
    // The base is the builder's choice; no registry is named.
    assert_eq!((line("FROM"), line("ARG BASE=")), ("${BASE}".to_owned(), "scratch".to_owned()));
}
