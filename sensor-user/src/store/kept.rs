//! Findings that a running sensor can tell of at once: those of the store and those since, or only those where there is
//! no store. Bounded like the store's, so nothing is looked up on the disk when somebody asks.

use std::collections::VecDeque;

use crate::finding::{Finding, stored};

/// State changes kept.
const MAX: usize = 16_384;
/// Bytes of all of them.
const MAX_BYTES: usize = 4 << 20;
/// Version of the answers to `alerts` and `explain`.
pub const VERSION: u32 = 1;

#[derive(Debug)]
pub struct Kept {
    records: VecDeque<Record>,
    bytes: usize,
    /// Tells one run's cursors from another's.
    run: u64,
    /// Number of the next state change.
    next: u64,
    pub evicted: u64,
}

#[derive(Debug)]
struct Record {
    id: Box<str>,
    json: Box<[u8]>,
}

impl Kept {
    /// Bytes at most, with what the queue keeps of each.
    pub const WORST_CASE_BYTES: usize = MAX_BYTES + MAX * 2 * size_of::<Record>();

    /// `run` is the time at which the sensor started.
    pub fn new(run: u64, stored: Vec<Vec<u8>>) -> Self {
        let mut kept = Self { records: VecDeque::new(), bytes: 0, run, next: 0, evicted: 0 };
        for json in stored {
            kept.take(json);
        }
        kept.evicted = 0;
        kept
    }

    pub fn push(&mut self, finding: &Finding) {
        self.take(stored::write(finding));
    }

    fn take(&mut self, json: Vec<u8>) {
        let Some(id) = stored::id(&json) else { return };
        let record = Record { id: id.into(), json: json.into() };
        self.bytes += record.bytes();
        self.records.push_back(record);
        self.next += 1;
        while self.records.len() > MAX || self.bytes > MAX_BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.evicted += 1;
        }
    }

    /// All of them, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| &*record.json)
    }

    /// State changes after a cursor that an answer of this run gave, else all, oldest first, as a JSON object.
    pub fn since(&self, cursor: Option<&str>) -> Vec<u8> {
        let after = cursor.and_then(|cursor| {
            let (run, number) = cursor.split_once('-')?;
            (run.parse::<u64>().ok()? == self.run).then(|| number.parse::<u64>().ok())?
        });
        let first = self.next - self.records.len() as u64;
        let skip = after.map_or(0, |after| after.saturating_sub(first));
        self.answer(self.records.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)))
    }

    /// State changes of the findings whose id begins like this.
    pub fn about(&self, id: &str) -> Vec<u8> {
        self.answer(self.records.iter().filter(|record| stored::is_named(&record.id, id)))
    }

    fn answer<'a>(&self, records: impl Iterator<Item = &'a Record>) -> Vec<u8> {
        let Self { run, next, evicted, .. } = self;
        let mut json =
            format!("{{\"v\":{VERSION},\"cursor\":\"{run}-{next}\",\"evicted\":{evicted},\"records\":[")
                .into_bytes();
        for (index, record) in records.enumerate() {
            if index > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&record.json);
        }
        json.extend_from_slice(b"]}");
        json
    }
}

impl Record {
    fn bytes(&self) -> usize {
        self.id.len() + self.json.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u32) -> Vec<u8> {
        format!("{{\"id\":\"client-zone-{n:04x}\",\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1000)).into_bytes()
    }

    fn numbers(answer: &[u8]) -> Vec<u64> {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        answer["records"].as_array().unwrap().iter().map(|record| record["n"].as_u64().unwrap()).collect()
    }

    fn cursor(answer: &[u8]) -> String {
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
        answer["cursor"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_cursor_gives_what_came_after_it() {
        let mut kept = Kept::new(7, vec![record(1), b"no record".to_vec(), record(2)]);
        let first = kept.since(None);
        assert_eq!(numbers(&first), [1, 2]);
        kept.take(record(3));
        assert_eq!(numbers(&kept.since(Some(&cursor(&first)))), [3]);
        assert_eq!(numbers(&kept.since(Some("8-2"))), [1, 2, 3], "of another run");
        assert_eq!(numbers(&kept.since(Some("7-99999999"))), [0; 0]);
        assert_eq!(numbers(&kept.about("0002")), [2]);
        assert_eq!(numbers(&kept.about("client-zone-000")), [1, 2, 3]);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut kept = Kept::new(7, Vec::new());
        let early = cursor(&kept.since(None));
        (0..6000).for_each(|n| kept.take(record(n)));
        let all = numbers(&kept.since(Some(&early)));
        assert!(kept.bytes <= MAX_BYTES && kept.evicted > 1000 && *all.last().unwrap() == 5999);
        assert_eq!(all.len() as u64 + kept.evicted, 6000);
    }
}
