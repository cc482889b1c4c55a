//! The binary replaying one file: its findings and, where asked for, its message log.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
pub use earthdog::emulate::record::{Client, Findings, Record, is_below, unix_ns};
use earthdog::escape::escape;
pub use earthdog::finding::{Scope, Severity};
use serde::Deserialize;

#[derive(Clone, Debug)]
pub struct Sensor {
    path: PathBuf,
}

/// What is read of a line of the message log.
#[derive(Clone, Debug, Deserialize)]
pub struct Logged {
    #[serde(rename = "time", deserialize_with = "unix_ns")]
    pub time_ns: u64,
    pub src: SocketAddr,
    pub response: bool,
    pub name: Option<String>,
    pub lookup: Option<String>,
    pub client: Option<Client>,
}

impl Sensor {
    pub fn new(path: &Path) -> Result<Self> {
        if !path.is_file() {
            bail!(
                "no sensor at {}: build it with `cargo build --release --locked -p sensor-user`",
                path.display()
            );
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// Every state change of every finding, in the order they came.
    pub fn findings(&self, file: &Path) -> Result<Vec<Record>> {
        self.replay(file, None)
    }

    /// As `findings`; then each line of the message log goes to `take`.
    pub fn messages<T>(
        &self,
        file: &Path,
        measure: impl FnOnce(&[Record], &mut dyn Iterator<Item = Result<Logged>>) -> Result<T>,
    ) -> Result<T> {
        let dir = tempfile::tempdir()?;
        let (config, log) = (dir.path().join("config.toml"), dir.path().join("messages"));
        let key = toml::Value::String(log.to_string_lossy().into_owned());
        fs::write(&config, format!("[output]\nmessages = {key}\n"))?;
        let records = self.replay(file, Some(&config))?;
        let log = BufReader::new(File::open(&log).context("the sensor wrote no message log")?);
        let mut lines = log.lines().map(|line| {
            let line = line.context("cannot read the message log")?;
            serde_json::from_str(&line).with_context(|| format!("not a line of the message log: {line}"))
        });
        measure(&records, &mut lines)
    }

    /// As `findings`, of a capture in memory.
    pub fn findings_of(&self, pcap: &[u8]) -> Result<Vec<Record>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("capture.pcap");
        fs::write(&path, pcap).with_context(|| format!("cannot write {}", path.display()))?;
        self.findings(&path)
    }

    /// What it prints of a file under a configuration, byte for byte.
    pub fn printed(&self, file: &Path, config: &Path) -> Result<Vec<u8>> {
        self.output(file, Some(config))
    }

    fn replay(&self, file: &Path, config: Option<&Path>) -> Result<Vec<Record>> {
        let output = self.output(file, config)?;
        let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let record =
            |line| serde_json::from_slice(line).with_context(|| format!("not a finding: {}", escape(line)));
        lines.map(record).collect()
    }

    fn output(&self, file: &Path, config: Option<&Path>) -> Result<Vec<u8>> {
        let mut command = Command::new(&self.path);
        command.arg("replay").arg(file).args(["--output", "json"]).stdin(Stdio::null());
        if let Some(config) = config {
            command.arg("-c").arg(config);
        }
        let output = command.output().with_context(|| format!("cannot start {}", self.path.display()))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let said: Vec<_> = errors.lines().filter(|line| line.starts_with("earthdog: ")).collect();
            bail!("{} ({})", escape(said.join("; ").as_bytes()), output.status);
        }
        Ok(output.stdout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_lines_are_read_as_the_sensor_writes_them() {
        let line = r#"{"schema":1,"id":"a-1","time":"1970-01-01T00:00:02.000000005Z","rule":"r","severity":"high",
            "scope":"client_zone","zone":"tunnel.example","client":{"kind":"address","ip":"192.0.2.7","grade":"none"},
            "name_bytes":20,"queries":3}"#;
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!((record.time_ns, record.severity, record.name_bytes), (2_000_000_005, Severity::High, 20));
        let line = r#"{"time":"1970-01-01T00:00:01.000000000Z","view":"capture","src":"192.0.2.7:4000","response":false,"owner":{}}"#;
        let logged: Logged = serde_json::from_str(line).unwrap();
        assert_eq!((logged.time_ns, logged.name, logged.lookup.is_none()), (1_000_000_000, None, true));
    }

    #[test]
    fn a_sensor_that_is_not_there_is_named() {
        let error = Sensor::new(Path::new("/nonexistent/earthdog")).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/earthdog") && error.contains("cargo build"), "{error}");
    }
}
