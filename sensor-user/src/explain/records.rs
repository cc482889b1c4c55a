//! Where findings are read from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::config::Config;
use crate::escape::escape;
use crate::exit::{Code, Error};
use crate::finding::{Finding, stored};
use crate::progress::Progress;
use crate::store::{ask, kept};

/// State changes that are taken from a file: a replay of everything there is has a few thousand.
const MAX: usize = 100_000;
/// State changes between two looks at the clock.
const SHOWN_EVERY: u64 = 256;
/// Characters of a file's name in the line that tells how far it is read.
const NAME_MAX: usize = 40;

/// State changes, oldest first.
#[derive(Debug, Default)]
pub struct Records {
    pub findings: Vec<Finding>,
    /// What could not be read, to be told after what could.
    pub problem: Option<Error>,
    /// Where to go on, if a running sensor told them.
    pub cursor: Option<String>,
}

/// All findings there are: of a replay's output, of the running sensor, or of the store where none runs.
pub fn all(config: &Config, file: Option<&Path>) -> Result<Records, Error> {
    match file {
        Some(file) => of_file(file),
        None => match of_sensor(config, "alerts", None)? {
            Some(records) => Ok(records),
            None => Ok(parsed(ask::findings(config)?.into_iter())),
        },
    }
}

/// What came after a cursor; an error if no sensor runs.
pub fn after(config: &Config, cursor: Option<&str>) -> Result<Records, Error> {
    of_sensor(config, "alerts", cursor)?.ok_or_else(|| {
        Error::new(
            Code::Failure,
            format!(
                "no sensor answers at {}: there is nothing to follow; start one with `earthdog run`",
                escape(&config.live.control_socket)
            ),
        )
    })
}

/// The state changes of the one finding whose id begins like this, oldest first.
pub fn one(config: &Config, file: Option<&Path>, id: &str) -> Result<Vec<Finding>, Error> {
    let records = match file {
        Some(file) => of_file(file)?,
        None => match of_sensor(config, "explain", Some(id))? {
            Some(records) => records,
            None => parsed(ask::findings(config)?.into_iter()),
        },
    };
    let mut by_id: BTreeMap<String, Vec<Finding>> = BTreeMap::new();
    for finding in records.findings {
        if stored::is_named(&finding.id, id) {
            by_id.entry(finding.id.clone()).or_default().push(finding);
        }
    }
    let named = escape(id);
    match (by_id.pop_first(), by_id.len()) {
        (Some((_, changes)), 0) => Ok(changes),
        (Some((first, _)), more) => {
            let shown: Vec<_> =
                std::iter::once(&first).chain(by_id.keys()).take(4).map(|id| escape(id)).collect();
            let dots = if more > 3 { ", …" } else { "" };
            let text = format!(
                "{} findings begin with {named}: {}{dots}; give more of the id",
                more + 1,
                shown.join(", ")
            );
            Err(Error::new(Code::Usage, text))
        }
        (None, _) => match records.problem {
            Some(problem) => Err(problem),
            None => Err(Error::new(
                Code::Failure,
                format!("there is no finding {named}; `earthdog alerts` lists them with their ids"),
            )),
        },
    }
}

fn of_sensor(config: &Config, command: &str, about: Option<&str>) -> Result<Option<Records>, Error> {
    #[derive(Deserialize)]
    struct Answer {
        v: u32,
        cursor: String,
        records: Vec<Value>,
    }
    let Some(answer) = ask::online::<Answer>(config, command, about)? else { return Ok(None) };
    if answer.v != kept::VERSION {
        let text = format!("the sensor's findings have version {}, this is {}", answer.v, kept::VERSION);
        return Err(Error::new(Code::Failure, text));
    }
    let json = answer.records.iter().map(|record| serde_json::to_vec(record).unwrap_or_default());
    Ok(Some(Records { cursor: Some(answer.cursor), ..parsed(json) }))
}

/// Of records that an earlier version wrote, or one that had another idea of them, those that can be read are.
fn parsed(json: impl Iterator<Item = Vec<u8>>) -> Records {
    let mut records = Records::default();
    let mut unread = 0_u64;
    for json in json {
        match stored::read(&json) {
            Ok(finding) => records.findings.push(finding),
            Err(why) => {
                unread += 1;
                let text = format!("{unread} findings cannot be read ({})", escape(&why));
                records.problem = Some(Error::new(Code::Failure, text));
            }
        }
    }
    records
}

/// NDJSON as `replay --output json` writes it, read up to what is none.
fn of_file(path: &Path) -> Result<Records, Error> {
    let name = escape(path.as_os_str().as_encoded_bytes()).into_owned();
    let failed = |what: String| Error::new(Code::Failure, format!("{name}: {what}"));
    let mut reader = BufReader::new(File::open(path).map_err(|error| failed(error.to_string()))?);
    let mut records = Records::default();
    let mut progress = Progress::new();
    let mut line = Vec::new();
    let (mut number, mut offset) = (0_u64, 0_u64);
    loop {
        line.clear();
        let read = (&mut reader).take(stored::MAX_LEN as u64 + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| failed(error.to_string()))?;
        if read == 0 {
            return Ok(records);
        }
        number += 1;
        let text = line.trim_ascii();
        let problem = match stored::read(text) {
            _ if text.is_empty() => None,
            Ok(_) if records.findings.len() >= MAX => {
                Some(format!("has more than {MAX} records; the rest was not read: filter it first"))
            }
            Ok(finding) => {
                records.findings.push(finding);
                None
            }
            Err(why) => Some(format!(
                "line {number}, at byte {offset}: {}; expected what `earthdog replay --output json` writes",
                escape(&why)
            )),
        };
        if let Some(problem) = problem {
            records.problem = Some(failed(problem));
            return Ok(records);
        }
        offset += read as u64;
        if number.is_multiple_of(SHOWN_EVERY) {
            let shown = || name.chars().take(NAME_MAX).collect::<String>();
            progress.show(|| format!("reading {}: {number} records", shown()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::tests::{finding, tunnel};

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_up_to_what_is_no_finding() {
        let good = stored::write(&finding());
        let file = file(&[&good[..], b"\n\n", &good, b"\n{\"id\":1}\n", &good].concat());
        let records = of_file(file.path()).unwrap();
        assert_eq!(records.findings.len(), 2);
        let problem = records.problem.unwrap();
        let says = format!("line 4, at byte {}", good.len() * 2 + 3);
        assert!(problem.code == Code::Failure && problem.message.contains(&says), "{problem}");
    }

    #[test]
    fn what_is_written_is_read_back_with_and_without_a_trail() {
        for found in tunnel() {
            let stored = stored::read(&stored::write(&found)).unwrap();
            assert_eq!(serde_json::to_value(&stored).unwrap(), serde_json::to_value(&found).unwrap());
            assert!(stored.trail.is_some() && stored.trail == found.trail);
            // As it was before there were trails, and as the native record is.
            let native = stored::read(&serde_json::to_vec(&found).unwrap()).unwrap();
            assert_eq!((native.trail.is_none(), &native.id), (true, &found.id));
        }
        let mut value = serde_json::to_value(finding()).unwrap();
        value["trail"] = serde_json::json!({"v": 2, "gaps": "other"});
        assert!(stored::read(value.to_string().as_bytes()).unwrap().trail.is_none());
        value["schema"] = 99.into();
        assert!(stored::read(value.to_string().as_bytes()).unwrap_err().contains("later version"));
    }

    #[test]
    fn an_id_has_to_be_enough() {
        let config = Config::default();
        let mut other = finding();
        other.id = "client-zone-00ff000000000001".into();
        let text = [stored::write(&finding()), vec![b'\n'], stored::write(&other)].concat();
        let file = file(&text);
        let one = |id: &str| one(&config, Some(file.path()), id);
        assert_eq!(one("00ff").unwrap()[0].id, other.id);
        assert_eq!(one(&other.id).unwrap().len(), 1);
        let error = one("client-zone-").unwrap_err();
        assert!(error.code == Code::Usage && error.message.contains("2 findings begin with"), "{error}");
        let error = one("beef\u{1b}").unwrap_err();
        assert!(error.code == Code::Failure && error.message.contains("no finding beef\\x1b;"), "{error}");
        assert!(one("").is_err());
    }
}
